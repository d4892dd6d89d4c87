package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/pflag"
	"github.com/spf13/viper"
	"go.yaml.in/yaml/v3"

	"github.com/ambit-nhi/ambit/agent"
	"github.com/ambit-nhi/ambit/collector"
	"github.com/ambit-nhi/ambit/collector/report"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/detector"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/nearest"
	"github.com/ambit-nhi/ambit/internal/svid"
)

// config is what the configuration file, the environment (AMBIT_*, with _ for each dot) and flags may set.
type config struct {
	Data        string        `mapstructure:"data"`
	Listen      string        `mapstructure:"listen"`
	Node        string        `mapstructure:"node"`
	TrustDomain string        `mapstructure:"trust_domain"`
	NoAgent     bool          `mapstructure:"no_agent"`
	Learn       time.Duration `mapstructure:"learn"`
	Interval    time.Duration `mapstructure:"interval"`
	Partitions  int           `mapstructure:"partitions"`
	NATS        struct {
		URLs        []string      `mapstructure:"urls"`
		MaxBytes    int64         `mapstructure:"max_bytes"`
		MaxAge      time.Duration `mapstructure:"max_age"`
		Replicas    int           `mapstructure:"replicas"`    // of streams and buckets, in a cluster
		Credentials string        `mapstructure:"credentials"` // file with a user's JWT and seed
		TokenFile   string        `mapstructure:"token_file"`  // file with a token, such as a service account's; read for each connection
		Auth        natsAuth      `mapstructure:"auth"`
		TLS         tlsConfig     `mapstructure:"tls"`
	} `mapstructure:"nats"`
	SPIFFE struct {
		Socket string `mapstructure:"socket"`
	} `mapstructure:"spiffe"`
	TLS struct {
		Probes       string   `mapstructure:"probes"`        // on, off: look into the TLS stacks of programs, and at hellos on the wire
		TrustBundles []string `mapstructure:"trust_bundles"` // whose word counts about certificates that are seen: trust domain=file; besides spiffe.socket
	} `mapstructure:"tls"`
	ClickHouse struct {
		store.Config `mapstructure:",squash"`
		Library      string `mapstructure:"library"`
	} `mapstructure:"clickhouse"`
	Retention  store.Retention   `mapstructure:"retention"`
	Spool      agent.SpoolConfig `mapstructure:"spool"` // what waits on a node's disk while the stream is away
	API        apiConfig         `mapstructure:"api"`
	Decisions  decisionsConfig   `mapstructure:"decisions"`
	Report     reportConfig      `mapstructure:"report"`
	Feeds      []map[string]any  `mapstructure:"feeds"` // where findings are sent; see feed.Parse
	Deny       agent.DenyConfig  `mapstructure:"deny"`  // which decisions nodes follow, and the rails of those who make them
	Kubernetes struct {
		Mode          string `mapstructure:"mode"`           // auto, on, off
		Kubeconfig    string `mapstructure:"kubeconfig"`     // empty: the service account of the pod that this runs in
		Node          string `mapstructure:"node"`           // name of this node in the API; empty: node
		Identity      string `mapstructure:"identity"`       // template of the identities of pods
		ClusterDomain string `mapstructure:"cluster_domain"` // of the cluster's DNS
	} `mapstructure:"kubernetes"`
	Containers struct {
		Sockets []string `mapstructure:"sockets"` // of container engines; those that do not exist are left out
	} `mapstructure:"containers"`
	Inventory struct {
		Rules        []map[string]any `mapstructure:"rules"`         // of who owns what; see inventory.ParseRules
		Cluster      string           `mapstructure:"cluster"`       // name of the Kubernetes cluster as a source
		LegacyTokens bool             `mapstructure:"legacy_tokens"` // look for tokens in Secrets, of which only the metadata is read
	} `mapstructure:"inventory"`
	Detector struct {
		AlertsPerDay float64          `mapstructure:"alerts_per_day"` // new reach of medium severity or more that a day should bring, per 1,000 identities
		Policy       []map[string]any `mapstructure:"policy"`         // what is told otherwise than by default; see detector.ParsePolicy
	} `mapstructure:"detector"`
	Log struct {
		Level  string `mapstructure:"level"`
		Format string `mapstructure:"format"` // text, json
	} `mapstructure:"log"`
	Metrics string `mapstructure:"metrics"` // address of metrics and checks apart from the API; empty: none
	Pprof   string `mapstructure:"pprof"`   // address of Go's profiles, on loopback; empty: none
}

func defaultConfig() config {
	var c config
	c.Data, c.Listen, c.TrustDomain = "./ambit-data", "127.0.0.1:8480", "ambit.local"
	c.Learn, c.Interval, c.Partitions = 24*time.Hour, 10*time.Second, event.DefaultPartitions
	bus := collector.DefaultBusConfig()
	c.NATS.MaxBytes, c.NATS.MaxAge, c.NATS.Replicas = bus.MaxBytes, bus.MaxAge, bus.Replicas
	c.NATS.Auth = defaultNATSAuth()
	c.Spool = agent.DefaultSpool()
	c.API = defaultAPI()
	c.Deny, c.Decisions = agent.DefaultDeny(), defaultDecisions()
	c.Report = defaultReport()
	c.SPIFFE.Socket = os.Getenv(svid.SocketEnv)
	c.TLS.Probes = "on"
	c.ClickHouse.Config, c.Retention = store.Default(), store.DefaultRetention()
	c.Kubernetes.Mode, c.Kubernetes.Identity, c.Kubernetes.ClusterDomain = "auto", event.DefaultIdentityTemplate, "cluster.local"
	c.Containers.Sockets = []string{"/run/docker.sock", "/var/run/docker.sock", "/run/podman/podman.sock"}
	c.Inventory.Cluster = "cluster"
	c.Detector.AlertsPerDay = detector.Default().AlertsPerDay
	c.Log.Level, c.Log.Format = "warn", "text"
	return c
}

// flags of the configuration, by key. Not every command has all of them.
var configFlags = map[string]string{
	"data":         "folder of all files that Ambit keeps",
	"listen":       "address of the API, on loopback",
	"node":         "name of this node (default: the host name)",
	"trust_domain": "SPIFFE trust domain of the identities that Ambit derives",
	"no_agent":     "do not watch this machine",
	"learn":        "how long an identity is watched before a new resource of it is a finding",
	"interval":     "how often the counts of known connections are sent",
}

// addConfigFlags gives a command flags for some keys, and --config and --check.
func addConfigFlags(flags *pflag.FlagSet, keys ...string) {
	d := defaultConfig()
	flags.String("config", "", "YAML file with more settings")
	flags.Bool("check", false, "say whether all of this would work, and end")
	for _, key := range keys {
		name, help := strings.ReplaceAll(key, "_", "-"), configFlags[key]
		switch key {
		case "data":
			flags.String(name, d.Data, help)
		case "listen":
			flags.String(name, d.Listen, help)
		case "node":
			flags.String(name, "", help)
		case "trust_domain":
			flags.String(name, d.TrustDomain, help)
		case "no_agent":
			flags.Bool(name, d.NoAgent, help)
		case "learn":
			flags.Var(&window{d.Learn}, name, help)
		case "interval":
			flags.Var(&window{d.Interval}, name, help)
		}
	}
}

// window is a duration that may be written in days, as 90d.
type window struct{ time.Duration }

func (w *window) String() string { return report.FormatWindow(w.Duration) }
func (w *window) Type() string   { return "duration" }
func (w *window) Set(s string) (err error) {
	w.Duration, err = report.ParseWindow(s)
	return err
}

// loadConfig reads defaults, the file, the environment and flags, each over the former, and checks the result. A flag that has the name of
// one of the keys in other means something else.
func loadConfig(flags *pflag.FlagSet, other ...string) (*config, error) {
	v := viper.New()
	keys := configKeys()
	for key, value := range keys {
		v.SetDefault(key, value)
		if f := flags.Lookup(strings.ReplaceAll(key, "_", "-")); f != nil && !slices.Contains(other, key) {
			if err := v.BindPFlag(key, f); err != nil {
				return nil, fmt.Errorf("read flags: %w", err)
			}
		}
		if err := v.BindEnv(key, envName(key)); err != nil {
			return nil, fmt.Errorf("read the environment: %w", err)
		}
	}
	file, err := flags.GetString("config")
	if err != nil {
		return nil, fmt.Errorf("read flags: %w", err)
	}
	if file == "" {
		file = os.Getenv("AMBIT_CONFIG")
	}
	if file != "" {
		values, err := readConfigFile(file)
		if err != nil {
			return nil, err
		}
		if err := v.MergeConfigMap(values); err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
	}
	c := defaultConfig()
	if err := v.Unmarshal(&c, viper.DecodeHook(mapstructure.ComposeDecodeHookFunc(decodeWindow, mapstructure.StringToSliceHookFunc(",")))); err != nil {
		return nil, usagef("configuration: %s", decodeFault(err))
	}
	if c.Node == "" {
		if c.Node, err = os.Hostname(); err != nil {
			return nil, fmt.Errorf("read the host name: %w; give one with --node", err)
		}
	}
	if err := c.validate(); err != nil {
		return nil, usageError(err)
	}
	c.ClickHouse.Retention = c.Retention
	return &c, nil
}

// domainName is a name as DNS resolvers have it in their search lists.
var domainName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)

// validate says what is wrong with what no component looks at.
func (c *config) validate() error {
	var faults []error
	if c.Data == "" {
		faults = append(faults, errors.New("data is empty; name a folder"))
	}
	if len(c.Node) > 253 || strings.ContainsFunc(c.Node, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		faults = append(faults, fmt.Errorf("node %q is longer than 253 bytes or has spaces", c.Node))
	}
	if _, err := event.ParseTrustDomain(c.TrustDomain); err != nil {
		faults = append(faults, fmt.Errorf("trust_domain: %w", err))
	}
	if err := c.Deny.Validate(); err != nil {
		faults = append(faults, err)
	}
	if c.Interval < 100*time.Millisecond || c.Interval > 5*time.Minute { // as the agent's
		faults = append(faults, fmt.Errorf("interval %s is not from 100ms to 5m", c.Interval))
	}
	if c.Partitions < 1 || c.Partitions > event.MaxPartitions {
		faults = append(faults, fmt.Errorf("partitions %d are not from 1 to %d", c.Partitions, event.MaxPartitions))
	}
	if _, err := event.ParseIdentityTemplate(c.Kubernetes.Identity); err != nil {
		faults = append(faults, fmt.Errorf("kubernetes.identity: %w", err))
	}
	if m := c.Kubernetes.Mode; m != "auto" && m != "on" && m != "off" {
		faults = append(faults, fmt.Errorf("kubernetes.mode %q is not auto, on or off", m))
	}
	if d := c.Kubernetes.ClusterDomain; !domainName.MatchString(d) || len(d) > 200 {
		faults = append(faults, fmt.Errorf("kubernetes.cluster_domain %q is no domain name, such as cluster.local", d))
	}
	for _, socket := range c.Containers.Sockets {
		if !filepath.IsAbs(socket) {
			faults = append(faults, fmt.Errorf("containers.sockets: %q is no absolute path, such as /run/docker.sock", socket))
		}
	}
	if err := c.Spool.Validate(); err != nil {
		faults = append(faults, err)
	}
	faults = append(faults, c.Retention.Validate())
	faults = append(faults, c.validateTLS()...)
	faults = append(faults, c.validateNATSAuth())
	faults = append(faults, c.validateProbes()...)
	faults = append(faults, c.validateInventory(), c.validateAPI(), c.Report.validate(), c.validateDetector(), c.validateDecisions(), c.validateFeeds())
	faults = append(faults, c.validateLog(), checkLoopback("pprof", c.Pprof, "profiles show what is in memory"), checkAddress("metrics", c.Metrics))
	return errors.Join(faults...)
}

func (c *config) validateDetector() error {
	_, err := detector.ParsePolicy(c.Detector.Policy)
	if n := c.Detector.AlertsPerDay; n < 0.01 || n > 10_000 {
		err = errors.Join(err, fmt.Errorf("detector.alerts_per_day %g is not from 0.01 to 10000", n))
	}
	return err
}

// envName is the environment variable of a key.
func envName(key string) string { return "AMBIT_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_")) }

// configKeys are all keys with their defaults.
func configKeys() map[string]any {
	keys := map[string]any{}
	c := defaultConfig()
	eachField(reflect.ValueOf(c), "", func(key string, v reflect.Value) { keys[key] = v.Interface() })
	return keys
}

func eachField(v reflect.Value, prefix string, f func(key string, v reflect.Value)) {
	for i := range v.NumField() {
		name, option, _ := strings.Cut(v.Type().Field(i).Tag.Get("mapstructure"), ",")
		switch field := v.Field(i); {
		case name == "-":
		case option == "squash":
			eachField(field, prefix, f)
		case field.Kind() == reflect.Struct:
			eachField(field, prefix+name+".", f)
		default:
			f(prefix+name, field)
		}
	}
}

// readConfigFile reads a YAML file, and refuses keys that are not known. An unknown key is told by its name and the nearest known one.
func readConfigFile(file string) (map[string]any, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	var values map[string]any
	if err := yaml.Unmarshal(data, &values); err != nil {
		return nil, usagef("read %s: %s", filepath.Base(file), strings.TrimPrefix(strings.ReplaceAll(err.Error(), "\n", "; "), "yaml: "))
	}
	known := configKeys()
	var names []string
	for key := range known {
		names = append(names, key)
	}
	slices.Sort(names)
	sections := map[string]bool{}
	for _, key := range names {
		if i := strings.LastIndexByte(key, '.'); i > 0 {
			sections[key[:i]] = true
		}
	}
	var unknown []string
	var walk func(m map[string]any, prefix string) error
	walk = func(m map[string]any, prefix string) error {
		for name, value := range m {
			key := prefix + name
			inner, isMap := value.(map[string]any)
			_, isKey := known[key]
			switch {
			case isKey && isMap:
				return usagef("%s: %s holds settings of its own; it takes a value", file, key)
			case isKey:
			case sections[key] && isMap:
				if err := walk(inner, key+"."); err != nil {
					return err
				}
			case sections[key] && value == nil: // an empty section, which would hide its settings elsewhere
				delete(m, name)
			case sections[key]:
				return usagef("%s: %s takes settings of its own, no value", file, key)
			case isMap && len(inner) > 0: // name what was meant to be set
				for name := range inner {
					unknown = append(unknown, key+"."+name)
				}
			default:
				unknown = append(unknown, key)
			}
		}
		return nil
	}
	if err := walk(values, ""); err != nil {
		return nil, err
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		return nil, usagef("%s: unknown key %s%s", file, unknown[0], keyHint(unknown[0], names))
	}
	return values, nil
}

// keyHint looks for the nearest key, then for one whose last part is near, for keys that stand in the wrong section.
func keyHint(key string, known []string) string {
	if h := nearest.Hint(key, known); h != "" {
		return h
	}
	last := func(key string) string { return key[strings.LastIndexByte(key, '.')+1:] }
	var parts []string
	full := map[string]string{}
	for _, k := range known {
		parts = append(parts, last(k))
		full[last(k)] = k
	}
	if near, ok := nearest.Word(last(key), parts); ok {
		return nearest.DidYouMean(full[near])
	}
	return ""
}

// unknownEnvironment are variables of ours that set nothing. They are no error: Kubernetes makes some for a service named ambit.
func unknownEnvironment() []string {
	known := []string{"AMBIT_CONFIG", "AMBIT_SERVER", "AMBIT_TOKEN_FILE", "AMBIT_CA_FILE", "AMBIT_CERT_FILE", "AMBIT_KEY_FILE", "AMBIT_BTF"}
	for key := range configKeys() {
		known = append(known, envName(key))
	}
	var out []string
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, "AMBIT_") && !slices.Contains(known, name) {
			out = append(out, name+nearest.Hint(name, known))
		}
	}
	return out
}

// decodeWindow reads durations with report.ParseWindow.
func decodeWindow(from, to reflect.Type, value any) (any, error) {
	if to != reflect.TypeFor[time.Duration]() || from.Kind() != reflect.String {
		return value, nil
	}
	return report.ParseWindow(value.(string))
}

// decodeFault makes one line of what the decoder found.
func decodeFault(err error) string {
	var lines []string
	for _, line := range strings.Split(err.Error(), "\n") {
		line = strings.Trim(line, " \t*-")
		line, _, _ = strings.Cut(line, ", value: ") // there may be a password in it
		if line != "" && !strings.HasPrefix(line, "decoding failed") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "; ")
}
