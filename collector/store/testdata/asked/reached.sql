-- identities = []string{"'; DROP TABLE reach; --", "\\'", "{identity:String}", "x\x00y", "`", "$$"}
-- ports = []string{"'; DROP TABLE reach; --", "\\'", "{identity:String}", "x\x00y", "`", "$$"}
-- since = 1787400000000000
-- limit = 0xa
-- What some identities reached since a time that is no identity itself, with success: one row per resource, those on certain ports first.
SELECT
    r.resource                                               AS resource,
    argMax(r.identity, (r.connections, r.identity))          AS via,
    count()                                                  AS identities,
    toUnixTimestamp64Micro(max(r.last_time))                 AS last_time,
    sum(r.connections)                                       AS connections,
    count() OVER ()                                          AS total
FROM
(
    SELECT
        e.identity         AS identity,
        e.resource         AS resource,
        max(e.last_time)   AS last_time,
        sum(e.connections) AS connections
    FROM reach AS e
    WHERE e.identity IN {identities:Array(String)} AND e.direction = 'outbound' AND NOT startsWith(e.resource, 'spiffe://') AND NOT startsWith(e.resource, 'x509://')
    GROUP BY identity, e.direction, resource
    HAVING max(e.last_time) >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')
       AND (max(e.last_open) > toDateTime64(0, 6, 'UTC') OR sum(e.connections) > sum(e.failed) + sum(e.denied))
) AS r
GROUP BY resource
ORDER BY has({ports:Array(String)}, extract(resource, ':([0-9]+)/[a-z]+$')) OR position(resource, '169.254.169.254') > 0 DESC, connections DESC, resource
LIMIT {limit:UInt32}
