-- identities = []string{"spiffe://shop.example/ns/shop/sa/checkout", "spiffe://shop.example/ns/shop/sa/billing"}
-- since = 1787400000000000
-- What some identities reached, or were reached from, of the internet since a time, with what was used last as an example.
SELECT
    e.identity                AS identity,
    toString(e.direction)     AS direction,
    max(e.latest).resource    AS example
FROM exposure AS e
WHERE e.identity IN {identities:Array(String)}
GROUP BY identity, direction
HAVING max(e.latest).time >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')
