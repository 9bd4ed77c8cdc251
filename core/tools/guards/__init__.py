"""Which files and addresses a tool may reach."""
