"""The chat in a terminal, and everything that only a terminal needs; importing this package loads
none of it.
"""
