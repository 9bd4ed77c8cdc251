"""Importers of other programs' sessions."""
