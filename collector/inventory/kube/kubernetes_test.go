package kube

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// told is what a source told.
type told struct {
	t    *testing.T
	news chan []event.Declaration
	log  *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start runs a source until the test ends.
func start(t *testing.T, cfg Config) *told {
	t.Helper()
	td, err := event.ParseTrustDomain("shop.example")
	if err != nil {
		t.Fatal(err)
	}
	out := &told{t, make(chan []event.Declaration), new(lockedBuffer)}
	cfg.TrustDomain, cfg.Cluster, cfg.Settle, cfg.Logger = td, "east", 50*time.Millisecond, slog.New(slog.NewTextHandler(out.log, nil))
	k, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		done <- k.Run(ctx, func(ctx context.Context, all []event.Declaration, refused int) error {
			if refused != 0 {
				t.Errorf("%d refused", refused)
			}
			select {
			case out.news <- all:
			case <-ctx.Done():
			}
			return nil
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return out
}

// until waits for a telling in which an account looks as wanted; gone accounts are the zero declaration.
func (o *told) until(name string, good func(d event.Declaration) bool) {
	o.t.Helper()
	limit := time.After(time.Minute)
	var last event.Declaration
	for {
		select {
		case all := <-o.news:
			last = event.Declaration{}
			for _, d := range all {
				if d.Namespace+"/"+d.Name == name {
					last = d
				}
			}
			if good(last) {
				return
			}
		case <-limit:
			o.t.Fatalf("%s is still %+v; the log says\n%s", name, last, o.log)
		}
	}
}

func (o *told) untilLogged(text string) {
	o.t.Helper()
	for limit := time.Now().Add(time.Minute); !strings.Contains(o.log.String(), text); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(limit) {
			o.t.Fatalf("the log does not say %q:\n%s", text, o.log)
		}
	}
}

func admin(t *testing.T, c *testenv.Cluster) *kubernetes.Clientset {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	set, err := kubernetes.NewForConfigAndClient(config, client)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// requests notes the rights that requests need, and whether anything but metadata of Secrets was asked for.
type requests struct {
	mu     sync.Mutex
	rights map[string]bool
	read   bool
}

// noting hands requests on.
type noting struct {
	*requests
	next http.RoundTripper
}

func (r noting) RoundTrip(q *http.Request) (*http.Response, error) {
	path := strings.Split(strings.Trim(q.URL.Path, "/"), "/")
	verb := "list"
	if q.URL.Query().Get("watch") != "" {
		verb = "watch"
	}
	r.mu.Lock()
	r.rights[strings.ToLower(q.Method)+" "+verb+" "+path[len(path)-1]] = true
	if path[len(path)-1] == "secrets" && (!strings.Contains(q.Header.Get("Accept"), "as=PartialObjectMetadata") || q.URL.Query().Get("fieldSelector") != "type=kubernetes.io/service-account-token") {
		r.read = true
	}
	r.mu.Unlock()
	return r.next.RoundTrip(q)
}

// rightsIn are the verbs and resources of the roles in a manifest.
func rightsIn(t *testing.T, file string) (verbs, resources []string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for d := yaml.NewDecoder(f); ; {
		var o struct {
			Rules []struct {
				Verbs, Resources []string
				APIGroups        []string `yaml:"apiGroups"`
			}
		}
		if d.Decode(&o) != nil {
			break
		}
		for _, r := range o.Rules {
			verbs, resources = append(verbs, r.Verbs...), append(resources, r.Resources...)
		}
	}
	slices.Sort(verbs)
	return slices.Compact(verbs), resources
}

func TestKubernetes(t *testing.T) {
	const deploy = "../../../deploy/rbac/"
	c := testenv.Kubernetes(t)
	c.Apply(deploy + "collector.yaml")
	c.Apply("testdata/shop.yaml")
	a := admin(t, c)
	asked := &requests{rights: map[string]bool{}}
	wrap := func(config *rest.Config) {
		config.Wrap(func(next http.RoundTripper) http.RoundTripper { return noting{asked, next} })
	}
	kubeconfig := c.KubeconfigFor("ambit", "ambit-collector")
	o := start(t, Config{Kubeconfig: kubeconfig, wrap: wrap})

	accounts := map[string]func(d event.Declaration) bool{
		"shop/checkout": func(d event.Declaration) bool {
			return d.Identity.String() == "spiffe://shop.example/ns/shop/sa/checkout" && d.Owner == "team shop" && d.Purpose == "takes orders" &&
				d.Environment == "production" && d.BusinessFunction == "sales" && d.Labels["app"] == "checkout" && !d.Created.IsZero() &&
				d.Privilege == event.PrivilegeMedium && slices.Equal(d.PrivilegeReasons, []string{"reads secrets in namespace shop (role secrets)"})
		},
		"shop/plain": func(d event.Declaration) bool { // what is bound to all accounts by default grants nothing
			return d.Privilege == event.PrivilegeNone && len(d.PrivilegeReasons) == 0 && d.Owner == "" && slices.Equal(d.Tokens, []event.TokenKind{event.TokenBound})
		},
		"shop/admin": func(d event.Declaration) bool { return d.Privilege == event.PrivilegeClusterAdmin },
		"shop/deployer": func(d event.Declaration) bool {
			return d.Privilege == event.PrivilegeMedium && len(d.PrivilegeReasons) == 2
		},
		"ambit/ambit-collector": func(d event.Declaration) bool { return d.Privilege == event.PrivilegeMedium && d.Owner != "" },
	}
	first := <-o.news
	for name, good := range accounts {
		i := slices.IndexFunc(first, func(d event.Declaration) bool { return d.Namespace+"/"+d.Name == name })
		if i < 0 || !good(first[i]) {
			t.Errorf("%s: %+v", name, first[max(i, 0)])
		}
	}

	ctx := t.Context()
	edit := func(do func() error) {
		t.Helper()
		if err := do(); err != nil {
			t.Fatal(err)
		}
	}
	plain := a.CoreV1().ServiceAccounts("shop")
	edit(func() error {
		s, err := plain.Get(ctx, "plain", metav1.GetOptions{})
		if err != nil {
			return err
		}
		s.Annotations = map[string]string{"ambit.dev/owner": "somebody"}
		_, err = plain.Update(ctx, s, metav1.UpdateOptions{})
		return err
	})
	o.until("shop/plain", func(d event.Declaration) bool { return d.Owner == "somebody" })
	edit(func() error {
		return a.RbacV1().ClusterRoleBindings().Delete(ctx, "shop-admin", metav1.DeleteOptions{})
	})
	o.until("shop/admin", func(d event.Declaration) bool { return d.Privilege == event.PrivilegeNone })
	edit(func() error { return plain.Delete(ctx, "plain", metav1.DeleteOptions{}) })
	o.until("shop/plain", func(d event.Declaration) bool { return d.Identity.IsZero() })

	// The API server goes away and comes back.
	c.Stop()
	c.Start()
	edit(func() error {
		_, err := plain.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "later"}}, metav1.CreateOptions{})
		return err
	})
	o.until("shop/later", func(d event.Declaration) bool { return !d.Identity.IsZero() })

	// Nothing is told while a right is missing, and the log says so.
	edit(func() error {
		_, err := a.CoreV1().Secrets("shop").Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: "old", Annotations: map[string]string{corev1.ServiceAccountNameKey: "checkout"}},
			Type:       corev1.SecretTypeServiceAccountToken, Data: map[string][]byte{"token": []byte("x")},
		}, metav1.CreateOptions{})
		return err
	})
	legacy := start(t, Config{Kubeconfig: kubeconfig, LegacyTokens: true, wrap: wrap})
	legacy.untilLogged("resource=secrets")
	select {
	case all := <-legacy.news:
		t.Errorf("without a right, %d were told", len(all))
	default:
	}
	if got := legacy.log.String(); !strings.Contains(got, "deploy/rbac/collector.yaml") || strings.Count(got, "resource=secrets") != 1 {
		t.Errorf("the log says\n%s", got)
	}
	c.Apply(deploy + "collector-legacy-tokens.yaml")
	legacy.until("shop/checkout", func(d event.Declaration) bool { return slices.Contains(d.Tokens, event.TokenSecret) })

	// The roles are what was asked for, no more and no less.
	asked.mu.Lock()
	defer asked.mu.Unlock()
	if asked.read {
		t.Error("more than the metadata of Secrets was asked for")
	}
	verbs, resources := rightsIn(t, deploy+"collector.yaml")
	moreVerbs, more := rightsIn(t, deploy+"collector-legacy-tokens.yaml")
	if !slices.Equal(verbs, []string{"list", "watch"}) || !slices.Equal(moreVerbs, verbs) {
		t.Errorf("verbs %q and %q", verbs, moreVerbs)
	}
	left := map[string]bool{}
	for _, r := range append(resources, more...) {
		left[r] = true
	}
	for right := range maps.Keys(asked.rights) {
		part := strings.Fields(right)
		if part[0] != "get" || !slices.Contains(append(resources, more...), part[2]) {
			t.Errorf("asked for %s, which no role gives", right)
		}
		if part[1] == "watch" {
			delete(left, part[2])
		}
	}
	if len(left) > 0 {
		t.Errorf("never asked for %v", left)
	}
}
