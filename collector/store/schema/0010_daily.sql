-- What was observed on each day, one row per day, edge and node, for when the observations of that day are gone. A
-- database from before this migration gets the days whose observations it still has.
--
-- Made by a view, not by rolling up rows at their end (TTL … GROUP BY): that would count again what is inserted again after it, and what came
-- late for a day that was rolled up already. A row that a view makes is known by the token of its insert.
--
-- Executables stand in reach alone: their sets are what costs most in a view whose rows are nearly as many as the insert's.
--
-- day is that of batch_time, as the partitions of observations are, so that an insert never spans two months. Sort key: an edge's days stand
-- together, and so do those of an identity.

CREATE TABLE IF NOT EXISTS observations_daily {{.OnCluster}}
(
    day            Date,
    identity       String,
    direction      LowCardinality(String),
    resource       String,
    node           LowCardinality(String),
    first_time     SimpleAggregateFunction(min, DateTime64(6, 'UTC')),
    last_time      SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    connections    SimpleAggregateFunction(sum, UInt64),
    failed         SimpleAggregateFunction(sum, UInt64),
    denied         SimpleAggregateFunction(sum, UInt64),
    bytes_sent     SimpleAggregateFunction(sum, UInt64),
    bytes_received SimpleAggregateFunction(sum, UInt64),
    hours          SimpleAggregateFunction(groupBitOr, UInt32) -- of the day, UTC
)
ENGINE = {{.Engine "AggregatingMergeTree"}}
PARTITION BY toYYYYMM(day)
ORDER BY (identity, direction, resource, node, day)
TTL day + INTERVAL 400 DAY
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS observations_daily_from_observations {{.OnCluster}} TO observations_daily AS
SELECT
    toDate(o.batch_time, 'UTC')                            AS day,
    o.identity                                             AS identity,
    o.direction                                            AS direction,
    o.resource                                             AS resource,
    o.node                                                 AS node,
    min(o.first_time)                                      AS first_time,
    max(o.time)                                            AS last_time,
    sum(o.connections)                                     AS connections,
    sum(o.failed)                                          AS failed,
    sum(o.denied)                                          AS denied,
    sum(o.bytes_sent)                                      AS bytes_sent,
    sum(o.bytes_received)                                  AS bytes_received,
    groupBitOr(bitShiftLeft(toUInt32(1), toHour(o.time)))  AS hours
FROM observations AS o
GROUP BY day, identity, direction, resource, node;
