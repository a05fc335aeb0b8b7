"""Shards examined, salvaged, migrated, edited, merged and compared."""
