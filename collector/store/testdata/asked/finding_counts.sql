-- status = ""
-- severity = ""
-- rule = "'; DROP TABLE reach; --"
-- namespace = "\\'"
-- identity = ""
-- text = "{identity:String}"
-- since = 1787400000000000
-- until = 0
-- How many findings there are by status, severity, rule and namespace. Each count is of the findings that all filters but its own choose.
SELECT
    countIf(w.of_status AND w.of_severity AND w.of_rule AND w.of_namespace)                      AS total,
    sumMapIf(map(w.status, 1), w.of_severity AND w.of_rule AND w.of_namespace)                   AS statuses,
    sumMapIf(map(w.severity, 1), w.of_status AND w.of_rule AND w.of_namespace)                   AS severities,
    sumMapIf(map(w.rule, 1), w.of_status AND w.of_severity AND w.of_namespace)                   AS rules,
    sumMapIf(map(w.namespace, 1), w.of_status AND w.of_severity AND w.of_rule)                   AS namespaces
FROM
(
    SELECT
        if(s.status != '', toString(s.status), toString(f.status))                                AS status,
        toString(f.severity)                                                                      AS severity,
        toString(f.rule)                                                                          AS rule,
        toString(f.namespace)                                                                     AS namespace,
        {status:String} = '' OR if(s.status != '', toString(s.status), toString(f.status)) = {status:String} AS of_status,
        {severity:String} = '' OR f.severity = {severity:String}                                  AS of_severity,
        {rule:String} = '' OR f.rule = {rule:String}                                              AS of_rule,
        {namespace:String} = '' OR f.namespace = {namespace:String}                               AS of_namespace
    FROM (SELECT id, rule, title, severity, resource, last_time, status, identity, namespace FROM findings FINAL) AS f
    LEFT JOIN (SELECT id, status FROM finding_status FINAL) AS s ON s.id = f.id
    WHERE ({identity:String} = '' OR f.identity = {identity:String})
      AND ({text:String} = '' OR positionCaseInsensitiveUTF8(f.title, {text:String}) > 0 OR positionCaseInsensitiveUTF8(f.resource, {text:String}) > 0
           OR positionCaseInsensitiveUTF8(f.identity, {text:String}) > 0 OR f.id = {text:String})
      AND f.last_time >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')
      AND ({until:Int64} = 0 OR f.last_time < fromUnixTimestamp64Micro({until:Int64}, 'UTC'))
) AS w
