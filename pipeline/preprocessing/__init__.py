"""Frames made small, and the state of recorded episodes read anew."""
