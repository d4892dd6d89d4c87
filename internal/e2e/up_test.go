package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

// ambit is a running `ambit up`.
type ambit struct {
	t    *testing.T
	data string
	url  string
	cmd  *exec.Cmd
	log  *syncBuffer
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

var urlLine = regexp.MustCompile(`http://127\.0\.0\.1:\d+`)

// startUp starts `ambit up` on a data folder and waits for its URL.
func startUp(t *testing.T, data string, args ...string) *ambit {
	t.Helper()
	testenv.RequireKernel(t)
	u := &ambit{t: t, data: data, log: &syncBuffer{}}
	u.cmd = exec.Command(binary, append([]string{"up", "--data", data, "--listen", "127.0.0.1:0", "--node", "n1"}, args...)...)
	u.cmd.Env = append(os.Environ(), "AMBIT_CLICKHOUSE_LIBRARY="+library(t))
	u.cmd.Stderr = u.log
	out, err := u.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := u.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if u.cmd.ProcessState == nil {
			u.stop()
		}
		if t.Failed() {
			t.Logf("ambit up said:\n%s", u.log)
		}
	})
	found := make(chan string, 1)
	go func() {
		defer close(found)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			fmt.Fprintln(u.log, lines.Text())
			if m := urlLine.FindString(lines.Text()); m != "" {
				select {
				case found <- m:
				default:
				}
			}
		}
	}()
	select {
	case u.url = <-found:
	case <-time.After(60 * time.Second):
	}
	if u.url == "" {
		t.Fatalf("ambit up printed no URL:\n%s", u.log)
	}
	return u
}

// library is the engine's library in the repository's cache, two folders up.
func library(t *testing.T) string {
	t.Helper()
	if p := os.Getenv("AMBIT_CLICKHOUSE_LIBRARY"); p != "" {
		return p
	}
	p, err := filepath.Abs("../../.cache/libchdb.so")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(p); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("no embedded engine: %v; run make engine", err)
		}
		t.Skipf("no embedded engine: %v; run make engine", err)
	}
	return p
}

// stop ends it as a service manager would, and fails the test if it does not end well.
func (u *ambit) stop() {
	u.t.Helper()
	u.cmd.Process.Signal(syscall.SIGTERM)
	done := make(chan error, 1)
	go func() { done <- u.cmd.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			u.t.Errorf("ambit up ended with %v", err)
		}
	case <-time.After(30 * time.Second):
		u.cmd.Process.Kill()
		<-done
		u.t.Error("ambit up did not end within 30 s of SIGTERM")
	}
}

func (u *ambit) kill() {
	u.t.Helper()
	if err := u.cmd.Process.Kill(); err != nil {
		u.t.Fatal(err)
	}
	u.cmd.Wait()
}

func (u *ambit) get(path string, v any) {
	u.t.Helper()
	r, err := http.Get(u.url + path)
	if err != nil {
		u.t.Fatal(err)
	}
	defer r.Body.Close()
	if r.StatusCode == http.StatusNotFound {
		return
	}
	if r.StatusCode != http.StatusOK {
		var b bytes.Buffer
		b.ReadFrom(r.Body)
		u.t.Fatalf("GET %s: %s: %s", path, r.Status, b.String())
	}
	if err := json.NewDecoder(r.Body).Decode(v); err != nil {
		u.t.Fatalf("GET %s: %v", path, err)
	}
}

// cli runs a reading command against it and decodes its JSON.
func (u *ambit) cli(v any, args ...string) {
	u.t.Helper()
	cmd := exec.Command(binary, append(args, "-o", "json", "--server", u.url)...)
	out, err := cmd.Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		u.t.Fatalf("ambit %s: %v: %s", strings.Join(args, " "), err, failed.Stderr)
	}
	if err != nil {
		u.t.Fatal(err)
	}
	if err := json.Unmarshal(out, v); err != nil {
		u.t.Fatalf("ambit %s: %v in %s", strings.Join(args, " "), err, out)
	}
}

func (u *ambit) reach(id event.Identity) []api.Reach {
	u.t.Helper()
	var page api.Page[api.Reach]
	u.get("/api/v1/identities/"+url.PathEscape(id.String())+"/reach?limit=1000", &page)
	return page.Items
}

func (u *ambit) findings() []event.Finding {
	u.t.Helper()
	var page api.Page[event.Finding]
	u.get("/api/v1/findings", &page)
	return page.Items
}

// eventually waits until what says nothing, and fails with what it last said.
func eventually(t *testing.T, within time.Duration, what func() string) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		missing := what()
		took := time.Since(began)
		if missing == "" {
			return took
		}
		if took > within {
			t.Fatalf("after %s: %s", took.Round(time.Millisecond), missing)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func cgroupIdentity(t *testing.T, group *testenv.TestCgroup) event.Identity {
	t.Helper()
	td, err := event.ParseTrustDomain("ambit.local")
	if err != nil {
		t.Fatal(err)
	}
	return event.CgroupIdentity(td, "n1", group.Path())
}
