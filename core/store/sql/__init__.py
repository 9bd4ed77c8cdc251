"""The queries, written once for both databases."""
