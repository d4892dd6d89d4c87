// Package journal remembers in a key-value bucket of NATS JetStream which messages of a stream are in the store, so that an insert that was cut
// off is repeated with the same rows and the same token, by whoever works its messages then.
//
// Each collector keeps a ledger: up to where the partitions that it works are settled, and the plan of the insert that is under way. So an
// insert costs two writes, however many partitions its rows are of. Each partition has an entry that names the ledger it stands in.
//
// Every write replaces what its writer knows, and fails otherwise. Who takes a partition over first crosses it out in the ledger of the one who
// had it: from then on no write of that one succeeds before it has seen what it lost, so it cannot begin an insert of the partition any more.
// An insert that it began before stands in the same ledger. The new owner settles that as a whole, whosesoever the other partitions are: under
// the same token it counts once, however many do so.
package journal
