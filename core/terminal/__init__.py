"""The chat in a terminal, and all that only a terminal needs;
importing this package loads none of it.
"""
