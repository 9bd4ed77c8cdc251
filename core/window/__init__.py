"""What fits into a model: tokens, budgets, compaction."""
