package peer

import (
	"time"

	"github.com/ambit-nhi/ambit/internal/lru"
)

// How long what is missing is waited for, and how long a connection without traffic is remembered.
const (
	gapPatience = 5 * time.Second // two retransmissions at least
	flowIdle    = 2 * time.Minute
)

// pieceCost is what a piece behind a gap costs in memory besides its bytes.
const pieceCost = 64

// streams puts together the messages that come over TCP.
type streams struct {
	flows    *lru.Cache[flowKey, *flow]
	perFlow  int
	total    int
	maxFlows int
	held     int // bytes
	settled  time.Time
	gaps     uint64
	evicted  uint64
}

// flowKey has the cgroup too: old kernels number sockets per network namespace.
type flowKey struct{ cgroup, flow uint64 }

func newStreams(cfg Config) streams {
	return streams{
		flows: lru.New[flowKey, *flow](cfg.MaxFlows + 1), perFlow: cfg.MaxFlowBytes, total: max(cfg.MaxStreamBytes, cfg.MaxFlowBytes), maxFlows: cfg.MaxFlows,
	}
}

// Stream takes a segment that a cgroup received over TCP from a DNS server, and gives the number of addresses that the messages named which it
// completed. flow tells the cgroup's connections apart; sequence is the place of the segment's first byte in what the server sent, from 0, modulo 2^32.
// The segment had length bytes, of which payload has the first. Segments may come in any order, again, and overlap.
//
// What is missing is waited for a few seconds, and while there is room; then the message that it belongs to is taken as far as it came. A
// connection that is met in its middle, or whose messages can no longer be told apart, is read again from a segment on that holds whole messages. Both
// count as gaps. The error is the first of the messages' errors, as Answer gives them. The payload is not kept.
func (n *Names) Stream(cgroup, connection uint64, sequence uint32, payload []byte, length int, at time.Time) (added int, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.now = at
	n.settle(at)
	if length = max(length, len(payload)); length == 0 {
		return 0, nil
	}
	r := reader{n: n, key: flowKey{cgroup, connection}, at: at}
	r.flow = n.flow(r.key, sequence, at)
	before := r.held()
	p := piece{at: r.next + int64(int32(sequence-uint32(r.next))), data: payload, lost: length - len(payload)}
	if !r.inStep {
		p.at = int64(sequence)
	}
	r.segment(p)
	for len(r.ahead) > 0 && (at.Sub(r.since) > gapPatience || r.held() > n.streams.perFlow) {
		r.giveUpGap()
	}
	n.streams.held += r.held() - before
	for n.streams.held > n.streams.total {
		n.giveUpOldest(at)
	}
	return r.added, r.err
}

// flow gives a connection as the newest. One whose first segment is told from far within it was met in its middle.
func (n *Names) flow(key flowKey, sequence uint32, at time.Time) *flow {
	if known := n.streams.flows.Get(key); known != nil {
		f := *known
		if at.After(f.last) {
			f.last = at
		}
		return f
	}
	f := &flow{inStep: sequence <= uint32(n.streams.perFlow), last: at}
	n.streams.flows.Put(key, f)
	for n.streams.flows.Len() > n.streams.maxFlows {
		n.giveUpOldest(at)
	}
	return f
}

// giveUpOldest takes what came of the connection that was quiet for longest, and forgets it.
func (n *Names) giveUpOldest(at time.Time) {
	key, oldest := n.streams.flows.Oldest()
	f := *oldest
	n.streams.held -= f.held()
	n.streams.flows.RemoveOldest()
	if f.unfinished() {
		n.streams.evicted++
		r := reader{n: n, key: key, at: at, flow: f}
		r.finish()
	}
}

// settle forgets connections that are idle, and takes what came of those where nothing that is missing came for a while.
func (n *Names) settle(at time.Time) {
	for {
		_, oldest := n.streams.flows.Oldest()
		if oldest == nil || at.Sub((*oldest).last) <= flowIdle {
			break
		}
		n.giveUpOldest(at)
	}
	if since := at.Sub(n.streams.settled); 0 <= since && since < time.Second {
		return
	}
	n.streams.settled = at
	for key, f := range n.streams.flows.All() {
		if (*f).unfinished() && at.Sub((*f).last) > gapPatience {
			before := (*f).held()
			r := reader{n: n, key: key, at: at, flow: *f}
			r.finish()
			n.streams.held += r.held() - before
		}
	}
}
