"""A language model as expert: asked for each state, counted, kept."""
