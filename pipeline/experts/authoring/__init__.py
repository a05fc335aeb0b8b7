"""A language model writes one program a milestone, and the programs join into one."""
