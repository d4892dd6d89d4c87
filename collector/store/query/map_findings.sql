-- Open findings of some identities, by what they are about.
SELECT
    o.identity                                                                             AS identity,
    o.resource                                                                             AS resource,
    count()                                                                                AS count,
    toString(max((indexOf(['info', 'low', 'medium', 'high', 'critical'], o.severity), o.severity)).2) AS severity
FROM
(
    SELECT f.identity AS identity, f.resource AS resource, toString(f.severity) AS severity, if(s.status != '', toString(s.status), toString(f.status)) AS status
    FROM (SELECT id, identity, resource, severity, status FROM findings FINAL WHERE identity IN {identities:Array(String)}) AS f
    LEFT JOIN (SELECT id, status FROM finding_status FINAL) AS s ON s.id = f.id
) AS o
WHERE o.status NOT IN ('suppressed', 'resolved')
GROUP BY identity, resource
ORDER BY identity, resource
