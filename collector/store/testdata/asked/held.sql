-- identities = []string{"spiffe://shop.example/ns/shop/sa/checkout", "spiffe://shop.example/ns/shop/sa/billing"}
-- since = 1787400000000000
-- The credential that each identity, or each of some, presented last, how many it presented since a time, and how often a new one came, in seconds
-- on average.
SELECT
    l.holder                                  AS holder,
    toUnixTimestamp64Micro(l.last.1)          AS last_presented,
    toUnixTimestamp64Micro(l.last.2)          AS last_seen,
    toInt64(l.last.3)                 AS not_after,
    l.last.4                                  AS sha256,
    toInt64(l.last.5)                 AS not_before,
    toUInt8(l.last.6)                         AS proven,
    l.recent                                  AS recent,
    l.total                                   AS total,
    if(l.recent > 1, (toUnixTimestamp64Micro(l.latest) - toUnixTimestamp64Micro(l.earliest)) / 1e6 / (l.recent - 1), 0.) AS every
FROM
(
    SELECT
        one.holder AS holder,
        max((one.last_presented, one.last_seen, one.not_after, one.sha256, one.not_before, one.identity != '')) AS last,
        countIf(one.last_seen >= fromUnixTimestamp64Micro({since:Int64}, 'UTC'))                  AS recent,
        count()                                                                                   AS total,
        minIf(one.first_seen, one.last_seen >= fromUnixTimestamp64Micro({since:Int64}, 'UTC'))    AS earliest,
        maxIf(one.first_seen, one.last_seen >= fromUnixTimestamp64Micro({since:Int64}, 'UTC'))    AS latest
    FROM
    (
        SELECT
            c.holder              AS holder,
            c.sha256              AS sha256,
            max(c.last_presented) AS last_presented,
            min(c.first_seen)     AS first_seen,
            max(c.last_seen)      AS last_seen,
            max(c.not_before)     AS not_before,
            max(c.not_after)      AS not_after,
            max(c.identity)       AS identity
        FROM credentials AS c
        WHERE c.holder != '' AND (empty({identities:Array(String)}) OR c.holder IN {identities:Array(String)})
        GROUP BY holder, sha256
    ) AS one
    GROUP BY holder
) AS l
