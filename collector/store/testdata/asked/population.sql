-- identity = ""
-- now = 1795176000000000
-- What all sources together declare of identities, or of one: how many declarations are in force, when the last one ended, and since when it exists.
SELECT
    d.identity                                                                                 AS identity,
    countIf(d.gone = toDateTime64(0, 6, 'UTC') AND (toInt64(d.expires) = 0 OR d.expires > fromUnixTimestamp64Micro({now:Int64}, 'UTC'))) AS live,
    toUnixTimestamp64Micro(max(if(d.gone = toDateTime64(0, 6, 'UTC'), toDateTime64(d.expires, 6, 'UTC'), d.gone)))     AS ended,
    toUnixTimestamp64Micro(min(if(toInt64(d.created) = 0, d.first_declared, least(toDateTime64(d.created, 6, 'UTC'), d.first_declared)))) AS declared
FROM (SELECT identity, gone, expires, created, first_declared FROM inventory FINAL WHERE {identity:String} = '' OR identity = {identity:String}) AS d
GROUP BY identity

;
-- identity = ""
-- Where and when identities were seen, one row per identity, node and part of the table that did not merge yet, in the order of identities and nodes: whoever
-- asks takes the greatest of each. Grouping them here takes five times as long as reading them.
SELECT
    i.identity                                  AS identity,
    toString(i.node)                            AS node,
    toUnixTimestamp64Micro(i.first_seen)        AS first_seen,
    toUnixTimestamp64Micro(i.last_seen)         AS last_seen,
    ifNull(toUnixTimestamp64Micro(i.last_used), toInt64(0)) AS last_used,
    i.evidence.strength                         AS strength,
    i.evidence.word                             AS evidence,
    toUnixTimestamp64Micro(i.latest.time)       AS latest,
    i.latest.namespace                          AS namespace,
    i.latest.service_account                    AS service_account,
    i.latest.owner                              AS owner,
    i.latest.unit                               AS unit
FROM identities AS i
WHERE {identity:String} = '' OR i.identity = {identity:String}
ORDER BY i.identity, i.node
