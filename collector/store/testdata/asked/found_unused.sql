-- report = "\\'"
-- since = 1787400000000000
-- The identities that scheduled reports found unused since a time, or for sure at some time before, with when that was first so, and what became of them.
SELECT
    m.identity                              AS identity,
    toUnixTimestamp64Micro(min(m.time))     AS first_found,
    toUnixTimestamp64Micro(max(m.time))     AS last_found,
    toString(argMax(m.class, m.time))       AS class
FROM report_items AS m
WHERE m.report = {report:String} AND m.time >= fromUnixTimestamp64Micro({since:Int64}, 'UTC') AND m.verdict != 'cannot-tell'
GROUP BY identity
