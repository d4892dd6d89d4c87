-- When each node was watched, one row per node, start of its agent, and hour. A row says: from from_time to until_time without a break, and
-- since from_time these events were lost, by cause. A report subtracts what was lost before its window, hence the hours.
--
-- Everything is a minimum, a maximum or a union, so a heartbeat stored twice changes nothing. Kept for 400 days: a report over a year is whole.

CREATE TABLE IF NOT EXISTS coverage {{.OnCluster}}
(
    node       LowCardinality(String),
    boot       String,
    hour       DateTime('UTC'),                                            -- of until_time
    from_time  SimpleAggregateFunction(min, DateTime64(6, 'UTC')),
    until_time SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    lost       SimpleAggregateFunction(maxMap, Map(String, UInt64)),       -- since from_time
    missing    SimpleAggregateFunction(groupUniqArrayArray, Array(String)), -- what the node could not watch
    version    SimpleAggregateFunction(max, String),                       -- of the agent
    kernel     SimpleAggregateFunction(max, String)
)
ENGINE = {{.Engine "AggregatingMergeTree"}}
PARTITION BY toYYYYMM(hour)
ORDER BY (node, boot, hour)
TTL hour + INTERVAL 400 DAY;
