"""The campaigns of `python -m tests.prove` that are no tests of their own."""
