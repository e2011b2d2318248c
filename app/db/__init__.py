"""The database: engine, tables, migrations and compiled statements."""
