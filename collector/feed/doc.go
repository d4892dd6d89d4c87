// Package feed brings findings to where a SOC already looks: each output of the configuration is a feed, which has a format, a transport and
// filters of its own.
//
// A feed reads the stream of findings with a durable JetStream consumer of its own, and delivers in the order of the stream, one batch after
// the other. So a receiver that is away, slow or refusing delays its own feed only, and holds no more in memory than a queue of bounded
// length: the rest waits in the stream. How far a feed is, stands in the bucket ambit_feeds, and is written after the receiver has taken what
// is before it. After a crash some may be sent twice, with the same uid; none is left out. Of several collectors one works a feed at a time,
// who has its lock.
//
// What a receiver refuses for good, while it takes others, is set aside in the stream AMBIT_FEEDS with the reason. What the stream of findings
// dropped before it was read, is counted as lost.
//
// Formats are pure: a [Record] in, bytes out. MAPPING.md has the tables by which severities, states and rules are told.
package feed
