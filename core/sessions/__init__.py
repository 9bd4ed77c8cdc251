"""What was said: listing, export, the spool, transcripts."""
