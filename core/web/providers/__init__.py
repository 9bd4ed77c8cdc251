"""The page's views and settings of providers and their models."""
