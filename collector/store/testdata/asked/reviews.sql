-- identity = "spiffe://shop.example/ns/shop/sa/checkout"
-- limit = 0xa
-- Reviews of one identity, the latest first.
SELECT
    v.identity                      AS identity,
    toUnixTimestamp64Micro(v.time)  AS time,
    v.actor                         AS actor,
    toString(v.verdict)             AS verdict,
    v.note                          AS note
FROM reviews AS v FINAL
WHERE v.identity = {identity:String}
ORDER BY time DESC, actor
LIMIT {limit:UInt32}
