-- Whether a certificate proves its end's identity: a valid SVID of a trust domain that is known, in a handshake that completed.

ALTER TABLE observations {{.OnCluster}} ADD COLUMN IF NOT EXISTS tls_peer_proven Bool AFTER tls_peer_not_after;

ALTER TABLE observations {{.OnCluster}} ADD COLUMN IF NOT EXISTS tls_own_proven Bool AFTER tls_own_not_after;

-- Which certificates were presented, by whom and to whom, one row per holder, certificate and role.
--
-- role is own where the workload that was watched presented it, peer where it was presented to that workload. holder is who presented it: the
-- workload itself, or the peer's identity where the certificate proved it, '' where nobody knows. identity is what the certificate proves, ''
-- where it proves none: no SVID, not verified, or a name in the DNS alone; a client's certificate that the server itself verified proves x509://….
-- What a certificate says of itself depends on sha256 alone, so its
-- maximum is it; an observation that knows only the fingerprint takes nothing away.
--
-- A connection that stays open is told on and on with the certificates of its handshake, and a resumed one with those of its session: last_seen
-- says so, and last_presented when a handshake last held the certificate itself.
--
-- Sort key: credentials are asked for by who holds them. It begins with this migration: agents that came before tell no certificate.
-- TTL: SVIDs live for an hour, so there are many. Who has no name is kept shorter, since anyone on the network can present a new one at each
-- connection.
--
-- One view for both roles: each view costs every insert something.

CREATE TABLE IF NOT EXISTS credentials {{.OnCluster}}
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
ENGINE = {{.Engine "AggregatingMergeTree"}}
ORDER BY (holder, sha256, role)
TTL toDateTime(last_seen) + INTERVAL 400 DAY, toDateTime(last_seen) + INTERVAL 90 DAY DELETE WHERE holder = ''
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS credentials_from_observations {{.OnCluster}} TO credentials AS
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

-- How what each identity reaches was protected, one row per edge of reach and kind of handshake. Connections of an edge that are not in here
-- had no TLS that could be seen. It stands beside reach, not in it: most edges have none.

CREATE TABLE IF NOT EXISTS reach_tls {{.OnCluster}}
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
ENGINE = {{.Engine "AggregatingMergeTree"}}
ORDER BY (identity, direction, resource, version, provenance, verified, mutual)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS reach_tls_from_observations {{.OnCluster}} TO reach_tls AS
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

-- What a node's agent saw of TLS since its start: connections by how much of their handshake was seen, and the files watched, by TLS library.
-- Empty where the agent tells nothing of it.

ALTER TABLE coverage {{.OnCluster}} ADD COLUMN IF NOT EXISTS tls SimpleAggregateFunction(maxMap, Map(String, UInt64)) AFTER lost;
