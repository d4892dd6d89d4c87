-- How many connections were attributed since a time, and how many not, by reason.
SELECT toString(a.reason) AS reason, sum(a.connections) AS connections
FROM attribution AS a
WHERE a.hour >= toStartOfHour(fromUnixTimestamp64Micro({since:Int64}, 'UTC'))
GROUP BY a.reason
ORDER BY reason
