package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/event"
)

// arrival is a decision as it came.
type arrival struct {
	key    string // of the bucket
	data   []byte
	listed bool // it was there already
}

const (
	listAgain = 30 * time.Second // all decisions, whatever was told since
	listRetry = time.Second      // after a failure
	listWait  = 5 * time.Second
	listBatch = 500
)

// listen takes decisions: all there are at the start, after each reconnection, and now and then; and each as it is made.
func (d *denier) listen(ctx context.Context) error {
	prefix := strings.TrimSuffix(event.SubjectDecisions, ">")
	changes := make(chan *nats.Msg, 1024)
	sub, err := d.nc.ChanSubscribe(event.SubjectDecisions, changes)
	if err != nil {
		return fmt.Errorf("follow decisions: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // the connection may be closed
	list := time.NewTimer(0)
	defer list.Stop()
	look := time.NewTicker(listRetry)
	defer look.Stop()
	connections, told := uint64(0), false
	for {
		select {
		case <-ctx.Done():
			return nil
		case m := <-changes:
			if len(m.Data) > 0 { // a key that is deleted lifts nothing
				d.arrive(ctx, arrival{strings.TrimPrefix(m.Subject, prefix), m.Data, false})
			}
		case <-look.C:
			if n := d.nc.Stats().Reconnects; n != connections {
				connections = n
				list.Reset(0)
			}
		case <-list.C:
			// What came before goes before: behind a later form it would look like a replay.
			for waiting := len(changes); waiting > 0; waiting-- {
				if m := <-changes; len(m.Data) > 0 {
					d.arrive(ctx, arrival{strings.TrimPrefix(m.Subject, prefix), m.Data, false})
				}
			}
			next := listAgain
			if err := d.listAll(ctx); err != nil {
				if ctx.Err() == nil && !told {
					slog.Warn("cannot read the decisions; those that are known stay in force", "error", err)
				}
				told, next = true, listRetry
			} else if told {
				told = false
				slog.Warn("decisions are read again")
			}
			list.Reset(next)
		}
	}
}

func (d *denier) arrive(ctx context.Context, a arrival) {
	select {
	case d.arrived <- a:
	case <-ctx.Done():
	}
}

// listAll reads the bucket by direct gets, which is all that an agent may. Of each key the last form counts.
func (d *denier) listAll(ctx context.Context) error {
	const subject = "$KV." + event.BucketDecisions + "."
	inbox := d.nc.NewInbox()
	sub, err := d.nc.SubscribeSync(inbox)
	if err != nil {
		return fmt.Errorf("read decisions: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	ctx, cancel := context.WithTimeout(ctx, listWait)
	defer cancel()
	last := map[string][]byte{}
	for from, more := uint64(1), true; more; {
		request, err := json.Marshal(map[string]any{"seq": from, "next_by_subj": subject + ">", "batch": listBatch})
		if err != nil {
			return fmt.Errorf("read decisions: %w", err)
		}
		if err := d.nc.PublishRequest("$JS.API.DIRECT.GET.KV_"+event.BucketDecisions, inbox, request); err != nil {
			return fmt.Errorf("read decisions: %w", err)
		}
		more = false
		for {
			m, err := sub.NextMsgWithContext(ctx)
			if err != nil {
				return fmt.Errorf("read decisions: %w", err)
			}
			status := m.Header.Get("Status")
			if status == "204" || status == "404" {
				break
			}
			if status != "" {
				return fmt.Errorf("read decisions: the server says %s %s", status, m.Header.Get("Description"))
			}
			var sequence uint64
			if _, err := fmt.Sscan(m.Header.Get(jetstream.SequenceHeader), &sequence); err != nil {
				return fmt.Errorf("read decisions: a message without its number: %w", err)
			}
			from, more = sequence+1, true
			if key := strings.TrimPrefix(m.Header.Get(jetstream.SubjectHeader), subject); len(m.Data) > 0 {
				last[key] = m.Data
			}
		}
	}
	for key, data := range last {
		d.arrive(ctx, arrival{key, data, true})
	}
	return nil
}

// ackBox holds what is to be told of decisions until it is in the stream, in order. It is safe for concurrent use.
type ackBox struct {
	js      jetstream.JetStream
	subject string
	dropped atomic.Uint64
	ready   chan struct{}

	mu      sync.Mutex
	waiting []event.Ack
}

const maxAcks = 8192

func newAckBox(js jetstream.JetStream, subject string) *ackBox {
	return &ackBox{js: js, subject: subject, ready: make(chan struct{}, 1)}
}

// put adds what is to be told. If there is no room, the oldest goes: a newer state says more.
func (b *ackBox) put(a event.Ack) {
	b.mu.Lock()
	if len(b.waiting) >= maxAcks {
		b.waiting = b.waiting[1:]
		b.dropped.Add(1)
	}
	b.waiting = append(b.waiting, a)
	b.mu.Unlock()
	select {
	case b.ready <- struct{}{}:
	default:
	}
}

func (b *ackBox) take() []event.Ack {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.waiting
	b.waiting = nil
	return all
}

func (b *ackBox) giveBack(rest []event.Ack) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting = append(rest, b.waiting...)
	if more := len(b.waiting) - maxAcks; more > 0 {
		b.waiting = b.waiting[more:]
		b.dropped.Add(uint64(more))
	}
}

// run brings them to the stream until ctx ends, and tries once more what waits then.
func (b *ackBox) run(ctx context.Context) error {
	again := time.NewTimer(time.Hour)
	defer again.Stop()
	for {
		ended := false
		select {
		case <-b.ready:
		case <-again.C:
		case <-ctx.Done():
			ended = true
		}
		sending := context.WithoutCancel(ctx)
		if err := b.send(sending); err != nil {
			again.Reset(listRetry)
		}
		if ended {
			return nil
		}
	}
}

func (b *ackBox) send(ctx context.Context) error {
	all := b.take()
	for i := range all {
		data, err := all[i].Encode()
		if err != nil {
			slog.Warn("cannot tell what was done about a decision", "error", err)
			continue
		}
		publishing, cancel := context.WithTimeout(ctx, listRetry)
		_, err = b.js.Publish(publishing, b.subject, data, jetstream.WithMsgID(fmt.Sprintf("%s/%s/%s/%d", all[i].Node, all[i].Decision, all[i].State, all[i].Told.UnixNano())))
		cancel()
		if err != nil {
			b.giveBack(all[i:])
			return err
		}
	}
	return nil
}
