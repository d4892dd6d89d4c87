-- rules = []string{"'; DROP TABLE reach; --", "\\'", "{identity:String}", "x\x00y", "`", "$$"}
-- since = 1787400000000000
-- Findings of some rules that are open, the latest of each identity and rule, with how many there are.
SELECT
    o.identity                              AS identity,
    o.rule                                  AS rule,
    count()                                 AS count,
    argMax(o.title, o.last_time)            AS title,
    argMax(o.resource, o.last_time)         AS resource
FROM
(
    SELECT f.identity AS identity, toString(f.rule) AS rule, f.title AS title, f.resource AS resource, f.last_time AS last_time,
           if(s.status != '', toString(s.status), toString(f.status)) AS status
    FROM (SELECT id, identity, rule, title, resource, last_time, status FROM findings FINAL WHERE rule IN {rules:Array(String)}) AS f
    LEFT JOIN (SELECT id, status FROM finding_status FINAL) AS s ON s.id = f.id
    WHERE f.last_time >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')
) AS o
WHERE o.status NOT IN ('suppressed', 'resolved')
GROUP BY identity, rule
ORDER BY identity, rule
