package natsauth

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/conf"
	"github.com/nats-io/nats.go"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

var update = flag.Bool("update", false, "write deploy/nats/agent.conf")

// written is agent.conf.
func written() string {
	list := func(subjects []string) string {
		var quoted []string
		for _, s := range subjects {
			quoted = append(quoted, strconv.Quote(s))
		}
		return "{ allow = [\n    " + strings.Join(quoted, "\n    ") + "\n  ] }\n"
	}
	return `# What the agent of one node may do; NODE stands for the node's token. It publishes what its own node saw, and reads decisions. It has no
# consumer: whoever makes one says where the server sends its messages.
# Written by go test ./collector/natsauth -run TestRights -update, from the rights that agents by token have.
{
  publish = ` + list(mayPublish) + `  subscribe = ` + list(maySubscribe) + "}\n"
}

// TestRights holds deploy/nats/agent.conf to the rights of an agent by token: as it is written, and as NATS reads it.
func TestRights(t *testing.T) {
	file := filepath.Join(testenv.NATSFiles(t), "agent.conf")
	if *update {
		if err := os.WriteFile(file, []byte(written()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != written() {
		t.Errorf("%s differs from the rights by token, which give\n%s", file, written())
	}
	publish, subscribe := allowed(t, "agent", "n-1")
	r := rights("n-1")
	if !slices.Equal(r.Pub.Allow, jwt.StringList(publish)) || len(publish) != 5 {
		t.Errorf("an agent may publish %v by token, %v by deploy/nats", r.Pub.Allow, publish)
	}
	if !slices.Equal(r.Sub.Allow, jwt.StringList(subscribe)) || len(subscribe) != 2 {
		t.Errorf("an agent may subscribe %v by token, %v by deploy/nats", r.Sub.Allow, subscribe)
	}
}

// allowed are the subjects of a file of deploy/nats, as NATS reads it.
func allowed(t *testing.T, kind, node string) (publish, subscribe []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(testenv.NATSFiles(t), kind+".conf"))
	if err != nil {
		t.Fatal(err)
	}
	var rules string
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "#") {
			rules += strings.ReplaceAll(line, "NODE", node)
		}
	}
	file, err := conf.Parse("permissions = " + rules)
	if err != nil {
		t.Fatal(err)
	}
	rights := file["permissions"].(map[string]any)
	of := func(act string) (out []string) {
		for _, subject := range rights[act].(map[string]any)["allow"].([]any) {
			out = append(out, subject.(string))
		}
		return out
	}
	for act, rule := range rights { // a denial or a response would be one more right or one less
		if kind == "agent" && (act != "publish" && act != "subscribe" || len(rule.(map[string]any)) != 1) {
			t.Errorf("%s.conf says %s = %v", kind, act, rule)
		}
	}
	return of("publish"), of("subscribe")
}

// TestRightsAreEqual asks real servers: an agent by certificate and one by token may do the same, of all that anybody may do by deploy/nats.
func TestRightsAreEqual(t *testing.T) {
	const node, other = "n1", "n2" // the first is the one of newKnown
	g := newGround(t)
	s := newKnown(t)
	s.cfg.Issuer = g.issuer
	g.run(s)
	byToken, err := g.connect(sharedID, "good", event.AgentInbox(node), func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	users := testenv.StartNATSUsers(t, node, other)
	byCertificate, err := nats.Connect(users.URL, nats.Secure(users.TLS(testenv.AgentID(node))), nats.Timeout(30*time.Second), nats.NoReconnect(),
		nats.PermissionErrOnSubscribe(true), nats.CustomInboxPrefix(event.AgentInbox(node)), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	defer byCertificate.Close()

	publish, subscribe := allowed(t, "agent", node)
	var all []string
	for _, kind := range []string{"agent", "collector", "reader"} {
		for _, n := range []string{node, other} {
			p, s := allowed(t, kind, n)
			all = append(append(all, p...), s...)
		}
	}
	all = append(all, "_INBOX.>", "_INBOX.agent.*.>", "ambit.v1.>", "$SYS.>", "$JS.API.>", "$KV.>", ">")
	slices.Sort(all)
	tried := 0
	for _, subject := range slices.Compact(all) {
		plain := strings.NewReplacer("*", "x", ">", "x.y").Replace(subject)
		for what, nc := range map[string]*nats.Conn{"token": byToken, "certificate": byCertificate} {
			if got, want := mayPublishOn(t, nc, plain), matchesAny(publish, plain); got != want {
				t.Errorf("by %s, publishing on %s is allowed: %t, want %t", what, plain, got, want)
			}
			for _, s := range []string{plain, subject} {
				if got, want := maySubscribeTo(t, nc, s), matchesAny(subscribe, s); got != want {
					t.Errorf("by %s, subscribing to %s is allowed: %t, want %t", what, s, got, want)
				}
			}
			tried++
		}
	}
	if tried < 100 {
		t.Errorf("only %d were tried", tried)
	}
}

// matchesAny says whether a pattern takes all that another one does.
func matchesAny(patterns []string, subject string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		p, s := strings.Split(pattern, "."), strings.Split(subject, ".")
		for i, token := range p {
			switch {
			case i >= len(s):
				return false
			case token == ">":
				return true
			case s[i] == ">" || token != "*" && token != s[i]:
				return false
			}
		}
		return len(p) == len(s)
	})
}

// mayPublishOn asks. A server refuses before it answers the flush that follows.
func mayPublishOn(t *testing.T, nc *nats.Conn, subject string) bool {
	t.Helper()
	if err := nc.Publish(subject, nil); err != nil {
		t.Fatal(err)
	}
	if err := nc.FlushTimeout(time.Minute); err != nil {
		t.Fatal(err)
	}
	err := nc.LastError()
	return !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), "Publish to "+strconv.Quote(subject))
}

func maySubscribeTo(t *testing.T, nc *nats.Conn, subject string) bool {
	t.Helper()
	sub, err := nc.SubscribeSync(subject)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := nc.FlushTimeout(time.Minute); err != nil {
		t.Fatal(err)
	}
	_, err = sub.NextMsg(time.Nanosecond)
	return !errors.Is(err, nats.ErrPermissionViolation)
}
