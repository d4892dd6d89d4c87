-- Spans of time in which something of a node was not seen, or was seen and lost on the way, by cause. When no agent ran follows from coverage and does
-- not stand here.
--
-- A gap that goes on, or has become one with the next, is told again with the same beginning, a later end and more lost. Both are maxima, so a gap
-- that is stored twice changes nothing. boot is the start of the agent that told it, which may not be the one that it happened to. Kept as long as
-- coverage.

CREATE TABLE IF NOT EXISTS coverage_gaps {{.OnCluster}}
(
    node       LowCardinality(String),
    boot       String,
    cause      LowCardinality(String),
    from_time  DateTime64(6, 'UTC'),
    until_time SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    lost       SimpleAggregateFunction(max, UInt64) -- events; 0 where their number is not known
)
ENGINE = {{.Engine "AggregatingMergeTree"}}
PARTITION BY toYYYYMM(from_time)
ORDER BY (node, boot, cause, from_time)
TTL toDateTime(until_time) + INTERVAL 400 DAY;
