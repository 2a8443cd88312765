"""The study's database: schema, connections, stored plan, participant sessions."""
