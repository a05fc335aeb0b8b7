"""Networks, checkpoints, and acting with them. Knows no emulator."""
