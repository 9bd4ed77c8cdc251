"""The parts of Stream Chat; docs/architecture.md draws how they rest on one another."""

__version__ = "1.0.0"
