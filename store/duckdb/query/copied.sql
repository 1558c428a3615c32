-- How many rows a table has, and how many its copy.
SELECT (SELECT count(*) FROM {{quote .Name}}), (SELECT count(*) FROM fresh.{{quote .Name}})
