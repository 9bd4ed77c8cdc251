"""Puts a Chat together from Settings, for any front end: it knows no terminal and no web page."""
