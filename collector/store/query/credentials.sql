-- The credentials of one holder, the last presented first.
SELECT
    c.sha256                            AS sha256,
    max(c.identity)                     AS identity,
    max(c.serial)                       AS serial,
    max(c.issuer)                       AS issuer,
    max(c.not_before)                   AS not_before,
    max(c.not_after)                    AS not_after,
    min(c.first_seen)                   AS first_seen,
    max(c.last_seen)                    AS last_seen,
    max(c.last_presented)               AS last_presented,
    max(c.verified)                     AS verified,
    CAST(arraySort(groupUniqArray(c.role)), 'Array(String)') AS roles,
    sumIf(c.connections, c.role = 'own')  AS presented,
    sumIf(c.connections, c.role = 'peer') AS received,
    arraySort(groupUniqArrayArray(8)(c.nodes))     AS nodes,
    arraySort(groupUniqArrayArrayIf(8)(c.workloads, c.role = 'peer')) AS peers
FROM credentials AS c
WHERE c.holder = {holder:String} AND c.holder != ''
GROUP BY c.holder, c.sha256
ORDER BY last_presented DESC, last_seen DESC, not_after DESC, sha256
LIMIT {limit:UInt32}
