-- How many events and sessions each of the senders $1 has. No session is without
-- events.
SELECT _sender, count(*), count(DISTINCT _session)
FROM {{quote .EventTable}} JOIN {{quote .SessionTable}} USING (_session)
WHERE _sender IN (SELECT unnest($1::BIGINT[]))
GROUP BY _sender
