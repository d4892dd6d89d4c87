-- Losses whose gaps nobody told, by the hour: each count that a start of an agent came to since a time, with the first hour of it. The counts of the
-- day before tell what was lost already. A start that tells a cause's gaps is believed to tell all of them. Causes to leave out end with - where they
-- are the beginnings of names. A cause may name a partition, as cause#partition. Only the days on which a count grew are read hour by hour.
WITH
    toStartOfHour(fromUnixTimestamp64Micro({since:Int64}, 'UTC')) - INTERVAL 1 DAY AS first_hour,
    grown AS
    (
        SELECT d.node AS node, d.boot AS boot, min(d.day) AS day
        FROM coverage_daily AS d
        ARRAY JOIN mapKeys(d.lost) AS cause, mapValues(d.lost) AS n
        WHERE d.day >= toDate(first_hour, 'UTC') AND n > 0
          AND NOT arrayExists(x -> x = splitByChar('#', cause)[1] OR (endsWith(x, '-') AND startsWith(cause, x)), {without:Array(String)})
        GROUP BY node, boot, cause, n
    )
SELECT
    toString(l.node) AS node,
    l.boot           AS boot,
    l.cause          AS cause,
    l.lost           AS lost,
    min(l.hour)      AS hour
FROM
(
    SELECT c.node AS node, c.boot AS boot, cause, c.hour AS hour, max(n) AS lost
    FROM coverage AS c
    ARRAY JOIN mapKeys(c.lost) AS cause, mapValues(c.lost) AS n
    WHERE c.hour >= first_hour
      AND (c.node, c.boot) GLOBAL IN (SELECT node, boot FROM grown)
      AND (c.node, c.boot, toDate(c.hour, 'UTC')) GLOBAL IN (SELECT node, boot, day FROM grown)
      AND NOT arrayExists(x -> x = splitByChar('#', cause)[1] OR (endsWith(x, '-') AND startsWith(cause, x)), {without:Array(String)})
    GROUP BY node, boot, cause, hour
) AS l
WHERE (toString(l.node), l.boot, l.cause) GLOBAL NOT IN (SELECT toString(g.node), g.boot, toString(g.cause) FROM coverage_gaps AS g)
GROUP BY node, boot, cause, lost
ORDER BY node, boot, cause, lost
