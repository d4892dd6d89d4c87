-- How a page of one identity's reach was protected.
SELECT
    toString(t.direction)               AS direction,
    t.resource                          AS resource,
    toString(t.version)                 AS version,
    toString(t.provenance)              AS provenance,
    t.verified                          AS verified,
    t.mutual                            AS mutual,
    sum(t.connections)                  AS connections,
    max(t.last_time)                    AS last_time,
    arraySort(groupUniqArrayArray(8)(t.snis))  AS snis,
    arraySort(groupUniqArrayArray(8)(t.alpns)) AS alpns
FROM reach_tls AS t
WHERE t.identity = {identity:String}
  AND (t.direction, t.resource) >= ({from_direction:String}, {from_resource:String})
  AND (t.direction, t.resource) <= ({until_direction:String}, {until_resource:String})
GROUP BY t.direction, t.resource, t.version, t.provenance, t.verified, t.mutual
ORDER BY direction, resource, connections DESC, version DESC, provenance, verified DESC, mutual DESC
