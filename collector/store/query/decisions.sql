-- Decisions, the latest first: all that follow the one that was issued at before and has the ID before_id.
SELECT id, serial, identity, glob, target, direction, mode, code, reason, requester, approver, finding, automatic, issued, expires, revoked, revoked_by, revoked_why, key, signature
FROM decisions FINAL
WHERE ({id:String} = '' OR id = {id:String})
  AND ({identity:String} = '' OR identity = {identity:String})
  AND ({finding:String} = '' OR finding = {finding:String})
  AND ({mode:String} = '' OR mode = {mode:String})
  AND ({state:String} = ''
    OR {state:String} = 'in-force' AND toUnixTimestamp64Micro(revoked) = 0 AND toUnixTimestamp64Micro(expires) > {now:Int64}
    OR {state:String} = 'revoked' AND toUnixTimestamp64Micro(revoked) > 0
    OR {state:String} = 'expired' AND toUnixTimestamp64Micro(revoked) = 0 AND toUnixTimestamp64Micro(expires) <= {now:Int64})
  AND ({before_id:String} = '' OR (toUnixTimestamp64Micro(issued), id) < ({before:Int64}, {before_id:String}))
ORDER BY issued DESC, id DESC
LIMIT {limit:UInt32}
