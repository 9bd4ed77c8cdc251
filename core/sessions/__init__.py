"""Sessions: opening, changing, listing, searching, exporting, importing, and the spool."""
