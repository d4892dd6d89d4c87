-- The credential that each holder in a range presented last, and how many there are.
SELECT
    l.holder       AS holder,
    l.count        AS count,
    l.last.1       AS last_presented,
    l.last.2       AS last_seen,
    l.last.3       AS not_after,
    l.last.4       AS sha256,
    l.last.5       AS not_before,
    l.last.6       AS proven
FROM
(
    SELECT one.holder AS holder, count() AS count, max((one.last_presented, one.last_seen, one.not_after, one.sha256, one.not_before, one.identity != '')) AS last
    FROM
    (
        SELECT
            c.holder          AS holder,
            c.sha256          AS sha256,
            max(c.last_presented) AS last_presented,
            max(c.last_seen)  AS last_seen,
            max(c.not_before) AS not_before,
            max(c.not_after)  AS not_after,
            max(c.identity)   AS identity
        FROM credentials AS c
        WHERE c.holder != '' AND c.holder >= {from:String} AND c.holder <= {until:String}
        GROUP BY c.holder, c.sha256
    ) AS one
    GROUP BY one.holder
) AS l
ORDER BY holder
SETTINGS optimize_aggregation_in_order = 1
