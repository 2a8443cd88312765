"""Database of the human study: schema, connection, sessions, responses."""
