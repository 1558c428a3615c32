-- A page of foreign insert ids, after the place $2 to $4.
SELECT _received, _session, _insert, _sender
FROM {{quote .EventTable}} JOIN {{quote .SessionTable}} USING (_session)
WHERE _insert IS NOT NULL AND _received >= $1 AND (_received > $2 OR (_session, _insert) > ($3, $4::UUID))
ORDER BY _received, _session, _insert
LIMIT $5
