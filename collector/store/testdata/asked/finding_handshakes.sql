-- identity = "spiffe://shop.example/ns/shop/sa/checkout"
-- resource = "\\'"
-- since = 1787400000000000
-- limit = 0xa
-- The TLS handshakes of one edge, or of a whole identity, by what they were and which certificates they showed, the latest first.
SELECT
    toString(o.tls_version)     AS version,
    o.tls_sni                   AS sni,
    toString(o.tls_alpn)        AS alpn,
    o.tls_mutual                AS mutual,
    o.tls_verified              AS verified,
    toString(o.tls_provenance)  AS provenance,
    o.tls_peer_sha256           AS peer_sha256,
    any(o.tls_peer_serial)      AS peer_serial,
    any(o.tls_peer_issuer)      AS peer_issuer,
    any(o.tls_peer_not_before)  AS peer_not_before,
    any(o.tls_peer_not_after)   AS peer_not_after,
    any(o.tls_peer_proven)      AS peer_proven,
    o.tls_own_sha256            AS own_sha256,
    any(o.tls_own_serial)       AS own_serial,
    any(o.tls_own_issuer)       AS own_issuer,
    any(o.tls_own_not_before)   AS own_not_before,
    any(o.tls_own_not_after)    AS own_not_after,
    any(o.tls_own_proven)       AS own_proven,
    min(o.first_time)           AS first_time,
    max(o.time)                 AS last_time,
    sum(o.connections)          AS connections
FROM observations AS o
WHERE o.identity = {identity:String} AND ({resource:String} = '' OR o.resource = {resource:String})
  AND o.time >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')
  AND o.tls_provenance != ''
GROUP BY o.tls_version, o.tls_sni, o.tls_alpn, o.tls_mutual, o.tls_verified, o.tls_provenance, o.tls_peer_sha256, o.tls_own_sha256
ORDER BY last_time DESC, peer_sha256, own_sha256
LIMIT {limit:UInt32}
