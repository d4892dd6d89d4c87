package collector

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/collector/deadletter"
	"github.com/ambit-nhi/ambit/collector/lease"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

// busOf is the bus of a user of a server that has the permissions of deploy/nats.
func busOf(t *testing.T, u *testenv.NATSUsers, id, inbox string) *Bus {
	t.Helper()
	cfg := DefaultBusConfig()
	cfg.URLs, cfg.TLS, cfg.Inbox, cfg.Logger = []string{u.URL}, u.TLS(id), inbox, quiet
	open := OpenBus
	if inbox != "" {
		open = func(_ context.Context, cfg BusConfig) (*Bus, error) { return OutsideBus(cfg) }
	}
	bus, err := open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(bus.Close)
	return bus
}

// user is a connection that remembers what it was not let do.
type user struct {
	t      *testing.T
	nc     *nats.Conn
	js     jetstream.JetStream
	denied chan error
}

func connectUser(t *testing.T, bus *Bus) *user {
	t.Helper()
	u := &user{t: t, denied: make(chan error, 64)}
	var err error
	if u.nc, err = bus.connect("test", func(err error) { u.denied <- err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(u.nc.Close)
	if u.js, err = jetstream.New(u.nc); err != nil {
		t.Fatal(err)
	}
	return u
}

// refused checks that the server complains of exactly what try does.
func (u *user) refused(subject string, try func() error) {
	u.t.Helper()
	if err := try(); err != nil {
		u.t.Errorf("%s: %v", subject, err)
	}
	if err := u.nc.FlushTimeout(20 * time.Second); err != nil {
		u.t.Fatal(err)
	}
	select {
	case err := <-u.denied:
		if !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), `"`+subject+`"`) {
			u.t.Errorf("%s: the server complains of %v", subject, err)
		}
	case <-time.After(20 * time.Second):
		u.t.Errorf("%s is allowed", subject)
	}
}

func (u *user) mayNotPublish(subjects ...string) {
	u.t.Helper()
	for _, subject := range subjects {
		u.refused(subject, func() error { return u.nc.Publish(subject, []byte(`{}`)) })
	}
}

func (u *user) mayNotSubscribe(subjects ...string) {
	u.t.Helper()
	for _, subject := range subjects {
		u.refused(subject, func() error {
			_, err := u.nc.Subscribe(subject, func(m *nats.Msg) { u.t.Errorf("got a message on %s", m.Subject) })
			return err
		})
	}
}

// content unnoticed is what nobody complained of.
func (u *user) contented() {
	u.t.Helper()
	if err := u.nc.FlushTimeout(20 * time.Second); err != nil {
		u.t.Fatal(err)
	}
	select {
	case err := <-u.denied:
		u.t.Errorf("the server complains of %v", err)
	default:
	}
}

// TestPermissionsOfAgent checks with the files of deploy/nats what an agent may do, and that it may do nothing else.
func TestPermissionsOfAgent(t *testing.T) {
	server := testenv.StartNATSUsers(t, "n1", "ip-10-0-0-2.ec2.internal")
	control := connectUser(t, busOf(t, server, testenv.CollectorID, "")) // makes the streams
	agentBus := busOf(t, server, testenv.AgentID("n1"), event.AgentInbox("n1"))
	agent := connectUser(t, agentBus)

	// Its own.
	if err := agentBus.CheckStream(t.Context(), event.AgentSubject("n1")); err != nil {
		t.Error(err)
	}
	for _, subject := range []string{event.ObservationSubject(0, "n1"), event.ObservationSubject(15, "n1"), event.AgentSubject("n1")} {
		if _, err := agent.js.Publish(t.Context(), subject, []byte("x")); err != nil {
			t.Errorf("%s: %v", subject, err)
		}
	}
	acks := make(chan *nats.Msg, 1)
	if _, err := control.nc.ChanSubscribe("ambit.v1.ack.*", acks); err != nil {
		t.Fatal(err)
	}
	control.contented()
	if err := agent.nc.Publish(event.AckSubject("n1"), nil); err != nil {
		t.Fatal(err)
	}
	select {
	case <-acks:
	case <-time.After(20 * time.Second):
		t.Error("an answer about a decision does not arrive")
	}
	second := connectUser(t, busOf(t, server, testenv.AgentID(event.NodeToken("ip-10-0-0-2.ec2.internal")), event.AgentInbox("ip-10-0-0-2.ec2.internal")))
	if _, err := second.js.Publish(t.Context(), event.ObservationSubject(3, "ip-10-0-0-2.ec2.internal"), nil); err != nil {
		t.Error(err)
	}

	// Decisions: what there is, and what comes.
	decisions, err := control.js.KeyValue(t.Context(), event.BucketDecisions)
	if err != nil {
		t.Fatal(err)
	}
	put := func(key, value string) {
		t.Helper()
		if _, err := decisions.Put(t.Context(), key, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	put("d1", "old")
	put("d1", "one")
	put("d2", "two")
	news := make(chan *nats.Msg, 10)
	if _, err := agent.nc.ChanSubscribe(event.SubjectDecisions, news); err != nil {
		t.Fatal(err)
	}
	agent.contented()
	if got := readDecisions(t, agent.nc); got["d1"] != "one" || got["d2"] != "two" || len(got) != 2 {
		t.Errorf("the agent reads %v", got)
	}
	put("d3", "three")
	select {
	case m := <-news:
		if m.Subject != "ambit.v1.decision.d3" || string(m.Data) != "three" || m.Header.Get(jetstream.SequenceHeader) != "4" || m.Header.Get(jetstream.LastSequenceHeader) != "0" {
			t.Errorf("the agent is told %s %q %v", m.Subject, m.Data, m.Header)
		}
	case <-time.After(20 * time.Second):
		t.Error("the agent is not told of a decision")
	}
	agent.contented()
	second.contented()

	// Nothing else.
	agent.mayNotPublish(
		"ambit.v1.obs.0.n2", "ambit.v1.obs.0."+event.NodeToken("ip-10-0-0-2.ec2.internal"), "ambit.v1.obs.0.n1.n2", "ambit.v1.obs.n1", "ambit.v1.agent.n2", "ambit.v1.ack.n2",
		"ambit.v1.verdict.0", "ambit.v1.declare.0", "ambit.v1.share.0", "$KV.ambit_states.0.head",
		"ambit.v1.finding.critical.x", "ambit.v1.dead.x", "ambit.v1.decision.d1", "$KV.ambit_decisions.d1", "$KV.ambit_inserts.x", "$KV.ambit_leases.session.x",
		"$JS.API.STREAM.CREATE.X", "$JS.API.STREAM.UPDATE.AMBIT_OBS", "$JS.API.STREAM.DELETE.AMBIT_OBS", "$JS.API.STREAM.PURGE.AMBIT_OBS", "$JS.API.STREAM.PURGE.KV_ambit_decisions",
		"$JS.API.STREAM.MSG.DELETE.KV_ambit_decisions", "$JS.API.STREAM.MSG.GET.AMBIT_OBS", "$JS.API.STREAM.INFO.AMBIT_OBS", "$JS.API.STREAM.LIST", "$JS.API.STREAM.NAMES",
		"$JS.API.STREAM.SNAPSHOT.AMBIT_OBS", "$JS.API.STREAM.RESTORE.AMBIT_OBS", "$JS.API.INFO",
		"$JS.API.DIRECT.GET.AMBIT_OBS", "$JS.API.DIRECT.GET.AMBIT_OBS.ambit.v1.obs.0.n2", "$JS.API.DIRECT.GET.KV_ambit_inserts",
		"$JS.API.CONSUMER.CREATE.AMBIT_OBS.x", "$JS.API.CONSUMER.CREATE.AMBIT_OBS", "$JS.API.CONSUMER.DURABLE.CREATE.AMBIT_OBS.x", "$JS.API.CONSUMER.DELETE.AMBIT_OBS.ambit-store-0",
		"$JS.API.CONSUMER.MSG.NEXT.AMBIT_OBS.ambit-store-0", "$JS.API.CONSUMER.CREATE.KV_ambit_decisions.x", "$JS.ACK.AMBIT_OBS.ambit-store-0.1.1.1.1.0",
		"_INBOX.agent.n2.x", "_INBOX.collector.x",
	)
	agent.mayNotSubscribe("ambit.v1.obs.>", "ambit.v1.obs.*.n1", "ambit.v1.agent.*", "ambit.v1.finding.>", "ambit.v1.dead.>", "ambit.v1.ack.*", "$KV.>", "$JS.API.>", ">",
		"_INBOX.>", "_INBOX.agent.>", "_INBOX.agent.*.x", "_INBOX.agent.n2.>", "_INBOX.collector.>")

	// What was refused has not happened.
	for name, want := range map[string]uint64{event.StreamObservations: 4, event.StreamFindings: 0, event.StreamDead: 0, "KV_" + event.BucketDecisions: 4} {
		stream, err := control.js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if info := stream.CachedInfo(); info.State.LastSeq != want || info.State.Consumers != 0 {
			t.Errorf("%s has had %d messages, and has %d consumers", name, info.State.LastSeq, info.State.Consumers)
		}
	}
	// An agent without its permissions is told what is missing.
	if err := agentBus.CheckStream(t.Context(), event.AgentSubject("n9")); err == nil || !strings.Contains(err.Error(), "deploy/nats") {
		t.Errorf("got %v", err)
	}
}

// readDecisions reads the newest of each key without a consumer, as agents do.
func readDecisions(t *testing.T, nc *nats.Conn) map[string]string {
	t.Helper()
	inbox := nc.NewRespInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	request, err := json.Marshal(map[string]any{"multi_last": []string{"$KV." + event.BucketDecisions + ".>"}, "batch": 1000})
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.PublishRequest("$JS.API.DIRECT.GET.KV_"+event.BucketDecisions, inbox, request); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for {
		m, err := sub.NextMsg(20 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if m.Header.Get("Status") == "204" { // the end
			return out
		}
		out[strings.TrimPrefix(m.Header.Get(jetstream.SubjectHeader), "$KV."+event.BucketDecisions+".")] = string(m.Data)
	}
}

// TestAcknowledgementAsMessage is what an agent can still do: have the server send its acknowledgement to another node's subject. It says nothing
// of the agent's choice, and is refused as what it is.
func TestAcknowledgementAsMessage(t *testing.T) {
	server := testenv.StartNATSUsers(t, "n1")
	control := connectUser(t, busOf(t, server, testenv.CollectorID, ""))
	agent := connectUser(t, busOf(t, server, testenv.AgentID("n1"), event.AgentInbox("n1")))
	for _, reply := range []string{"ambit.v1.obs.0.n2", "ambit.v1.agent.n2", "$JS.API.STREAM.PURGE.AMBIT_OBS", "$KV.ambit_decisions.d1"} {
		if err := agent.nc.PublishRequest(event.ObservationSubject(0, "n1"), reply, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	agent.contented()
	stream, err := control.js.Stream(t.Context(), event.StreamObservations)
	if err != nil {
		t.Fatal(err)
	}
	await(t, "all messages", func() bool {
		info, err := stream.Info(t.Context())
		return err == nil && info.State.Msgs >= 6
	})
	for _, subject := range []string{"ambit.v1.obs.0.n2", "ambit.v1.agent.n2"} {
		m, err := stream.GetLastMsgForSubject(t.Context(), subject)
		if err != nil {
			t.Fatal(err)
		}
		if _, refused := decode(subject, m.Data, m.Time, time.Hour, event.DefaultPartitions); refused == nil || refused.cause != causeMalformed {
			t.Errorf("%s: %q is not refused: %v", subject, m.Data, refused)
		}
	}
	if _, err := stream.GetMsg(t.Context(), 1); err != nil {
		t.Errorf("the stream was emptied: %v", err)
	}
}

// TestPermissionsOfCollector has a collector do all that it needs with its own, through the real server, and an agent's lie refused.
func TestPermissionsOfCollector(t *testing.T) {
	server := testenv.StartNATSUsers(t, "n1", "n2")
	bus := busOf(t, server, testenv.CollectorID, "")
	var complaints denials
	bus.cfg.Logger = slog.New(slog.NewTextHandler(&complaints, nil))
	u := connectUser(t, bus)
	s := openStore(t)
	r := start(t, bus, s, nil)
	n := newNode(t, busOf(t, server, testenv.AgentID("n1"), event.AgentInbox("n1")), "n1")
	n.publish(time.Second, 1, 2, 3)

	b := event.NewBatchBuilder("n2", "boot", n.started) // n1 speaks as n2, on its own subject
	o := observation(n.now, 9)
	b.Add(&o)
	lie, err := b.Encode(1, 1, n.now)
	if err != nil {
		t.Fatal(err)
	}
	n.send(event.ObservationSubject(0, "n1"), lie)
	n.settled(r)
	if got := value(t, r.metrics.refused.WithLabelValues(causeNode)); got != 1 {
		t.Errorf("%v messages are refused for their node", got)
	}
	n.checkTotals(s)
	dead, err := u.js.Stream(t.Context(), event.StreamDead)
	if err != nil {
		t.Fatal(err)
	}
	await(t, "a letter about the lie", func() bool {
		m, err := dead.GetLastMsgForSubject(t.Context(), "ambit.v1.dead."+causeNode)
		return err == nil && m.Header.Get(deadletter.HeaderSubject) == event.ObservationSubject(0, "n1") && bytes.Equal(m.Data, lie)
	})
	r.end(t)
	if complaints.n.Load() > 0 {
		t.Error("the collector was denied something that it needs")
	}

	kv, err := u.js.KeyValue(t.Context(), leasesBucket)
	if err != nil {
		t.Fatal(err)
	}
	g, err := lease.New(lease.Config{JetStream: u.js, Bucket: kv, Member: "a", Partitions: 2, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := g.Run(ctx, func([]lease.Lease) error { cancel(); return nil }, func(int) {}); err != nil {
		t.Error(err)
	}
	if err := lease.Agree(t.Context(), kv, 16); err != nil {
		t.Error(err)
	}
	for _, subject := range []string{event.VerdictSubject(0), event.DeclaredSubject(0), event.SharedSubject(0), "$KV." + statesBucket + "." + stateKey(0)} {
		if _, err := u.js.Publish(t.Context(), subject, []byte("{}")); err != nil {
			t.Errorf("%s: %v", subject, err)
		}
	}
	u.contented()
	u.mayNotPublish("ambit.v1.verdict.0.x", "ambit.v1.obs.0.n1", "ambit.v1.agent.n1", "ambit.v1.ack.n1", "ambit.v1.decision.x", "$JS.API.STREAM.DELETE.AMBIT_OBS", "$JS.API.STREAM.PURGE.AMBIT_OBS",
		"$JS.API.STREAM.UPDATE.AMBIT_OBS", "$JS.API.STREAM.MSG.DELETE.AMBIT_OBS", "$KV.other.x")
	u.mayNotSubscribe(">", "_INBOX.agent.>", "_INBOX.reader.>")
}

// denials counts log lines about what was not allowed.
type denials struct{ n atomic.Int64 }

func (d *denials) Write(line []byte) (int, error) {
	if bytes.Contains(bytes.ToLower(line), []byte("permissions violation")) {
		d.n.Add(1)
	}
	return len(line), nil
}

func TestPermissionsOfReader(t *testing.T) {
	server := testenv.StartNATSUsers(t, "n1")
	control := connectUser(t, busOf(t, server, testenv.CollectorID, ""))
	reader := connectUser(t, busOf(t, server, testenv.ReaderID, "_INBOX.reader"))
	live := make(chan *nats.Msg, 1)
	if _, err := reader.nc.ChanSubscribe(event.SubjectFindings, live); err != nil {
		t.Fatal(err)
	}
	reader.contented()
	if _, err := control.js.Publish(t.Context(), "ambit.v1.finding.high.new-resource", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	receive(t, "the follower", live)
	stream, err := reader.js.Stream(t.Context(), event.StreamFindings)
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "soc", AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	m, err := consumer.Next()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.DoubleAck(t.Context()); err != nil {
		t.Error(err)
	}
	if err := stream.DeleteConsumer(t.Context(), "soc"); err != nil {
		t.Error(err)
	}
	reader.contented()
	reader.mayNotPublish("ambit.v1.verdict.0", "ambit.v1.declare.0", "ambit.v1.share.0", "$KV.ambit_states.0.head", "ambit.v1.obs.0.n1", "ambit.v1.finding.high.x", "$KV.ambit_decisions.x", "$JS.API.STREAM.PURGE.AMBIT_FINDINGS", "$JS.API.STREAM.DELETE.AMBIT_FINDINGS",
		"$JS.API.STREAM.MSG.GET.AMBIT_OBS", "$JS.API.CONSUMER.CREATE.AMBIT_OBS.x", "$JS.API.DIRECT.GET.KV_ambit_decisions", "$JS.API.STREAM.INFO.AMBIT_OBS")
	reader.mayNotSubscribe("ambit.v1.obs.>", "ambit.v1.agent.>", "ambit.v1.decision.>", "ambit.v1.dead.>", "_INBOX.collector.>", "_INBOX.>")
}
