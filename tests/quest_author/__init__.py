"""A conversation in which a model learns to write programs for quest, written by hand."""
