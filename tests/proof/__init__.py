"""The campaigns of `python -m tests.prove` that are not tests."""
