package agent

import (
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/agent/spool"
	"github.com/ambit-nhi/ambit/event"
)

// PublisherConfig says who publishes. Zero values of the last five mean the defaults.
type PublisherConfig struct {
	Node       string
	Boot       string    // see Restart
	Started    time.Time // likewise
	Partitions int

	Spool      spool.Config  // without a folder, memory is all there is; its Node and Lost are the publisher's
	QueueBytes int           // encoded messages in memory that wait for the stream; default 8 MiB, 64 MiB without a spool
	Window     int           // messages in flight, of 4 MiB together at most; default 64
	AckWait    time.Duration // until a message without answer is sent again; default 5s
	Drain      time.Duration // how long Run goes on sending after its context has ended; default 5s

	Now func() time.Time // the clock by which observations have their times; default time.Now
}

// Publisher makes messages of observations and brings them to the stream, in order, by way of a spool on disk if the stream does not take them
// at once. Observe, Sight, Flush, Heartbeat and Restart never wait; they are for one goroutine. Run sends at the same time.
//
// What was handed over (with Flush, Heartbeat, or as a batch that was full) more than a second ago is in the stream or on the disk, whenever the
// process is killed, unless a counter says that it is lost. With a full disk it waits in memory.
type Publisher struct {
	cfg      PublisherConfig
	js       jetstream.JetStream
	open     []openBatch // by partition
	sequence uint64      // of the last batch
	beats    uint64      // heartbeats
	outbox   *outbox
	gaps     *gaps
	clocks   clocks

	acknowledged, duplicates, retries, restamped atomic.Uint64 // messages
}

// openBatch is what a partition's next message is made of.
type openBatch struct {
	*event.BatchBuilder
	number         uint64 // of the last message
	observations   uint64
	oldest, newest time.Time // of the observations
}

// PublishOptions are for the JetStream context of a publisher: without a bound, the library would remember every message that was never answered.
func PublishOptions() []jetstream.JetStreamOpt {
	return []jetstream.JetStreamOpt{jetstream.WithPublishAsyncTimeout(30 * time.Second)}
}

// NewPublisher makes a publisher that sends through js, which was made with PublishOptions and belongs to the caller. It takes the folder of the
// spool, if there is one, until Close.
func NewPublisher(cfg PublisherConfig, js jetstream.JetStream) (*Publisher, error) {
	p := newPublisher(cfg, js)
	if err := p.openSpool(); err != nil {
		return nil, err
	}
	return p, nil
}

func newPublisher(cfg PublisherConfig, js jetstream.JetStream) *Publisher {
	if cfg.QueueBytes <= 0 {
		cfg.QueueBytes = queueBytes
		if cfg.Spool.Dir == "" {
			cfg.QueueBytes = queueBytesAlone
		}
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
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	g := newGaps()
	p := &Publisher{cfg: cfg, js: js, gaps: g, outbox: newOutbox(cfg.QueueBytes, g)}
	p.outbox.now = cfg.Now
	p.begin(cfg.Boot, cfg.Started)
	return p
}

const (
	queueBytes      = 8 << 20
	queueBytesAlone = 64 << 20
)

// openSpool goes on with what an earlier process left, before anything new.
func (p *Publisher) openSpool() error {
	cfg := p.cfg.Spool
	if cfg.Dir == "" {
		return nil
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = spool.Default().MaxBytes
	}
	if cfg.MaxAge == 0 {
		cfg.MaxAge = spool.Default().MaxAge
	}
	cfg.Node = p.cfg.Node
	cfg.Kept = func(note []byte) {
		if err := p.gaps.restore(note); err != nil {
			slog.Warn("what was lost before the start is not told", "error", err)
		}
	}
	cfg.Lost = func(l spool.Loss) []byte {
		slog.Warn("observations in the spool are lost", "cause", l.Cause, "messages", l.Messages, "observations", l.Observations, "from", l.From, "until", l.Until)
		p.gaps.lose(l.Cause, l.From, l.Until, l.Observations)
		return p.gaps.keep()
	}
	s, err := spool.Open(cfg)
	if err != nil {
		return err
	}
	p.outbox.open(s)
	if messages, observations, bytes := s.Waiting(); messages > 0 {
		slog.Info("observations wait in the spool", "messages", messages, "observations", observations, "bytes", bytes)
	}
	return nil
}

// Close gives the folder of the spool free, after Run has returned.
func (p *Publisher) Close() error {
	if p.outbox.spool == nil {
		return nil
	}
	return p.outbox.spool.Close()
}

// begin makes the batches of a boot. Its start loses the monotonic reading: it would win over the wall clock, which is what travels, when times
// are compared after that was set.
func (p *Publisher) begin(boot string, started time.Time) {
	p.clocks.begin(boot, started, time.Now())
	p.cfg.Boot, p.cfg.Started, p.sequence, p.beats = boot, started.Round(0), 0, 0
	p.open = make([]openBatch, p.cfg.Partitions)
	for i := range p.open {
		p.open[i].BatchBuilder = event.NewBatchBuilder(p.cfg.Node, boot, p.cfg.Started)
	}
}

// Restart goes on as another boot, after handing over what was added for the one before. A boot is one stretch of watching without a break, by a
// clock that was not set.
func (p *Publisher) Restart(boot string, started time.Time) {
	for i := range p.open {
		p.finish(i, p.open[i].newest)
	}
	p.begin(boot, started)
}

// Observe adds an observation to the batch of its identity's partition. Its strings are not copied.
func (p *Publisher) Observe(o *event.Observation) {
	i := event.Partition(o.Workload.Identity, p.cfg.Partitions)
	b := &p.open[i]
	b.Add(o)
	b.observations++
	if o.Time.After(b.newest) {
		b.newest = o.Time
	}
	if first := o.First(); b.oldest.IsZero() || first.Before(b.oldest) {
		b.oldest = first
	}
	if b.Full() {
		p.finish(i, b.newest)
	}
}

// Sight notes that a workload was running at the time of the next Flush.
func (p *Publisher) Sight(w *event.Workload) {
	i := event.Partition(w.Identity, p.cfg.Partitions)
	if p.open[i].Full() {
		p.finish(i, p.cfg.Now())
	}
	p.open[i].Sight(w)
}

// Flush hands over what was added, as batches that end at end.
func (p *Publisher) Flush(end time.Time) {
	for i := range p.open {
		p.finish(i, end)
	}
}

func (p *Publisher) finish(i int, end time.Time) {
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
		subject: event.ObservationSubject(i, p.cfg.Node), id: event.MessageID(p.cfg.Node, p.cfg.Boot, p.sequence), boot: p.cfg.Boot,
		data: data, observations: b.observations, from: b.oldest.Round(0), until: end.Round(0),
	}
	if b.oldest.IsZero() {
		m.from = m.until
	}
	b.Reset()
	b.observations, b.oldest, b.newest = 0, time.Time{}, time.Time{}
	if err != nil {
		p.gaps.lose(causeEncode, m.from, m.until, m.observations)
		slog.Error("a batch is lost", "observations", m.observations, "error", err)
		return
	}
	p.outbox.push(m)
}

// Heartbeat hands over a heartbeat, behind the batches that were flushed before it: it must not prove a time whose batches have not arrived. It
// fills in who sends it. A heartbeat has no number of its own, since one may go for the next: it tells those of the last batches, so that
// a receiver knows which batches there are. Its gaps are all that no heartbeat in the stream tells.
func (p *Publisher) Heartbeat(h *event.Heartbeat) {
	p.beats++
	h.Node, h.Boot, h.Started, h.Sequence = p.cfg.Node, p.cfg.Boot, p.cfg.Started, p.sequence
	h.Numbers = make([]uint64, len(p.open))
	for i := range p.open {
		h.Numbers[i] = p.open[i].number
	}
	if h.Time.Before(h.Started) {
		h.Time = h.Started
	}
	h.Gaps = p.gaps.tell()
	data, err := h.Encode()
	if err != nil {
		slog.Error("a heartbeat is lost", "error", err)
		return
	}
	p.outbox.push(&message{
		subject: event.AgentSubject(p.cfg.Node), id: event.HeartbeatID(p.cfg.Node, p.cfg.Boot, p.beats), boot: p.cfg.Boot, data: data,
		from: h.Time.Round(0), until: h.Time.Round(0), heartbeat: true, told: h.Gaps,
	})
}

// Counters says what was lost on the way since the start, in observations by cause, and before it if that was not told.
func (p *Publisher) Counters() map[string]uint64 { return p.gaps.counters() }

// Gauges says how publishing goes: messages and bytes that wait in memory and on the disk, messages acknowledged, those sent more than once,
// those whose times were moved, since the clock was set back, and those that went to the disk.
func (p *Publisher) Gauges() map[string]uint64 {
	messages, _, bytes := p.outbox.waiting()
	g := map[string]uint64{
		"publish-waiting":       uint64(messages),
		"publish-waiting-bytes": uint64(bytes),
		"publish-acknowledged":  p.acknowledged.Load(),
		"publish-duplicates":    p.duplicates.Load(),
		"publish-retries":       p.retries.Load(),
		"publish-restamped":     p.restamped.Load(),
	}
	if s := p.outbox.spool; s != nil {
		messages, observations, bytes := s.Waiting()
		g["spool-messages"], g["spool-observations"], g["spool-bytes"] = messages, observations, uint64(bytes)
		g["spool-written"] = p.outbox.spooled.Load()
	}
	return g
}
