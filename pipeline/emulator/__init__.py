"""The real console: mGBA core, RAM reader, Gymnasium environment, rollouts. Knows no torch."""
