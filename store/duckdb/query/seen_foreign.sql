-- A page of foreign insert ids, after row $2.
SELECT _row, _sender, _insert, _received
FROM {{quote .EventTable}} JOIN {{quote .SessionTable}} USING (_session)
WHERE _insert IS NOT NULL AND _received >= $1 AND _row > $2
ORDER BY _row
LIMIT $3
