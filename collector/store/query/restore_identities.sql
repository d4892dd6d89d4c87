-- Since when each identity is known on each node, for the detector.
SELECT i.identity AS identity, toString(i.node) AS node, toUnixTimestamp64Micro(min(i.first_seen)) AS first_time
FROM identities AS i
GROUP BY i.identity, i.node
ORDER BY identity, node
SETTINGS optimize_aggregation_in_order = 1
