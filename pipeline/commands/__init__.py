"""Commands that are not stages: they look at data, games and states, and print."""
