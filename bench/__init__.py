"""Measures the program as a person meets it:
whole processes in a real terminal, against a fast fake model server.
"""
