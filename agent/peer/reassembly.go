package peer

import (
	"encoding/binary"
	"slices"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// flow is what is known of a connection while messages are not complete. In step, next is where in the stream the next byte belongs, and where its
// message begins is known.
type flow struct {
	inStep  bool
	told    bool // counted as out of step
	next    int64
	partial []byte    // the message under way, with its length in front
	skip    int       // bytes still to come of a message of which some are lost
	ahead   []piece   // what came behind a gap, in order, without overlap
	waiting int       // bytes that ahead costs
	since   time.Time // waiting for the first byte of the gap
	last    time.Time
}

// piece is a part of the stream. After its data there may be bytes that were received but not told.
type piece struct {
	at   int64
	data []byte
	lost int
}

func (p piece) end() int64 { return p.at + int64(len(p.data)) + int64(p.lost) }

// between is the part of a piece from one place to another, which it has.
func (p piece) between(from, to int64) piece {
	end := p.at + int64(len(p.data))
	data := p.data[min(from, end)-p.at : min(to, end)-p.at]
	return piece{at: from, data: data, lost: int(to-from) - len(data)}
}

func (f *flow) held() int { return cap(f.partial) + f.waiting }

// missing is how much of the message under way is to come, as far as that is known.
func (f *flow) missing() int {
	if len(f.partial) < 2 {
		return 2 - len(f.partial)
	}
	return 2 + lengthOf(f.partial) - len(f.partial)
}

func (f *flow) unfinished() bool { return len(f.partial) > 0 || len(f.ahead) > 0 }

// reader reads on in one connection.
type reader struct {
	*flow
	n     *Names
	key   flowKey
	at    time.Time
	added int
	err   error
}

func (r *reader) segment(p piece) {
	switch {
	case !r.inStep:
		r.findStep(p)
	case p.end() <= r.next: // again
	case p.at > r.next:
		r.wait(p)
	default:
		r.consume(p.between(r.next, p.end()))
		r.goOn()
	}
}

// goOn takes what waited for what came now.
func (r *reader) goOn() {
	for len(r.ahead) > 0 && (!r.inStep || r.ahead[0].at <= r.next) {
		p := r.ahead[0]
		r.ahead = slices.Delete(r.ahead, 0, 1)
		r.waiting -= len(p.data) + pieceCost
		switch {
		case !r.inStep:
			r.findStep(p)
		case p.end() > r.next:
			r.consume(p.between(r.next, p.end()))
		}
	}
	r.since = r.at
}

// wait keeps those parts of a piece that are not there yet.
func (r *reader) wait(p piece) {
	if len(r.ahead) == 0 {
		r.since = r.at
	}
	from := p.at
	for i := 0; from < p.end(); i++ {
		to := p.end()
		if i < len(r.ahead) {
			to = min(to, r.ahead[i].at)
		}
		if from < to {
			q := p.between(from, to)
			q.data = slices.Clone(q.data)
			r.ahead = slices.Insert(r.ahead, i, q)
			r.waiting += len(q.data) + pieceCost
			i++
		}
		if i < len(r.ahead) {
			from = max(from, r.ahead[i].end())
		} else {
			from = p.end()
		}
	}
}

// consume takes a piece that begins where the stream goes on.
func (r *reader) consume(p piece) {
	r.next = p.end()
	r.read(p.data)
	if r.inStep && p.lost > 0 {
		r.pass(p.lost)
	}
}

// read splits bytes into messages, each of which has its length in front.
func (r *reader) read(data []byte) {
	for r.inStep && len(data) > 0 {
		if r.skip > 0 {
			n := min(r.skip, len(data))
			r.skip, data = r.skip-n, data[n:]
			continue
		}
		if len(r.partial) == 0 && len(data) >= 2 { // the usual case: nothing need be copied
			if end := 2 + lengthOf(data); end <= len(data) {
				r.message(data[2:end])
				data = data[end:]
				continue
			}
		}
		n := min(r.missing(), len(data))
		r.partial, data = append(r.partial, data[:n]...), data[n:]
		if r.missing() == 0 {
			message := r.partial[2:]
			r.partial = nil
			r.message(message)
		}
	}
}

// message takes a whole message. What is none shows that this is not DNS, or not where a message begins.
func (r *reader) message(m []byte) {
	if len(m) < headerBytes || m[2]&0x80 == 0 {
		r.n.counted.malformed++
		r.fail(ErrMalformed)
		r.loseStep()
		return
	}
	err := r.n.reply.read(m)
	r.n.count(err)
	r.fail(err)
	r.added += r.n.take(r.key.cgroup, r.at)
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// pass passes over bytes that are lost. Within a message, its length says where the next one begins.
func (r *reader) pass(lost int) {
	r.n.streams.gaps++
	if len(r.partial) >= 2 {
		r.takePartial()
	}
	if lost > r.skip {
		r.loseStep()
		return
	}
	r.skip -= lost
}

// takePartial takes a message as far as it came, and passes over the rest.
func (r *reader) takePartial() {
	r.skip = r.missing()
	_ = r.n.reply.read(r.partial[2:]) // that it is cut is counted as a gap
	r.added += r.n.take(r.key.cgroup, r.at)
	r.partial = nil
}

func (r *reader) loseStep() { r.inStep, r.told, r.partial, r.skip = false, true, nil, 0 }

// giveUpGap goes on behind the gap that is waited for.
func (r *reader) giveUpGap() {
	gap := r.ahead[0].at - r.next
	r.next = r.ahead[0].at
	r.pass(int(gap))
	r.goOn()
}

// finish takes what came. Where it goes on after all, the messages behind the unfinished one are read.
func (r *reader) finish() {
	for len(r.ahead) > 0 {
		r.giveUpGap()
	}
	if len(r.partial) >= 2 {
		r.n.streams.gaps++
		r.takePartial()
	}
}

// findStep takes a segment if it holds whole messages and nothing else: then the stream goes on behind it. Anything less could be what
// somebody wrote into a message.
func (r *reader) findStep(p piece) {
	if !wholeMessages(p) {
		if !r.told {
			r.told = true
			r.n.streams.gaps++
		}
		return
	}
	r.inStep, r.told = true, false
	r.consume(p)
}

func lengthOf(message []byte) int { return int(binary.BigEndian.Uint16(message)) }

// headerBytes is the length of a DNS header.
const headerBytes = 12

func wholeMessages(p piece) bool {
	left := p.lost
	for data := p.data; len(data)+left > 0; {
		if len(data) < 2+headerBytes {
			return false
		}
		length := lengthOf(data)
		var parser dnsmessage.Parser
		header, err := parser.Start(data[2:])
		if err != nil || !header.Response || header.OpCode != 0 {
			return false
		}
		if questions, err := parser.AllQuestions(); err != nil || len(questions) != 1 || questions[0].Class != dnsmessage.ClassINET {
			return false
		}
		if 2+length > len(data) {
			return 2+length == len(data)+left // the last one, cut
		}
		data = data[2+length:]
	}
	return true
}
