"""The console: mGBA core, RAM reader, Gymnasium environment. Does not import torch."""
