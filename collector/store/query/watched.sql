-- How each start of an agent watched its node since a time. lost_before and tls_before are what it had counted already; the day before the window is enough to
-- know, because a running agent is heard of every few seconds. The hours up to the end of the day of that time are read one by one, the days after it whole.
WITH
    toStartOfHour(fromUnixTimestamp64Micro({since:Int64}, 'UTC'))          AS first_hour,
    toStartOfDay(first_hour) + INTERVAL 1 DAY                              AS next_day
SELECT
    toString(c.node)                                                       AS node,
    c.boot                                                                 AS boot,
    min(c.from_time)                                                       AS from_time,
    max(c.until_time)                                                      AS until_time,
    maxMap(c.lost)                                                         AS lost,
    maxMapIf(c.lost, NOT c.inside)                                         AS lost_before,
    maxMap(c.tls)                                                          AS tls,
    maxMapIf(c.tls, NOT c.inside)                                          AS tls_before,
    maxMapIf(c.tls, c.inside)                                              AS tls_within,
    arraySort(groupUniqArrayArrayIf(c.missing, c.inside))                  AS missing,
    max(c.version)                                                         AS version,
    max(c.kernel)                                                          AS kernel
FROM
(
    SELECT h.node AS node, h.boot AS boot, h.hour >= first_hour AS inside, h.from_time AS from_time, h.until_time AS until_time,
        h.lost AS lost, h.tls AS tls, h.missing AS missing, h.version AS version, h.kernel AS kernel
    FROM coverage AS h
    WHERE h.hour >= first_hour - INTERVAL 1 DAY AND h.hour < next_day
    UNION ALL
    SELECT d.node, d.boot, true, d.from_time, d.until_time, d.lost, d.tls, d.missing, d.version, d.kernel
    FROM coverage_daily AS d
    WHERE d.day >= toDate(next_day, 'UTC')
) AS c
GROUP BY c.node, c.boot
HAVING until_time > fromUnixTimestamp64Micro({since:Int64}, 'UTC')
ORDER BY node, from_time, boot
