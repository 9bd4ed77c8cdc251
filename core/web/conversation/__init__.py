"""One conversation on the page: its turn, its events, whoever follows it."""
