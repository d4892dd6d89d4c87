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
