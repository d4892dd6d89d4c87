-- What all nodes did about decisions together.
SELECT
    t.decision           AS decision,
    groupArray(t.state)  AS states,
    groupArray(t.nodes)  AS nodes,
    max(t.in_force)      AS in_force,
    sum(t.denied)        AS denied,
    sum(t.would_deny)    AS would_deny,
    minIf(t.first_denied, t.first_denied > toDateTime64(0, 6, 'UTC')) AS first_denied,
    max(t.last_denied)   AS last_denied,
    max(t.last_allowed)  AS last_allowed,
    sum(t.cut)           AS cut
FROM
(
    SELECT
        n.decision AS decision, n.state AS state, count() AS nodes, max(n.in_force) AS in_force, sum(n.denied) AS denied, sum(n.would_deny) AS would_deny,
        minIf(n.first_denied, n.first_denied > toDateTime64(0, 6, 'UTC')) AS first_denied, max(n.last_denied) AS last_denied, max(n.last_allowed) AS last_allowed, sum(n.cut) AS cut
    FROM
    (
        SELECT
            b.decision AS decision, b.node AS node, toString(argMax(b.state, (b.told, b.place))) AS state, minIf(b.in_force, b.in_force > toDateTime64(0, 6, 'UTC')) AS in_force,
            sum(b.denied) AS denied, sum(b.would_deny) AS would_deny, minIf(b.first_denied, b.first_denied > toDateTime64(0, 6, 'UTC')) AS first_denied,
            max(b.last_denied) AS last_denied, max(b.last_allowed) AS last_allowed, sum(b.cut) AS cut
        FROM
        (
            -- One start of an agent tells the same counts with each of its states.
            SELECT
                s.decision AS decision, s.node AS node, s.boot AS boot,
                argMax(s.state, (s.told, s.place))   AS state,
                argMax(s.why, (s.told, s.place))     AS why,
                argMax(s.serial, (s.told, s.place))  AS serial,
                argMax(s.at, (s.told, s.place))      AS at,
                argMax(s.entries, (s.told, s.place)) AS entries,
                argMax(s.place, (s.told, s.place))   AS place,
                max(s.told)                          AS told,
                minIf(s.at, s.state = 'received')    AS received,
                minIf(s.at, s.state = 'in-force')    AS in_force,
                max(s.denied)                        AS denied,
                max(s.would_deny)                    AS would_deny,
                max(s.first_denied)                  AS first_denied,
                max(s.last_denied)                   AS last_denied,
                max(s.last_allowed)                  AS last_allowed,
                max(s.cut)                           AS cut
            FROM
            (
                SELECT
                    a.decision AS decision, a.node AS node, a.boot AS boot, a.state AS state, max(a.serial) AS serial, anyLast(a.why) AS why, min(a.at) AS at, max(a.told) AS told,
                    max(a.denied) AS denied, max(a.would_deny) AS would_deny, max(a.first_denied) AS first_denied, max(a.last_denied) AS last_denied,
                    max(a.last_allowed) AS last_allowed, max(a.cut) AS cut, max(a.entries) AS entries,
                    indexOf(['received', 'failed', 'refused', 'not-covered', 'in-force', 'ended'], toString(a.state)) AS place
                FROM decision_acks AS a
                WHERE a.decision IN {decisions:Array(String)}
                GROUP BY a.decision, a.node, a.boot, a.state
            ) AS s
            GROUP BY s.decision, s.node, s.boot
        ) AS b
        GROUP BY b.decision, b.node
    ) AS n
    GROUP BY n.decision, n.state
) AS t
GROUP BY t.decision
