// Package sim makes up what the agents of a cluster tell: a seeded simulation of identities, their services, and attacks on them, to measure a detector with.
//
// Everything follows from [Params]: the same parameters give the same records, byte for byte. What is normal does not depend on the attacks: with
// Params.Calm the same records come out, but those of the attacks. (Kinds of processors round some sums in other ways: between them, counts may differ.)
//
// The raw stream of 1,000 identities in 60 days would be billions of observations of 10 s each. What is normal is told by the hour instead: an edge that is in use has
// one observation an hour, of one of its replicas in turn, with the counts of all of them. What matters to a detector is exact: the first use of an edge by a pod is told at
// once, at its very time, as the agent does. Attacks, debugging people and runs of jobs are told as the agent tells them: the first use at once, the rest at the end of its
// interval of 10 s. No observation crosses a full hour, so volumes may be summed by the hour, whatever the length of intervals.
package sim
