"""One conversation: turns, replies, fitting to the window, attachments, comparison of models."""
