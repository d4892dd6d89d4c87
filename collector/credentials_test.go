package collector

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

// TestUsersScript checks that the script of deploy/nats says what the program says, and refuses what would let nodes be mixed up.
func TestUsersScript(t *testing.T) {
	nodes := []string{
		"n1", "Node_2", "ip-10-0-0-1.ec2.internal", "a.b", "a-b", ".", "..", ".a.", "a b", "ö", "a\x01b", "a*b", "a>b", "x-0123456789abcdef", "x-0123456789abcdeg",
		strings.Repeat("n", 253), "a'b", `a"b`, "a\\b", "$JS", "%n",
	}
	for i, token := range strings.Split(strings.TrimSpace(string(testenv.RunUsers(t, append([]string{"-token"}, nodes...)...))), "\n") {
		if want := event.NodeToken(nodes[i]); token != want {
			t.Errorf("%q: the script says %s, the program %s", nodes[i], token, want)
		}
	}
	f := func(want string, args ...string) {
		t.Helper()
		out, err := exec.Command(filepath.Join(testenv.NATSFiles(t), "users.sh"), args...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%q: %v, %s", args, err, out)
		}
	}
	f("all agents would be one user", "-a", "spiffe://shop.example/agent", "n1", "n2")
	f("use %n", "-a", "spiffe://shop.example/%N", "a/b")
	f("is empty or holds a quote", "-c", `x" }, {user: "y`)
	f("neither after -c", "n1")
	f("a role is", "-role", "admin")
}

// operator is a NATS server in operator mode, whose account has a role for each kind of user.
type operator struct {
	t       *testing.T
	url     string
	account nkeys.KeyPair
	roles   map[string]nkeys.KeyPair
}

func newKey(t *testing.T, make func() (nkeys.KeyPair, error)) (nkeys.KeyPair, string) {
	t.Helper()
	key, err := make()
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return key, public
}

func encode(t *testing.T, claims jwt.Claims, key nkeys.KeyPair) string {
	t.Helper()
	text, err := claims.Encode(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// startOperator makes what the commands of deploy/nats/README.md make.
func startOperator(t *testing.T) *operator {
	t.Helper()
	o := &operator{t: t, roles: map[string]nkeys.KeyPair{}}
	operatorKey, operatorID := newKey(t, nkeys.CreateOperator)
	_, systemID := newKey(t, nkeys.CreateAccount)
	var accountID string
	o.account, accountID = newKey(t, nkeys.CreateAccount)

	account := jwt.NewAccountClaims(accountID)
	account.Name = "AMBIT"
	account.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
	for _, role := range []string{"agent", "collector", "reader"} {
		scope := jwt.NewUserScope()
		var public string
		o.roles[role], public = newKey(t, nkeys.CreateAccount)
		scope.Key, scope.Role = public, role
		for line := range strings.Lines(string(testenv.RunUsers(t, "-role", role))) {
			switch flag, subject, _ := strings.Cut(strings.TrimSpace(line), " "); flag {
			case "--allow-pub":
				scope.Template.Pub.Allow.Add(subject)
			case "--allow-sub":
				scope.Template.Sub.Allow.Add(subject)
			default:
				t.Fatalf("the script says %q", line)
			}
		}
		account.SigningKeys.AddScopedSigner(scope)
	}
	claims := jwt.NewOperatorClaims(operatorID)
	claims.SystemAccount = systemID
	system := jwt.NewAccountClaims(systemID)
	dir := t.TempDir()
	conf := fmt.Sprintf("server_name: test\nlisten: \"127.0.0.1:-1\"\njetstream { store_dir: %q }\noperator: %q\nresolver: MEMORY\nresolver_preload: { %s: %q, %s: %q }\nsystem_account: %s\n",
		filepath.Join(dir, "jetstream"), encode(t, claims, operatorKey), accountID, encode(t, account, operatorKey), systemID, encode(t, system, operatorKey), systemID)
	path := filepath.Join(dir, "nats.conf")
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	o.url = testenv.StartNATSFile(t, path).ClientURL()
	return o
}

// credentials writes the file of a user of a role.
func (o *operator) credentials(role, name string) string {
	o.t.Helper()
	key, public := newKey(o.t, nkeys.CreateUser)
	claims := jwt.NewUserClaims(public)
	claims.Name = name
	claims.SetScoped(true)
	var err error
	if claims.IssuerAccount, err = o.account.PublicKey(); err != nil {
		o.t.Fatal(err)
	}
	seed, err := key.Seed()
	if err != nil {
		o.t.Fatal(err)
	}
	file, err := jwt.FormatUserConfig(encode(o.t, claims, o.roles[role]), seed)
	if err != nil {
		o.t.Fatal(err)
	}
	path := filepath.Join(o.t.TempDir(), name+".creds")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		o.t.Fatal(err)
	}
	return path
}

func (o *operator) bus(role, name, inbox string) BusConfig {
	cfg := DefaultBusConfig()
	cfg.URLs, cfg.Credentials, cfg.Inbox, cfg.Logger = []string{o.url}, o.credentials(role, name), inbox, quiet
	return cfg
}

// TestCredentials checks the rights of roles in operator mode, through files of credentials.
func TestCredentials(t *testing.T) {
	o := startOperator(t)
	cfg := o.bus("collector", "c1", "")
	bus, err := OpenBus(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	control := connectUser(t, bus)
	agentBus, err := OutsideBus(o.bus("agent", event.NodeToken("n1.example"), event.AgentInbox("n1.example")))
	if err != nil {
		t.Fatal(err)
	}
	agent := connectUser(t, agentBus)
	if _, err := agent.js.Publish(t.Context(), event.ObservationSubject(3, "n1.example"), nil); err != nil {
		t.Error(err)
	}
	decisions, err := control.js.KeyValue(t.Context(), event.BucketDecisions)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decisions.Put(t.Context(), "d1", []byte("one")); err != nil {
		t.Error(err)
	}
	if got := readDecisions(t, agent.nc); got["d1"] != "one" {
		t.Errorf("the agent reads %v", got)
	}
	agent.contented()
	control.contented()
	agent.mayNotPublish("ambit.v1.obs.0.n2", "ambit.v1.obs.0.n1", "ambit.v1.agent.n2", "$KV.ambit_decisions.d1", "ambit.v1.finding.high.x", "$JS.API.STREAM.DELETE.AMBIT_OBS",
		"$JS.API.CONSUMER.CREATE.AMBIT_OBS.x", "$JS.API.STREAM.MSG.GET.AMBIT_OBS")
	agent.mayNotSubscribe("ambit.v1.obs.>", "_INBOX.agent.n2.>", "_INBOX.collector.>", ">")
	control.mayNotPublish("ambit.v1.obs.0.n1", "$JS.API.STREAM.PURGE.AMBIT_OBS")

	stranger := startOperator(t).bus("agent", "n1", event.AgentInbox("n1"))
	stranger.URLs = []string{o.url}
	unknown, err := OutsideBus(stranger)
	if err != nil {
		t.Fatal(err)
	}
	if nc, err := unknown.Connect("test"); err == nil {
		nc.Close()
		t.Error("credentials of another operator are let in")
	} else if !strings.Contains(err.Error(), "nats.credentials") {
		t.Errorf("got %v", err)
	}
}

// TestCredentialsFile checks what is said of files that are not right.
func TestCredentialsFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const seed = "SUAMK2FG4MI6UE3ACF3FK3OIQBCEIEZV7NSWFFEW63UXMRLFM2XLAXK4GY"
	f := func(want string, change func(*BusConfig)) {
		t.Helper()
		c := DefaultBusConfig()
		c.URLs = []string{"tls://nats.example"}
		change(&c)
		err := c.Validate()
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "SUA") || strings.Contains(err.Error(), "\n") {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	f("there is no file", func(c *BusConfig) { c.Credentials = filepath.Join(dir, "none") })
	f("is not a file", func(c *BusConfig) { c.Credentials = dir })
	f("make it 0600", func(c *BusConfig) { c.Credentials = write("open", "", 0o640) })
	f("does not hold a user's JWT and seed", func(c *BusConfig) { c.Credentials = write("seed", seed, 0o600) })
	f("embedded server asks for none", func(c *BusConfig) { c.URLs, c.Dir, c.Credentials = nil, dir, write("seed", seed, 0o600) })
	f("nats.replicas is 2: set it to 1, or to 3 or 5", func(c *BusConfig) { c.Replicas = 2 })
	f("embedded server is alone", func(c *BusConfig) { c.URLs, c.Dir, c.Replicas = nil, dir, 3 })
}
