-- Counts for each group and step, and for each group over the whole range: the
-- latter are no sums where senders are counted. Parameters: $1 and $2 bound the
-- time, $3 is the length of a step, all in ms; $4 is what a missing value is
-- called, $5 the number of groups{{if .Labels}}, $6 the labels of the indexes{{end}}.
WITH picked AS (
	SELECT {{.Group}} AS grp, (_time - $1) // $3 AS step{{if .Uniques}}, _sender{{end}}
	FROM {{quote .EventTable}}{{if .NeedsSessions}} JOIN {{quote .SessionTable}} USING (_session){{end}}
	WHERE _time >= $1 AND _time < $2{{if .OneEvent}} AND _type = {{.Event}}{{end}}
), counted AS (
	SELECT grp, step, grouping(step) = 1 AS whole, {{if .Uniques}}count(DISTINCT _sender){{else}}count(*){{end}} AS n
	FROM picked
	GROUP BY GROUPING SETS ((grp, step), (grp))
), top AS (
	SELECT grp, coalesce({{if .Labels}}$6[grp + 1]{{else}}CAST(grp AS VARCHAR){{end}}, $4) AS label, n AS total
	FROM counted
	WHERE whole
	ORDER BY total DESC, label
	LIMIT $5
)
SELECT label, total, step, n
FROM counted JOIN top ON counted.grp IS NOT DISTINCT FROM top.grp
WHERE NOT whole
ORDER BY total DESC, label, step
