DELETE FROM {{quote .EventTable}}
WHERE _session IN (SELECT _session FROM {{quote .SessionTable}} WHERE _sender = $1)
