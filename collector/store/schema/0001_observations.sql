-- What every observation said, one row each; everything else is made from these rows by ClickHouse itself.
--
-- Sort key (identity, direction, resource, time): all questions are asked of one identity, then of one of its resources, then over time.
--   Rows of one edge stand together, so names compress to almost nothing (about 15 bytes a row).
-- Partition by day of batch_time, the end of the interval in which the agent sent the row. An insert never spans two days, so it is one
--   block: it is there as a whole or not at all, and its token makes repeating it harmless.
-- TTL 35 days (clickhouse.retention changes it): reports and detection read reach and identities, which are kept; raw rows serve
--   investigation. ttl_only_drop_parts: whole days are dropped, nothing is rewritten.
-- non_replicated_deduplication_window: an insert repeated with the same token counts once. Every target of a view on this table needs the
--   same setting, or the view counts twice. Replicated engines have a window of their own.
--
-- Rejected: a sort key that starts with time (each question would read every identity); summing in the collector before the insert (a crash
--   would lose or double what it held); a projection for reach (it is tied to the TTL of its rows); Nullable for what is often empty (a column
--   of flags each; '' and 0 say the same).
--
-- Migrations are append-only: a file that was released never changes. Every statement must be harmless when run twice, because two
-- collectors may start at once and a start may be cut short. A line that ends with a semicolon ends a statement.

CREATE TABLE IF NOT EXISTS observations {{.OnCluster}}
(
    batch_time          DateTime64(6, 'UTC'),
    sequence            UInt64,                 -- of the message in the stream
    node                LowCardinality(String),
    time                DateTime64(6, 'UTC'),   -- end of the interval
    first_time          DateTime64(6, 'UTC'),   -- first use in the interval

    identity            String,
    evidence            LowCardinality(String),
    namespace           LowCardinality(String),
    pod                 String,
    container           LowCardinality(String),
    image               String,
    service_account     LowCardinality(String),
    owner               String,
    unit                String,
    executable          String,
    interactive         Bool,
    cgroup              String,
    uid                 UInt32,

    direction           LowCardinality(String), -- outbound, inbound
    protocol            LowCardinality(String), -- tcp, udp
    resource            String,                 -- the best stable name of the peer, with port and protocol

    peer_address        IPv6,                   -- IPv4 as ::ffff:a.b.c.d; :: is not known
    peer_port           UInt16,
    dialled_address     IPv6,                   -- before translation, where it differs
    dialled_port        UInt16,
    peer_name           String,
    peer_name_source    LowCardinality(String),
    peer_identity       String,
    peer_evidence       LowCardinality(String),

    tls_version         LowCardinality(String), -- '' where no handshake was seen
    tls_sni             String,
    tls_alpn            LowCardinality(String),
    tls_mutual          Bool,
    tls_verified        Bool,
    tls_provenance      LowCardinality(String),
    tls_peer_sha256     String,
    tls_peer_serial     String,
    tls_peer_issuer     String,
    tls_peer_not_before DateTime64(0, 'UTC'),
    tls_peer_not_after  DateTime64(0, 'UTC'),
    tls_own_sha256      String,
    tls_own_serial      String,
    tls_own_issuer      String,
    tls_own_not_before  DateTime64(0, 'UTC'),
    tls_own_not_after   DateTime64(0, 'UTC'),

    connections         UInt64,                 -- tried (outbound) or accepted (inbound)
    failed              UInt64,
    denied              UInt64,
    bytes_sent          UInt64,
    bytes_received      UInt64,
    last_error          LowCardinality(String)
)
ENGINE = {{.Engine "MergeTree"}}
PARTITION BY toYYYYMMDD(batch_time)
ORDER BY (identity, direction, resource, time)
TTL toDateTime(batch_time) + INTERVAL 35 DAY
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000;
