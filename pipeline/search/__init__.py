"""Finding variables in RAM, and checking that a game is what its game.yaml says."""
