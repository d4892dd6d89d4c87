package workload

import (
	"context"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

func testContainers(t *testing.T, cfg ContainersConfig) *Containers {
	t.Helper()
	td, err := event.ParseTrustDomain("shop.example")
	if err != nil {
		t.Fatal(err)
	}
	cfg.TrustDomain, cfg.Node = td, "n1"
	c, err := NewContainers(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// follow runs c until the end of the test, which fails if it leaves something behind.
func follow(t *testing.T, c *Containers) {
	before := goleak.IgnoreCurrent()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		goleak.VerifyNone(t, before)
	})
}

func await(t *testing.T, what string, reached func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !reached(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 30s", what)
		}
	}
}

func scope(id string) Cgroup { return Cgroup{Path: "/machine.slice/libpod-" + id + ".scope"} }

// TestContainersOfPodman follows a real engine with real containers.
func TestContainersOfPodman(t *testing.T) {
	podman := testenv.Podman(t)
	podman.Start()
	web := podman.Run("--name", "web")

	c := testContainers(t, ContainersConfig{Sockets: []string{filepath.Join(t.TempDir(), "docker.sock"), podman.Socket()}})
	mount, err := FindMount()
	if err != nil {
		t.Fatal(err)
	}
	r := testResolver(t, Config{Sources: []Source{c}, CgroupRoot: mount.Path})
	follow(t, c)
	path, cgroup := podman.Cgroup("web")
	if !strings.HasSuffix(path, "/libpod-"+web) {
		t.Fatalf("the container runs in %s", path)
	}
	named := func(cgroup uint64, container, identity string) func() bool {
		return func() bool {
			w := r.Resolve(cgroup, Process{TGID: 1, Executable: "/bin/busybox"})
			return w.Container == container && w.Identity.String() == "spiffe://shop.example/node/n1/container/"+identity
		}
	}
	await(t, "web is named", named(cgroup, "web", "web"))
	w := r.Resolve(cgroup, Process{TGID: 1, UID: 7, Executable: "/bin/busybox"})
	if w.Evidence != event.EvidenceCgroup || w.Executable != "/bin/busybox" || w.UID != 7 || w.Unattributed != "" ||
		!strings.HasPrefix(w.Image, testenv.PodmanImage+"@sha256:") {
		t.Errorf("%+v", w)
	}

	// Nobody named it: it is called by its image.
	made := podman.Run()
	name := podman.Do("inspect", "--format", "{{.Name}}", made)
	_, cgroup = podman.Cgroup(made)
	image := strings.TrimPrefix(event.ContainerIdentity(c.cfg.TrustDomain, "n1", "localhost/shop/checkout").String(), "spiffe://shop.example/node/n1/container/")
	await(t, name+" is named by its image", named(cgroup, name, image))

	// It is known before it starts.
	later := podman.Do("create", "--name", "later", testenv.PodmanImage, "/bin/busybox", "true")
	await(t, "later is known", func() bool { _, known := c.Workload(scope(later), Process{}); return known })

	podman.Do("rename", "web", "front")
	_, cgroup = podman.Cgroup("front")
	await(t, "the new name is known", named(cgroup, "front", "front"))

	podman.Do("rm", "later")
	podman.Do("rm", "--force", "--time", "0", "front")
	if w, known := c.Workload(scope(web), Process{}); !known || w.Container != "front" {
		t.Errorf("its last connections would not be attributed: %+v", w)
	}

	// What happens while the engine does not answer is known when it does again. Attribution goes on meanwhile.
	podman.Stop()
	if w, known := c.Workload(scope(made), Process{}); !known || w.Container != name {
		t.Errorf("while the engine is away: %+v", w)
	}
	podman.Start()
	second := podman.Run("--name", "second")
	await(t, "second is known", func() bool { _, known := c.Workload(scope(second), Process{}); return known })
	await(t, "nothing is missing", func() bool { return len(c.Missing()) == 0 })
	if _, known := c.Workload(scope(containerA), Process{}); known {
		t.Error("a container that no engine has is known")
	}
}

// TestPodsAreNotContainers holds that a pod's containers are left to the source that knows pods, also where an engine knows them.
func TestPodsAreNotContainers(t *testing.T) {
	c := testContainers(t, ContainersConfig{})
	c.put(c.engines[0], containerA, told{Name: "/k8s_POD"})
	for _, path := range []string{
		"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod01234567_89ab_cdef_0123_456789abcdef.slice/docker-" + containerA + ".scope",
		"/kubepods/burstable/pod01234567-89ab-cdef-0123-456789abcdef/" + containerA,
		"/docker/" + containerA + "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod01234567_89ab_cdef_0123_456789abcdef.slice/cri-containerd-" + containerA + ".scope",
	} {
		if w, known := c.Workload(Cgroup{Path: path}, Process{}); known {
			t.Errorf("%s is %+v", path, w)
		}
	}
	if _, known := c.Workload(Cgroup{Path: "/docker/" + containerA}, Process{}); !known {
		t.Error("the container is not known at all")
	}
}

func TestContainersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := testContainers(t, ContainersConfig{Max: 2, Keep: time.Minute})
		e := c.engines[0]
		id := func(n string) string { return strings.Repeat(n, 64) }
		known := func(n string) bool { _, ok := c.Workload(scope(id(n)), Process{}); return ok }
		c.put(e, id("a"), told{Name: "/a"})
		c.put(e, id("b"), told{Name: "/b"})
		before := c.Generation()
		c.put(e, id("b"), told{Name: "/b"})
		c.put(e, id("c"), told{Name: "/c"})
		if known("c") || c.Generation() != before || c.Counters()["container-overflow"] != 1 {
			t.Errorf("a third is known: %t; generation %d, was %d; %v", known("c"), c.Generation(), before, c.Counters())
		}
		c.remove(id("a"))
		time.Sleep(59 * time.Second)
		c.remove(id("x"))
		if !known("a") {
			t.Error("forgotten too early")
		}
		c.put(e, id("c"), told{Name: "/c"}) // what is removed makes room
		if known("a") || !known("b") || !known("c") {
			t.Errorf("known: %t %t %t, want the last two", known("a"), known("b"), known("c"))
		}
		c.retain(e, map[string]bool{id("c"): true})
		time.Sleep(time.Minute)
		c.remove(id("x"))
		if known("b") || !known("c") || c.Gauges()["containers"] != 1 {
			t.Errorf("known: %t %t, %v", known("b"), known("c"), c.Gauges())
		}
	})
}

// TestTroubledEngine has an engine that answers as no real one does when asked to.
func TestTroubledEngine(t *testing.T) {
	f := func(answer http.HandlerFunc, want string) {
		t.Helper()
		socket := filepath.Join(t.TempDir(), "s")
		listener, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: answer}
		go server.Serve(listener)
		defer server.Close()
		c := testContainers(t, ContainersConfig{Sockets: []string{socket}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		await(t, want, func() bool { return len(c.Missing()) > 0 })
		if said := c.Missing()[0]; !strings.Contains(said, want) || !strings.Contains(said, socket) || strings.ContainsAny(said, "\n\x1b") || len(said) > 512 {
			t.Errorf("%q does not say %q", said, want)
		}
		if c.Counters()["container-engine-failure"] == 0 {
			t.Error("it is not counted")
		}
		if _, known := c.Workload(scope(containerA), Process{}); known {
			t.Error("a container is known")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	says := func(code int, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_, _ = w.Write([]byte(text))
		}
	}
	f(says(500, "a\n\x1b[31m"+strings.Repeat("x", 5000)), "500")
	f(says(200, "nonsense"), "read the answer")
	f(says(200, `{"message":"an object"}`), "read the answer")
	f(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/events" {
			says(200, "nonsense\n")(w, r)
			return
		}
		says(200, "[]")(w, r)
	}, "read event")
	// One container that the engine cannot tell of hides no other.
	f(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/containers/json"):
			says(200, `[{"Id":"`+containerA+`","State":"running"},{"Id":"short"}]`)(w, r)
		case r.URL.Path == "/events":
			says(403, "no events")(w, r)
		default:
			says(500, "broken")(w, r)
		}
	}, "no events")
}

// TestStuckContainers has an engine that never answers when it is asked for one of its containers, as engines do whose container hangs.
func TestStuckContainers(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	containerB := strings.Repeat("b", 64)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/containers/json"):
			_, _ = w.Write([]byte(`[{"Id":"` + containerA + `","State":"running"},{"Id":"` + containerB + `","State":"running"}]`))
		case strings.Contains(r.URL.Path, containerB):
			_, _ = w.Write([]byte(`{"Name":"/web","Config":{"Image":"shop/web"}}`))
		case strings.Contains(r.URL.Path, containerA), r.URL.Path == "/events":
			<-r.Context().Done()
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	})}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	c := testContainers(t, ContainersConfig{Sockets: []string{socket}})
	c.engines[0].wait = 100 * time.Millisecond
	follow(t, c)
	await(t, "the other container is known", func() bool {
		w, known := c.Workload(scope(containerB), Process{})
		return known && w.Container == "web"
	})
	if c.Counters()["container-engine-failure"] == 0 {
		t.Error("it is not counted")
	}
}

// TestShortContainers holds that the event itself names a container that is gone before it can be asked for, and that who runs already is waited
// for, but not for long.
func TestShortContainers(t *testing.T) {
	_, what, said, err := parseEvent([]byte(`{"Type":"container","Action":"start","Actor":{"ID":"` + containerA +
		`","Attributes":{"name":"zen_wing","image":"postgres:16","com.docker.compose.project":"shop"}}}`))
	if err != nil || what != containerChanged {
		t.Fatal(what, err)
	}
	synctest.Test(t, func(t *testing.T) {
		c := testContainers(t, ContainersConfig{})
		path := scope(containerA).Path
		if c.Soon(path) {
			t.Error("no engine is there that could tell")
		}
		c.engines[0].followed.Store(true)
		if !c.Soon(path) || c.Soon("/system.slice/nginx.service") {
			t.Error("the container is not waited for, or what is none is")
		}
		time.Sleep(soonWait)
		if c.Soon(path) {
			t.Error("still waited for")
		}
		c.expect(c.engines[0], containerA, said)
		if w, known := c.Workload(scope(containerA), Process{}); !known || w.Container != "zen_wing" || w.Image != "postgres:16" {
			t.Errorf("%+v", w)
		}
		c.remove(containerA)
		if w, known := c.Workload(scope(containerA), Process{}); !known || w.Container != "zen_wing" || c.Soon(path) {
			t.Errorf("after its end: %+v", w)
		}
	})
}

func TestNewContainers(t *testing.T) {
	if _, err := NewContainers(ContainersConfig{}); err == nil {
		t.Error("no error without trust domain")
	}
	td, _ := event.ParseTrustDomain("shop.example")
	if _, err := NewContainers(ContainersConfig{TrustDomain: td, Node: "n1", Sockets: []string{"tcp://engine:2375"}}); err == nil || !strings.Contains(err.Error(), "tcp://engine:2375") {
		t.Errorf("%v", err)
	}
}
