-- Which identity can reach which other one, for questions that follow reach from identity to identity, one row per pair, twice: the row of the caller
-- (forward) and the row of the callee (backward).
--
-- It is made of reach, whose rows name a peer's identity at the caller's end, at the callee's, or at both. reach itself has the callers of an identity
-- only where they were seen at its end, and cannot be asked for the others without reading all of it.
--
-- made and accepted count the same connections, as they were seen at either end. Where both ends stand on nodes that are watched, they are
-- about the same. A view of a view's target: it gets what a block of observations came to, not the observations.

CREATE TABLE IF NOT EXISTS links {{.OnCluster}}
(
    identity     String,
    way          LowCardinality(String),                                  -- forward: it can reach peer; backward: peer can reach it
    peer         String,
    first_time   SimpleAggregateFunction(min, DateTime64(6, 'UTC')),
    last_time    SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    last_open    SimpleAggregateFunction(max, DateTime64(6, 'UTC')),      -- as in reach
    last_connect SimpleAggregateFunction(max, DateTime64(6, 'UTC')),      -- as in reach
    made         SimpleAggregateFunction(sum, UInt64),
    accepted     SimpleAggregateFunction(sum, UInt64),
    failed       SimpleAggregateFunction(sum, UInt64),                    -- or denied, at either end
    services     SimpleAggregateFunction(groupUniqArrayArray(8), Array(String)) -- 5432/tcp
)
ENGINE = {{.Engine "AggregatingMergeTree"}}
ORDER BY (identity, way, peer)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS links_from_reach {{.OnCluster}} TO links AS
SELECT
    l.1                                                          AS identity,
    l.2                                                          AS way,
    l.3                                                          AS peer,
    min(r.first_time)                                            AS first_time,
    max(r.last_time)                                             AS last_time,
    max(r.last_open)                                             AS last_open,
    max(r.last_connect)                                          AS last_connect,
    sumIf(r.connections, r.direction = 'outbound')               AS made,
    sumIf(r.connections, r.direction = 'inbound')                AS accepted,
    sum(r.failed + r.denied)                                     AS failed,
    groupUniqArray(8)(substring(r.resource, length(r.resource) - position(reverse(r.resource), ':') + 2)) AS services
FROM reach AS r
ARRAY JOIN [
    (r.identity, if(r.direction = 'outbound', 'forward', 'backward'), substring(r.resource, 1, length(r.resource) - position(reverse(r.resource), ':'))),
    (substring(r.resource, 1, length(r.resource) - position(reverse(r.resource), ':')), if(r.direction = 'outbound', 'backward', 'forward'), r.identity)
] AS l
WHERE startsWith(r.resource, 'spiffe://') OR startsWith(r.resource, 'x509://')
GROUP BY identity, way, peer;

-- What people say of identities that reports list. An exemption is one row per identity, the latest counts: reports name it, and no finding is made
-- while it lasts. A review is what somebody found when looking whether an identity is still right: nothing is ever taken back, so there is a row for each.

CREATE TABLE IF NOT EXISTS exemptions {{.OnCluster}}
(
    identity   String,
    reason     String,
    actor      String,
    set_time   DateTime64(6, 'UTC'),
    until_time DateTime64(0, 'UTC'), -- 1970: it was lifted
    version    UInt64
)
ENGINE = {{.Engine "ReplacingMergeTree" "version"}}
ORDER BY identity;

CREATE TABLE IF NOT EXISTS reviews {{.OnCluster}}
(
    identity String,
    time     DateTime64(6, 'UTC'),
    actor    String,
    verdict  LowCardinality(String), -- keep, change, remove
    note     String
)
ENGINE = {{.Engine "ReplacingMergeTree"}}
ORDER BY (identity, time, actor);

-- What reports said when they were made on a schedule: what has changed since can be told, and how many of the identities that were found unused have
-- gone. Kept for 400 days, like coverage. Made again, a report has another time; items come before their run, which says that they are whole.

CREATE TABLE IF NOT EXISTS report_runs {{.OnCluster}}
(
    report   LowCardinality(String),
    time     DateTime64(6, 'UTC'),
    window   UInt64,               -- in seconds
    watched  Float64,
    total    UInt64,
    file     String,
    sha256   String                -- of the file
)
ENGINE = {{.Engine "ReplacingMergeTree"}}
ORDER BY (report, time)
TTL toDateTime(time) + INTERVAL 400 DAY;

CREATE TABLE IF NOT EXISTS report_items {{.OnCluster}}
(
    report   LowCardinality(String),
    time     DateTime64(6, 'UTC'),
    identity String,
    class    LowCardinality(String),
    verdict  LowCardinality(String)
)
ENGINE = {{.Engine "ReplacingMergeTree"}}
PARTITION BY toYYYYMM(time)
ORDER BY (report, time, identity)
TTL toDateTime(time) + INTERVAL 400 DAY;
