-- since = 1787400000000000
-- Identities that reached an address or a name of the internet since a time, or were reached from one, with the one that was used last as an example.
SELECT
    e.identity                AS identity,
    toString(e.direction)     AS direction,
    max(e.latest).resource    AS example
FROM exposure AS e
GROUP BY identity, direction
HAVING max(e.latest).time >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')
