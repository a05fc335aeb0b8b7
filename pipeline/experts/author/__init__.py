"""The author: a language model writes one program a milestone, and the programs join into one."""
