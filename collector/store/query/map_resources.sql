-- What some identities reached since a time, or were reached by, that is no identity itself, whether a connection succeeded or not: those with most
-- connections first.
SELECT
    l.identity                                                AS identity,
    toString(l.direction)                                     AS direction,
    l.resource                                                AS resource,
    toUnixTimestamp64Micro(min(l.first_time))                 AS first_time,
    toUnixTimestamp64Micro(max(l.last_time))                  AS last_time,
    sum(l.connections)                                        AS connections,
    sum(l.failed) + sum(l.denied)                             AS failed,
    max(l.last_open) > toDateTime64(0, 6, 'UTC') OR max(l.last_connect) > toDateTime64(0, 6, 'UTC') AND sum(l.connections) > sum(l.failed) + sum(l.denied) AS succeeded,
    count() OVER ()                                           AS total
FROM reach AS l
WHERE {{.Those}} AND NOT startsWith(l.resource, 'spiffe://') AND NOT startsWith(l.resource, 'x509://')
GROUP BY identity, l.direction, resource
HAVING max(l.last_time) >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')
ORDER BY connections DESC, identity, direction, resource
LIMIT {limit:UInt32}
