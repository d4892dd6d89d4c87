package report

import (
	"slices"
	"strings"
)

// Concern is what a gap leaves unknown.
type Concern string

// Concerns, the worst first.
const (
	ConcernConnections Concern = "connections" // connections themselves are missing
	ConcernIdentities  Concern = "identities"  // connections were counted, but it may not be known whose they are
	ConcernDetails     Concern = "details"     // names of peers, TLS, bytes
)

// Whys of gaps.
const (
	WhyBefore    = "before"     // the node was not watched yet
	WhyAgentDown = "agent-down" // between two starts of its agent
	WhySilent    = "silent"     // not heard of since: its agent is down, or cannot send
	WhySpool     = "spool"
	WhyKernel    = "kernel"
	WhyAPIAway   = "api-away"
	WhyClock     = "clock"
	WhyStream    = "stream"
	WhyRefused   = "refused"
	WhyIdentity  = "identity"
	WhyNames     = "names"
	WhyTLS       = "tls"
	WhyOther     = "other"
)

var whys = map[string]string{
	WhyBefore:    "it was not watched yet",
	WhyAgentDown: "its agent was not running",
	WhySilent:    "it was not heard of since",
	WhySpool:     "its agent could neither send nor keep what it saw",
	WhyKernel:    "a table or ring of the kernel side was full",
	WhyAPIAway:   "the Kubernetes API was away",
	WhyClock:     "its clock was wrong",
	WhyStream:    "messages did not arrive",
	WhyRefused:   "what it sent was refused",
	WhyIdentity:  "it was not clear who connected",
	WhyNames:     "names were not known",
	WhyTLS:       "TLS was not seen",
	WhyOther:     "something was lost",
}

type meaning struct {
	why      string
	concerns Concern
}

// meanings of causes of losses, by name. What is not here is looked for by its first word, and, unknown, taken for the worst.
var meanings = map[string]meaning{
	"edge-ring-full":       {WhyKernel, ConcernDetails}, // the next scan finds the edge
	"edge-quota":           {WhyKernel, ConcernDetails}, // counted for their identity, without their peers
	"edges-full":           {WhyKernel, ConcernConnections},
	"udp-flow-full":        {WhyKernel, ConcernConnections},
	"recursion":            {WhyKernel, ConcernConnections},
	"cgroup-unknown":       {WhyKernel, ConcernIdentities},
	"tag-overflow":         {WhyKernel, ConcernDetails}, // how connections ended
	"tag-lost":             {WhyKernel, ConcernDetails},
	"tag-stale":            {WhyKernel, ConcernDetails},
	"end-missed":           {WhyKernel, ConcernDetails},
	"api-away":             {WhyAPIAway, ConcernIdentities},
	"clock":                {WhyClock, ConcernConnections},
	"stream":               {WhyStream, ConcernConnections},
	"identity-quota":       {WhyRefused, ConcernDetails}, // stored, but not given to the detector
	"refused-by-store":     {WhyRefused, ConcernConnections},
	"foreign-node":         {WhyRefused, ConcernConnections},
	"publish-refused":      {WhyRefused, ConcernConnections},
	"cgroup-name-unknown":  {WhyIdentity, ConcernIdentities},
	"static-pod-ambiguous": {WhyIdentity, ConcernIdentities},
	"sighting-overflow":    {WhyIdentity, ConcernIdentities},
	"translation-failed":   {WhyNames, ConcernDetails},
}

var meaningsByWord = map[string]meaning{
	"spool":      {WhySpool, ConcernConnections},
	"publish":    {WhySpool, ConcernConnections},
	"kubernetes": {WhyAPIAway, ConcernIdentities},
	"pod":        {WhyIdentity, ConcernIdentities},
	"pods":       {WhyIdentity, ConcernIdentities},
	"container":  {WhyIdentity, ConcernIdentities},
	"answer":     {WhyNames, ConcernDetails},
	"dns":        {WhyNames, ConcernDetails},
	"net":        {WhyNames, ConcernDetails},
	"cluster":    {WhyNames, ConcernDetails},
	"hello":      {WhyTLS, ConcernDetails},
	"tls":        {WhyTLS, ConcernDetails},
}

// meaningOf says what a cause of losses means.
func meaningOf(cause string) meaning {
	if m, ok := meanings[cause]; ok {
		return m
	}
	word, _, _ := strings.Cut(cause, "-")
	if m, ok := meaningsByWord[word]; ok {
		return m
	}
	return meaning{WhyOther, ConcernConnections}
}

// detailCauses are those whose losses take nothing from what was watched. Some of them grow all the time: they are told as gaps only by agents that
// know when.
var detailCauses = func() (causes []string) {
	for cause, m := range meanings {
		if m.concerns == ConcernDetails {
			causes = append(causes, cause)
		}
	}
	for word, m := range meaningsByWord {
		if m.concerns == ConcernDetails {
			causes = append(causes, word+"-")
		}
	}
	slices.Sort(causes)
	return causes
}()
