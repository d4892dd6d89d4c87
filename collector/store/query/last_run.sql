-- The latest report that was made on a schedule, of all or until a time.
SELECT
    toUnixTimestamp64Micro(u.time)  AS time,
    u.window                        AS window,
    u.watched                       AS watched,
    u.total                         AS total,
    u.file                          AS file,
    u.sha256                        AS sha256
FROM report_runs AS u FINAL
WHERE u.report = {report:String} AND u.time <= fromUnixTimestamp64Micro({until:Int64}, 'UTC')
ORDER BY time DESC
LIMIT 1
