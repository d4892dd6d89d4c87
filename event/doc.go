// Package event is Ambit's vocabulary: the nouns that the agent, the collector, the detector and the command line share, and the
// form in which they travel.
//
// An [Identity] acts, as a URI that is always valid. A [Workload] is the running thing on a node behind it, and [Evidence] says why we
// believe so. What it reaches is a [Resource], by the best stable name. An [Observation] is what one workload did toward one peer, or
// received from it, in one interval; observations travel in a [Batch], and a [Heartbeat] says that a node was watched and what was lost
// there. A [Finding] is something that a human should see. A [Decision] denies an identity a [Target], and an [Ack] says what a node did about it.
//
// The package holds values and their codecs and nothing else: no I/O, no clock, nothing of ours imported.
package event
