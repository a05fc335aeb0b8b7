"""From shards to batches of tensors. Knows no emulator and no game."""
