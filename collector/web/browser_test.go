package web_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/collector/auth"
	"github.com/ambit-nhi/ambit/collector/decision"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
	"github.com/ambit-nhi/ambit/internal/testenv/world"
)

// For people who look at pages: `go test ./collector/web -run TestBrowser -args -only overview`, `-args -serve 1h` and `-args -pictures`.
var (
	onlyPage = flag.String("only", "", "only the browser tests of this file, such as overview")
	serveFor = flag.Duration("serve", 0, "in place of tests, serve the seeded pages for so long, and print where")
	pictures = flag.Bool("pictures", false, "write the README's pictures")
)

const (
	browserPath = "/usr/bin/chromium"
	browserTime = 18 * time.Minute // for all files of browser tests together
)

// need says what the test lacks: in CI that fails it.
func need(t *testing.T, ok bool, what string) {
	t.Helper()
	if ok {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal(what)
	}
	t.Skip(what)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// browserTools needs what browser tests need, and gives the path of Node.js.
func browserTools(t *testing.T) string {
	t.Helper()
	node, err := exec.LookPath("node")
	need(t, err == nil, "there is no node: install Node.js")
	need(t, exists(browserPath), "there is no "+browserPath+": install Debian's chromium")
	need(t, exists("node_modules/playwright-core") && exists("dist/manifest.json"), "the pages were not made: run `make web`")
	return node
}

// TestBrowser shows the pages of the real program, on a store with a seeded world, to a real browser. What browser/*.test.js does there is the test.
func TestBrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute")
	}
	node := browserTools(t)
	p := newProgram(t)
	p.start()
	w := p.seed()
	p.stop()                                   // it reads what there is when it starts again
	p.nats = testenv.NATSServer(t).ClientURL() // but for what detectors saved of an empty store, which they would go on with
	t.Cleanup(p.stop)                          // before that server
	p.start()
	control := p.control(w)
	env := append(os.Environ(), "AMBIT_URL=http://"+p.address, "AMBIT_CONTROL="+control, "AMBIT_BROWSER="+browserPath, "AMBIT_WORLD="+p.describe(w),
		"AMBIT_SHOTS="+shots(t), "AMBIT_PICTURES="+pictureFolder(t))
	if *serveFor > 0 {
		fmt.Println("http://"+p.address, "as admin:", p.tokens["admin"], "as responder:", p.tokens["responder"], "as viewer:", p.tokens["viewer"], "control:", control)
		select {
		case <-time.After(*serveFor):
		case <-t.Context().Done():
		}
		return
	}
	files, err := filepath.Glob("browser/*.test.js")
	if err != nil || len(files) == 0 {
		t.Fatal("there are no browser tests", err)
	}
	deadline, cancel := context.WithTimeout(t.Context(), browserTime)
	defer cancel()
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".test.js")
		if *onlyPage != "" && name != *onlyPage || *pictures != (name == "pictures") || name == "demo" { // that one looks at other traffic
			continue
		}
		t.Run(name, func(t *testing.T) {
			whole := p.t
			p.t = t
			defer func() { p.t = whole }() // what stops it at the end may still complain
			runBrowserTests(deadline, t, node, file, env, p.said)
		})
	}
}

// runBrowserTests runs a file of them. said is what else to tell when they fail.
func runBrowserTests(ctx context.Context, t *testing.T, node, file string, env []string, said func() string) {
	t.Helper()
	cmd := exec.CommandContext(ctx, node, "--test", "--test-reporter=spec", file)
	cmd.Env = env
	out := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // the browser ends with it
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // a browser that is left over; nothing is the rule
	}
	if err != nil {
		t.Errorf("%v\n%s\n%s", err, out, said())
	} else {
		t.Log(out)
	}
	if strings.Contains(out.String(), "ℹ tests 0") {
		t.Error("no test ran")
	}
}

// pictureFolder is where the pictures of the documents are.
func pictureFolder(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../../docs")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// shots is where screenshots are kept.
func shots(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("browser/shots")
	if err == nil {
		err = os.MkdirAll(path, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// program is the real one, in a process of its own, on a data folder, an address and a NATS server that stay when it ends.
type program struct {
	t       *testing.T
	binary  string
	data    string
	address string
	nats    string
	library string
	tokens  map[string]string // by role
	began   time.Time

	mu     sync.Mutex
	cmd    *exec.Cmd
	ended  chan error
	output bytes.Buffer
	sent   uint64
}

func newProgram(t *testing.T) *program {
	t.Helper()
	p := &program{t: t, library: testenv.EngineConfig(t).Server.Library, nats: testenv.NATSServer(t).ClientURL(), tokens: map[string]string{}, began: time.Now().Add(-time.Minute)}
	folder := t.TempDir()
	p.binary, p.data = filepath.Join(folder, "ambit"), filepath.Join(folder, "data")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", p.binary, "../..")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the program: %v\n%s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.address = l.Addr().String()
	l.Close()
	if err := os.MkdirAll(p.data, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, role := range []api.Role{api.Viewer, api.Responder, api.Admin} {
		p.grant(role.String(), role)
	}
	t.Cleanup(p.stop)
	return p
}

// grant makes a token.
func (p *program) grant(name string, role api.Role) {
	p.t.Helper()
	now := time.Now()
	token, text, err := auth.NewToken(name, role, now, 0)
	if err == nil {
		err = auth.AddToken(filepath.Join(p.data, "tokens.json"), token, now)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	p.tokens[name] = text
}

// start runs the program until it is up.
func (p *program) start() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		return
	}
	cmd := exec.Command(p.binary, "up", "--no-agent", "--data", p.data, "--listen", p.address, "--learn", "4d")
	key := filepath.Join(filepath.Dir(p.data), "decision-key")
	if _, err := decision.EnsureKey(key); err != nil {
		p.t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), "AMBIT_NATS_URLS="+p.nats, "AMBIT_CLICKHOUSE_LIBRARY="+p.library, "AMBIT_DECISIONS_KEY_FILE="+key)
	out, err := cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	cmd.Stderr = &locked{p}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	ready, drained := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(drained)
		var once sync.Once
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if strings.Contains(lines.Text(), "http://"+p.address) {
				once.Do(func() { close(ready) })
			}
		}
	}()
	p.cmd, p.ended = cmd, make(chan error, 1)
	go func(ended chan error) {
		<-drained
		ended <- cmd.Wait()
	}(p.ended)
	select {
	case <-ready:
	case err := <-p.ended:
		p.ended <- err
		p.t.Fatalf("the program has ended: %v\n%s", err, p.said())
	case <-time.After(2 * time.Minute):
		p.t.Fatalf("the program is not up after 2 minutes\n%s", p.said())
	}
}

// stop ends the program in order.
func (p *program) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-p.ended:
		if err != nil {
			p.t.Errorf("the program ended badly: %v\n%s", err, p.said())
		}
	case <-time.After(time.Minute):
		_ = p.cmd.Process.Kill()
		<-p.ended
		p.t.Errorf("the program did not end in a minute\n%s", p.said())
	}
	p.cmd = nil
}

// locked keeps what the program says, but not all of it.
type locked struct{ p *program }

var outputs sync.Mutex

func (l *locked) Write(b []byte) (int, error) {
	outputs.Lock()
	defer outputs.Unlock()
	if l.p.output.Len() < 256<<10 {
		l.p.output.Write(b)
	}
	return len(b), nil
}

func (p *program) said() string {
	outputs.Lock()
	defer outputs.Unlock()
	return p.output.String()
}

// seed fills the store of the running program.
func (p *program) seed() *world.World {
	p.t.Helper()
	c := store.Default()
	c.Socket = filepath.Join(p.data, "run", "clickhouse.sock") // the folder of a test has a short name
	s, err := store.Open(p.t.Context(), c)
	if err != nil {
		p.t.Fatal(err)
	}
	defer s.Close()
	size := world.Small
	size.Harmless = *pictures
	w, err := world.Fill(p.t.Context(), s, time.Now(), size)
	if err != nil {
		p.t.Fatal(err)
	}
	return w
}

// describe is what browser tests know of the world.
func (p *program) describe(w *world.World) string {
	type named struct {
		ID       string `json:"id"`
		Identity string `json:"identity"`
		Resource string `json:"resource"`
	}
	out := map[string]any{"tokens": p.tokens, "busiest": w.Busiest, "nodes": w.Nodes, "identities": len(w.Identities), "findings": len(w.Findings)}
	hostile, fresh := []named{}, []named{}
	for i := range w.Hostile {
		f := &w.Hostile[i]
		hostile = append(hostile, named{f.ID, f.Identity.String(), f.Resource.String()})
	}
	for i := range w.Findings {
		f := &w.Findings[i]
		if f.Status == event.StatusNew && len(fresh) < 40 && f.Node != world.HostileHTML {
			fresh = append(fresh, named{f.ID, f.Identity.String(), f.Resource.String()})
		}
	}
	out["hostile"], out["fresh"] = hostile, fresh
	out["hostileText"] = map[string]string{"html": world.HostileHTML, "quote": world.HostileQuote, "turn": world.HostileTurn, "code": world.HostileCode}
	data, err := json.Marshal(out)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(data)
}

// control lets browser tests change what happens outside of the browser: POST /finding makes a real finding come through the detector, /stop and /start
// end and start the program, /ack?decision=&node=&state=&would=&why= tells what a node does about a decision, /token?name=&role= makes a token, /revoke?name= revokes one.
func (p *program) control(w *world.World) string {
	p.t.Helper()
	mux := http.NewServeMux()
	done := func(w http.ResponseWriter, err error) {
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}
	mux.HandleFunc("POST /finding", func(rw http.ResponseWriter, r *http.Request) { done(rw, p.reach(r.Context(), w.Busiest)) })
	mux.HandleFunc("POST /ack", func(rw http.ResponseWriter, r *http.Request) { done(rw, p.acknowledge(r)) })
	mux.HandleFunc("POST /stop", func(http.ResponseWriter, *http.Request) { p.stop() })
	mux.HandleFunc("POST /start", func(http.ResponseWriter, *http.Request) { p.start() })
	mux.HandleFunc("POST /token", func(rw http.ResponseWriter, r *http.Request) {
		role, err := api.ParseRole(r.FormValue("role"))
		if err == nil {
			p.grant(r.FormValue("name"), role)
			_, _ = io.WriteString(rw, p.tokens[r.FormValue("name")])
		}
		done(rw, err)
	})
	mux.HandleFunc("POST /revoke", func(rw http.ResponseWriter, r *http.Request) {
		done(rw, auth.RevokeToken(filepath.Join(p.data, "tokens.json"), r.FormValue("name"), time.Now()))
	})
	s := httptest.NewServer(mux)
	p.t.Cleanup(s.Close)
	return s.URL
}

// reach has an identity reach somewhere new each time, as an agent would tell it.
func (p *program) reach(ctx context.Context, id event.Identity) error {
	nc, err := nats.Connect(p.nats)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	p.sent++
	at := time.Now().UTC()
	b := event.NewBatchBuilder("browser", "boot", p.began)
	b.Add(&event.Observation{
		Time: at, Node: "browser", Workload: event.Workload{Identity: id, Evidence: event.EvidenceKubernetes, Executable: "/app"}, Direction: event.Outbound, Protocol: event.TCP,
		Peer:   event.Peer{Address: netip.MustParseAddr("2001:db8::7"), Port: 443, Name: fmt.Sprintf("new-%d.browser.example", p.sent), NameSource: event.NameDNS},
		Counts: event.Counts{Connections: 4, BytesSent: 10_000, BytesReceived: 200},
	})
	data, err := b.Encode(p.sent, p.sent, at)
	if err != nil {
		return err
	}
	_, err = js.Publish(ctx, event.ObservationSubject(event.Partition(id, event.DefaultPartitions), "browser"), data)
	return err
}

// acknowledge tells what a node does about a decision, as its agent would.
func (p *program) acknowledge(r *http.Request) error {
	nc, err := nats.Connect(p.nats)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	would, _ := strconv.ParseUint(r.FormValue("would"), 10, 64) // none where it is not said
	a := event.Ack{
		Decision: r.FormValue("decision"), Serial: 1, Node: r.FormValue("node"), Boot: "boot", State: event.AckState(r.FormValue("state")), Why: r.FormValue("why"), At: now, Told: now,
		WouldDeny: would,
	}
	data, err := a.Encode()
	if err != nil {
		return err
	}
	_, err = js.Publish(r.Context(), event.AckSubject(a.Node), data)
	return err
}
