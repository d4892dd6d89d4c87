-- How each start of an agent watched its node since a time. lost_before and tls_before are what it had counted already; the day before the window is enough to
-- know, because a running agent is heard of every few seconds.
SELECT
    toString(c.node)                                                       AS node,
    c.boot                                                                 AS boot,
    min(c.from_time)                                                       AS from_time,
    max(c.until_time)                                                      AS until_time,
    maxMap(c.lost)                                                         AS lost,
    maxMapIf(c.lost, c.hour < toStartOfHour(fromUnixTimestamp64Micro({since:Int64}, 'UTC'))) AS lost_before,
    maxMap(c.tls)                                                          AS tls,
    maxMapIf(c.tls, c.hour < toStartOfHour(fromUnixTimestamp64Micro({since:Int64}, 'UTC'))) AS tls_before,
    maxMapIf(c.tls, c.hour >= toStartOfHour(fromUnixTimestamp64Micro({since:Int64}, 'UTC'))) AS tls_within,
    arraySort(groupUniqArrayArrayIf(c.missing, c.hour >= toStartOfHour(fromUnixTimestamp64Micro({since:Int64}, 'UTC')))) AS missing,
    max(c.version)                                                         AS version,
    max(c.kernel)                                                          AS kernel
FROM coverage AS c
WHERE c.hour >= toStartOfHour(fromUnixTimestamp64Micro({since:Int64}, 'UTC')) - INTERVAL 1 DAY
GROUP BY c.node, c.boot
HAVING until_time > fromUnixTimestamp64Micro({since:Int64}, 'UTC')
ORDER BY node, from_time, boot
