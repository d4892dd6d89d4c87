-- What all sources together declare of identities, or of one: how many declarations are in force, when the last one ended, and since when it exists.
SELECT
    d.identity                                                                                 AS identity,
    countIf(d.gone = toDateTime64(0, 6, 'UTC') AND (toInt64(d.expires) = 0 OR d.expires > fromUnixTimestamp64Micro({now:Int64}, 'UTC'))) AS live,
    toUnixTimestamp64Micro(max(if(d.gone = toDateTime64(0, 6, 'UTC'), toDateTime64(d.expires, 6, 'UTC'), d.gone)))     AS ended,
    toUnixTimestamp64Micro(min(if(toInt64(d.created) = 0, d.first_declared, least(toDateTime64(d.created, 6, 'UTC'), d.first_declared)))) AS declared
FROM (SELECT identity, gone, expires, created, first_declared FROM inventory FINAL WHERE {identity:String} = '' OR identity = {identity:String}) AS d
GROUP BY identity
