-- What inventories say of each identity, taken together: it exists while one of them says so.
SELECT
    identity,
    toUnixTimestamp64Micro(min(if(created > toDateTime64(0, 6, 'UTC'), created, first_declared))) AS since,
    if(countIf(gone = toDateTime64(0, 6, 'UTC')) > 0, toInt64(0), toUnixTimestamp64Micro(max(gone))) AS until,
    argMaxIf(owner, version, owner != '') AS responsible,
    max(version) AS latest
FROM inventory FINAL
GROUP BY identity
HAVING latest > {above:UInt64}
ORDER BY identity
