-- What should exist: what each source declares, one row per identity, source and name of the source (a cluster, a server, a list). A row with a
-- later version replaces the earlier one.
--
-- A source is always told whole. What it does not declare any more gets the time since when, and stays: an identity whose registration is
-- gone but which still acts is what this table is for. Hence no TTL: one would also bring earlier versions back. Rows that say the same again
-- are not written; inventory_sources says when a source was last told.

CREATE TABLE IF NOT EXISTS inventory {{.OnCluster}}
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
ENGINE = {{.Engine "ReplacingMergeTree" "version"}}
ORDER BY (identity, source, source_name);

CREATE TABLE IF NOT EXISTS inventory_sources {{.OnCluster}}
(
    source        LowCardinality(String),
    name          String,
    last_time     DateTime64(6, 'UTC'), -- told
    last_complete DateTime64(6, 'UTC'), -- told without an entry that was refused
    entries       UInt64,
    refused       UInt64,
    version       UInt64
)
ENGINE = {{.Engine "ReplacingMergeTree" "version"}}
ORDER BY (source, name);
