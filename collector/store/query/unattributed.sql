-- What was not attributed of some identities since a time.
SELECT
    a.identity                                          AS identity,
    toString(a.reason)                                  AS reason,
    sum(a.connections)                                  AS connections,
    CAST(arraySlice(arraySort(groupUniqArray(a.node)), 1, 8), 'Array(String)') AS nodes,
    max(a.last_time)                                    AS last_time,
    max(a.example).2                                    AS executable,
    max(a.example).3                                    AS cgroup
FROM attribution AS a
WHERE a.identity IN {identities:Array(String)} AND a.reason != ''
  AND a.hour >= toStartOfHour(fromUnixTimestamp64Micro({since:Int64}, 'UTC'))
GROUP BY a.identity, a.reason
ORDER BY identity, connections DESC, reason
