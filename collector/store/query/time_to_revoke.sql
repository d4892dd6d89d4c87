-- Seconds from a decision to its being in force on the last node, and to the last connection that still succeeded, over decisions that were issued since a time.
SELECT
    count()                                                                AS decisions,
    countIf(t.in_force_after >= 0)                                         AS in_force,
    quantileExactIf(0.5)(t.in_force_after, t.in_force_after >= 0)          AS in_force_p50,
    quantileExactIf(0.99)(t.in_force_after, t.in_force_after >= 0)         AS in_force_p99,
    quantileExactIf(0.5)(greatest(t.allowed_after, 0), t.in_force_after >= 0)  AS last_connection_p50,
    quantileExactIf(0.99)(greatest(t.allowed_after, 0), t.in_force_after >= 0) AS last_connection_p99
FROM
(
    SELECT
        d.id AS id,
        if(toUnixTimestamp64Micro(n.in_force) > 0, greatest(toUnixTimestamp64Micro(n.in_force) - toUnixTimestamp64Micro(d.issued), 0) / 1e6, -1) AS in_force_after,
        (toUnixTimestamp64Micro(n.allowed) - toUnixTimestamp64Micro(d.issued)) / 1e6 AS allowed_after
    FROM (SELECT id, issued FROM decisions FINAL WHERE mode = 'enforce' AND issued >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')) AS d
    LEFT JOIN
    (
        SELECT p.decision AS decision, max(p.in_force) AS in_force, max(p.allowed) AS allowed
        FROM
        (
            -- The first time that it was in force on a node: it stays so when the agent starts anew.
            SELECT a.decision AS decision, a.node AS node, minIf(a.at, a.state = 'in-force') AS in_force, max(a.last_allowed) AS allowed
            FROM decision_acks AS a
            GROUP BY a.decision, a.node
        ) AS p
        GROUP BY p.decision
    ) AS n ON n.decision = d.id
) AS t
