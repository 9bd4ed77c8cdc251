"""Markdown as operations, the same for every painter."""
