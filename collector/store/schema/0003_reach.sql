-- What each identity reaches and by whom it is reached, one row per identity, direction and resource, kept as long as the identity. It grows
-- with edges, not with connections.
--
-- Success is judged in two columns, because a connection may be counted in one interval and its failure in the next:
--   last_open     bytes came back, or went out over TCP, or a connection still open was confirmed: that did succeed.
--   last_connect  more connections than failures in the interval: it succeeded if the totals of the edge say so too.
-- hours is a bit set of the hours of the day (UTC) of use. executables and nodes are bounded: on a key this fine, unbounded sets would cost
-- more than all the rest.

CREATE TABLE IF NOT EXISTS reach {{.OnCluster}}
(
    identity       String,
    direction      LowCardinality(String),
    resource       String,
    first_time     SimpleAggregateFunction(min, DateTime64(6, 'UTC')),
    last_time      SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    last_open      SimpleAggregateFunction(max, DateTime64(6, 'UTC')), -- 1970 is never
    last_connect   SimpleAggregateFunction(max, DateTime64(6, 'UTC')), -- 1970 is never
    connections    SimpleAggregateFunction(sum, UInt64),
    failed         SimpleAggregateFunction(sum, UInt64),
    denied         SimpleAggregateFunction(sum, UInt64),
    bytes_sent     SimpleAggregateFunction(sum, UInt64),
    bytes_received SimpleAggregateFunction(sum, UInt64),
    hours          SimpleAggregateFunction(groupBitOr, UInt32),
    executables    SimpleAggregateFunction(groupUniqArrayArray(8), Array(String)),
    nodes          SimpleAggregateFunction(groupUniqArrayArray(8), Array(String))
)
ENGINE = {{.Engine "AggregatingMergeTree"}}
ORDER BY (identity, direction, resource)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS reach_from_observations {{.OnCluster}} TO reach AS
SELECT
    o.identity                                                                   AS identity,
    o.direction                                                                  AS direction,
    o.resource                                                                   AS resource,
    min(o.first_time)                                                            AS first_time,
    max(o.time)                                                                  AS last_time,
    maxIf(o.time, o.bytes_received > 0 OR o.bytes_sent > 0 AND o.protocol = 'tcp'
        OR o.connections = 0 AND o.failed = 0 AND o.denied = 0)                  AS last_open,
    maxIf(o.time, o.connections > o.failed + o.denied)                           AS last_connect,
    sum(o.connections)                                                           AS connections,
    sum(o.failed)                                                                AS failed,
    sum(o.denied)                                                                AS denied,
    sum(o.bytes_sent)                                                            AS bytes_sent,
    sum(o.bytes_received)                                                        AS bytes_received,
    groupBitOr(bitShiftLeft(toUInt32(1), toHour(o.time)))                        AS hours,
    groupUniqArrayIf(8)(o.executable, o.executable != '')                        AS executables,
    groupUniqArrayIf(8)(toString(o.node), o.node != '')                          AS nodes
FROM observations AS o
GROUP BY identity, direction, resource;
