-- All rows of a table into the copy of the database.
INSERT INTO fresh.{{quote .Name}} ({{range $i, $c := .Columns}}{{if $i}}, {{end}}{{quote $c}}{{end}})
SELECT {{range $i, $c := .Columns}}{{if $i}}, {{end}}{{quote $c}}{{end}} FROM {{quote .Name}}
