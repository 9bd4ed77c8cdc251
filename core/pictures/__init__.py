"""Pictures drawn anew in a limited child process: smaller, in another format, or for a terminal."""
