"""What a person looks at: tables, videos, plots. Reads results, decides nothing."""
