// Package lease shares partitions between any number of collectors, through a key-value bucket of NATS JetStream.
//
// Each member keeps one key alive, its session, which the server drops when it was not renewed within the TTL. A partition's key names the
// session that works it, and is taken by compare-and-swap. It is free when it names none, or one that is gone: a session never comes back, so
// what was seen to be free stays free until somebody takes it. So a member writes one key a second, however many partitions it holds.
//
// Who should have which partition follows from the names of the live members alone, so that all of them come to the same answer: see share.
//
// A lease is for liveness. Clocks may run at different rates, a machine may sleep: a member can believe in a lease that another has got
// meanwhile. What must never be done twice needs a guard of its own, such as the compare-and-swap of the insert journal.
package lease
