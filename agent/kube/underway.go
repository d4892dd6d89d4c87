package kube

import "sync"

// underway counts calls that nobody else waits for. A [sync.WaitGroup] would not do: such a call may begin when all others have ended.
type underway struct {
	mu    sync.Mutex
	ended *sync.Cond // n is less than it was
	n     int
	over  bool // none begins any more
}

func newUnderway() *underway {
	u := &underway{}
	u.ended = sync.NewCond(&u.mu)
	return u
}

// begin says whether a call may begin. Then end must follow.
func (u *underway) begin() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.over {
		return false
	}
	u.n++
	return true
}

func (u *underway) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.n--
	u.ended.Broadcast()
}

// finish lets no call begin any more, and waits for those that have.
func (u *underway) finish() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.over = true
	for u.n > 0 {
		u.ended.Wait()
	}
}
