package duckdb

import (
	"embed"
	"strings"
	"text/template"
)

// One query a file. Only names of tables and columns, from a layout, are filled
// in, always quoted; values are parameters.
//
//go:embed query/*.sql
var queryFiles embed.FS

var queries = template.Must(template.New("").Funcs(template.FuncMap{"quote": quote}).ParseFS(queryFiles, "query/*.sql"))

// query returns the query in the file called name.
func query(name string, data any) string {
	var b strings.Builder
	if err := queries.ExecuteTemplate(&b, name, data); err != nil {
		panic("duckdb: query " + name + ": " + err.Error()) // the files are part of the program, and each has a test
	}
	return b.String()
}
