-- One row for each distinct session. No keys: an index would be held in memory,
-- and the writer has its own.
CREATE TABLE {{quote .SessionTable}} (
	_session BIGINT NOT NULL,
	_sender  BIGINT NOT NULL,
	_hyphens BOOLEAN NOT NULL
{{- range .SessionDefinitions}},
	{{.}}
{{- end}}
)
