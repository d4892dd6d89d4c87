package natsauth

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/ambit-nhi/ambit/collector"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// ground is a NATS server with the callout of deploy/nats, and, once prepared, a cluster.
type ground struct {
	t      *testing.T
	server *testenv.NATSUsers
	issuer nkeys.KeyPair
	kube   *testenv.Cluster
	api    *kubernetes.Clientset
}

func newGround(t *testing.T) *ground {
	t.Helper()
	g := &ground{t: t}
	var err error
	if g.issuer, err = nkeys.CreateAccount(); err != nil {
		t.Fatal(err)
	}
	public, err := g.issuer.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	g.server = testenv.StartNATSCallout(t, public)
	return g
}

// run has a service answer until the test ends.
func (g *ground) run(s *Service) (control *nats.Conn) {
	g.t.Helper()
	control, err := g.connect(testenv.CollectorID, "", "_INBOX.collector", func(err error) { g.t.Errorf("the collector is refused: %v", err) })
	if err != nil {
		g.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(g.t.Context())
	ready, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		if err := s.Run(ctx, control, func() { close(ready) }); err != nil {
			g.t.Error(err)
		}
	}()
	g.t.Cleanup(func() {
		cancel()
		<-ended
	})
	select {
	case <-ready:
	case <-ended:
		g.t.FailNow()
	}
	return control
}

// connect is a connection with a certificate, which is nobody's for those who show a token.
func (g *ground) connect(id, token, inbox string, complain func(error)) (*nats.Conn, error) {
	g.t.Helper()
	opts := []nats.Option{
		nats.Secure(g.server.TLS(id)),
		nats.CustomInboxPrefix(inbox), nats.Timeout(30 * time.Second), nats.NoReconnect(),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { complain(err) }), nats.PermissionErrOnSubscribe(true),
	}
	if token != "" {
		opts = append(opts, nats.Token(token))
	}
	nc, err := nats.Connect(g.server.URL, opts...)
	if err == nil {
		g.t.Cleanup(nc.Close)
	}
	return nc, err
}

// prepare makes what a cluster has: an agent's service account and its pod on a node, and a collector that may review tokens and nothing else.
func (g *ground) prepare() (collector string) {
	g.t.Helper()
	g.kube = testenv.Kubernetes(g.t)
	config, err := clientcmd.BuildConfigFromFlags("", g.kube.Kubeconfig())
	if err != nil {
		g.t.Fatal(err)
	}
	if g.api, err = kubernetes.NewForConfig(config); err != nil {
		g.t.Fatal(err)
	}
	ctx, made := g.t.Context(), metav1.CreateOptions{}
	var faults []error
	note := func(_ any, err error) { faults = append(faults, err) }
	note(g.api.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ambit"}}, made))
	for _, name := range []string{"ambit-agent", "ambit-collector", "other"} {
		note(g.api.CoreV1().ServiceAccounts("ambit").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, made))
	}
	g.kube.Apply(filepath.Join(testenv.NATSFiles(g.t), "..", "rbac", "collector-nats-tokens.yaml"))
	for pod, account := range map[string]string{"agent-1": "ambit-agent", "agent-2": "ambit-agent", "other": "other"} {
		node := strings.Replace(pod, "agent-", "ip-10-0-0-", 1) + ".ec2.internal"
		note(g.api.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}, made))
		note(g.api.CoreV1().Pods("ambit").Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: pod},
			Spec:       corev1.PodSpec{ServiceAccountName: account, NodeName: node, Containers: []corev1.Container{{Name: "agent", Image: "ambit"}}},
		}, made))
	}
	if err := errors.Join(faults...); err != nil {
		g.t.Fatal(err)
	}
	return g.kube.KubeconfigFor("ambit", "ambit-collector")
}

// token is what the kubelet asks for a pod; of no pod if that is empty.
func (g *ground) token(account, pod, audience string) string {
	g.t.Helper()
	asked := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{audience}}}
	if pod != "" {
		p, err := g.api.CoreV1().Pods("ambit").Get(g.t.Context(), pod, metav1.GetOptions{})
		if err != nil {
			g.t.Fatal(err)
		}
		asked.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod, UID: p.UID}
	}
	got, err := g.api.CoreV1().ServiceAccounts("ambit").CreateToken(g.t.Context(), account, asked, metav1.CreateOptions{})
	if err != nil {
		g.t.Fatal(err)
	}
	return got.Status.Token
}

const sharedID = "spiffe://shop.example/ns/ambit/sa/agent" // of the certificate that all agents have; no user

// TestTokens has real servers of NATS and Kubernetes tell agents apart: each may do what deploy/nats lets its own node, and who is no agent gets nothing.
func TestTokens(t *testing.T) {
	g := newGround(t)
	kubeconfig := g.prepare()
	first := g.token("ambit-agent", "agent-1", "ambit-nats")
	cluster, err := NewCluster(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	s, err := New(Config{Issuer: g.issuer, Account: "AMBIT", Audience: "ambit-nats", ServiceAccounts: []string{"ambit/ambit-agent"}, Life: time.Hour, Reviewer: cluster, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	control := g.run(s)

	// Each agent is its own node's.
	nodes := map[string]string{"ip-10-0-0-1.ec2.internal": first, "ip-10-0-0-2.ec2.internal": g.token("ambit-agent", "agent-2", "ambit-nats")}
	heard := make(chan *nats.Msg, 16)
	if _, err := control.ChanSubscribe("ambit.v1.ack.*", heard); err != nil {
		t.Fatal(err)
	}
	if err := control.Flush(); err != nil {
		t.Fatal(err)
	}
	for node, token := range nodes {
		denied := make(chan error, 16)
		nc, err := g.connect(sharedID, token, event.AgentInbox(node), func(err error) { denied <- err })
		if err != nil {
			t.Fatalf("%s: %v", node, err)
		}
		if _, err := nc.SubscribeSync(nats.NewInbox()); err != nil { // of everybody
			t.Fatal(err)
		}
		refused(t, nc, denied)
		for other := range nodes {
			if err := nc.Publish(event.AckSubject(other), []byte(node)); err != nil {
				t.Fatal(err)
			}
			if other != node {
				refused(t, nc, denied)
				continue
			}
			select {
			case m := <-heard:
				if m.Subject != event.AckSubject(node) || string(m.Data) != node {
					t.Errorf("%s says %s on %s", node, m.Data, m.Subject)
				}
			case <-time.After(time.Minute):
				t.Errorf("%s is not heard", node)
			}
		}
		for _, subject := range []string{Subject, "ambit.v1.finding.high.x", "$JS.API.STREAM.NAMES"} {
			if err := nc.Publish(subject, nil); err != nil {
				t.Fatal(err)
			}
			refused(t, nc, denied)
		}
	}

	// Whoever is no agent gets nothing, and the reason is counted.
	stolen := g.token("ambit-agent", "agent-2", "ambit-nats")
	if err := g.api.CoreV1().Pods("ambit").Delete(t.Context(), "agent-2", metav1.DeleteOptions{GracePeriodSeconds: new(int64)}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ what, token, cause string }{
		{"no token", "", "no-token"},
		{"what is no token", "x", "refused-token"},
		{"a token for others", g.token("ambit-agent", "agent-1", "vault"), "refused-token"},
		{"a pod that is gone", stolen, "refused-token"},
		{"another service account", g.token("other", "other", "ambit-nats"), "foreign-account"},
		{"a token of no pod", g.token("ambit-agent", "", "ambit-nats"), "no-node"},
	} {
		before := s.Counters()[c.cause]
		if _, err := g.connect(sharedID, c.token, "_INBOX.agent.x", func(error) {}); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("%s: %v", c.what, err)
		}
		if got := s.Counters()[c.cause]; got != before+1 {
			t.Errorf("%s: counted as %v", c.what, s.Counters())
		}
	}
	if n := s.Counters()["accepted"]; n != 2 {
		t.Errorf("%d agents were accepted", n)
	}
	// The API server is away: nobody is let in on suspicion.
	g.kube.Stop()
	if _, err := g.connect(sharedID, first, "_INBOX.agent.x", func(error) {}); !errors.Is(err, nats.ErrAuthorization) || s.Counters()["cluster-away"] != 1 {
		t.Errorf("without a cluster: %v, %v", err, s.Counters())
	}
}

// refused waits until the server complains.
func refused(t *testing.T, nc *nats.Conn, denied <-chan error) {
	t.Helper()
	if err := nc.FlushTimeout(time.Minute); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-denied:
		if !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("the server complains of %v", err)
		}
	case <-time.After(time.Minute):
		t.Error("that is allowed")
	}
}

// TestRenewal: an agent's connection ends with its user's life, and comes back by itself with the token that its file holds then.
func TestRenewal(t *testing.T) {
	g := newGround(t)
	issuer, s := g.issuer, newKnown(t)
	s.cfg.Issuer, s.cfg.Life = issuer, 2*time.Second
	control := g.run(s)
	heard := make(chan *nats.Msg, 1024) // told again when a connection ends in between
	if _, err := control.ChanSubscribe(event.AckSubject("n1"), heard); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("good\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := collector.DefaultBusConfig()
	cfg.URLs, cfg.TLS, cfg.TokenFile, cfg.Inbox, cfg.Logger = []string{g.server.URL}, g.server.TLS(sharedID), file, event.AgentInbox("n1"), quiet
	bus, err := collector.OutsideBus(cfg)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := bus.Connect("agent")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	wait := func(what string, done func() bool) {
		t.Helper()
		for end := time.Now().Add(time.Minute); !done(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: %v", what, s.Counters())
			}
		}
	}
	wait("the agent comes back", func() bool { return s.Counters()["accepted"] >= 2 && nc.IsConnected() })
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	wait("an old token is refused", func() bool { return s.Counters()["refused-token"] >= 2 })
	if err := os.WriteFile(file, []byte("good"), 0o600); err != nil {
		t.Fatal(err)
	}
	wait("a new token lets it in again", func() bool {
		return nc.IsConnected() && nc.Publish(event.AckSubject("n1"), nil) == nil && nc.FlushTimeout(time.Second) == nil
	})
	select {
	case <-heard:
	case <-time.After(time.Minute):
		t.Error("the agent is not heard")
	}
}

// known is a cluster with one agent.
type known struct{}

func (known) Review(_ context.Context, token, _ string) (Claim, error) {
	if token != "good" {
		return Claim{}, ErrRefused
	}
	return Claim{User: "system:serviceaccount:ambit:ambit-agent", Node: "n1"}, nil
}

func newKnown(t testing.TB) *Service {
	t.Helper()
	issuer, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Issuer: issuer, Account: "AMBIT", Audience: "ambit-nats", ServiceAccounts: []string{"ambit/ambit-agent"}, Life: time.Hour, Reviewer: known{}, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// asked is what a server asks.
func asked(t testing.TB, kind func() (nkeys.KeyPair, error), token string) string {
	t.Helper()
	server, err := kind()
	if err != nil {
		t.Fatal(err)
	}
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	key, err := user.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	c := jwt.NewAuthorizationRequestClaims("ambit")
	c.UserNkey, c.ConnectOptions.Token, c.Server.ID = key, token, "server"
	text, err := c.Encode(server)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// FuzzAnswer: whatever is asked, an answer is signed for the server and user that asked, and makes an agent of nobody but who has a good token.
func FuzzAnswer(f *testing.F) {
	good := asked(f, nkeys.CreateServer, "good")
	for _, seed := range []string{good, asked(f, nkeys.CreateServer, "bad"), good[:len(good)/2], "", "eyJ.eyJ.", strings.Repeat("a", maxAsked+1)} {
		f.Add(seed)
	}
	s := newKnown(f)
	f.Fuzz(func(t *testing.T, text string) {
		answer := s.answer(t.Context(), []byte(text))
		if answer == nil {
			return
		}
		said, err := jwt.DecodeAuthorizationResponseClaims(string(answer))
		if err != nil {
			t.Fatal(err)
		}
		request, err := jwt.DecodeAuthorizationRequestClaims(text)
		if err != nil || said.Subject != request.UserNkey || said.Audience != request.Server.ID || (said.Error == "") != (request.ConnectOptions.Token == "good") {
			t.Errorf("%q gets %+v, %v", text, said, err)
		}
	})
}

// TestAnswer checks what is not answered, and what the user of an answer may.
func TestAnswer(t *testing.T) {
	s := newKnown(t)
	for _, text := range []string{"", "x", strings.Repeat("x", maxAsked+1), asked(t, nkeys.CreateServer, "good")[3:]} {
		before := s.Counters()["malformed"]
		if answer := s.answer(t.Context(), []byte(text)); answer != nil || s.Counters()["malformed"] != before+1 {
			t.Errorf("what no server has written gets %s", answer)
		}
	}
	if _, cause, err := s.who(t.Context(), strings.Repeat("x", maxToken+1)); cause != "refused-token" || err == nil {
		t.Errorf("a very long token gives %s, %v", cause, err)
	}
	said, err := jwt.DecodeAuthorizationResponseClaims(string(s.answer(t.Context(), []byte(asked(t, nkeys.CreateServer, "good")))))
	if err != nil {
		t.Fatal(err)
	}
	u, err := jwt.DecodeUserClaims(said.Jwt)
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(time.Unix(u.Expires, 0)); u.Name != "n1" || u.Audience != "AMBIT" || left > time.Hour || left < 50*time.Minute || len(u.Pub.Allow) != 5 || u.BearerToken {
		t.Errorf("the user is %+v", u)
	}
}

// TestStale: what waited so long that its server has given up is not looked at.
func TestStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, asks := newKnown(t), make(chan request, 2)
		good := &nats.Msg{Data: []byte(asked(t, nkeys.CreateServer, "good"))} // without anybody to answer to
		asks <- request{good, time.Now().Add(-stale - time.Millisecond)}
		asks <- request{good, time.Now().Add(-stale)}
		ctx, cancel := context.WithCancel(t.Context())
		go s.work(ctx, asks)
		synctest.Wait()
		cancel()
		if c := s.Counters(); c["too-many"] != 1 || c["accepted"] != 1 || c["unanswered"] != 1 {
			t.Errorf("counted are %v", c)
		}
	})
}

func TestNewRefuses(t *testing.T) {
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	account, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	good := Config{Issuer: account, Account: "AMBIT", Audience: "a", ServiceAccounts: []string{"a/b"}, Life: time.Hour, Reviewer: known{}}
	f := func(want string, change func(*Config)) {
		t.Helper()
		c := good
		change(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	f("account nkey", func(c *Config) { c.Issuer = user })
	f("between", func(c *Config) { c.Life = time.Second })
	f("is no service account", func(c *Config) { c.ServiceAccounts = []string{"ambit-agent"} })
	f("is no service account", func(c *Config) { c.ServiceAccounts = []string{"a/b/c"} })
	f("is no service account", func(c *Config) { c.ServiceAccounts = []string{"a:b/c"} })
	f("missing", func(c *Config) { c.ServiceAccounts = nil })
	f("missing", func(c *Config) { c.Audience = "" })
}
