-- A page of records, after the place $3 to $7. The order is one that no other row
-- shares and that does not change when rows are erased or moved: by arrival, by
-- event time, by session and insert id. The page is chosen among the events
-- alone: whole row groups are then passed over by the range of their _received,
-- and only a page is joined.
WITH page AS (
	SELECT *, coalesce(_seq, -1) AS _number, coalesce(_insert, '00000000-0000-0000-0000-000000000000') AS _key
	FROM {{quote .EventTable}}
	WHERE _received >= $1 AND _received <= $2
	{{- if .Newest}}
		AND (_received < $3 OR (_time, _session, _number, _key) < ($4, $5, $6, $7::UUID))
	{{- else}}
		AND (_received > $3 OR (_time, _session, _number, _key) > ($4, $5, $6, $7::UUID))
	{{- end}}
	{{- if .OneSender}}
		AND _session IN (SELECT _session FROM {{quote .SessionTable}} WHERE _sender = $9)
	{{- end}}
	ORDER BY _received {{.Direction}}, _time {{.Direction}}, _session {{.Direction}}, _number {{.Direction}}, _key {{.Direction}}
	LIMIT $8
)
SELECT
{{- range $i, $c := .SessionParts}}{{if $i}},{{end}} s.{{quote $c}}{{end}}
{{- range .EventParts}}, e.{{quote .}}{{end}}
FROM page e JOIN {{quote .SessionTable}} s ON s._session = e._session
ORDER BY _received {{.Direction}}, _time {{.Direction}}, e._session {{.Direction}}, _number {{.Direction}}, _key {{.Direction}}
