CREATE TABLE IF NOT EXISTS schema_migrations 
(version UInt32, name String, checksum String, applied_time DateTime('UTC') DEFAULT now())
ENGINE = MergeTree ORDER BY version;


CREATE TABLE IF NOT EXISTS observations 
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
ENGINE = MergeTree()
PARTITION BY toYYYYMMDD(batch_time)
ORDER BY (identity, direction, resource, time)
TTL toDateTime(batch_time) + INTERVAL 35 DAY
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000;


CREATE TABLE IF NOT EXISTS identities 
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
ENGINE = AggregatingMergeTree()
ORDER BY (identity, node)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS identities_from_observations  TO identities AS
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


CREATE TABLE IF NOT EXISTS sightings 
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

CREATE MATERIALIZED VIEW IF NOT EXISTS identities_from_sightings  TO identities AS
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


CREATE TABLE IF NOT EXISTS reach 
(
    identity       String,
    direction      LowCardinality(String),
    resource       String,
    first_time     SimpleAggregateFunction(min, DateTime64(6, 'UTC')),
    last_time      SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    last_open      SimpleAggregateFunction(max, DateTime64(6, 'UTC')), -- 1970 is never
    last_connect   SimpleAggregateFunction(max, DateTime64(6, 'UTC')), -- 1970 is never
    connections    SimpleAggregateFunction(sum, UInt64),
    failed         SimpleAggregateFunction(sum, UInt64),
    denied         SimpleAggregateFunction(sum, UInt64),
    bytes_sent     SimpleAggregateFunction(sum, UInt64),
    bytes_received SimpleAggregateFunction(sum, UInt64),
    hours          SimpleAggregateFunction(groupBitOr, UInt32),
    executables    SimpleAggregateFunction(groupUniqArrayArray(8), Array(String)),
    nodes          SimpleAggregateFunction(groupUniqArrayArray(8), Array(String))
)
ENGINE = AggregatingMergeTree()
ORDER BY (identity, direction, resource)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS reach_from_observations  TO reach AS
SELECT
    o.identity                                                                   AS identity,
    o.direction                                                                  AS direction,
    o.resource                                                                   AS resource,
    min(o.first_time)                                                            AS first_time,
    max(o.time)                                                                  AS last_time,
    maxIf(o.time, o.bytes_received > 0 OR o.bytes_sent > 0 AND o.protocol = 'tcp'
        OR o.connections = 0 AND o.failed = 0 AND o.denied = 0)                  AS last_open,
    maxIf(o.time, o.connections > o.failed + o.denied)                           AS last_connect,
    sum(o.connections)                                                           AS connections,
    sum(o.failed)                                                                AS failed,
    sum(o.denied)                                                                AS denied,
    sum(o.bytes_sent)                                                            AS bytes_sent,
    sum(o.bytes_received)                                                        AS bytes_received,
    groupBitOr(bitShiftLeft(toUInt32(1), toHour(o.time)))                        AS hours,
    groupUniqArrayIf(8)(o.executable, o.executable != '')                        AS executables,
    groupUniqArrayIf(8)(toString(o.node), o.node != '')                          AS nodes
FROM observations AS o
GROUP BY identity, direction, resource;


CREATE TABLE IF NOT EXISTS findings 
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
ENGINE = ReplacingMergeTree(last_time)
ORDER BY id
TTL toDateTime(last_time) + INTERVAL 400 DAY;

CREATE TABLE IF NOT EXISTS finding_status 
(
    id       String,
    status   LowCardinality(String),
    set_time DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(set_time)
ORDER BY id;


CREATE TABLE IF NOT EXISTS coverage 
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
ENGINE = AggregatingMergeTree()
PARTITION BY toYYYYMM(hour)
ORDER BY (node, boot, hour)
TTL hour + INTERVAL 400 DAY;


ALTER TABLE observations  ADD COLUMN IF NOT EXISTS unattributed LowCardinality(String) AFTER uid;

ALTER TABLE observations  ADD COLUMN IF NOT EXISTS peer_range String AFTER peer_port;

ALTER TABLE sightings  ADD COLUMN IF NOT EXISTS unattributed LowCardinality(String) AFTER uid;

ALTER TABLE findings  ADD COLUMN IF NOT EXISTS unattributed LowCardinality(String) AFTER uid;


CREATE TABLE IF NOT EXISTS attribution 
(
    identity    String,                                        -- '' for all that are attributed
    reason      LowCardinality(String),                        -- '' is attributed
    node        LowCardinality(String),
    hour        DateTime('UTC'),
    connections SimpleAggregateFunction(sum, UInt64),          -- both directions
    last_time   SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    example     SimpleAggregateFunction(max, Tuple(time DateTime64(6, 'UTC'), executable String, cgroup String)) -- the latest
)
ENGINE = AggregatingMergeTree()
PARTITION BY toYYYYMM(hour)
ORDER BY (identity, reason, node, hour)
TTL hour + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS attribution_from_observations  TO attribution AS
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


CREATE TABLE IF NOT EXISTS inventory 
(
    identity          String,
    source            LowCardinality(String), -- kubernetes, spire, csv, json
    source_name       LowCardinality(String),
    kind              LowCardinality(String),
    namespace         LowCardinality(String),
    name              String,
    owner             String,
    purpose           String,
    environment       LowCardinality(String),
    domain            LowCardinality(String),
    privilege         LowCardinality(String),
    privilege_reasons Array(String),
    tokens            Array(String),
    business_function String,
    created           DateTime64(0, 'UTC'),   -- 1970 is not known
    expires           DateTime64(0, 'UTC'),   -- 1970 is never
    labels            Map(String, String),
    annotations       Map(String, String),
    first_declared    DateTime64(6, 'UTC'),
    last_declared     DateTime64(6, 'UTC'),   -- when this row was written; later tellings stand in inventory_sources
    gone              DateTime64(6, 'UTC'),   -- 1970 is not gone
    version           UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (identity, source, source_name);

CREATE TABLE IF NOT EXISTS inventory_sources 
(
    source        LowCardinality(String),
    name          String,
    last_time     DateTime64(6, 'UTC'), -- told
    last_complete DateTime64(6, 'UTC'), -- told without an entry that was refused
    entries       UInt64,
    refused       UInt64,
    version       UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (source, name);


ALTER TABLE observations  ADD COLUMN IF NOT EXISTS tls_peer_proven Bool AFTER tls_peer_not_after;

ALTER TABLE observations  ADD COLUMN IF NOT EXISTS tls_own_proven Bool AFTER tls_own_not_after;


CREATE TABLE IF NOT EXISTS credentials 
(
    holder      String,
    sha256      String,                                                   -- of the DER form, in hex
    role        LowCardinality(String),                                   -- own, peer
    identity    SimpleAggregateFunction(max, String),
    serial      SimpleAggregateFunction(max, String),
    issuer      SimpleAggregateFunction(max, String),
    not_before  SimpleAggregateFunction(max, DateTime64(0, 'UTC')),       -- 1970 is not known
    not_after   SimpleAggregateFunction(max, DateTime64(0, 'UTC')),       -- 1970 is not known
    first_seen  SimpleAggregateFunction(min, DateTime64(6, 'UTC')),
    last_seen   SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    last_presented SimpleAggregateFunction(max, DateTime64(6, 'UTC')),    -- 1970 is not known
    verified    SimpleAggregateFunction(max, UInt8),                      -- ever; for own, as an SVID of its workload
    connections SimpleAggregateFunction(sum, UInt64),
    nodes       SimpleAggregateFunction(groupUniqArrayArray(8), Array(String)), -- where it was seen
    workloads   SimpleAggregateFunction(groupUniqArrayArray(8), Array(String))  -- who presented it (own), or to whom it was presented (peer)
)
ENGINE = AggregatingMergeTree()
ORDER BY (holder, sha256, role)
TTL toDateTime(last_seen) + INTERVAL 400 DAY, toDateTime(last_seen) + INTERVAL 90 DAY DELETE WHERE holder = ''
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS credentials_from_observations  TO credentials AS
SELECT
    c.1                                                          AS holder,
    c.3                                                          AS sha256,
    c.4                                                          AS role,
    max(c.2)                                                     AS identity,
    max(c.5)                                                     AS serial,
    max(c.6)                                                     AS issuer,
    max(c.7)                                                     AS not_before,
    max(c.8)                                                     AS not_after,
    min(o.first_time)                                            AS first_seen,
    max(o.time)                                                  AS last_seen,
    maxIf(o.time, o.connections > 0 AND o.tls_provenance NOT IN ('resumed', 'inferred')) AS last_presented,
    max(c.9)                                                     AS verified,
    sum(o.connections)                                           AS connections,
    groupUniqArrayIf(8)(toString(o.node), o.node != '')          AS nodes,
    groupUniqArray(8)(o.identity)                                AS workloads
FROM observations AS o
ARRAY JOIN arrayFilter(x -> x.3 != '', [
    (o.identity, if(o.tls_own_proven AND o.evidence = 'svid', o.identity, ''), o.tls_own_sha256, 'own', o.tls_own_serial, o.tls_own_issuer,
     o.tls_own_not_before, o.tls_own_not_after, toUInt8(o.tls_own_proven)),
    (if(o.tls_peer_proven AND o.peer_evidence = 'svid' OR o.tls_verified AND startsWith(o.peer_identity, 'x509://'), o.peer_identity, ''),
     if(o.tls_peer_proven AND o.peer_evidence = 'svid' OR o.tls_verified AND startsWith(o.peer_identity, 'x509://'), o.peer_identity, ''),
     o.tls_peer_sha256, 'peer', o.tls_peer_serial, o.tls_peer_issuer, o.tls_peer_not_before, o.tls_peer_not_after, toUInt8(o.tls_verified OR o.tls_peer_proven))
]) AS c
WHERE o.tls_own_sha256 != '' OR o.tls_peer_sha256 != ''
GROUP BY holder, sha256, role;


CREATE TABLE IF NOT EXISTS reach_tls 
(
    identity    String,
    direction   LowCardinality(String),
    resource    String,
    version     LowCardinality(String),
    provenance  LowCardinality(String),                                   -- full, resumed, inferred, wire-only
    verified    Bool,
    mutual      Bool,
    connections SimpleAggregateFunction(sum, UInt64),
    last_time   SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    snis        SimpleAggregateFunction(groupUniqArrayArray(8), Array(String)),
    alpns       SimpleAggregateFunction(groupUniqArrayArray(8), Array(String))
)
ENGINE = AggregatingMergeTree()
ORDER BY (identity, direction, resource, version, provenance, verified, mutual)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS reach_tls_from_observations  TO reach_tls AS
SELECT
    o.identity                                                   AS identity,
    o.direction                                                  AS direction,
    o.resource                                                   AS resource,
    o.tls_version                                                AS version,
    o.tls_provenance                                             AS provenance,
    o.tls_verified                                               AS verified,
    o.tls_mutual                                                 AS mutual,
    sum(o.connections)                                           AS connections,
    max(o.time)                                                  AS last_time,
    groupUniqArrayIf(8)(o.tls_sni, o.tls_sni != '')              AS snis,
    groupUniqArrayIf(8)(toString(o.tls_alpn), o.tls_alpn != '')  AS alpns
FROM observations AS o
WHERE o.tls_version != '' OR o.tls_provenance != ''
GROUP BY identity, direction, resource, version, provenance, verified, mutual;


ALTER TABLE coverage  ADD COLUMN IF NOT EXISTS tls SimpleAggregateFunction(maxMap, Map(String, UInt64)) AFTER lost;


CREATE TABLE IF NOT EXISTS coverage_gaps 
(
    node       LowCardinality(String),
    boot       String,
    cause      LowCardinality(String),
    from_time  DateTime64(6, 'UTC'),
    until_time SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    lost       SimpleAggregateFunction(max, UInt64) -- events; 0 where their number is not known
)
ENGINE = AggregatingMergeTree()
PARTITION BY toYYYYMM(from_time)
ORDER BY (node, boot, cause, from_time)
TTL toDateTime(until_time) + INTERVAL 400 DAY;


CREATE TABLE IF NOT EXISTS observations_daily 
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
ENGINE = AggregatingMergeTree()
PARTITION BY toYYYYMM(day)
ORDER BY (identity, direction, resource, node, day)
TTL day + INTERVAL 400 DAY
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS observations_daily_from_observations  TO observations_daily AS
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


CREATE TABLE IF NOT EXISTS audit 
(
    number   UInt64,
    time     DateTime64(6, 'UTC'),
    actor    String,
    action   LowCardinality(String),
    subject  String,
    detail   Map(String, String),
    previous String,
    hash     String
)
ENGINE = ReplacingMergeTree()
ORDER BY (number, hash);


CREATE TABLE IF NOT EXISTS links 
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
ENGINE = AggregatingMergeTree()
ORDER BY (identity, way, peer)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS links_from_reach  TO links AS
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


CREATE TABLE IF NOT EXISTS exemptions 
(
    identity   String,
    reason     String,
    actor      String,
    set_time   DateTime64(6, 'UTC'),
    until_time DateTime64(0, 'UTC'), -- 1970: it was lifted
    version    UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY identity;

CREATE TABLE IF NOT EXISTS reviews 
(
    identity String,
    time     DateTime64(6, 'UTC'),
    actor    String,
    verdict  LowCardinality(String), -- keep, change, remove
    note     String
)
ENGINE = ReplacingMergeTree()
ORDER BY (identity, time, actor);


CREATE TABLE IF NOT EXISTS report_runs 
(
    report   LowCardinality(String),
    time     DateTime64(6, 'UTC'),
    window   UInt64,               -- in seconds
    watched  Float64,
    total    UInt64,
    file     String,
    sha256   String                -- of the file
)
ENGINE = ReplacingMergeTree()
ORDER BY (report, time)
TTL toDateTime(time) + INTERVAL 400 DAY;

CREATE TABLE IF NOT EXISTS report_items 
(
    report   LowCardinality(String),
    time     DateTime64(6, 'UTC'),
    identity String,
    class    LowCardinality(String),
    verdict  LowCardinality(String)
)
ENGINE = ReplacingMergeTree()
PARTITION BY toYYYYMM(time)
ORDER BY (report, time, identity)
TTL toDateTime(time) + INTERVAL 400 DAY;


CREATE TABLE IF NOT EXISTS decisions 
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
ENGINE = ReplacingMergeTree(serial)
ORDER BY id
TTL toDateTime(expires) + INTERVAL 400 DAY;

CREATE TABLE IF NOT EXISTS decision_acks 
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
ENGINE = AggregatingMergeTree()
ORDER BY (decision, node, boot, state)
TTL toDateTime(told) + INTERVAL 400 DAY;


ALTER TABLE observations  MODIFY SETTING min_bytes_for_wide_part = 268435456, vertical_merge_algorithm_min_bytes_to_activate = 268435456;


ALTER TABLE findings  ADD COLUMN IF NOT EXISTS advice Array(String) AFTER baseline;

ALTER TABLE finding_status  ADD COLUMN IF NOT EXISTS verdict LowCardinality(String) AFTER set_time;

ALTER TABLE finding_status  ADD COLUMN IF NOT EXISTS reason String AFTER verdict;

ALTER TABLE finding_status  ADD COLUMN IF NOT EXISTS decided_by LowCardinality(String) AFTER reason;

ALTER TABLE finding_status  ADD COLUMN IF NOT EXISTS until_time DateTime64(6, 'UTC') AFTER decided_by;


CREATE TABLE IF NOT EXISTS scopes 
(
    identity    String,
    version     UInt64,
    time        DateTime64(6, 'UTC'),
    origin      String,
    approved_by String,
    entries     String,
    withdrawn   Bool
)
ENGINE = ReplacingMergeTree()
ORDER BY (identity, version, time);


CREATE TABLE IF NOT EXISTS coverage_daily 
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
ENGINE = AggregatingMergeTree()
PARTITION BY toYYYYMM(day)
ORDER BY (node, boot, day)
TTL day + INTERVAL 400 DAY;

CREATE MATERIALIZED VIEW IF NOT EXISTS coverage_daily_from_coverage  TO coverage_daily AS
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


CREATE TABLE IF NOT EXISTS exposure 
(
    identity  String,
    direction LowCardinality(String),
    latest    SimpleAggregateFunction(max, Tuple(time DateTime64(6, 'UTC'), resource String))
)
ENGINE = AggregatingMergeTree()
ORDER BY (identity, direction)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS exposure_from_reach  TO exposure AS
SELECT
    r.identity                                                   AS identity,
    r.direction                                                  AS direction,
    max((r.last_time, r.resource))                               AS latest
FROM reach AS r
WHERE startsWith(r.resource, 'net:') AND NOT arrayExists(p -> startsWith(r.resource, p), ['net:10.', 'net:192.168.', 'net:127.', 'net:169.254.', 'net:0.', 'net:f', 'net:::'])
          AND NOT match(r.resource, '^net:(172\\.(1[6-9]|2[0-9]|3[01])|100\\.(6[4-9]|[7-9][0-9]|1[01][0-9]|12[0-7])|198\\.1[89])\\.|^net:(22[4-9]|23[0-9]|24[0-9]|25[0-5])\\.')
   OR startsWith(r.resource, 'dns:') AND NOT match(r.resource, '(\\.(svc|local|internal|localhost|home\\.arpa|lan|intranet|corp|test|invalid)|^dns:[^.]+)\\.?:[0-9]+/')
GROUP BY identity, direction;

ALTER TABLE observations  MODIFY TTL toDateTime(batch_time) + INTERVAL 30 DAY;

ALTER TABLE observations_daily  MODIFY TTL day + INTERVAL 400 DAY;

ALTER TABLE findings  MODIFY TTL toDateTime(last_time) + INTERVAL 400 DAY;

ALTER TABLE decisions  MODIFY TTL toDateTime(expires) + INTERVAL 400 DAY;

ALTER TABLE decision_acks  MODIFY TTL toDateTime(told) + INTERVAL 400 DAY;
