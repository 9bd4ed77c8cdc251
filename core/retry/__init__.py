"""What to do when a model fails (policy), and what to report while it is silent."""
