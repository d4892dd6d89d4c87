-- identities = []string{"'; DROP TABLE reach; --", "\\'", "{identity:String}", "x\x00y", "`", "$$"}
-- namespace = ""
-- since = 1787400000000000
-- limit = 0xa
-- Which identities have to do with some identities since a time, whether a connection succeeded or not: one row per caller and callee, those with most
-- connections first. A pair stands in links twice, and is read twice where both ends are asked for.
SELECT
    k.caller                                                  AS caller,
    k.callee                                                  AS callee,
    toUnixTimestamp64Micro(any(k.first_time))                 AS first_time,
    toUnixTimestamp64Micro(any(k.last_time))                  AS last_time,
    any(k.connections)                                        AS connections,
    any(k.failed)                                             AS failed,
    any(k.succeeded)                                          AS succeeded,
    any(k.services)                                           AS services,
    count() OVER ()                                           AS total
FROM
(
    SELECT
        if(l.way = 'forward', l.identity, l.peer)             AS caller,
        if(l.way = 'forward', l.peer, l.identity)             AS callee,
        min(l.first_time)                                     AS first_time,
        max(l.last_time)                                      AS last_time,
        greatest(sum(l.made), sum(l.accepted))                AS connections,
        sum(l.failed)                                         AS failed,
        max(l.last_open) > toDateTime64(0, 6, 'UTC') OR max(l.last_connect) > toDateTime64(0, 6, 'UTC') AND sum(l.made) + sum(l.accepted) > sum(l.failed) AS succeeded,
        arraySort(groupUniqArrayArray(8)(l.services))         AS services
    FROM links AS l
    WHERE l.identity IN {identities:Array(String)}
    GROUP BY l.identity, l.way, l.peer
    HAVING max(l.last_time) >= fromUnixTimestamp64Micro({since:Int64}, 'UTC') AND l.identity != l.peer
) AS k
GROUP BY caller, callee
ORDER BY connections DESC, caller, callee
LIMIT {limit:UInt32}
