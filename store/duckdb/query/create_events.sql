-- One row for each event. DuckDB packs integers to the bits they need, so that
-- wide types cost no disk.
CREATE TABLE {{quote .EventTable}} (
	_row      BIGINT NOT NULL,
	_session  BIGINT NOT NULL,
	_seq      BIGINT,
	_insert   UUID,
	_time     BIGINT NOT NULL,
	_received BIGINT NOT NULL,
	_type     UTINYINT NOT NULL
{{- range .EventDefinitions}},
	{{.}}
{{- end}}
)
