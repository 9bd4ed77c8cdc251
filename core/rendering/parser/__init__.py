"""Parses Markdown into operations, which terminal and page apply alike."""
