"""Sessions of other programs, read as ours."""
