-- identity = "spiffe://shop.example/ns/shop/sa/checkout"
-- resource = "'; DROP TABLE reach; --"
-- since = 1787400000000000
-- limit = 0xa
-- Where the connections of one edge, or of a whole identity, came from: by node, pod and program, and the address that was reached, the latest first.
SELECT
    toString(o.node)                    AS node,
    o.pod                               AS pod,
    toString(o.container)               AS container,
    o.executable                        AS executable,
    o.interactive                       AS interactive,
    o.peer_address                      AS address,
    o.peer_port                         AS port,
    o.peer_identity                     AS peer,
    toString(o.peer_evidence)           AS peer_evidence,
    min(o.first_time)                   AS first_time,
    max(o.time)                         AS last_time,
    sum(o.connections)                  AS connections,
    sum(o.failed)                       AS failed,
    sum(o.denied)                       AS denied,
    toString(argMaxIf(o.last_error, o.time, o.last_error != '')) AS last_error
FROM observations AS o
WHERE o.identity = {identity:String} AND ({resource:String} = '' OR o.resource = {resource:String})
  AND o.time >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')
GROUP BY o.node, o.pod, o.container, o.executable, o.interactive, o.peer_address, o.peer_port, o.peer_identity, o.peer_evidence
ORDER BY last_time DESC, node, pod, executable, address
LIMIT {limit:UInt32}
