"""What every door of a process shares: standard streams, signals, lines that a user types,
a screen to write to.
"""
