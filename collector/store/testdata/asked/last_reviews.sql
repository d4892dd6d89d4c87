-- The latest review of each identity, and how many there are.
SELECT
    v.identity                                  AS identity,
    toUnixTimestamp64Micro(max(v.time))         AS last_time,
    argMax(v.actor, v.time)                     AS actor,
    toString(argMax(v.verdict, v.time))         AS verdict,
    argMax(v.note, v.time)                      AS note,
    uniqExact((v.time, v.actor))                AS count
FROM reviews AS v
GROUP BY identity
