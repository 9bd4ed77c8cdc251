"""The session store: schema, queries and the SQLite and PostgreSQL backends behind db.Store."""
