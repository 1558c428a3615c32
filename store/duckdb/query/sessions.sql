SELECT {{range $i, $c := .SessionParts}}{{if $i}}, {{end}}{{quote $c}}{{end}}
FROM {{quote .SessionTable}}
