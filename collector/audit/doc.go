// Package audit keeps who did what: an append-only log whose records are chained by their hashes, one chain for all collectors. Its head is the last
// message of a JetStream stream; the database has a copy of all records, which [Verify] proves to be whole and unchanged.
package audit
