-- How many findings began in each step of time, by severity.
SELECT
    toUInt64(intDiv(toUnixTimestamp(f.first_time), {step:UInt32}) * {step:UInt32}) AS start,
    toString(f.severity)                                                           AS severity,
    count()                                                                        AS findings
FROM (SELECT severity, first_time FROM findings FINAL) AS f
WHERE f.first_time >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')
GROUP BY start, severity
ORDER BY start, severity
