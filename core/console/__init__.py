"""What all entry points share: standard streams, signals, lines that a user types, a screen to
write to.
"""
