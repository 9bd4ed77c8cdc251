"""Guards that decide which files and addresses a tool may access."""
