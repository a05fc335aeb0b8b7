"""Errors, files that are written whole, locks, processes, streams: what everything stands on."""
