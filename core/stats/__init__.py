"""Time, tokens and cost of each turn, and how they are shown."""
