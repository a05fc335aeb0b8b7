"""Which steps an expert is asked about, the pool of experts, and the labels that come of it."""
