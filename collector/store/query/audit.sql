-- A page of the audit trail, in the order of the numbers, or from the newest back.
SELECT
    number,
    time,
    actor,
    action,
    subject,
    detail,
    previous,
    hash
FROM audit FINAL
WHERE (number, hash) > ({after:UInt64}, {after_hash:String})
  AND ({before:UInt64} = 0 OR number < {before:UInt64})
  AND ({actor:String} = '' OR actor = {actor:String})
  AND ({action:String} = '' OR action = {action:String} OR startsWith(action, concat({action:String}, '.')))
  AND ({subject:String} = '' OR subject = {subject:String})
  AND time >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')
ORDER BY
    if({newest:UInt8} = 1, -toInt64(number), toInt64(number)),
    hash
LIMIT {limit:UInt32}
