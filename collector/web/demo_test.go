package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/collector/auth"
	"github.com/ambit-nhi/ambit/internal/demo/story"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

const (
	demoNode   = "shop-1"
	demoServer = "192.0.2.1" // where the story's services are: loopback cannot be denied
	demoTime   = 8 * time.Minute
	// picturesOfDemo, set in the environment, has the pictures of the documents written.
	picturesOfDemo = "AMBIT_WEB_PICTURES"
	// sliceOfDemo, set in the environment, is the folder of the cgroup in which the story's programs run. A slice has services below it.
	sliceOfDemo = "AMBIT_WEB_SLICE"
)

// TestBrowserDemo shows the pages of the story that `make demo` tells to a browser: real programs, watched by a real agent in the live kernel. It has a
// network of its own, in which there are no others, and an address that can be denied.
func TestBrowserDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute")
	}
	node := browserTools(t)
	if *pictures {
		t.Setenv(picturesOfDemo, pictureFolder(t))
	}
	if testenv.OwnCgroup() == "" {
		testenv.RequireKernel(t)
		t.Setenv(sliceOfDemo, testenv.Cgroup(t, fmt.Sprintf("ambit-web-%d.slice", os.Getpid())).Dir())
	}
	testenv.OwnNetwork(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), demoTime)
		defer cancel()
		p := newPerformance(t)
		ended := make(chan error, 1)
		go func() { ended <- p.tell(ctx) }()
		defer func() {
			close(p.over)
			if err := <-ended; err != nil {
				t.Errorf("%v\n%s", err, p)
			}
			p.unpin()
		}()
		select {
		case <-p.learned:
		case err := <-ended:
			ended <- err
			return
		}
		env := append(os.Environ(), "AMBIT_URL="+p.stage.URL, "AMBIT_CONTROL="+p.control(), "AMBIT_BROWSER="+browserPath, "AMBIT_WORLD="+p.describe(), "AMBIT_SHOTS="+shots(t),
			"AMBIT_PICTURES="+os.Getenv(picturesOfDemo))
		runBrowserTests(ctx, t, node, "browser/demo.test.js", env, p.String)
	})
}

// performance is the story as it is told to a browser, which says when it goes on.
type performance struct {
	t             *testing.T
	story         story.Story
	stage         *story.Stage
	tokens        map[string]string // by role
	learned, told chan struct{}     // closed by the story
	change, over  chan struct{}     // closed by the test
	mu            sync.Mutex
	output        bytes.Buffer // what it tells, and what its programs complain of
	begin         sync.Once
}

func newPerformance(t *testing.T) *performance {
	t.Helper()
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.AddrAdd(lo, &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(demoServer), Mask: net.CIDRMask(32, 32)}})
	}
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	p := &performance{t: t, tokens: map[string]string{}, learned: make(chan struct{}), told: make(chan struct{}), change: make(chan struct{}), over: make(chan struct{})}
	p.story = story.Story{
		Binary: filepath.Join(folder, "ambit"), Out: p, Err: p, Node: demoNode, Parent: os.Getenv(sliceOfDemo), Units: true, Before: p.before,
		Database: demoServer + ":5432", Cache: demoServer + ":11211", Secret: demoServer + ":8200",
		Env: []string{
			"AMBIT_CLICKHOUSE_LIBRARY=" + testenv.EngineConfig(t).Server.Library, fmt.Sprintf("AMBIT_DENY_PINS=/sys/fs/bpf/ambit-web-%d", os.Getpid()),
			"AMBIT_DENY_BREAK_GLASS=" + filepath.Join(folder, "break-glass"),
		},
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", p.story.Binary, "../..").CombinedOutput(); err != nil {
		t.Fatalf("build the program: %v\n%s", err, out)
	}
	return p
}

func (p *performance) tell(ctx context.Context) error {
	err := story.Tell(ctx, p.story)
	if err != nil {
		return fmt.Errorf("the story: %w", err)
	}
	return nil
}

func (p *performance) before(ctx context.Context, act story.Act, s *story.Stage) error {
	switch act {
	case story.Start:
		now := time.Now()
		for _, role := range []api.Role{api.Viewer, api.Responder, api.Admin} {
			token, text, err := auth.NewToken(role.String(), role, now, 0)
			if err == nil {
				err = auth.AddToken(filepath.Join(s.Data, "tokens.json"), token, now)
			}
			if err != nil {
				return err
			}
			p.tokens[role.String()] = text
		}
		return nil
	case story.Change:
		p.stage = s
		close(p.learned)
		select {
		case <-p.change:
		case <-p.over:
			return errors.New("the browser is done before it was told all")
		case <-ctx.Done():
		}
	default:
		close(p.told)
		select {
		case <-p.over:
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// unpin removes what Ambit keeps in the kernel, which outlives it.
func (p *performance) unpin() {
	cmd := exec.Command(p.story.Binary, "agent", "unpin")
	cmd.Env = append(os.Environ(), p.story.Env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		p.t.Errorf("unpin: %v: %s", err, out)
	}
}

// Write keeps what is told.
func (p *performance) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.Write(b)
}

func (p *performance) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

// describe is what the browser test knows of the story.
func (p *performance) describe() string {
	program, err := os.Executable() // the story's programs are this one
	if err != nil {
		p.t.Fatal(err)
	}
	data, err := json.Marshal(map[string]any{
		"tokens": p.tokens, "node": demoNode, "program": filepath.Base(program), "checkout": p.stage.Identity("checkout"), "reports": p.stage.Identity("reports"),
		"database": "net:" + demoServer + "/32:5432/tcp", "cache": "net:" + demoServer + "/32:11211/udp", "secret": "net:" + demoServer + "/32:8200/tcp",
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return string(data)
}

// control lets the browser test go on with the story: POST /change has checkout reach something new, /told waits until all is told, /secret says what
// checkout last heard of that, and /explain?id= what the command line says of a finding.
func (p *performance) control() string {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /change", func(http.ResponseWriter, *http.Request) { p.begin.Do(func() { close(p.change) }) })
	mux.HandleFunc("POST /told", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-p.told:
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("POST /secret", func(w http.ResponseWriter, r *http.Request) {
		last := "answers"
		for line := range strings.Lines(p.String()) {
			if _, said, found := strings.Cut(line, "checkout: tcp:"+p.story.Secret+": "); found {
				last = strings.TrimSpace(said)
			}
		}
		io.WriteString(w, last)
	})
	mux.HandleFunc("POST /explain", func(w http.ResponseWriter, r *http.Request) {
		out, err := exec.CommandContext(r.Context(), p.story.Binary, "explain", r.FormValue("id"), "--server", p.stage.URL).CombinedOutput()
		if err != nil {
			http.Error(w, fmt.Sprintf("%v: %s", err, out), http.StatusInternalServerError)
			return
		}
		w.Write(out)
	})
	s := httptest.NewServer(mux)
	p.t.Cleanup(s.Close)
	return s.URL
}
