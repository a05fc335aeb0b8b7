"""Experts, who give the right button: programs, language models, other checkpoints."""
