"""What the page shows and changes of providers and their models."""
