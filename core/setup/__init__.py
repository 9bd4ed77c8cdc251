"""Creates a Chat from Settings for any front end; it knows nothing of terminals or web pages."""
