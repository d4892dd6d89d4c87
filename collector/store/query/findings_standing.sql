-- How many findings there are of each severity and status, by the latest decision about them.
SELECT
    toString(f.severity)                                       AS severity,
    if(s.status != '', toString(s.status), toString(f.status)) AS status,
    count()                                                    AS findings
FROM (SELECT id, severity, status FROM findings FINAL) AS f
LEFT JOIN (SELECT id, status FROM finding_status FINAL) AS s ON s.id = f.id
GROUP BY severity, status
ORDER BY severity, status
