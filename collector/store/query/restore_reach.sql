-- Outbound reach, for the detector.
SELECT
    e.identity                                  AS identity,
    e.resource                                  AS resource,
    toUnixTimestamp64Micro(min(e.first_time))   AS first_time,
    toUnixTimestamp64Micro(max(e.last_time))    AS last_time,
    sum(e.connections)                          AS connections
FROM reach AS e
WHERE e.direction = 'outbound'
GROUP BY e.identity, e.direction, e.resource
ORDER BY e.identity, e.direction, e.resource
SETTINGS optimize_aggregation_in_order = 1
