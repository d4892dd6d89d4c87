package lease

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

// serve runs a NATS server until it is killed.
func serve(path string) int {
	o, err := server.ProcessConfigFile(path)
	if err == nil {
		o.NoLog, o.NoSigs = true, true
		var s *server.Server
		if s, err = server.NewServer(o); err == nil {
			s.Start()
			s.WaitForShutdown()
			return 0
		}
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// processes are three NATS servers that are processes of their own.
type processes struct {
	url     string
	running map[string]*exec.Cmd // by name
}

func startProcesses(t *testing.T) *processes {
	t.Helper()
	var ports []string
	for range 6 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, fmt.Sprint(l.Addr().(*net.TCPAddr).Port))
	}
	p := &processes{running: map[string]*exec.Cmd{}}
	t.Cleanup(func() {
		for name := range p.running {
			p.kill(name)
		}
	})
	var urls []string
	routes := "nats://127.0.0.1:" + strings.Join(ports[:3], ", nats://127.0.0.1:")
	for i := range 3 {
		dir, name := t.TempDir(), fmt.Sprint("s", i)
		path := filepath.Join(dir, "nats.conf")
		if err := os.WriteFile(path, fmt.Appendf(nil, "server_name: %s\nlisten: \"127.0.0.1:%s\"\njetstream { store_dir: %q }\ncluster { name: test, listen: \"127.0.0.1:%s\", routes: [ %s ] }\n",
			name, ports[3+i], filepath.Join(dir, "jetstream"), ports[i], routes), 0o600); err != nil {
			t.Fatal(err)
		}
		urls = append(urls, "nats://127.0.0.1:"+ports[3+i])
		cmd := exec.Command(os.Args[0])
		cmd.Env, cmd.Stderr = append(os.Environ(), serverConfig+"="+path), os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		p.running[name] = cmd
	}
	p.url = strings.Join(urls, ",")
	return p
}

func (p *processes) kill(name string) {
	if cmd := p.running[name]; cmd != nil && cmd.Process != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	}
	delete(p.running, name)
}

// TestClusterLosesLeaderAtOnce kills the process that leads the bucket's stream. The others need up to 9 s to notice that and agree on another, so
// that leases may be lost; then the same members get the same ones again.
func TestClusterLosesLeaderAtOnce(t *testing.T) {
	t.Parallel()
	p := startProcesses(t)
	for _, cmd := range p.running {
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
	}
	w := &world{t: t, url: p.url, holders: map[int]string{}}
	try := func(what string, do func() error) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
			err := do()
			if err == nil {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %v", what, err)
			}
		}
	}
	for i := range strings.SplitSeq(p.url, ",") {
		try("reach a server", func() error {
			c, err := net.Dial("tcp", strings.TrimPrefix(i, "nats://"))
			if err == nil {
				err = c.Close()
			}
			return err
		})
	}
	w.js = w.connect()
	try("make the bucket", func() (err error) {
		w.kv, err = w.js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: testBucket, LimitMarkerTTL: MarkerTTL, Replicas: 3})
		return err
	})
	w.join("a", nil)
	w.join("b", nil)
	w.settle(8, 9)

	var leader string
	try("find the leader", func() error {
		s, err := w.js.Stream(t.Context(), "KV_"+testBucket)
		if err != nil {
			return err
		}
		if leader = s.CachedInfo().Cluster.Leader; p.running[leader] == nil {
			return fmt.Errorf("the leader is %q", leader)
		}
		return nil
	})
	w.mu.Lock()
	w.moves, w.again = 0, 0
	w.mu.Unlock()
	began := time.Now()
	p.kill(leader)
	try("write to the bucket", func() error {
		_, err := w.kv.Put(t.Context(), "test", nil)
		return err
	})
	led := time.Since(began)
	time.Sleep(3 * time.Second) // as long as who comes back leaves the others' partitions alone, and a tick
	w.settle(8, 9)
	w.mu.Lock()
	defer w.mu.Unlock()
	t.Logf("the bucket takes writes after %s, all is shared after %s; %d leases were gained again, %d of them by who had them", led, time.Since(began), w.moves, w.again)
	if w.moves != w.again {
		t.Error("leases went to and fro")
	}
}
