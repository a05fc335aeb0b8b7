"""The shard: the versioned HDF5 file in which the stages meet. Knows no torch, no emulator."""
