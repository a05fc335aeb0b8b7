"""Recipes over the five stages: DAgger, curriculum, comparison, author."""
