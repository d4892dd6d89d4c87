-- report = "'; DROP TABLE reach; --"
-- time = 1795176000000000
-- What a report that was made on a schedule listed.
SELECT m.identity AS identity, toString(m.class) AS class, toString(m.verdict) AS verdict
FROM report_items AS m FINAL
WHERE m.report = {report:String} AND m.time = fromUnixTimestamp64Micro({time:Int64}, 'UTC')
ORDER BY identity
