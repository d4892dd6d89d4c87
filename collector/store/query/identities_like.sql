-- Identities that are known, seen or declared, and fit a pattern.
SELECT identity FROM
(
    SELECT identity FROM identities WHERE identity LIKE {pattern:String} GROUP BY identity
    UNION DISTINCT
    SELECT identity FROM inventory WHERE identity LIKE {pattern:String} GROUP BY identity
)
ORDER BY identity
LIMIT {limit:UInt32}
