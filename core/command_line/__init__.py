"""The doors without a terminal: one answer, lists, actions."""
