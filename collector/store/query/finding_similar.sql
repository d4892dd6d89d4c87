-- Findings like one: of its rule and identity, or about its resource, those first that are both, then the latest.
SELECT
    f.id                                                        AS id,
    toString(f.rule)                                            AS rule,
    f.title                                                     AS title,
    toString(f.severity)                                        AS severity,
    if(s.status != '', toString(s.status), toString(f.status))  AS status,
    toString(s.verdict)                                         AS verdict,
    f.identity                                                  AS identity,
    f.resource                                                  AS resource,
    f.last_time                                                 AS last_time,
    f.count                                                     AS count,
    f.identity = {identity:String}                              AS same_identity,
    f.rule = {rule:String}                                      AS same_rule,
    {resource:String} != '' AND f.resource = {resource:String}  AS same_resource
FROM (SELECT id, rule, title, severity, resource, last_time, count, status, identity FROM findings FINAL) AS f
LEFT JOIN (SELECT id, status, verdict FROM finding_status FINAL) AS s ON s.id = f.id
WHERE f.id != {id:String}
  AND (f.identity = {identity:String} AND f.rule = {rule:String} OR {resource:String} != '' AND f.resource = {resource:String})
ORDER BY same_identity + same_rule + same_resource DESC, last_time DESC, id
LIMIT {limit:UInt32}
