-- Connections since a time that a decision would have refused, by workload and resource. What the names of a target resolve to is not known here: a connection is
-- counted where its resource, its peer or what it dialled is what the target names.
SELECT
    o.identity            AS identity,
    toString(o.direction) AS way,
    o.resource            AS resource,
    toString(o.namespace) AS namespace,
    o.owner               AS owner,
    o.unit                AS unit,
    toString(o.container) AS container,
    o.executable          AS executable,
    sum(o.connections)    AS connections,
    max(o.time)           AS last_time,
    groupUniqArray(8)(toString(o.node)) AS nodes,
    uniqExact(o.node)     AS node_count
FROM observations AS o
WHERE o.time >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')
  AND o.identity LIKE {pattern:String}
  AND ({direction:String} = 'both' OR o.direction = {direction:String})
  AND ({protocol:String} = '' OR o.protocol = {protocol:String})
  AND ({port:UInt16} = 0 OR o.peer_port = {port:UInt16} OR o.dialled_port = {port:UInt16})
  AND multiIf(
    {kind:String} IN ('any', 'port'), true,
    {kind:String} = 'identity', o.peer_identity = {name:String},
    {kind:String} = 'dns', lower(trimRight(o.peer_name, '.')) = {name:String} AND o.peer_name_source IN ('dns', 'sni') OR lower(o.tls_sni) = {name:String},
    {kind:String} = 'service', o.peer_name_source = 'service' AND startsWith(concat(lower(o.peer_name), '.'), concat({name:String}, '.')),
    {kind:String} = 'net', arrayExists(
      a -> a BETWEEN toIPv6({low:String}) AND toIPv6({high:String}) AND a != toIPv6('::') AND (a BETWEEN toIPv6('::ffff:0.0.0.0') AND toIPv6('::ffff:255.255.255.255')) = ({v4:UInt8} = 1),
      [o.peer_address, o.dialled_address]),
    false)
GROUP BY o.identity, o.direction, o.resource, o.namespace, o.owner, o.unit, o.container, o.executable
HAVING connections > 0
ORDER BY connections DESC, identity, way, resource, namespace, owner, unit, container, executable
LIMIT {limit:UInt32}
