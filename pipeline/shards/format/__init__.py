"""What a shard holds: schema, columns, compression, checks. Reads bytes, knows no folder."""
