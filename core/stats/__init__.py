"""What each turn took and cost, and how it is shown."""
