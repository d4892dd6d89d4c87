-- identities = []string{}
-- now = 1795176000000000
-- limit = 0x186a0
-- Exemptions that are in force, of all identities or of some, those that end first first.
SELECT
    x.identity                          AS identity,
    x.reason                            AS reason,
    x.actor                             AS actor,
    toUnixTimestamp64Micro(x.set_time)  AS set_time,
    toInt64(x.until_time)               AS until_time,
    x.version                           AS version
FROM exemptions AS x FINAL
WHERE (empty({identities:Array(String)}) OR x.identity IN {identities:Array(String)})
  AND x.until_time > fromUnixTimestamp64Micro({now:Int64}, 'UTC')
ORDER BY until_time, identity
LIMIT {limit:UInt32}
