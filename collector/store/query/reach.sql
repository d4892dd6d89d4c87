-- A page of what one identity reaches or is reached by, in the order of the primary key.
SELECT
    e.identity              AS identity,
    toString(e.direction)   AS direction,
    e.resource              AS resource,
    min(e.first_time)       AS first_time,
    max(e.last_time)        AS last_time,
    greatest(max(e.last_open), if(sum(e.connections) > sum(e.failed) + sum(e.denied), max(e.last_connect), toDateTime64(0, 6, 'UTC'))) AS last_success,
    sum(e.connections)      AS connections,
    sum(e.failed)           AS failed,
    sum(e.denied)           AS denied,
    sum(e.bytes_sent)       AS bytes_sent,
    sum(e.bytes_received)   AS bytes_received,
    groupBitOr(e.hours)     AS hours,
    arraySort(groupUniqArrayArray(8)(e.executables)) AS executables,
    arraySort(groupUniqArrayArray(8)(e.nodes))       AS nodes
FROM reach AS e
WHERE e.identity = {identity:String}
  AND ({direction:String} = '' OR e.direction = {direction:String})
  AND (e.direction, e.resource) > ({after_direction:String}, {after_resource:String})
GROUP BY identity, direction, resource
ORDER BY direction, resource
LIMIT {limit:UInt32}
