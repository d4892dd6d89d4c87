-- since = 1787400000000000
-- now = 1795176000000000
-- identity = ""
-- all = 0x0
-- limit = 0xf4240
-- Every identity that was seen, or that is or was declared, with how it was used, and what class of unused identities it is of, '' of none. Those
-- that need attention most come first, then by since when they are unused.
--
-- What acts longer than an hour behind the end of its declarations is retired but active: workloads take a while to end.
WITH
    fromUnixTimestamp64Micro({since:Int64}, 'UTC') AS since,
    fromUnixTimestamp64Micro({now:Int64}, 'UTC')   AS now_,
    toDateTime64(0, 6, 'UTC')                      AS never,
seen AS -- of each node the latest workload, whatever parts of the table say before they merge
(
    SELECT
        n.identity                                          AS identity,
        arraySlice(arraySort(groupArray(n.node)), 1, 8)     AS nodes,
        count()                                             AS node_count,
        arraySort(groupArrayIf(n.node, n.last_seen >= fromUnixTimestamp64Micro({since:Int64}, 'UTC'))) AS lived,
        argMax(n.node, (n.last_seen, n.node))               AS last_node,
        min(n.first_seen)                                   AS first_seen,
        max(n.last_seen)                                    AS last_seen,
        ifNull(max(n.last_used), toDateTime64(0, 6, 'UTC')) AS last_used,
        max(n.evidence).word                                AS evidence,
        max(n.latest)                                       AS latest,
        groupUniqArrayIf(4)(n.latest.4, n.latest.4 != '' AND n.last_seen >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')) AS owners
    FROM
    (
        SELECT i.identity AS identity, toString(i.node) AS node, min(i.first_seen) AS first_seen, max(i.last_seen) AS last_seen, max(i.last_used) AS last_used,
               max(i.evidence) AS evidence, max((i.latest.time, i.latest.namespace, i.latest.service_account, i.latest.owner, i.latest.unit)) AS latest
        FROM identities AS i
        WHERE {identity:String} = '' OR i.identity = {identity:String}
        GROUP BY i.identity, i.node
    ) AS n
    GROUP BY identity
),
claimed AS
(
    SELECT
        d.identity                                                                                 AS identity,
        countIf(d.gone = toDateTime64(0, 6, 'UTC') AND (toInt64(d.expires) = 0 OR d.expires > fromUnixTimestamp64Micro({now:Int64}, 'UTC'))) AS live,
        max(if(d.gone = toDateTime64(0, 6, 'UTC'), toDateTime64(d.expires, 6, 'UTC'), d.gone))     AS ended,
        min(if(toInt64(d.created) = 0, d.first_declared, least(toDateTime64(d.created, 6, 'UTC'), d.first_declared))) AS declared
    FROM (SELECT identity, gone, expires, created, first_declared FROM inventory FINAL WHERE {identity:String} = '' OR identity = {identity:String}) AS d
    GROUP BY identity
),
both AS
(
    SELECT
        if(s.identity != '', s.identity, c.identity) AS identity,
        s.nodes AS nodes, s.node_count AS node_count, if(empty(s.lived) AND s.last_node != '', [s.last_node], s.lived) AS lived,
        s.first_seen AS first_seen, s.last_seen AS last_seen, s.last_used AS last_used, s.evidence AS evidence,
        s.latest.2 AS namespace, s.latest.3 AS service_account, s.latest.5 AS unit, s.owners AS owners,
        c.live AS live, c.ended AS ended, c.declared AS declared
    FROM seen AS s
    FULL OUTER JOIN claimed AS c ON c.identity = s.identity
)
SELECT
    b.identity                                  AS identity,
    CAST(b.nodes, 'Array(String)')              AS nodes,
    b.node_count                                AS node_count,
    CAST(b.lived, 'Array(String)')              AS lived,
    toUnixTimestamp64Micro(b.first_seen)        AS first_seen,
    toUnixTimestamp64Micro(b.last_seen)         AS last_seen,
    toUnixTimestamp64Micro(b.last_used)         AS last_used,
    b.evidence                                  AS evidence,
    b.namespace                                 AS namespace,
    b.service_account                           AS service_account,
    b.unit                                      AS unit,
    b.owners                                    AS owners,
    b.live                                      AS live,
    toUnixTimestamp64Micro(b.ended)             AS ended,
    toUnixTimestamp64Micro(b.declared)          AS declared,
    multiIf(
        b.declared != never AND b.live = 0 AND b.last_seen > b.ended + INTERVAL 1 HOUR AND b.last_seen >= since, 'retired-but-active',
        b.live > 0 AND b.last_seen = never AND b.declared < since, 'declared-only',
        b.last_seen = never OR b.first_seen >= since OR b.last_used >= since, '',
        b.declared != never AND b.live = 0, 'orphaned',
        b.last_used = never, 'never-used',
        'dormant')                              AS class
FROM both AS b
WHERE {all:UInt8} = 1 OR class != ''
ORDER BY indexOf(['retired-but-active', 'orphaned', 'declared-only', 'never-used', 'dormant'], class), if(b.last_used != never, b.last_used, if(b.last_seen = never, b.declared, b.first_seen)), identity
LIMIT {limit:UInt32}
SETTINGS optimize_aggregation_in_order = 1
