package handshake

import (
	"container/heap"
	"time"

	"github.com/ambit-nhi/ambit/bpf"
)

// pending is a handshake that waits, as one side knows it: either of its pointers is set, to what holds it.
type pending struct {
	due    time.Duration // when it is looked at
	last   time.Duration // when it was heard of
	edge   bpf.Number
	active bool // counted as under way
	place  int  // in the queue, plus 1; 0 if not in it
	probed *probed
	wired  *wired
}

// queue is a heap of what waits, by when it is looked at.
type queue []*pending

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due < q[j].due }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i+1, j+1
}

// Push is for [heap.Push].
func (q *queue) Push(x any) {
	p := x.(*pending)
	*q = append(*q, p)
	p.place = len(*q)
}

// Pop is for [heap.Remove].
func (q *queue) Pop() any {
	last := len(*q) - 1
	p := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	p.place = 0
	return p
}

func (q *queue) add(x *pending) { heap.Push(q, x) }

func (q *queue) remove(x *pending) {
	if x.place > 0 {
		heap.Remove(q, x.place-1)
	}
}

// wait has x be looked at then.
func (q *queue) wait(x *pending, due time.Duration) {
	x.due = due
	if x.place > 0 {
		heap.Fix(q, x.place-1)
	}
}

// told are the sockets whose handshakes were told, the latest ones, and how.
type told struct {
	sockets map[uint64]toldAs
	order   []uint64
	next    int
	max     int
}

// toldAs is what stays known of a handshake that was told.
type toldAs struct {
	wireOnly bool
	role     role
}

func newTold(max int) told { return told{sockets: map[uint64]toldAs{}, max: max} }

func (t *told) add(cookie uint64, as toldAs) {
	if _, ok := t.sockets[cookie]; !ok {
		if len(t.order) < t.max {
			t.order = append(t.order, cookie)
		} else {
			delete(t.sockets, t.order[t.next])
			t.order[t.next] = cookie
			t.next = (t.next + 1) % t.max
		}
	}
	t.sockets[cookie] = as
}
