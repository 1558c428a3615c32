-- One row for each event. DuckDB packs integers to the bits they need, so that
-- wide types cost no disk. For its own columns the store says so: else DuckDB
-- tries every other way first, which costs more CPU than packing them. Random
-- ids cannot be packed at all.
CREATE TABLE {{quote .EventTable}} (
	_session  BIGINT NOT NULL USING COMPRESSION bitpacking,
	_seq      BIGINT USING COMPRESSION bitpacking,
	_insert   UUID USING COMPRESSION uncompressed,
	_time     BIGINT NOT NULL USING COMPRESSION bitpacking,
	_received BIGINT NOT NULL USING COMPRESSION bitpacking,
	_type     UTINYINT NOT NULL
{{- range .EventDefinitions}},
	{{.}}
{{- end}}
)
