"""What is no stage: looking at data, games and states; printing only."""
