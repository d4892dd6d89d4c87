-- The sources of the inventory.
SELECT
    s.source        AS source,
    s.name          AS name,
    s.last_time     AS last_time,
    s.last_complete AS last_complete,
    s.entries       AS entries,
    s.refused       AS refused,
    s.version       AS version
FROM inventory_sources AS s FINAL
ORDER BY source, name
