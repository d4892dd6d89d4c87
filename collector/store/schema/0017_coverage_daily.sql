-- How every start of an agent watched its node, one row per day, for reports of long windows: 10,000 nodes have 22 million hours in 90 days, and joining
-- their maps took half a minute. All columns are as in coverage, where the hours stand; they are extremes and sets, so rows that come again change nothing.

CREATE TABLE IF NOT EXISTS coverage_daily {{.OnCluster}}
(
    node       LowCardinality(String),
    boot       String,
    day        Date,                                                        -- of hour
    from_time  SimpleAggregateFunction(min, DateTime64(6, 'UTC')),
    until_time SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    lost       SimpleAggregateFunction(maxMap, Map(String, UInt64)),
    tls        SimpleAggregateFunction(maxMap, Map(String, UInt64)),
    missing    SimpleAggregateFunction(groupUniqArrayArray, Array(String)),
    version    SimpleAggregateFunction(max, String),
    kernel     SimpleAggregateFunction(max, String)
)
ENGINE = {{.Engine "AggregatingMergeTree"}}
PARTITION BY toYYYYMM(day)
ORDER BY (node, boot, day)
TTL day + INTERVAL 400 DAY;

CREATE MATERIALIZED VIEW IF NOT EXISTS coverage_daily_from_coverage {{.OnCluster}} TO coverage_daily AS
SELECT
    c.node                                         AS node,
    c.boot                                         AS boot,
    toDate(c.hour, 'UTC')                          AS day,
    min(c.from_time)                               AS from_time,
    max(c.until_time)                              AS until_time,
    maxMap(c.lost)                                 AS lost,
    maxMap(c.tls)                                  AS tls,
    groupUniqArrayArray(c.missing)                 AS missing,
    max(c.version)                                 AS version,
    max(c.kernel)                                  AS kernel
FROM coverage AS c
GROUP BY node, boot, day;
