-- Scopes in the order of identities, the one that holds of each, or all versions of one identity, the newest first.
SELECT
    identity,
    version,
    time,
    origin,
    approved_by,
    entries,
    withdrawn
FROM
(
    SELECT *
    FROM scopes FINAL
    WHERE identity > {after:String}
      AND ({identity:String} = '' OR identity = {identity:String})
      AND time >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')
      AND ({q:String} = '' OR positionCaseInsensitiveUTF8(identity, {q:String}) > 0)
    ORDER BY identity, version DESC, time DESC
    LIMIT {versions:UInt32} BY identity
)
WHERE {withdrawn:UInt8} = 1 OR NOT withdrawn
ORDER BY identity, version DESC, time DESC
LIMIT {limit:UInt32}
