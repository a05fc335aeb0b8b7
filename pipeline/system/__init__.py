"""Errors, files that are written whole, locks, processes, streams: what all rooms use."""
