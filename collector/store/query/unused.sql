-- Identities that were known before a time and not used since, the longest unused first; never used ones lead.
WITH silent AS
(
    SELECT
        i.identity                                        AS identity,
        arraySlice(arraySort(groupUniqArray(i.node)), 1, 8) AS nodes,
        arraySort(groupUniqArrayIf(i.node, i.last_seen >= fromUnixTimestamp64Micro({since:Int64}, 'UTC'))) AS lived,
        argMax(i.node, i.last_seen)                       AS last_node,
        min(i.first_seen)                                 AS first_seen,
        max(i.last_seen)                                  AS last_seen,
        max(i.last_used)                                  AS last_used,
        max(i.evidence)                                   AS evidence,
        max(i.latest)                                     AS latest
    FROM identities AS i
    GROUP BY identity
    HAVING first_seen < fromUnixTimestamp64Micro({since:Int64}, 'UTC')
       AND (last_used IS NULL OR last_used < fromUnixTimestamp64Micro({since:Int64}, 'UTC'))
),
edges AS
(
    SELECT
        e.identity       AS identity,
        e.direction      AS direction,
        e.resource       AS resource,
        max(e.last_time) AS last_time,
        greatest(max(e.last_open), if(sum(e.connections) > sum(e.failed) + sum(e.denied), max(e.last_connect), toDateTime64(0, 6, 'UTC'))) AS last_success
    FROM reach AS e
    WHERE e.identity GLOBAL IN (SELECT s.identity FROM silent AS s)
    GROUP BY identity, direction, resource
),
last AS
(
    SELECT
        e.identity                                 AS identity,
        max((e.last_time, e.direction, e.resource)).3 AS last_resource,
        max(e.last_success)                        AS last_success
    FROM edges AS e
    GROUP BY identity
)
SELECT
    s.identity                                      AS identity,
    CAST(s.nodes, 'Array(String)')                  AS nodes,
    CAST(if(empty(s.lived), [s.last_node], s.lived), 'Array(String)') AS lived,
    s.first_seen                                    AS first_seen,
    s.last_seen                                     AS last_seen,
    ifNull(s.last_used, toDateTime64(0, 6, 'UTC'))  AS last_used,
    l.last_success                                  AS last_success,
    l.last_resource                                 AS last_resource,
    s.evidence.word                                 AS evidence,
    s.latest.namespace                              AS namespace,
    s.latest.unit                                   AS unit,
    count() OVER ()                                 AS total
FROM silent AS s
LEFT JOIN last AS l ON l.identity = s.identity
ORDER BY s.last_used IS NOT NULL, ifNull(s.last_used, s.first_seen), identity
LIMIT {limit:UInt32}
