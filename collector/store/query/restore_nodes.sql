-- When each node was watched, for the detector.
SELECT toString(c.node) AS node, c.boot AS boot, min(c.from_time) AS from_time, max(c.until_time) AS until_time
FROM coverage_daily AS c
GROUP BY c.node, c.boot
ORDER BY node, from_time, boot
SETTINGS optimize_aggregation_in_order = 1
