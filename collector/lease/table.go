package lease

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Keys of the bucket.
const (
	sessionPrefix   = "session."   // session.<member>.<number>: the TTL is its life
	partitionPrefix = "partition." // partition.<number>: the session that works it, empty when none does
	partitionsKey   = "partitions" // how many there are, see Agree
)

// owner is what a partition's key says.
type owner struct {
	session  string
	revision uint64
}

// table is what a member has seen of the bucket, and what follows from it. It has no clock and no connection of its own.
type table struct {
	member   string
	session  string               // of this member
	begun    time.Time            // when that was made
	settle   time.Duration        // see takes
	complete bool                 // all that was there at first has been seen
	heard    map[string]time.Time // live sessions, and when they were last heard of
	owners   []owner
	held     map[int]bool // partitions that this session has, until they are given back
}

func newTable(member, session string, partitions int, begun time.Time, settle time.Duration) *table {
	return &table{
		member: member, session: session, begun: begun, settle: settle,
		heard: map[string]time.Time{}, owners: make([]owner, partitions), held: map[int]bool{},
	}
}

// see takes in a change of the bucket. Changes come in their order, but an answer to a write of its own may overtake them.
func (t *table) see(key, value string, gone bool, revision uint64, now time.Time) {
	if session, ok := strings.CutPrefix(key, sessionPrefix); ok {
		if gone {
			delete(t.heard, session)
		} else {
			t.heard[session] = now
		}
		return
	}
	text, ok := strings.CutPrefix(key, partitionPrefix)
	if !ok {
		return
	}
	p, err := strconv.Atoi(text)
	if err != nil || p < 0 || p >= len(t.owners) || revision < t.owners[p].revision {
		return
	}
	if gone {
		value = ""
	}
	t.owners[p] = owner{value, revision}
}

// members are the names of those who live, this one among them.
func (t *table) members() []string {
	names := map[string]bool{t.member: true}
	for session := range t.heard {
		names[memberOf(session)] = true
	}
	return slices.Sorted(maps.Keys(names))
}

func memberOf(session string) string {
	name, _, _ := strings.Cut(session, ".")
	return name
}

// silent are the sessions that were not heard of since a time: they are gone, or the news of them does not come.
func (t *table) silent(since time.Time) (sessions []string) {
	for session, at := range t.heard {
		if at.Before(since) {
			sessions = append(sessions, session)
		}
	}
	return sessions
}

// due says which partitions this member should take now, and which of its own it should give back, among them those that it has claimed without
// getting an answer. Who has just come back keeps what it has for a while: the shares of those who are back already are not those of all who will be.
func (t *table) due(now time.Time) (take, back []int) {
	if !t.complete {
		return nil, nil
	}
	for p, name := range share(t.members(), len(t.owners)) {
		switch {
		case name != t.member && t.held[p]:
			if now.Sub(t.begun) >= t.settle {
				back = append(back, p)
			}
		case name != t.member && t.owners[p].session == t.session:
			back = append(back, p)
		case !t.held[p] && name == t.member && t.takes(p, now):
			take = append(take, p)
		}
	}
	return take, back
}

// takes says whether a partition is to be had. When NATS was away, all sessions have ended at once: who is back first leaves the others'
// partitions alone for a while, since they will be back too and need less time to go on than anybody else to begin.
func (t *table) takes(p int, now time.Time) bool {
	o := t.owners[p]
	if _, lives := t.heard[o.session]; lives && o.session != t.session {
		return false
	}
	return o.session == "" || memberOf(o.session) == t.member || now.Sub(t.begun) >= t.settle
}

// taken notes that this session has a partition since a revision.
func (t *table) taken(p int, revision uint64) {
	t.owners[p] = owner{t.session, revision}
	t.held[p] = true
}

// given notes that this session has a partition no more.
func (t *table) given(p int) { delete(t.held, p) }

// life is how long a member may believe in its session.
type life struct {
	ttl      time.Duration
	revision uint64
	until    time.Time
}

// margin is left for stopping the work, and for clocks that do not run alike.
func (l *life) margin() time.Duration { return l.ttl / 10 }

// renewed notes a renewal that the server took. The server counts from when it got it, which is later than when it was sent.
func (l *life) renewed(sent time.Time, revision uint64) {
	l.revision = revision
	if until := sent.Add(l.ttl - l.margin()); until.After(l.until) {
		l.until = until
	}
}

// over says whether the session must be taken as gone.
func (l *life) over(now time.Time) bool { return !now.Before(l.until) }
