"""Names, versions and facts of the shards in a folder, and reading files that may be hostile."""
