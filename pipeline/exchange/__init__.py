"""Data of other projects: arrays in and out."""
