"""Command line actions without a chat, each a module with `run(settings)`: one answer, lists,
changes.
"""
