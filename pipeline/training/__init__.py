"""The network, behavioural cloning, checkpoints, the folder of a run. Knows no emulator."""
