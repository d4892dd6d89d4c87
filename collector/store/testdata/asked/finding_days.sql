-- identity = "spiffe://shop.example/ns/shop/sa/checkout"
-- resource = "'; DROP TABLE reach; --"
-- since = 1787400000000000
-- until = 1795176000000000
-- What an identity did on each day: toward one resource, and in all.
SELECT
    d.day                                              AS day,
    sumIf(d.connections, {resource:String} = '' OR d.resource = {resource:String})    AS connections,
    sumIf(d.failed, {resource:String} = '' OR d.resource = {resource:String})         AS failed,
    sumIf(d.denied, {resource:String} = '' OR d.resource = {resource:String})         AS denied,
    sumIf(d.bytes_sent, {resource:String} = '' OR d.resource = {resource:String})     AS bytes_sent,
    sumIf(d.bytes_received, {resource:String} = '' OR d.resource = {resource:String}) AS bytes_received,
    sum(d.connections)                                 AS all_connections,
    sum(d.bytes_sent)                                  AS all_sent,
    sum(d.bytes_received)                              AS all_received,
    groupBitOr(d.hours)                                AS hours
FROM observations_daily AS d
WHERE d.identity = {identity:String}
  AND d.day >= toDate(fromUnixTimestamp64Micro({since:Int64}, 'UTC'), 'UTC')
  AND d.day <= toDate(fromUnixTimestamp64Micro({until:Int64}, 'UTC'), 'UTC')
GROUP BY day
ORDER BY day

;
-- identity = "spiffe://shop.example/ns/shop/sa/checkout"
-- resource = "'; DROP TABLE reach; --"
-- since = 1787400000000000
-- until = 1795176000000000
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
