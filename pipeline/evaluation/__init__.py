"""What an evaluation plays, counts, tells and keeps."""
