-- Decisions as they were signed last, and what nodes did about them.
--
-- Decisions: one row each; the form with the greatest serial counts, so that a revocation replaces what it revokes, in whatever order they come.
-- decision_acks: one row for each node, start of its agent, and state that it came to. A node tells a state again while counts grow, so the greatest counts; those of several
--   starts are added up. Nothing here is asked of one identity alone; a decision and its acknowledgements stand on one shard.
-- TTL: after a decision's end, and after the last word of a node (clickhouse.retention.decisions changes it).

CREATE TABLE IF NOT EXISTS decisions {{.OnCluster}}
(
    id          String,
    serial      UInt64,
    identity    String,
    glob        Bool,
    target      String,
    direction   LowCardinality(String),
    mode        LowCardinality(String),
    code        LowCardinality(String),
    reason      String,
    requester   String,
    approver    String,
    finding     String,
    automatic   Bool,
    issued      DateTime64(6, 'UTC'), -- decisions are signed with times in whole microseconds
    expires     DateTime64(6, 'UTC'),
    revoked     DateTime64(6, 'UTC'), -- 1970: it was not
    revoked_by  String,
    revoked_why String,
    key         String,
    signature   String
)
ENGINE = {{.Engine "ReplacingMergeTree" "serial"}}
ORDER BY id
TTL toDateTime(expires) + INTERVAL 400 DAY;

CREATE TABLE IF NOT EXISTS decision_acks {{.OnCluster}}
(
    decision     String,
    node         String,
    boot         String,
    state        LowCardinality(String),
    serial       SimpleAggregateFunction(max, UInt64),
    why          SimpleAggregateFunction(anyLast, String),
    at           SimpleAggregateFunction(min, DateTime64(6, 'UTC')), -- when it came to the state
    told         SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    denied       SimpleAggregateFunction(max, UInt64),
    would_deny   SimpleAggregateFunction(max, UInt64),
    first_denied SimpleAggregateFunction(max, DateTime64(6, 'UTC')), -- it does not change once it is there; 1970: none was
    last_denied  SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    last_allowed SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    cut          SimpleAggregateFunction(max, UInt64),
    entries      SimpleAggregateFunction(max, UInt64)
)
ENGINE = {{.Engine "AggregatingMergeTree"}}
ORDER BY (decision, node, boot, state)
TTL toDateTime(told) + INTERVAL 400 DAY;
