"""One conversation: the turn, the reply, joining, fitting, comparing."""
