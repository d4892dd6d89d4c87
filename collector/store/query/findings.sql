-- A page of findings, newest first, with the latest decision about them.
SELECT
    f.id                                                 AS id,
    f.rule                                               AS rule,
    f.title                                              AS title,
    f.severity                                           AS severity,
    f.score                                              AS score,
    f.confidence                                         AS confidence,
    f.resource                                           AS resource,
    f.node                                               AS node,
    f.first_time                                         AS first_time,
    f.last_time                                          AS last_time,
    f.count                                              AS count,
    f.explanation                                        AS explanation,
    f.baseline                                           AS baseline,
    f.advice                                             AS advice,
    f.owasp                                              AS owasp,
    f.attack                                             AS attack,
    if(s.status != '', toString(s.status), toString(f.status)) AS status,
    s.verdict                                            AS verdict,
    s.reason                                             AS reason,
    s.decided_by                                         AS decided_by,
    s.set_time                                           AS set_time,
    s.until_time                                         AS until_time,
    f.coverage                                           AS coverage,
    f.identity                                           AS identity,
    f.evidence                                           AS evidence,
    f.namespace                                          AS namespace,
    f.pod                                                AS pod,
    f.container                                          AS container,
    f.image                                              AS image,
    f.service_account                                    AS service_account,
    f.owner                                              AS owner,
    f.unit                                               AS unit,
    f.executable                                         AS executable,
    f.interactive                                        AS interactive,
    f.cgroup                                             AS cgroup,
    f.uid                                                AS uid,
    f.unattributed                                       AS unattributed
FROM (SELECT * FROM findings FINAL WHERE {id:String} = '' OR id = {id:String}) AS f
LEFT JOIN (SELECT * FROM finding_status FINAL WHERE {id:String} = '' OR id = {id:String}) AS s ON s.id = f.id
WHERE ({status:String} = '' OR status = {status:String})
  AND ({severity:String} = '' OR f.severity = {severity:String})
  AND ({rule:String} = '' OR f.rule = {rule:String})
  AND ({identity:String} = '' OR f.identity = {identity:String})
  AND ({text:String} = '' OR positionCaseInsensitiveUTF8(f.title, {text:String}) > 0 OR positionCaseInsensitiveUTF8(f.resource, {text:String}) > 0
       OR positionCaseInsensitiveUTF8(f.identity, {text:String}) > 0 OR f.id = {text:String})
  AND ({namespace:String} = '' OR f.namespace = {namespace:String})
  AND f.last_time >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')
  AND ({until:Int64} = 0 OR f.last_time < fromUnixTimestamp64Micro({until:Int64}, 'UTC'))
  AND ({before_id:String} = '' OR f.last_time < fromUnixTimestamp64Micro({before:Int64}, 'UTC')
       OR f.last_time = fromUnixTimestamp64Micro({before:Int64}, 'UTC') AND f.id > {before_id:String})
ORDER BY last_time DESC, id
LIMIT {limit:UInt32}
