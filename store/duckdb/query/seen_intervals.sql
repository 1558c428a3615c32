-- Gaps and islands: within an unbroken run of sequence numbers, the number
-- minus its rank stays the same.
SELECT _sender, min(_seq), max(_seq)
FROM (
	SELECT _sender, _seq, _seq - row_number() OVER (PARTITION BY _sender ORDER BY _seq) AS island
	FROM (
		SELECT DISTINCT _sender, _seq
		FROM {{quote .EventTable}} JOIN {{quote .SessionTable}} USING (_session)
		WHERE _seq IS NOT NULL
	)
)
GROUP BY _sender, island
ORDER BY _sender, min(_seq)
