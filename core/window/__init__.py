"""What fits into a model's context window: token estimates, budgets, compaction."""
