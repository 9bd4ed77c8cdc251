"""The team page: accounts, signing in, and members' permissions."""
