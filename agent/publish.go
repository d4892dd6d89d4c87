package agent

import (
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/event"
)

// publisherConfig says who publishes. Zero values of the last four mean the defaults.
type publisherConfig struct {
	Node       string
	Boot       string    // see restart
	Started    time.Time // likewise
	Partitions int

	QueueBytes int           // encoded messages that wait for the stream; default 64 MiB
	Window     int           // messages in flight; default 64
	AckWait    time.Duration // until a message without answer is sent again; default 5s
	Drain      time.Duration // how long Run goes on sending after its context has ended; default 5s
}

// publisher makes messages of observations and brings them to the stream, in order. Observe, Sight, Flush and Heartbeat never wait; they are
// for one goroutine. Run sends at the same time.
type publisher struct {
	cfg      publisherConfig
	js       jetstream.JetStream
	open     []openBatch // by partition
	sequence uint64      // of the last batch
	beats    uint64      // heartbeats
	outbox   *outbox

	acknowledged, duplicates, retries atomic.Uint64 // messages
	refused, unencodable              atomic.Uint64 // observations
}

// openBatch is what a partition's next message is made of.
type openBatch struct {
	*event.BatchBuilder
	number       uint64 // of the last message
	observations uint64
	newest       time.Time // of the observations
}

// publishOptions are for the JetStream context of a publisher: without a bound, the library would remember every message that was never answered.
func publishOptions() []jetstream.JetStreamOpt {
	return []jetstream.JetStreamOpt{jetstream.WithPublishAsyncTimeout(30 * time.Second)}
}

// newPublisher makes a publisher that sends through js, which was made with publishOptions and belongs to the caller.
func newPublisher(cfg publisherConfig, js jetstream.JetStream) *publisher {
	if cfg.QueueBytes <= 0 {
		cfg.QueueBytes = 64 << 20
	}
	if cfg.Window <= 0 {
		cfg.Window = 64
	}
	if cfg.AckWait <= 0 {
		cfg.AckWait = 5 * time.Second
	}
	if cfg.Drain <= 0 {
		cfg.Drain = 5 * time.Second
	}
	p := &publisher{cfg: cfg, js: js, outbox: newOutbox(cfg.QueueBytes)}
	p.begin(cfg.Boot, cfg.Started)
	return p
}

// begin makes the batches of a boot. Its start loses the monotonic reading: it would win over the wall clock, which is what travels, when times
// are compared after that was set.
func (p *publisher) begin(boot string, started time.Time) {
	p.cfg.Boot, p.cfg.Started, p.sequence, p.beats = boot, started.Round(0), 0, 0
	p.open = make([]openBatch, p.cfg.Partitions)
	for i := range p.open {
		p.open[i].BatchBuilder = event.NewBatchBuilder(p.cfg.Node, boot, p.cfg.Started)
	}
}

// restart goes on as another boot, after handing over what was added for the one before.
func (p *publisher) restart(boot string, started time.Time) {
	for i := range p.open {
		p.finish(i, p.open[i].newest)
	}
	p.begin(boot, started)
}

// Observe adds an observation to the batch of its identity's partition. Its strings are not copied.
func (p *publisher) Observe(o *event.Observation) {
	i := event.Partition(o.Workload.Identity, p.cfg.Partitions)
	b := &p.open[i]
	b.Add(o)
	b.observations++
	if o.Time.After(b.newest) {
		b.newest = o.Time
	}
	if b.Full() {
		p.finish(i, b.newest)
	}
}

// Sight notes that a workload was running at the time of the next Flush.
func (p *publisher) Sight(w *event.Workload) {
	i := event.Partition(w.Identity, p.cfg.Partitions)
	if p.open[i].Full() {
		p.finish(i, time.Now())
	}
	p.open[i].Sight(w)
}

// Flush hands over what was added, as batches that end at end.
func (p *publisher) Flush(end time.Time) {
	for i := range p.open {
		p.finish(i, end)
	}
}

func (p *publisher) finish(i int, end time.Time) {
	b := &p.open[i]
	if b.Empty() {
		return
	}
	if end.Before(p.cfg.Started) { // the clock was set back: receivers refuse what ends before it began
		end = p.cfg.Started
	}
	p.sequence++
	b.number++
	data, err := b.Encode(p.sequence, b.number, end)
	m := &message{
		subject: event.ObservationSubject(i, p.cfg.Node), id: event.MessageID(p.cfg.Node, p.cfg.Boot, p.sequence), data: data, observations: b.observations,
	}
	b.Reset()
	b.observations, b.newest = 0, time.Time{}
	if err != nil {
		p.unencodable.Add(m.observations)
		slog.Error("a batch is lost", "observations", m.observations, "error", err)
		return
	}
	p.outbox.push(m)
}

// Heartbeat hands over a heartbeat, behind the batches that were flushed before it: it must not prove a time whose batches have not arrived. It
// fills in who sends it. A heartbeat has no number of its own, since one may go for the next: it tells those of the last batches, so that
// a receiver knows which batches there are.
func (p *publisher) Heartbeat(h *event.Heartbeat) {
	p.beats++
	h.Node, h.Boot, h.Started, h.Sequence = p.cfg.Node, p.cfg.Boot, p.cfg.Started, p.sequence
	h.Numbers = make([]uint64, len(p.open))
	for i := range p.open {
		h.Numbers[i] = p.open[i].number
	}
	if h.Time.Before(h.Started) {
		h.Time = h.Started
	}
	data, err := h.Encode()
	if err != nil {
		slog.Error("a heartbeat is lost", "error", err)
		return
	}
	p.outbox.push(&message{subject: event.AgentSubject(p.cfg.Node), id: event.HeartbeatID(p.cfg.Node, p.cfg.Boot, p.beats), data: data, heartbeat: p.cfg.Boot})
}

// Counters says what was lost on the way since the start, in observations by cause.
func (p *publisher) Counters() map[string]uint64 {
	p.outbox.mu.Lock()
	defer p.outbox.mu.Unlock()
	return map[string]uint64{
		"publish-queue-full":  p.outbox.dropped,
		"publish-refused":     p.refused.Load(),
		"publish-unencodable": p.unencodable.Load(),
	}
}

// Gauges says how publishing goes: messages and bytes that wait, messages acknowledged, and those sent more than once.
func (p *publisher) Gauges() map[string]uint64 {
	messages, _, bytes := p.outbox.waiting()
	return map[string]uint64{
		"publish-waiting":       uint64(messages),
		"publish-waiting-bytes": uint64(bytes),
		"publish-acknowledged":  p.acknowledged.Load(),
		"publish-duplicates":    p.duplicates.Load(),
		"publish-retries":       p.retries.Load(),
	}
}
