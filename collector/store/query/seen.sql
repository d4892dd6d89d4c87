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
