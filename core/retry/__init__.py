"""What to do when a model does not answer (policy), and what to say while it is silent."""
