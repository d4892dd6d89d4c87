-- How much one identity did in each hour of the week (UTC, Monday is 1), in either direction, from the observations that are still kept; and since
-- when there are any.
SELECT
    toUInt8(toDayOfWeek(o.time))              AS weekday,
    toUInt8(toHour(o.time))                   AS hour,
    sum(o.connections)                        AS connections,
    toUnixTimestamp64Micro(min(o.time))       AS first_time
FROM observations AS o
WHERE o.identity = {identity:String}
  AND o.batch_time >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')
  AND o.time >= fromUnixTimestamp64Micro({since:Int64}, 'UTC') AND o.time < fromUnixTimestamp64Micro({until:Int64}, 'UTC')
GROUP BY weekday, hour
ORDER BY weekday, hour
