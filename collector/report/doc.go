// Package report answers the questions that people ask: who is there, what do they reach, who is not used any more. Its types are what the API
// serves and the command line prints.
//
// # Coverage
//
// A moment of a node is watched when an agent was running there and no gap of that moment concerns connections. Gaps are of two kinds: times
// in which no agent ran (before, agent-down, silent), which follow from when starts of agents were heard of; and times in which something was lost
// (spool, kernel, clock, stream, refused, …), which agents and the collector tell, or, where nobody tells them, the hour in which a counter grew. A
// cause that is not known is taken for the worst. Then
//
//	watched    = time of the window that was watched / window             of a node
//	watched    = sum of these times / (nodes * window)                    of all nodes that were heard of in the window
//	identified = likewise, without the gaps that concern identities (the Kubernetes API was away, …)
//
// rounded down to two digits: 100 means that nothing is missing. Gaps that concern details (names of peers, TLS, bytes) take nothing from either, and
// are listed. A node that came within the window was not watched before; one that was not heard of in the window at all is only counted.
//
// An identity that was not seen to be used is unused only if those who would have seen it did look; see [Unused.Verdict]. The rest cannot be told.
//
// Every report says what it rests on: how much of the window was watched, where the gaps are, what was lost, and what could not be seen. An
// identity that looks unused because nobody looked is worse than no report.
package report
