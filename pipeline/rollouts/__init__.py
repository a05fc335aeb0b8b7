"""Episodes: who plays from where, recorded as raw shards; start states; playing them again."""
