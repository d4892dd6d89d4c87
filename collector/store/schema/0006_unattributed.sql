-- Why a workload has no better identity than its cgroup's or its process's ('' where it has one), and the range that stands for a nameless
-- address, as 10.1.2.0/24.

ALTER TABLE observations {{.OnCluster}} ADD COLUMN IF NOT EXISTS unattributed LowCardinality(String) AFTER uid;

ALTER TABLE observations {{.OnCluster}} ADD COLUMN IF NOT EXISTS peer_range String AFTER peer_port;

ALTER TABLE sightings {{.OnCluster}} ADD COLUMN IF NOT EXISTS unattributed LowCardinality(String) AFTER uid;

ALTER TABLE findings {{.OnCluster}} ADD COLUMN IF NOT EXISTS unattributed LowCardinality(String) AFTER uid;

-- How many connections were attributed, one row per node and hour, and how many were not, one row per identity, reason, node and hour: nodes
-- are few, and what is not attributed should be. It begins with this migration: what came before says nothing of it.
--
-- hour is that of batch_time, so that an insert never spans two months. Kept for 400 days: a report over a year is whole.

CREATE TABLE IF NOT EXISTS attribution {{.OnCluster}}
(
    identity    String,                                        -- '' for all that are attributed
    reason      LowCardinality(String),                        -- '' is attributed
    node        LowCardinality(String),
    hour        DateTime('UTC'),
    connections SimpleAggregateFunction(sum, UInt64),          -- both directions
    last_time   SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    example     SimpleAggregateFunction(max, Tuple(time DateTime64(6, 'UTC'), executable String, cgroup String)) -- the latest
)
ENGINE = {{.Engine "AggregatingMergeTree"}}
PARTITION BY toYYYYMM(hour)
ORDER BY (identity, reason, node, hour)
TTL hour + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS attribution_from_observations {{.OnCluster}} TO attribution AS
SELECT
    if(o.unattributed = '', '', o.identity)                             AS identity,
    o.unattributed                                                      AS reason,
    o.node                                                              AS node,
    toStartOfHour(toDateTime(o.batch_time, 'UTC'))                      AS hour,
    sum(o.connections)                                                  AS connections,
    max(o.time)                                                         AS last_time,
    max(if(o.unattributed = '', (o.time, '', ''), (o.time, o.executable, o.cgroup))) AS example
FROM observations AS o
GROUP BY identity, reason, node, hour;
