-- Identities that reached an address or a name of the internet since a time, or were reached from one. Rows that did not merge yet give one twice.
SELECT e.identity AS identity
FROM exposure AS e
WHERE e.latest.time >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')
