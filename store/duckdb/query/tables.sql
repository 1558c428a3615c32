-- How many tables there are: none in a new database.
SELECT count(*) FROM duckdb_tables()
