"""Puts a chat together from Settings."""
