-- way = "'; DROP TABLE reach; --"
-- identities = []string{"'; DROP TABLE reach; --", "\\'", "{identity:String}", "x\x00y", "`", "$$"}
-- service = "{identity:String}"
-- since = 1787400000000000
-- limit = 0xa
-- Whom some identities can reach (forward), or by whom they can be reached (backward), where a connection succeeded and the last one was since a time:
-- one row per peer, with the identity through which it has most connections.
SELECT
    k.peer                                      AS peer,
    argMax((k.identity, k.services), (k.connections, k.identity)).1 AS via,
    argMax((k.identity, k.services), (k.connections, k.identity)).2 AS services,
    toUnixTimestamp64Micro(max(k.last_time))    AS last_time,
    max(k.connections)                          AS connections,
    count()                                     AS ways
FROM
(
    SELECT
        l.identity                              AS identity,
        l.peer                                  AS peer,
        max(l.last_time)                        AS last_time,
        greatest(sum(l.made), sum(l.accepted))  AS connections,
        arraySort(groupUniqArrayArray(8)(l.services)) AS services
    FROM links AS l
    WHERE l.way = {way:String} AND l.identity IN {identities:Array(String)}
    GROUP BY identity, peer
    HAVING max(l.last_time) >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')
       AND (max(l.last_open) > toDateTime64(0, 6, 'UTC') OR max(l.last_connect) > toDateTime64(0, 6, 'UTC') AND sum(l.made) + sum(l.accepted) > sum(l.failed))
       AND peer != identity
) AS k
WHERE {service:String} = '' OR has(k.services, {service:String})
GROUP BY peer
ORDER BY peer
LIMIT {limit:UInt32}
