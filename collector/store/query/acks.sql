-- What each node did about decisions: the state that it came to last, when it came to the first ones, and counts over all starts of its agent.
SELECT
    b.decision                               AS decision,
    b.node                                   AS node,
    argMax(b.state, (b.told, b.place))       AS state,
    argMax(b.boot, (b.told, b.place))        AS boot,
    argMax(b.why, (b.told, b.place))         AS why,
    argMax(b.serial, (b.told, b.place))      AS serial,
    argMax(b.at, (b.told, b.place))          AS at,
    minIf(b.received, b.received > toDateTime64(0, 6, 'UTC'))         AS received,
    minIf(b.in_force, b.in_force > toDateTime64(0, 6, 'UTC'))         AS in_force,
    max(b.told)                              AS told,
    sum(b.denied)                            AS denied,
    sum(b.would_deny)                        AS would_deny,
    minIf(b.first_denied, b.first_denied > toDateTime64(0, 6, 'UTC')) AS first_denied,
    max(b.last_denied)                       AS last_denied,
    max(b.last_allowed)                      AS last_allowed,
    sum(b.cut)                               AS cut,
    argMax(b.entries, (b.told, b.place))     AS entries
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
        WHERE a.decision IN {decisions:Array(String)} AND a.node > {after:String}
        GROUP BY a.decision, a.node, a.boot, a.state
    ) AS s
    GROUP BY s.decision, s.node, s.boot
) AS b
GROUP BY b.decision, b.node
ORDER BY decision, node
LIMIT {limit:UInt32}
