-- Who did what: a copy of the stream's records, each of which holds the hash of the one before.
--
-- Sort key: a record that is stored twice is one row, while another one of the same number stands beside it, so that it is seen. There is no TTL:
-- a trail without its beginning proves nothing, and it grows with what people do. Times are in microseconds, as in the hash.

CREATE TABLE IF NOT EXISTS audit {{.OnCluster}}
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
ENGINE = {{.Engine "ReplacingMergeTree"}}
ORDER BY (number, hash);
