-- Which identity was seen where and when, one row per identity and node. It has no TTL: "known, but silent for a year" is what it is for.
--
-- seen: it was running. used: it made or got a connection, or tried to; an identity that never did has NULL there, not a date.
-- evidence and latest are the greatest tuple: the strongest evidence, and the attributes of the latest workload. The maximum does not depend on
-- the order in which rows arrive or merge, as anyLast would, so repeating a row changes nothing.

CREATE TABLE IF NOT EXISTS identities {{.OnCluster}}
(
    identity   String,
    node       LowCardinality(String),
    first_seen SimpleAggregateFunction(min, DateTime64(6, 'UTC')),
    last_seen  SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    first_used SimpleAggregateFunction(min, Nullable(DateTime64(6, 'UTC'))),
    last_used  SimpleAggregateFunction(max, Nullable(DateTime64(6, 'UTC'))),
    evidence   SimpleAggregateFunction(max, Tuple(strength UInt8, word String)),
    latest     SimpleAggregateFunction(max, Tuple(time DateTime64(6, 'UTC'), namespace String, service_account String, owner String,
                                                  unit String, image String, executable String, cgroup String))
)
ENGINE = {{.Engine "AggregatingMergeTree"}}
ORDER BY (identity, node)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS identities_from_observations {{.OnCluster}} TO identities AS
SELECT
    o.identity                                         AS identity,
    o.node                                             AS node,
    min(o.first_time)                                  AS first_seen,
    max(o.time)                                        AS last_seen,
    min(o.first_time)                                  AS first_used,
    max(o.time)                                        AS last_used,
    max((transform(toString(o.evidence), ['svid', 'workload-api', 'kubernetes', 'systemd', 'cgroup', 'process'], [6, 5, 4, 3, 2, 1], 0),
         toString(o.evidence)))                        AS evidence,
    max((o.time, toString(o.namespace), toString(o.service_account), o.owner, o.unit, o.image, o.executable, o.cgroup)) AS latest
FROM observations AS o
GROUP BY identity, node;

-- Workloads that were running, whether they reached anything or not. Nothing is stored here: the view below takes the rows.

CREATE TABLE IF NOT EXISTS sightings {{.OnCluster}}
(
    time            DateTime64(6, 'UTC'),
    node            LowCardinality(String),
    identity        String,
    evidence        LowCardinality(String),
    namespace       LowCardinality(String),
    pod             String,
    container       LowCardinality(String),
    image           String,
    service_account LowCardinality(String),
    owner           String,
    unit            String,
    executable      String,
    interactive     Bool,
    cgroup          String,
    uid             UInt32
)
ENGINE = Null;

CREATE MATERIALIZED VIEW IF NOT EXISTS identities_from_sightings {{.OnCluster}} TO identities AS
SELECT
    s.identity                                         AS identity,
    s.node                                             AS node,
    min(s.time)                                        AS first_seen,
    max(s.time)                                        AS last_seen,
    max((transform(toString(s.evidence), ['svid', 'workload-api', 'kubernetes', 'systemd', 'cgroup', 'process'], [6, 5, 4, 3, 2, 1], 0),
         toString(s.evidence)))                        AS evidence,
    max((s.time, toString(s.namespace), toString(s.service_account), s.owner, s.unit, s.image, s.executable, s.cgroup)) AS latest
FROM sightings AS s
GROUP BY identity, node;
