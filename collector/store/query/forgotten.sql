-- Identities that nobody has seen since a time.
SELECT i.identity AS identity
FROM identities AS i
GROUP BY i.identity
HAVING max(i.last_seen) < fromUnixTimestamp64Micro({before:Int64}, 'UTC')
ORDER BY identity
LIMIT {limit:UInt32}
SETTINGS optimize_aggregation_in_order = 1
