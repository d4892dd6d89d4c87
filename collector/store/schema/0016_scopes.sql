-- What identities are declared to be allowed: one row per version, all of which are kept. The highest version of an identity holds; one that is
-- withdrawn says that there is none any more.
--
-- entries is JSON, since it is read and written as a whole only. Sort key: scopes are asked for by identity. Two that are applied at once may have the
-- same version: the later one holds.

CREATE TABLE IF NOT EXISTS scopes {{.OnCluster}}
(
    identity    String,
    version     UInt64,
    time        DateTime64(6, 'UTC'),
    origin      String,
    approved_by String,
    entries     String,
    withdrawn   Bool
)
ENGINE = {{.Engine "ReplacingMergeTree"}}
ORDER BY (identity, version, time);
