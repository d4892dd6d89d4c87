// Package collector takes what agents publish, has the detector learn from it, and puts it into the store, each observation exactly once.
//
// A [Bus] is the NATS JetStream between agents and collector, embedded or outside. A [Collector] works the stream on it: decode, detect,
// tell findings, insert, acknowledge.
package collector
