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
