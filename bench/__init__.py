"""Measures the program as users see it: whole processes in a real terminal, with a fast fake model
server.
"""
