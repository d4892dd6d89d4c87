package lease

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

// atOnce is how many partitions are claimed at the same time.
const atOnce = 32

// errOver is why a session's leases end.
var errOver = errors.New("the lease could not be renewed in time")

// held is a lease that this member has.
type held struct {
	cancel   context.CancelFunc
	stopping bool
}

// term is the time of one session, from joining until it is lost or given up. Its goroutines are gone when run returns.
type term struct {
	*Group
	session string
	gained  func([]Lease) error
	lost    func(int)

	life    life
	end     context.CancelCauseFunc // of the session's context
	timer   *time.Timer             // ends it in time, whatever the term is waiting for
	table   *table
	leases  map[int]*held
	stopped chan freed // partitions whose work has stopped
	working sync.WaitGroup
}

// freed is a partition whose work has stopped, and the revision under which it was given back, 0 if it was not.
type freed struct {
	partition int
	revision  uint64
}

// run joins, and goes on until ctx or the session ends. Its error is one of gained.
func (t *term) run(ctx context.Context) (joined bool, err error) {
	// The session outlives ctx for as long as it takes to give its partitions back.
	session, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	t.end, t.life = end, life{ttl: t.cfg.TTL}
	if err := t.join(ctx); err != nil {
		if ctx.Err() == nil {
			t.setError(err)
			t.complaints.Do(func() { t.cfg.Log.Warn("join the other collectors", "error", err) })
		}
		return false, nil
	}
	defer t.timer.Stop()
	t.table = newTable(t.cfg.Member, t.session, t.cfg.Partitions, time.Now(), 2*t.cfg.TTL/5)
	t.leases, t.stopped = map[int]*held{}, make(chan freed)
	t.setError(nil)

	err = t.hold(ctx, session)

	over := session.Err() != nil
	if over {
		t.setError(context.Cause(session))
		t.cfg.Log.Warn("all leases are lost", "partitions", len(t.leases), "error", context.Cause(session))
	}
	t.leave(session)
	t.tell(nil, nil)
	return true, err
}

// hold keeps the session and its share until ctx or the session ends.
func (t *term) hold(ctx, session context.Context) error {
	watch, err := t.cfg.Bucket.WatchAll(session)
	if err != nil {
		t.end(fmt.Errorf("watch the bucket %s: %w", t.cfg.Bucket.Bucket(), err))
		return nil
	}
	defer t.watches.Go(func() { unwatch(watch) }) // that asks the server, and nothing here waits for its answer
	tick := time.NewTicker(t.cfg.TTL / 5)
	defer tick.Stop()
	again := time.NewTimer(t.cfg.TTL) // sooner than the next tick, after a failure
	again.Stop()
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-session.Done():
			return nil
		case entry, ok := <-watch.Updates():
			if !ok {
				t.end(errors.New("the connection to NATS was closed"))
				return nil
			}
			t.see(entry)
			if len(watch.Updates()) > 0 {
				continue
			}
		case f := <-t.stopped:
			t.put(f)
		case <-tick.C:
			if !t.renew(session) {
				again.Reset(t.cfg.TTL / 20)
			}
			t.listen(session)
		case <-again.C:
			if !t.renew(session) {
				again.Reset(t.cfg.TTL / 20)
			}
		}
		if err := t.balance(session); err != nil {
			return err
		}
	}
}

func (t *term) see(entry jetstream.KeyValueEntry) {
	if entry == nil {
		t.table.complete = true
		return
	}
	gone := entry.Operation() != jetstream.KeyValuePut
	t.table.see(entry.Key(), string(entry.Value()), gone, entry.Revision(), time.Now())
	if gone && entry.Key() == sessionPrefix+t.session && entry.Revision() > t.life.revision {
		t.end(errors.New("the server has dropped this collector"))
	}
}

// balance gives back what another should have, and takes what is free and this member's.
func (t *term) balance(session context.Context) error {
	take, back := t.table.due(time.Now())
	for _, p := range back {
		t.stop(session, p)
	}
	leases := t.claim(session, take)
	t.tell(t.table, t.leases)
	if len(leases) == 0 {
		return nil
	}
	t.cfg.Log.Info("partitions taken", "partitions", len(leases), "held", len(t.leases))
	return t.gained(leases)
}

// claim writes this session into the keys of partitions. Those that somebody else was quicker to take are left out.
func (t *term) claim(session context.Context, partitions []int) (leases []Lease) {
	if len(partitions) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(session, t.cfg.TTL/4) // the session must be renewed, too
	defer cancel()
	revisions := make([]uint64, len(partitions))
	var g errgroup.Group
	g.SetLimit(atOnce)
	for i, p := range partitions {
		g.Go(func() error {
			var err error
			revisions[i], err = t.cfg.Bucket.Update(ctx, partitionPrefix+strconv.Itoa(p), []byte(t.session), t.table.owners[p].revision)
			if err != nil { // it is taken, or there is another try after the next tick
				t.cfg.Log.Debug("claim a partition", "partition", p, "error", err)
			}
			return nil
		})
	}
	_ = g.Wait() // none fails
	for i, p := range partitions {
		if revisions[i] == 0 {
			continue
		}
		again := t.last[p] != 0 && t.last[p] == t.table.owners[p].revision
		ctx, cancel := context.WithCancel(session)
		t.table.taken(p, revisions[i])
		t.last[p] = revisions[i]
		t.leases[p] = &held{cancel: cancel}
		leases = append(leases, Lease{Partition: p, Again: again, ctx: ctx})
	}
	return leases
}

// stop has the work of a partition stopped, and then gives it back. A partition that was claimed without an answer has no work.
func (t *term) stop(session context.Context, p int) {
	l, works := t.leases[p]
	if works && l.stopping {
		return
	}
	if works {
		l.cancel()
	}
	t.leases[p] = &held{stopping: true}
	revision := t.table.owners[p].revision
	t.working.Go(func() {
		if works {
			t.lost(p)
		}
		t.stopped <- freed{p, t.free(session, p, revision)}
	})
}

// free writes nobody into the key of a partition, and gives the revision of that, 0 if it has failed.
func (t *term) free(session context.Context, p int, revision uint64) uint64 {
	if session.Err() != nil {
		return 0
	}
	ctx, cancel := context.WithTimeout(session, t.cfg.TTL/2)
	defer cancel()
	freed, err := t.cfg.Bucket.Update(ctx, partitionPrefix+strconv.Itoa(p), nil, revision)
	if err == nil {
		return freed
	}
	t.cfg.Log.Debug("give a partition back", "partition", p, "error", err)
	var wait backoff
	wait.sleep(session) // it is tried again
	return 0
}

// put notes that a partition's work has stopped. Where giving it back has failed, the partition's key still names this session, and is due again.
func (t *term) put(f freed) {
	delete(t.leases, f.partition)
	t.table.given(f.partition)
	if f.revision == 0 {
		return
	}
	t.last[f.partition] = f.revision
	t.table.see(partitionPrefix+strconv.Itoa(f.partition), "", false, f.revision, time.Now())
}

// leave stops all work, gives all back and ends the session, if it has not ended already.
func (t *term) leave(session context.Context) {
	for p := range t.leases {
		t.stop(session, p)
	}
	tick := time.NewTicker(t.cfg.TTL / 5)
	defer tick.Stop()
	for len(t.leases) > 0 {
		select {
		case f := <-t.stopped:
			t.put(f)
		case <-tick.C: // while work goes on, nobody else shall begin
			if session.Err() == nil {
				t.renew(session)
			}
		}
	}
	t.working.Wait()
	if session.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(session, t.cfg.TTL/2)
	defer cancel()
	if err := t.cfg.Bucket.Purge(ctx, sessionPrefix+t.session, jetstream.LastRevision(t.life.revision), jetstream.PurgeTTL(MarkerTTL)); err != nil && session.Err() == nil {
		t.cfg.Log.Debug("leave the other collectors", "error", err) // they will miss it
	}
}

// join makes the session's key.
func (t *term) join(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, t.cfg.TTL/5) // the others come back at the same time, and wait twice as long, see takes
	defer cancel()
	sent := time.Now()
	revision, err := t.write(ctx, 0)
	if err != nil {
		return fmt.Errorf("write to the bucket %s: %w", t.cfg.Bucket.Bucket(), err)
	}
	t.life.renewed(sent, revision)
	t.timer = time.AfterFunc(time.Until(t.life.until), func() { t.end(errOver) })
	return nil
}

// write writes the session's key, whose life begins again with it.
func (t *term) write(ctx context.Context, last uint64) (revision uint64, err error) {
	m := nats.NewMsg("$KV." + t.cfg.Bucket.Bucket() + "." + sessionPrefix + t.session)
	ack, err := t.cfg.JetStream.PublishMsg(ctx, m, jetstream.WithExpectLastSequencePerSubject(last), jetstream.WithMsgTTL(t.cfg.TTL), jetstream.WithRetryAttempts(0))
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// renew writes the session's key again. It returns false when that has failed.
func (t *term) renew(session context.Context) bool {
	ctx, cancel := context.WithTimeout(session, t.cfg.TTL/4)
	defer cancel()
	sent := time.Now()
	revision, err := t.write(ctx, t.life.revision)
	var refused *jetstream.APIError
	if errors.As(err, &refused) { // it is gone, or the answer to an earlier renewal was lost
		err = t.reread(ctx, err)
	}
	if err != nil {
		if session.Err() == nil {
			t.setError(fmt.Errorf("the leases cannot be renewed: %w", err))
			t.cfg.Log.Debug("renew the leases", "error", err)
		}
		return false
	}
	if revision == 0 { // the next one will do
		return false
	}
	t.life.renewed(sent, revision)
	if t.timer.Stop() { // else the session has ended
		t.timer.Reset(time.Until(t.life.until))
	}
	t.setError(nil)
	return true
}

// reread finds out what the session's key is after a renewal was refused. It ends the session if that is gone.
func (t *term) reread(ctx context.Context, refused error) error {
	entry, err := t.cfg.Bucket.Get(ctx, sessionPrefix+t.session)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		t.end(errors.New("the server has dropped this collector"))
		return refused
	case err != nil:
		return err
	case entry.Revision() <= t.life.revision:
		return refused
	}
	t.life.revision = entry.Revision()
	return nil
}

// listen finds out whether sessions are gone of whose end no news has come. When not even its own news comes, the session ends: it sees nothing.
func (t *term) listen(session context.Context) {
	now := time.Now()
	if len(t.table.silent(now.Add(-2*t.cfg.TTL))) == 0 && (t.table.complete || now.Sub(t.table.begun) < 2*t.cfg.TTL) {
		return
	}
	ctx, cancel := context.WithTimeout(session, t.cfg.TTL/4)
	defer cancel()
	for _, other := range t.table.silent(now.Add(-2 * t.cfg.TTL)) {
		if other == t.session {
			t.end(errors.New("no news comes from the bucket"))
			return
		}
		_, err := t.cfg.Bucket.Get(ctx, sessionPrefix+other)
		switch {
		case errors.Is(err, jetstream.ErrKeyNotFound):
			delete(t.table.heard, other)
		case err == nil:
			t.table.heard[other] = now
		}
	}
	if !t.table.complete {
		t.end(errors.New("no news comes from the bucket"))
	}
}

// unwatch ends a watch, which takes seconds while no server answers. What it still has to say must be taken, or its goroutine would wait for ever.
func unwatch(w jetstream.KeyWatcher) {
	_ = w.Stop() // fails where it has ended already
	for range w.Updates() {
	}
}

// backoff waits longer each time, from 100 to 500 ms, with jitter.
type backoff struct{ n int }

func (b *backoff) sleep(ctx context.Context) {
	d := min(100*time.Millisecond<<min(b.n, 4), 500*time.Millisecond)
	b.n++
	timer := time.NewTimer(d/2 + rand.N(d/2))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
