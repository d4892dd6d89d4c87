-- Gaps that reach beyond a time, those of each node that ended last first.
SELECT
    toString(g.node)  AS node,
    toString(g.cause) AS cause,
    g.from_time       AS from_time,
    max(g.until_time) AS until_time,
    max(g.lost)       AS lost
FROM coverage_gaps AS g
GROUP BY g.node, g.cause, g.from_time
HAVING until_time > fromUnixTimestamp64Micro({since:Int64}, 'UTC')
ORDER BY node, until_time DESC, from_time, cause
LIMIT {limit:UInt32} BY node
