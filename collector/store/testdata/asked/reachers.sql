-- resource = "dns:a'b\\c:1/tcp"
-- since = 1787400000000000
-- limit = 0xa
-- Identities that reached a resource since a time, with success.
SELECT
    e.identity                               AS identity,
    toUnixTimestamp64Micro(max(e.last_time)) AS last_time,
    sum(e.connections)                       AS connections
FROM reach AS e
WHERE e.resource = {resource:String} AND e.direction = 'outbound'
GROUP BY identity
HAVING max(e.last_time) >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')
   AND (max(e.last_open) > toDateTime64(0, 6, 'UTC') OR sum(e.connections) > sum(e.failed) + sum(e.denied))
ORDER BY identity
LIMIT {limit:UInt32}
