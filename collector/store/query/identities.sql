-- A page of identities with what their outbound reach adds up to.
WITH page AS
(
    SELECT
        i.identity                                        AS identity,
        arraySlice(arraySort(groupUniqArray(i.node)), 1, 8) AS nodes,
        uniqExact(i.node)                                 AS node_count,
        min(i.first_seen)                                 AS first_seen,
        max(i.last_seen)                                  AS last_seen,
        min(i.first_used)                                 AS first_used,
        max(i.last_used)                                  AS last_used,
        max(i.evidence)                                   AS evidence,
        max(i.latest)                                     AS latest
    FROM identities AS i
    WHERE i.identity > {cursor:String}
      AND ({identity:String} = '' OR i.identity = {identity:String})
      AND ({unattributed:Int64} < 0 OR i.identity IN (
          SELECT a.identity FROM attribution AS a
          WHERE a.identity > {cursor:String} AND a.reason != '' AND a.connections > 0
            AND a.hour >= toStartOfHour(fromUnixTimestamp64Micro(greatest({unattributed:Int64}, toInt64(0)), 'UTC'))))
      AND ({q:String} = '' OR positionCaseInsensitiveUTF8(i.identity, {q:String}) > 0)
    GROUP BY identity
    ORDER BY identity
    LIMIT {limit:UInt32}
),
edges AS
(
    SELECT
        e.identity         AS identity,
        e.direction        AS direction,
        e.resource         AS resource,
        sum(e.connections) AS connections,
        sum(e.failed)      AS failed,
        sum(e.denied)      AS denied,
        sum(e.bytes_sent)  AS bytes_sent,
        sum(e.bytes_received) AS bytes_received,
        greatest(max(e.last_open), if(sum(e.connections) > sum(e.failed) + sum(e.denied), max(e.last_connect), toDateTime64(0, 6, 'UTC'))) AS last_success
    FROM reach AS e
    WHERE e.identity IN (SELECT p.identity FROM page AS p)
    GROUP BY identity, direction, resource
),
totals AS
(
    SELECT
        e.identity                                    AS identity,
        countIf(e.direction = 'outbound')             AS resources,
        sumIf(e.connections, e.direction = 'outbound') AS connections,
        sumIf(e.failed, e.direction = 'outbound')      AS failed,
        sumIf(e.denied, e.direction = 'outbound')      AS denied,
        sumIf(e.bytes_sent, e.direction = 'outbound')  AS bytes_sent,
        sumIf(e.bytes_received, e.direction = 'outbound') AS bytes_received,
        max(e.last_success)                           AS last_success
    FROM edges AS e
    GROUP BY identity
)
SELECT
    p.identity                                        AS identity,
    CAST(p.nodes, 'Array(String)')                    AS nodes,
    p.node_count                                      AS node_count,
    p.first_seen                                      AS first_seen,
    p.last_seen                                       AS last_seen,
    ifNull(p.first_used, toDateTime64(0, 6, 'UTC'))   AS first_used,
    ifNull(p.last_used, toDateTime64(0, 6, 'UTC'))    AS last_used,
    t.last_success                                    AS last_success,
    t.resources                                       AS resources,
    t.connections                                     AS connections,
    t.failed                                          AS failed,
    t.denied                                          AS denied,
    t.bytes_sent                                      AS bytes_sent,
    t.bytes_received                                  AS bytes_received,
    p.evidence.word                                   AS evidence,
    p.latest.namespace                                AS namespace,
    p.latest.service_account                          AS service_account,
    p.latest.owner                                    AS owner,
    p.latest.unit                                     AS unit,
    p.latest.image                                    AS image,
    p.latest.executable                               AS executable,
    p.latest.cgroup                                   AS cgroup
FROM page AS p
LEFT JOIN totals AS t ON t.identity = p.identity
ORDER BY identity
SETTINGS optimize_aggregation_in_order = 1
