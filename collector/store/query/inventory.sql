-- A page of declarations, with when their sources last told them.
SELECT
    i.identity          AS identity,
    i.source            AS source,
    i.source_name       AS source_name,
    i.kind              AS kind,
    i.namespace         AS namespace,
    i.name              AS name,
    i.owner             AS owner,
    i.purpose           AS purpose,
    i.environment       AS environment,
    i.domain            AS domain,
    i.privilege         AS privilege,
    i.privilege_reasons AS privilege_reasons,
    i.tokens            AS tokens,
    i.business_function AS business_function,
    i.created           AS created,
    i.expires           AS expires,
    i.labels            AS labels,
    i.annotations       AS annotations,
    i.first_declared    AS first_declared,
    if(i.gone = toDateTime64(0, 6, 'UTC'), greatest(i.last_declared, s.last_complete), i.last_declared) AS last_declared,
    i.gone              AS gone,
    i.version           AS version
FROM
(
    SELECT *
    FROM inventory FINAL
    WHERE identity >= {from:String}
      AND ({until:String} = '' OR identity <= {until:String})
      AND ({q:String} = '' OR positionCaseInsensitiveUTF8(identity, {q:String}) > 0)
      AND ({source:String} = '' OR source = {source:String})
      AND ({name:String} = '' OR source_name = {name:String})
      AND (identity, toString(source), toString(source_name)) > ({after_identity:String}, {after_source:String}, {after_name:String})
) AS i
LEFT JOIN (SELECT * FROM inventory_sources FINAL) AS s ON s.source = i.source AND s.name = i.source_name
WHERE {gone:UInt8} = 1 OR i.gone = toDateTime64(0, 6, 'UTC')
ORDER BY identity, source, source_name
LIMIT {limit:UInt32}
