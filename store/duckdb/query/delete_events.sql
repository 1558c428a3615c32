-- The events of the senders $1.
DELETE FROM {{quote .EventTable}}
WHERE _session IN (SELECT _session FROM {{quote .SessionTable}} WHERE _sender IN (SELECT unnest($1::BIGINT[])))
