"""The number of migrations. Made from `core/store/schema.py` by `make docs`."""

SCHEMA_VERSION = 13
