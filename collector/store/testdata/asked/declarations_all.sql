-- identities = []string{}
-- pairs = 0x1
-- What is declared of all identities, or of some, those that are gone too. Labels and annotations that nobody looks at are left out: they are most of
-- what there is to read. Lists come as texts with their lengths before them: reading an array or a map costs as much as ten columns.
SELECT
    d.identity                              AS identity,
    toString(d.source)                      AS source,
    toString(d.source_name)                 AS source_name,
    toString(d.kind)                        AS kind,
    toString(d.namespace)                   AS namespace,
    d.name                                  AS name,
    d.owner                                 AS owner,
    d.purpose                               AS purpose,
    toString(d.environment)                 AS environment,
    toString(d.domain)                      AS domain,
    toString(d.privilege)                   AS privilege,
    arrayStringConcat(arrayMap(x -> concat(toString(length(x)), ':', x), d.privilege_reasons)) AS privilege_reasons,
    arrayStringConcat(arrayMap(x -> concat(toString(length(x)), ':', x), d.tokens))            AS tokens,
    d.business_function                     AS business_function,
    toInt64(d.created)              AS created,
    toInt64(d.expires)              AS expires,
    arrayStringConcat(arrayMap((k, v) -> if({pairs:UInt8} = 1 OR startsWith(k, 'ambit.dev/'), concat(toString(length(k)), ':', k, toString(length(v)), ':', v), ''),
        mapKeys(d.labels), mapValues(d.labels)))           AS labels,
    arrayStringConcat(arrayMap((k, v) -> if({pairs:UInt8} = 1 OR startsWith(k, 'ambit.dev/'), concat(toString(length(k)), ':', k, toString(length(v)), ':', v), ''),
        mapKeys(d.annotations), mapValues(d.annotations))) AS annotations,
    toUnixTimestamp64Micro(d.first_declared) AS first_declared,
    toUnixTimestamp64Micro(d.last_declared)  AS last_declared,
    toUnixTimestamp64Micro(d.gone)           AS gone
FROM inventory AS d FINAL
WHERE empty({identities:Array(String)}) OR d.identity IN {identities:Array(String)}
ORDER BY identity, source, source_name
