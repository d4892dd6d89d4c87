-- How many resources one identity met for the first time on each day (UTC).
SELECT
    toDate(e.first_time, 'UTC')               AS day,
    countIf(e.direction = 'outbound')         AS outbound,
    countIf(e.direction = 'inbound')          AS inbound
FROM
(
    SELECT r.direction AS direction, r.resource AS resource, min(r.first_time) AS first_time
    FROM reach AS r
    WHERE r.identity = {identity:String}
    GROUP BY r.identity, direction, resource
) AS e
WHERE e.first_time >= fromUnixTimestamp64Micro({since:Int64}, 'UTC') AND e.first_time < fromUnixTimestamp64Micro({until:Int64}, 'UTC')
GROUP BY day
ORDER BY day
