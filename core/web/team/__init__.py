"""The page for many: accounts, signing in, and what a member may do."""
