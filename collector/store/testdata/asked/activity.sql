-- identity = "spiffe://shop.example/ns/shop/sa/checkout"
-- since = 1787400000000000
-- until = 1795176000000000
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

;
-- identity = "spiffe://shop.example/ns/shop/sa/checkout"
-- since = 1787400000000000
-- until = 1795176000000000
-- On which days and in which of their hours (a set of bits, UTC) one identity acted, in either direction, and how much.
SELECT
    o.day                                     AS day,
    groupBitOr(o.hours)                       AS hours,
    sum(o.connections)                        AS connections,
    uniqExact((o.direction, o.resource))      AS resources
FROM observations_daily AS o
WHERE o.identity = {identity:String}
  AND o.day >= toDate(fromUnixTimestamp64Micro({since:Int64}, 'UTC'), 'UTC') AND o.day <= toDate(fromUnixTimestamp64Micro({until:Int64}, 'UTC'), 'UTC')
GROUP BY day
ORDER BY day

;
-- identity = "spiffe://shop.example/ns/shop/sa/checkout"
-- since = 1787400000000000
-- until = 1795176000000000
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
