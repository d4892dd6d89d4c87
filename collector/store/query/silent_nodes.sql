-- How many nodes were watched once, but not since a time.
SELECT count() AS nodes
FROM (SELECT c.node AS node, max(c.until_time) AS until_time FROM coverage_daily AS c GROUP BY node)
WHERE until_time <= fromUnixTimestamp64Micro({since:Int64}, 'UTC')
