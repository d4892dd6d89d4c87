-- How many resources an identity reached for the first time on each day.
SELECT
    toDate(r.first_time, 'UTC') AS day,
    count()                     AS resources
FROM
(
    SELECT e.resource AS resource, min(e.first_time) AS first_time
    FROM reach AS e
    WHERE e.identity = {identity:String} AND e.direction = 'outbound'
    GROUP BY resource
) AS r
WHERE r.first_time >= fromUnixTimestamp64Micro({since:Int64}, 'UTC') AND r.first_time <= fromUnixTimestamp64Micro({until:Int64}, 'UTC')
GROUP BY day
ORDER BY day
