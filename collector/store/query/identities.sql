-- A page of identities, seen or only declared, with what their outbound reach adds up to.
WITH seen AS
(
    SELECT
        i.identity                                        AS identity,
        arraySlice(arraySort(groupUniqArray(toString(i.node))), 1, 8) AS nodes,
        uniqExact(i.node)                                 AS node_count,
        min(i.first_seen)                                 AS first_seen,
        max(i.last_seen)                                  AS last_seen,
        ifNull(min(i.first_used), toDateTime64(0, 6, 'UTC')) AS first_used,
        ifNull(max(i.last_used), toDateTime64(0, 6, 'UTC'))  AS last_used,
        max(i.evidence).word                              AS evidence,
        max(i.latest)                                     AS latest
    FROM identities AS i
    WHERE i.identity > {cursor:String}
      AND ({identity:String} = '' OR i.identity = {identity:String})
      AND ({unattributed:Int64} < 0 OR i.identity GLOBAL IN (
          SELECT a.identity FROM attribution AS a
          WHERE a.identity > {cursor:String} AND a.reason != '' AND a.connections > 0
            AND a.hour >= toStartOfHour(fromUnixTimestamp64Micro(greatest({unattributed:Int64}, toInt64(0)), 'UTC'))))
      AND ({q:String} = '' OR positionCaseInsensitiveUTF8(i.identity, {q:String}) > 0)
    GROUP BY identity
    ORDER BY identity
    LIMIT {limit:UInt32}
),
declared AS
(
    SELECT DISTINCT d.identity AS identity
    FROM
    (
        SELECT identity, gone
        FROM inventory FINAL
        WHERE identity > {cursor:String}
          AND ({identity:String} = '' OR identity = {identity:String})
          AND ({q:String} = '' OR positionCaseInsensitiveUTF8(identity, {q:String}) > 0)
          AND {unattributed:Int64} < 0
    ) AS d
    WHERE d.gone = toDateTime64(0, 6, 'UTC')
    ORDER BY identity
    LIMIT {limit:UInt32}
),
page AS -- the first of both hold the first of all; a maximum is what was seen, where anything was
(
    SELECT
        u.identity             AS identity,
        max(u.nodes)           AS nodes,
        max(u.node_count)      AS node_count,
        max(u.first_seen)      AS first_seen,
        max(u.last_seen)       AS last_seen,
        max(u.first_used)      AS first_used,
        max(u.last_used)       AS last_used,
        max(u.evidence)        AS evidence,
        max(u.namespace)       AS namespace,
        max(u.service_account) AS service_account,
        max(u.owner)           AS owner,
        max(u.unit)            AS unit,
        max(u.image)           AS image,
        max(u.executable)      AS executable,
        max(u.cgroup)          AS cgroup
    FROM
    (
        SELECT
            s.identity AS identity, s.nodes AS nodes, s.node_count AS node_count, s.first_seen AS first_seen, s.last_seen AS last_seen,
            s.first_used AS first_used, s.last_used AS last_used, s.evidence AS evidence, s.latest.namespace AS namespace,
            s.latest.service_account AS service_account, s.latest.owner AS owner, s.latest.unit AS unit, s.latest.image AS image,
            s.latest.executable AS executable, s.latest.cgroup AS cgroup
        FROM seen AS s
        UNION ALL
        SELECT
            d.identity AS identity, CAST([], 'Array(String)') AS nodes, toUInt64(0) AS node_count, toDateTime64(0, 6, 'UTC') AS first_seen,
            toDateTime64(0, 6, 'UTC') AS last_seen, toDateTime64(0, 6, 'UTC') AS first_used, toDateTime64(0, 6, 'UTC') AS last_used,
            '' AS evidence, '' AS namespace, '' AS service_account, '' AS owner, '' AS unit, '' AS image, '' AS executable, '' AS cgroup
        FROM declared AS d
    ) AS u
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
    WHERE e.identity GLOBAL IN (SELECT p.identity FROM page AS p)
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
    p.nodes                                           AS nodes,
    p.node_count                                      AS node_count,
    p.first_seen                                      AS first_seen,
    p.last_seen                                       AS last_seen,
    p.first_used                                      AS first_used,
    p.last_used                                       AS last_used,
    t.last_success                                    AS last_success,
    t.resources                                       AS resources,
    t.connections                                     AS connections,
    t.failed                                          AS failed,
    t.denied                                          AS denied,
    t.bytes_sent                                      AS bytes_sent,
    t.bytes_received                                  AS bytes_received,
    p.evidence                                        AS evidence,
    p.namespace                                       AS namespace,
    p.service_account                                 AS service_account,
    p.owner                                           AS owner,
    p.unit                                            AS unit,
    p.image                                           AS image,
    p.executable                                      AS executable,
    p.cgroup                                          AS cgroup
FROM page AS p
LEFT JOIN totals AS t ON t.identity = p.identity
ORDER BY identity
SETTINGS optimize_aggregation_in_order = 1
