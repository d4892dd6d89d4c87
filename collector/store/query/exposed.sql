-- Identities that reached an address or a name of the internet since a time, or were reached from one, with one of them as an example. Names are taken for
-- the internet's unless their end says otherwise.
SELECT
    e.identity                          AS identity,
    toString(e.direction)               AS direction,
    argMax(e.resource, e.last_time)     AS example
FROM reach AS e
WHERE e.last_time >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')
  AND (startsWith(e.resource, 'net:') AND NOT arrayExists(p -> startsWith(e.resource, p), ['net:10.', 'net:192.168.', 'net:127.', 'net:169.254.', 'net:0.', 'net:f', 'net:::'])
           AND NOT match(e.resource, '^net:(172\\.(1[6-9]|2[0-9]|3[01])|100\\.(6[4-9]|[7-9][0-9]|1[01][0-9]|12[0-7])|198\\.1[89])\\.|^net:(22[4-9]|23[0-9]|24[0-9]|25[0-5])\\.')
       OR startsWith(e.resource, 'dns:') AND NOT match(e.resource, '(\\.(svc|local|internal|localhost|home\\.arpa|lan|intranet|corp|test|invalid)|^dns:[^.]+)\\.?:[0-9]+/'))
GROUP BY identity, direction
