-- A page of records, after the place ($3, $4) in the order of (_received, _row).
-- The page is chosen among the events alone: whole row groups are then passed
-- over by the range of their _received, and only a page is joined.
WITH page AS (
	SELECT *
	FROM {{quote .EventTable}}
	WHERE _received >= $1 AND _received <= $2
	{{- if .Newest}}
		AND (_received < $3 OR _received = $3 AND _row < $4)
	{{- else}}
		AND (_received > $3 OR _received = $3 AND _row > $4)
	{{- end}}
	{{- if .OneSender}}
		AND _session IN (SELECT _session FROM {{quote .SessionTable}} WHERE _sender = $6)
	{{- end}}
	ORDER BY _received {{.Direction}}, _row {{.Direction}}
	LIMIT $5
)
SELECT
{{- range $i, $c := .SessionParts}}{{if $i}},{{end}} s.{{quote $c}}{{end}}
{{- range .EventParts}}, e.{{quote .}}{{end}}
FROM page e JOIN {{quote .SessionTable}} s ON s._session = e._session
ORDER BY e._received {{.Direction}}, e._row {{.Direction}}
