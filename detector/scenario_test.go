package detector

import (
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/ambit-nhi/ambit/event"
)

var update = flag.Bool("update", false, "rewrite the expected findings of the scenarios")

// A scenario tells one story to a real detector. Its comment says what; its "story" has a command on each line:
//
//	learn 1h                         learning time, before all else; also: findings-per-minute, max-resources, max-identities
//	watch n1 boot1 0s                node n1 is watched from then on; a new boot means a gap
//	tick n1 2h                       n1 was watched until then
//	sight 5m n1 shop/cart            the identity ran there
//	observe 5m n1 shop/cart -> dns:db.shop:5432/tcp [connections=1 failed=0 error= exe= from= address= sent= received=] [tty] [in]
//	        [name= evidence= namespace= account= image= tls=1.3,verified,mutual,full cert=NAME,FROM,LIFE peercert=NAME,FROM,LIFE]
//	repeat 20 24h observe …          the same so many times, each so much later
//	declare shop/cart created=-720h [gone=]
//	observe … shop/a{12} …           of shop/a1 to shop/a12, one after the other
//	judge 5m KIND RULE WHO [RESOURCE] [until=]    a person decides
//	scope WHO VERSION ENTRY…         what it may reach
//	restart                          the detector is rebuilt from what a store would have kept
//	pending                          what was held back is told
//	expect none                      nothing was told since the last expect
//	expect finding RULE WHO [RESOURCE] [count= severity= status= last=]     the next that was told
//	expect findings N RULE           so many of one rule are the next
//	expect state WHO STATE OBSERVED
//	expect counter NAME N
//
// Times count from 2026-01-01T00:00:00Z. All findings that were told stand in "findings", in that order.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("../testdata/scenarios/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var story, want string
			for _, f := range archive.Files {
				switch f.Name {
				case "story":
					story = string(f.Data)
				case "findings":
					want = string(f.Data)
				default:
					t.Fatalf("unknown file %s", f.Name)
				}
			}
			s := scenario{t: t, config: onceActive(), model: newModel(), boots: map[string]Span{}}
			for i, line := range strings.Split(story, "\n") {
				line, _, _ = strings.Cut(line, "#")
				if fields := strings.Fields(line); len(fields) > 0 {
					s.where = fmt.Sprintf("%s story line %d: %s", filepath.Base(file), i+1, line)
					s.expand(fields)
				}
			}
			if len(s.told) > 0 {
				t.Errorf("told but not expected: %v", s.told[0].Title)
			}
			if got := s.transcript.String(); *update {
				archive.Files = []txtar.File{{Name: "story", Data: []byte(story)}, {Name: "findings", Data: []byte(got)}}
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != want {
				t.Errorf("findings differ (-update accepts them)\n got %s\nwant %s", got, want)
			}
		})
	}
}

// Each rule has a scenario of its name in which it is told.
func TestEveryRuleHasScenario(t *testing.T) {
	for _, name := range Rules() {
		archive, err := txtar.ParseFile("../testdata/scenarios/" + strings.ReplaceAll(name, "-", "_") + ".txtar")
		if err != nil {
			t.Error(err)
			continue
		}
		if text := string(txtar.Format(archive)); !strings.Contains(text, fmt.Sprintf("%q: %q", "rule", name)) {
			t.Errorf("%s is not told in its scenario", name)
		}
	}
}

type scenario struct {
	t          *testing.T
	where      string
	config     Config
	detector   *Detector
	model      *model
	boots      map[string]Span
	told       []event.Finding // not yet expected
	transcript strings.Builder
}

func (s *scenario) fail(format string, args ...any) {
	s.t.Helper()
	s.t.Fatalf("%s: %s", s.where, fmt.Sprintf(format, args...))
}

// crowd is shop/a{12}.
var crowd = regexp.MustCompile(`^(.*)\{(\d+)\}$`)

// expand does a line as often as it says.
func (s *scenario) expand(f []string) {
	if f[0] == "repeat" {
		step, at := s.duration(f[2]), s.duration(f[4])
		for i := range s.number(f[1]) {
			line := slices.Clone(f[3:])
			line[1] = (at + time.Duration(i)*step).String()
			s.expand(line)
		}
		return
	}
	for i := range f {
		if m := crowd.FindStringSubmatch(f[i]); m != nil {
			for n := range s.number(m[2]) {
				line := slices.Clone(f)
				line[i] = m[1] + strconv.Itoa(n+1)
				s.expand(line)
			}
			return
		}
	}
	s.do(f)
}

func (s *scenario) declare(f []string) {
	var created, gone time.Time
	for _, option := range f[2:] {
		key, value, _ := strings.Cut(option, "=")
		switch key {
		case "created":
			created = s.time(value)
		case "gone":
			gone = s.time(value)
		default:
			s.fail("unknown option %s", option)
		}
	}
	s.detector.Declare(s.who(f[1]), created, gone)
}

func (s *scenario) judge(f []string) {
	v := event.Verdict{At: s.time(f[1]), Kind: event.VerdictKind(f[2]), Rule: f[3], Identity: s.who(f[4]), By: "kim", Reason: "the owner says so"}
	for _, word := range f[5:] {
		if until, ok := strings.CutPrefix(word, "until="); ok {
			v.Until = s.time(until)
			continue
		}
		r, err := event.ParseResource(word)
		if err != nil {
			s.fail("%v", err)
		}
		v.Resource = r
	}
	v.Finding = event.FindingID(v.Identity, v.Rule, v.Resource)
	if err := v.Validate(); err != nil {
		s.fail("%v", err)
	}
	s.tell(s.detector.Judge(&v, nil))
	if again := s.detector.Judge(&v, nil); len(again) > 0 {
		s.fail("to repeat it tells %+v", again)
	}
}

func (s *scenario) do(f []string) {
	setting := map[string]func(string){
		"learn":               func(v string) { s.config.Learn = s.duration(v) },
		"findings-per-minute": func(v string) { s.config.FindingsPerMinute = s.number(v) },
		"max-resources":       func(v string) { s.config.MaxResources = s.number(v) },
		"occasions":           func(v string) { s.config.Occasions = s.number(v) },
		"resolve-after":       func(v string) { s.config.ResolveAfter = s.duration(v) },
		"all-per-minute":      func(v string) { s.config.AllFindingsPerMinute = s.number(v) },
		"max-identities":      func(v string) { s.config.MaxIdentities = s.number(v) },
	}
	if set := setting[f[0]]; set != nil {
		if s.detector != nil {
			s.fail("settings come first")
		}
		set(f[1])
		return
	}
	if s.detector == nil {
		if err := s.config.Validate(); err != nil {
			s.fail("%v", err)
		}
		s.detector = New(s.config)
	}
	switch f[0] {
	case "watch":
		s.boots[f[1]] = Span{Boot: f[2], From: s.time(f[3])}
	case "tick":
		s.cover(f[1], s.time(f[2]))
	case "sight":
		at := s.time(f[1])
		s.cover(f[2], at)
		w := event.Workload{Identity: s.who(f[3])}
		s.detector.Sight(&w, f[2], at)
		s.model.sight(w.Identity, f[2], at)
	case "observe":
		o := s.observation(f)
		s.cover(o.Node, o.Time)
		s.tell(s.detector.Observe(&o, nil))
		s.model.observe(&o)
	case "restart":
		s.detector = s.model.rebuild(s.config)
	case "declare":
		s.declare(f)
	case "judge":
		s.judge(f)
	case "scope":
		scope := event.Scope{Identity: s.who(f[1]), Version: uint64(s.number(f[2])), ApprovedBy: "kim"}
		for _, text := range f[3:] {
			e := event.ScopeEntry{Resource: text, Flags: event.Dangers(text)}
			if in, ok := strings.CutPrefix(text, "in="); ok {
				e = event.ScopeEntry{Resource: in, Direction: event.Inbound, Flags: event.Dangers(in)}
			}
			scope.Entries = append(scope.Entries, e)
		}
		if err := scope.Validate(); err != nil {
			s.fail("%v", err)
		}
		s.detector.Scope(scope.Identity, scope)
	case "pending":
		s.tell(s.detector.Pending(nil))
	case "expect":
		s.expect(f[1:])
	default:
		s.fail("unknown command")
	}
}

func (s *scenario) cover(node string, until time.Time) {
	boot, ok := s.boots[node]
	if !ok {
		s.fail("node %s is not watched", node)
	}
	s.detector.Cover(node, boot.Boot, boot.From, until)
	s.model.cover(node, boot.Boot, boot.From, until)
}

func (s *scenario) tell(findings []event.Finding) {
	s.model.tell(findings)
	s.told = append(s.told, findings...)
	for _, f := range findings {
		line, err := json.MarshalIndent(f, "", " ")
		if err != nil {
			s.fail("%v", err)
		}
		s.transcript.Write(line)
		s.transcript.WriteByte('\n')
	}
}

func (s *scenario) expect(f []string) {
	s.t.Helper()
	switch f[0] {
	case "none":
		if len(s.told) > 0 {
			s.fail("got %q", s.told[0].Title)
		}
	case "state":
		p, ok := s.detector.Progress(s.who(f[1]))
		if !ok || string(p.State) != f[2] || p.Observed != s.duration(f[3]) {
			s.fail("got %+v", p)
		}
	case "counter":
		if got := s.detector.Counters()[f[1]]; got != uint64(s.number(f[2])) {
			s.fail("got %d", got)
		}
	case "findings":
		for range s.number(f[1]) {
			if len(s.told) == 0 || s.told[0].Rule != f[2] {
				s.fail("got %d others or none", len(s.told))
			}
			s.told = s.told[1:]
		}
	case "finding":
		if len(s.told) == 0 {
			s.fail("got none")
		}
		got := s.told[0]
		s.told = s.told[1:]
		if got.Rule != f[1] || got.Identity != s.who(f[2]) {
			s.fail("got %s of %s", got.Rule, got.Identity)
		}
		for _, want := range f[3:] {
			key, value, ok := strings.Cut(want, "=")
			switch {
			case !ok && got.Resource.String() != want:
				s.fail("got resource %s", got.Resource)
			case key == "count" && got.Count != uint64(s.number(value)):
				s.fail("got count %d", got.Count)
			case key == "severity" && string(got.Severity) != value:
				s.fail("got severity %s, score %v", got.Severity, got.Score)
			case key == "status" && string(got.Status) != value:
				s.fail("got status %s: %s", got.Status, got.Reason)
			case key == "last" && !got.LastTime.Equal(s.time(value)):
				s.fail("got last time %s", got.LastTime)
			}
		}
	default:
		s.fail("unknown expectation")
	}
}

func (s *scenario) observation(f []string) event.Observation {
	if len(f) < 6 || f[4] != "->" {
		s.fail("want observe TIME NODE WHO -> RESOURCE")
	}
	namespace, account, _ := strings.Cut(f[3], "/")
	o := event.Observation{
		Time: s.time(f[1]), Node: f[2], Direction: event.Outbound,
		Workload: event.Workload{Identity: s.who(f[3]), Evidence: event.EvidenceKubernetes, Namespace: namespace, ServiceAccount: account},
		Counts:   event.Counts{Connections: 1},
	}
	r, err := event.ParseResource(f[5])
	if err != nil {
		s.fail("%v", err)
	}
	o.Peer, o.Protocol = peerOf(r), r.Protocol()
	for _, option := range f[6:] {
		key, value, _ := strings.Cut(option, "=")
		switch key {
		case "connections":
			o.Counts.Connections = uint64(s.number(value))
		case "failed":
			o.Counts.Failed = uint64(s.number(value))
		case "sent":
			o.Counts.BytesSent = uint64(s.number(value))
		case "received":
			o.Counts.BytesReceived = uint64(s.number(value))
		case "name":
			o.Peer.Name, o.Peer.NameSource = value, event.NameService
		case "evidence":
			o.Workload.Evidence = event.Evidence(value)
		case "namespace":
			o.Workload.Namespace = value
		case "account":
			o.Workload.ServiceAccount = value
		case "image":
			o.Workload.Image = value
		case "tls":
			s.tls(&o).Version = strings.Split(value, ",")[0]
			for _, word := range strings.Split(value, ",")[1:] {
				switch word {
				case "verified":
					o.TLS.Verified = true
				case "mutual":
					o.TLS.Mutual = true
				default:
					o.TLS.Provenance = word
				}
			}
		case "cert":
			s.tls(&o).OwnCertificate = s.certificate(value)
		case "peercert":
			s.tls(&o).PeerCertificate = s.certificate(value)
		case "error":
			o.Error = value
		case "exe":
			o.Workload.Executable = value
		case "from":
			o.FirstTime = s.time(value)
		case "address":
			o.Peer.Address = netip.MustParseAddr(value)
		case "tty":
			o.Workload.Interactive = true
		case "in":
			o.Direction = event.Inbound
		default:
			s.fail("unknown option %s", option)
		}
	}
	if err := o.Validate(); err != nil {
		s.fail("%v", err)
	}
	return o
}

func (s *scenario) tls(o *event.Observation) *event.TLS {
	if o.TLS == nil {
		o.TLS = &event.TLS{Version: "1.3", Provenance: "full"}
	}
	return o.TLS
}

// certificate is NAME,FROM,LIFE.
func (s *scenario) certificate(text string) *event.Certificate {
	part := strings.Split(text, ",")
	if len(part) != 3 {
		s.fail("want a certificate as NAME,FROM,LIFE")
	}
	from := s.time(part[1])
	return &event.Certificate{SHA256: fmt.Sprintf("%x", sha256.Sum256([]byte(part[0]))), NotBefore: from, NotAfter: from.Add(s.duration(part[2])), Proven: true}
}

// peerOf makes a peer that an observation names as r.
func peerOf(r event.Resource) event.Peer {
	p := event.Peer{Port: r.Port()}
	name := strings.TrimSuffix(r.String(), fmt.Sprintf(":%d/%s", r.Port(), r.Protocol()))
	switch r.Kind() {
	case event.ResourceIdentity, event.ResourceX509:
		if err := p.Identity.UnmarshalText([]byte(name)); err != nil {
			panic(err)
		}
	case event.ResourceNet:
		p.Address = r.Prefix().Addr()
	default:
		kind, name, _ := strings.Cut(name, ":")
		p.Name, p.NameSource = name, event.NameSource(kind)
	}
	return p
}

func (s *scenario) who(name string) event.Identity { return testIdentity(name) }

func (s *scenario) time(offset string) time.Time { return epoch.Add(s.duration(offset)) }

func (s *scenario) duration(text string) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil {
		s.fail("%v", err)
	}
	return d
}

func (s *scenario) number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		s.fail("%v", err)
	}
	return n
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// testIdentity is a service account's, from namespace/name.
func testIdentity(name string) event.Identity {
	td, err := event.ParseTrustDomain("shop.example")
	if err != nil {
		panic(err)
	}
	namespace, account, _ := strings.Cut(name, "/")
	return event.KubernetesIdentity(td, namespace, account)
}
