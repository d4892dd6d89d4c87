-- identities = []string{"spiffe://shop.example/ns/shop/sa/checkout", "spiffe://shop.example/ns/shop/sa/billing"}
-- pairs = 0x0
-- What is declared of all identities, or of some, those that are gone too. Labels and annotations that nobody looks at are left out: they are most of
-- what there is to read.
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
    d.privilege_reasons                     AS privilege_reasons,
    d.tokens                                AS tokens,
    d.business_function                     AS business_function,
    toInt64(d.created)              AS created,
    toInt64(d.expires)              AS expires,
    if({pairs:UInt8} = 1, d.labels, mapFilter((k, v) -> startsWith(k, 'ambit.dev/'), d.labels))           AS labels,
    if({pairs:UInt8} = 1, d.annotations, mapFilter((k, v) -> startsWith(k, 'ambit.dev/'), d.annotations)) AS annotations,
    toUnixTimestamp64Micro(d.first_declared) AS first_declared,
    toUnixTimestamp64Micro(d.last_declared)  AS last_declared,
    toUnixTimestamp64Micro(d.gone)           AS gone
FROM inventory AS d FINAL
WHERE empty({identities:Array(String)}) OR d.identity IN {identities:Array(String)}
ORDER BY identity, source, source_name
