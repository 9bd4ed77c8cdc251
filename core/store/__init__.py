"""The database: schema and the JSON form of messages."""
