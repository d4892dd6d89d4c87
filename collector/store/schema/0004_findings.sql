-- Findings, one row each: a finding told again has the same id and replaces the row with the earlier last_time.
--
-- What a person decided about a finding stands in a table of its own, so that the detector, which tells findings again after a crash, never
-- takes it back. Findings are kept for 400 days after the last use of the edge; what a person decided has no TTL, or a suppressed finding that
-- still occurs would one day be new again.

CREATE TABLE IF NOT EXISTS findings {{.OnCluster}}
(
    id              String,
    rule            LowCardinality(String),
    title           String,
    severity        LowCardinality(String),
    score           Float64,
    confidence      Float64,
    resource        String,
    node            LowCardinality(String),
    first_time      DateTime64(6, 'UTC'),
    last_time       DateTime64(6, 'UTC'),
    count           UInt64,
    explanation     Array(String),
    baseline        Array(String),
    owasp           Array(String),
    attack          Array(String),
    status          LowCardinality(String), -- as the detector told it
    coverage        String,

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
ENGINE = {{.Engine "ReplacingMergeTree" "last_time"}}
ORDER BY id
TTL toDateTime(last_time) + INTERVAL 400 DAY;

CREATE TABLE IF NOT EXISTS finding_status {{.OnCluster}}
(
    id       String,
    status   LowCardinality(String),
    set_time DateTime64(6, 'UTC')
)
ENGINE = {{.Engine "ReplacingMergeTree" "set_time"}}
ORDER BY id;
