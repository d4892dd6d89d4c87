-- identities = []string{"spiffe://shop.example/ns/shop/sa/checkout", "spiffe://shop.example/ns/shop/sa/billing"}
-- What some identities reached last, or were reached at, and when that last succeeded.
SELECT
    e.identity                                      AS identity,
    max((e.last_time, toString(e.direction), e.resource)).3 AS last_resource,
    toUnixTimestamp64Micro(max(e.last_success))     AS last_success
FROM
(
    SELECT
        r.identity       AS identity,
        r.direction      AS direction,
        r.resource       AS resource,
        max(r.last_time) AS last_time,
        greatest(max(r.last_open), if(sum(r.connections) > sum(r.failed) + sum(r.denied), max(r.last_connect), toDateTime64(0, 6, 'UTC'))) AS last_success
    FROM reach AS r
    WHERE r.identity IN {identities:Array(String)}
    GROUP BY identity, direction, resource
) AS e
GROUP BY identity
