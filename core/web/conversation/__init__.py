"""A conversation in the page server: its turn, events and listeners."""
