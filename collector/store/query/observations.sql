-- The observations whose batches ended in a stretch of time, in the order in which they came: messages have numbers.
SELECT * FROM observations
WHERE batch_time >= fromUnixTimestamp64Micro({since:Int64}, 'UTC') AND batch_time < fromUnixTimestamp64Micro({until:Int64}, 'UTC')
ORDER BY sequence, node, time, identity, direction, resource, pod, executable
SETTINGS max_bytes_before_external_sort = 200000000
