"""Models: their capabilities, availability, fallbacks and context windows."""
