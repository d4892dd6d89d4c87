-- Which identities have to do with the internet, one row per identity and direction, with the resource that was used last: the report of risks asks for all
-- of them, and would read all of reach, and look at each name in it, otherwise.
--
-- Names are taken for the internet's unless their end says otherwise. A view of a view's target, like links: it gets what a block of observations came to.

CREATE TABLE IF NOT EXISTS exposure {{.OnCluster}}
(
    identity  String,
    direction LowCardinality(String),
    latest    SimpleAggregateFunction(max, Tuple(time DateTime64(6, 'UTC'), resource String))
)
ENGINE = {{.Engine "AggregatingMergeTree"}}
ORDER BY (identity, direction)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS exposure_from_reach {{.OnCluster}} TO exposure AS
SELECT
    r.identity                                                   AS identity,
    r.direction                                                  AS direction,
    max((r.last_time, r.resource))                               AS latest
FROM reach AS r
WHERE startsWith(r.resource, 'net:') AND NOT arrayExists(p -> startsWith(r.resource, p), ['net:10.', 'net:192.168.', 'net:127.', 'net:169.254.', 'net:0.', 'net:f', 'net:::'])
          AND NOT match(r.resource, '^net:(172\\.(1[6-9]|2[0-9]|3[01])|100\\.(6[4-9]|[7-9][0-9]|1[01][0-9]|12[0-7])|198\\.1[89])\\.|^net:(22[4-9]|23[0-9]|24[0-9]|25[0-5])\\.')
   OR startsWith(r.resource, 'dns:') AND NOT match(r.resource, '(\\.(svc|local|internal|localhost|home\\.arpa|lan|intranet|corp|test|invalid)|^dns:[^.]+)\\.?:[0-9]+/')
GROUP BY identity, direction;
