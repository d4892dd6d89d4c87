package detector

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/fxamacker/cbor/v2"

	"github.com/ambit-nhi/ambit/event"
)

// A detector's whole state can be written down and read again, so that it goes on exactly as if it had never stopped: with the statistics that the
// reach in the store does not hold. The form is a sequence of CBOR items (RFC 8742): a header, then the tables. It is written by the same program that
// reads it, and is no contract: a state of another version is refused, and the detector is rebuilt from the store.

// savedVersion changes whenever what is saved changes its meaning.
const savedVersion = 4

// ErrSaved means that a saved state cannot be read by this program. The detector must be thrown away then.
var ErrSaved = errors.New("the saved state is of another version, or damaged")

type savedHead struct {
	_          struct{} `cbor:",toarray"`
	Format     string
	Version    int
	Nodes      int
	Groups     int
	Identities int
	Resources  int
	Edges      int
	Trust      int
	Holders    int
	Findings   int
	Refused    map[string]uint64
	Threshold  savedThreshold
	Settled    int64
	Declared   int
	Elsewhere  [2]map[uint64]uint64 // young and old
	Foreign    int
	Clock      savedClock
	Minute     int64 // of the findings of all
	Told       [2]int
	Flooded    uint32
}

type savedClock struct {
	_                struct{} `cbor:",toarray"`
	Now, Hour, Began int64
	Node             uint32
	At               int64
}

const savedFormat = "ambit-detector"

type savedNode struct {
	_     struct{} `cbor:",toarray"`
	Name  string
	Spans []savedSpan
}

type savedSpan struct {
	_           struct{} `cbor:",toarray"`
	Boot        string
	From, Until int64
}

type savedSighting struct {
	_     struct{} `cbor:",toarray"`
	Node  uint32
	First int64
}

type savedIdentity struct {
	_       struct{} `cbor:",toarray"`
	ID      string
	Seen    []savedSighting
	Group   uint32
	Minute  int64
	Told    int
	Stable  bool
	Since   int64
	TLS     bool
	Profile savedProfile

	Dormant, Downgraded bool
}

type savedUse struct {
	_           struct{} `cbor:",toarray"`
	Name        string
	First, Last int64
	Days        uint16
}

type savedNovelty struct {
	_                struct{} `cbor:",toarray"`
	Events, Exposure float64
	At               int64
}

type savedProfile struct {
	_                         struct{} `cbor:",toarray"`
	Since, Last               int64
	Hour, Day                 int64
	Hours, Days               int
	Longest, Second           int64
	Executable, Image, Holder []savedUse
	Terminal                  savedUse
	Week                      []byte
	Weeks, Acted              int64
	Active                    int
	Novelty                   savedNovelty
	Window                    int64
	Fresh, Failed             int
	Many                      bool
	SHA                       string
	NotBefore, After, From    int64
	Rotations                 int
	Interval                  int64
	Created, Gone, Restored   int64
}

type savedVolume struct {
	_              struct{} `cbor:",toarray"`
	Sum            float64
	Peak           float32
	Mean, Variance float32
	Period         int32
	Periods        uint16
	Told           bool
}

type savedEdge struct {
	_                  struct{} `cbor:",toarray"`
	Identity, Resource uint32
	Connections        uint64
	First, Last        int64
	Sent               uint32
	Days, Hours        uint8
	State, Rule        uint8
	Volumes            []savedVolume
}

type savedTrust struct {
	_             struct{} `cbor:",toarray"`
	Identity      uint32
	Port          uint16
	Address, Name string
	Level, Times  uint8
	Version       string
	Peer          string
	Since         uint8
}

type savedHolder struct {
	_         struct{} `cbor:",toarray"`
	SHA, Node string
	Identity  uint32
	At        int64
	Since     int64
	Told      int64
}

type savedFinding struct {
	_                  struct{} `cbor:",toarray"`
	Identity, Resource uint32
	Rule               string
	Finding            []byte // as JSON
	Given              int64
	Changed, Recount   bool
}

type savedThreshold struct {
	_                struct{} `cbor:",toarray"`
	Sample, Peaks    []float64
	Base, Seen, Over float64
	Rate             savedNovelty
}

func saveNovelty(n novelty) savedNovelty {
	return savedNovelty{Events: n.events, Exposure: n.exposure, At: n.at}
}

func (n savedNovelty) novelty() novelty { return novelty{n.Events, n.Exposure, n.At} }

func saveUses(s uses) []savedUse {
	var out []savedUse
	for _, u := range s {
		out = append(out, savedUse{Name: u.name, First: u.first, Last: u.last, Days: u.days})
	}
	return out
}

func loadUses(s []savedUse) uses {
	var out uses
	for _, u := range s {
		out = append(out, namedUse{u.Name, use{u.First, u.Last, u.Days}})
	}
	return out
}

func saveProfile(p *profile) savedProfile {
	return savedProfile{
		Since: p.since, Last: p.last, Hour: p.hour, Day: p.day, Hours: p.hours, Days: p.days, Longest: p.longest, Second: p.second,
		Executable: saveUses(p.executable), Image: saveUses(p.image), Holder: saveUses(p.holder),
		Terminal: savedUse{First: p.terminal.first, Last: p.terminal.last, Days: p.terminal.days},
		Week:     p.week[:], Weeks: p.weeks, Acted: p.acted, Active: p.active, Novelty: saveNovelty(p.novelty),
		Window: p.fan.window, Fresh: p.fan.fresh, Failed: p.fan.failed, Many: p.fan.told,
		SHA: p.own.sha, NotBefore: p.own.notBefore, After: p.own.after, From: p.own.since, Rotations: p.own.rotations, Interval: p.own.interval, Created: p.created, Gone: p.gone, Restored: p.restored,
	}
}

func (s *savedProfile) profile() profile {
	return profile{
		since: s.Since, last: s.Last, hour: s.Hour, day: s.Day, hours: s.Hours, days: s.Days, longest: s.Longest, second: s.Second,
		executable: loadUses(s.Executable), image: loadUses(s.Image), holder: loadUses(s.Holder),
		terminal: use{s.Terminal.First, s.Terminal.Last, s.Terminal.Days},
		week:     [168]uint8(append(s.Week, make([]byte, 168)...)), weeks: s.Weeks, acted: s.Acted, active: s.Active, novelty: s.Novelty.novelty(),
		fan: fan{window: s.Window, fresh: s.Fresh, failed: s.Failed, told: s.Many},
		own: credential{sha: s.SHA, notBefore: s.NotBefore, after: s.After, since: s.From, rotations: s.Rotations, interval: s.Interval}, created: s.Created, gone: s.Gone, restored: s.Restored,
	}
}

func saveVolume(v *volume) savedVolume {
	return savedVolume{Sum: v.sum, Peak: v.peak, Mean: v.mean, Variance: v.variance, Period: v.period, Periods: v.periods, Told: v.told}
}

func (v *savedVolume) volume() volume {
	return volume{sum: v.Sum, peak: v.Peak, mean: v.Mean, variance: v.Variance, period: v.Period, periods: v.Periods, told: v.Told}
}

// savedEncoding sorts the keys of maps, so that the same state is the same bytes.
var savedEncoding = func() cbor.EncMode {
	mode, err := cbor.EncOptions{Sort: cbor.SortBytewiseLexical}.EncMode()
	if err != nil {
		panic(err) // of constants
	}
	return mode
}()

// Save writes the whole state.
func (d *Detector) Save(to io.Writer) error {
	e := savedEncoding.NewEncoder(to)
	t := &d.threshold
	head := savedHead{
		Format: savedFormat, Version: savedVersion, Nodes: len(d.nodes), Groups: len(d.groups), Identities: len(d.identities), Resources: len(d.resources),
		Edges: d.edges.len, Trust: len(d.trust), Holders: d.holders.where.Len(), Findings: len(d.findings.open), Refused: d.refused,
		Threshold: savedThreshold{Sample: t.sample, Peaks: t.peaks, Base: t.base, Seen: t.seen, Over: t.over, Rate: saveNovelty(t.rate)},
		Settled:   d.settled,
		Declared:  len(d.declared), Elsewhere: [2]map[uint64]uint64{d.elsewhere.young, d.elsewhere.old}, Foreign: d.elsewhere.holders.Len(),
		Clock:  savedClock{Now: d.clock.now, Hour: d.clock.hour, Began: d.clock.began, Node: d.clock.ahead.node, At: d.clock.ahead.at},
		Minute: d.minute.minute, Told: d.minute.told, Flooded: d.flooded,
	}
	put := func(v any) error {
		if err := e.Encode(v); err != nil {
			return fmt.Errorf("save the detector: %w", err)
		}
		return nil
	}
	if err := put(&head); err != nil {
		return err
	}
	for i := range d.nodes {
		n := savedNode{Name: d.nodes[i].name}
		for _, s := range d.nodes[i].spans {
			n.Spans = append(n.Spans, savedSpan{Boot: s.boot, From: s.from, Until: s.until})
		}
		if err := put(&n); err != nil {
			return err
		}
	}
	for i := range d.groups {
		if err := put(d.groups[i].name); err != nil {
			return err
		}
	}
	owners := make([]uint32, d.edges.len) // identity of each edge
	for i := range d.identities {
		id := &d.identities[i]
		s := savedIdentity{ID: id.id.String(), Group: id.group, Minute: id.minute, Told: id.told, Stable: id.stable, Since: id.since, TLS: id.tls, Profile: saveProfile(&id.profile),
			Dormant: id.dormant, Downgraded: id.downgraded}
		for _, at := range id.seen {
			s.Seen = append(s.Seen, savedSighting{Node: at.node, First: at.first})
		}
		if err := put(&s); err != nil {
			return err
		}
		for j := id.lastEdge; j > 0; j = d.edges.at(j - 1).before {
			owners[j-1] = uint32(i)
		}
	}
	for _, r := range d.resources {
		if err := put(r.String()); err != nil {
			return err
		}
	}
	for i := range d.edges.len {
		x := d.edges.at(uint32(i))
		s := savedEdge{
			Identity: owners[i], Resource: x.resource, Connections: x.connections, First: x.first, Last: x.last, Sent: x.sent,
			Days: x.days, Hours: x.hours, State: uint8(x.state), Rule: x.rule,
		}
		if v := x.volumes; v != nil {
			s.Volumes = []savedVolume{saveVolume(&v.hourly), saveVolume(&v.daily)}
		}
		if err := put(&s); err != nil {
			return err
		}
	}
	return d.saveRest(put)
}

func (d *Detector) saveRest(put func(any) error) error {
	order := func(a, b trustKey) int {
		return cmp.Or(cmp.Compare(a.identity, b.identity), cmp.Compare(a.port, b.port), a.address.Compare(b.address), cmp.Compare(a.name, b.name))
	}
	for _, k := range slices.SortedFunc(maps.Keys(d.trust), order) {
		t := d.trust[k]
		s := savedTrust{Identity: k.identity, Port: k.port, Name: k.name, Level: uint8(t.level), Times: t.times, Version: t.version, Peer: t.peer.String(), Since: t.since}
		if k.address.IsValid() {
			s.Address = k.address.String()
		}
		if err := put(&s); err != nil {
			return err
		}
	}
	var holders []savedHolder
	for sha, p := range d.holders.where.All() {
		holders = append(holders, savedHolder{SHA: sha, Node: p.node, Identity: p.identity, At: p.at, Since: p.since, Told: p.told})
	}
	slices.Reverse(holders) // the newest last, as they came
	for i := range holders {
		if err := put(&holders[i]); err != nil {
			return err
		}
	}
	for _, k := range d.findings.order { // their age decides which goes first
		t := d.findings.open[k]
		if t == nil {
			continue
		}
		data, err := saveFinding(&t.finding)
		if err != nil {
			return err
		}
		if err := put(&savedFinding{Identity: k.identity, Resource: k.resource, Rule: k.rule.name, Finding: data, Given: t.given, Changed: t.changed, Recount: t.recount}); err != nil {
			return err
		}
	}
	return d.saveKnown(put)
}

// Load makes a detector of a saved state. c may differ from the one that it was saved with.
func Load(from io.Reader, c Config) (*Detector, error) {
	d := New(c)
	d.loading = true
	defer func() { d.loading = false }()
	if err := d.load(cbor.NewDecoder(from)); err != nil {
		return nil, fmt.Errorf("load the detector: %w: %w", ErrSaved, err)
	}
	return d, nil
}

func (d *Detector) load(from *cbor.Decoder) error {
	var head savedHead
	if err := from.Decode(&head); err != nil {
		return err
	}
	if head.Format != savedFormat || head.Version != savedVersion {
		return fmt.Errorf("it is %q, version %d; this program knows version %d", head.Format, head.Version, savedVersion)
	}
	t := head.Threshold
	d.threshold = threshold{sample: t.Sample, peaks: t.Peaks, base: t.Base, seen: t.Seen, over: t.Over, rate: t.Rate.novelty()}
	d.settled = head.Settled
	d.clock = eventTime{now: head.Clock.Now, hour: head.Clock.Hour, began: head.Clock.Began, ahead: jump{head.Clock.Node, head.Clock.At}}
	d.minute, d.flooded = minuteBudget{head.Minute, head.Told}, head.Flooded
	maps.Copy(d.refused, head.Refused)
	for range head.Nodes {
		var n savedNode
		if err := from.Decode(&n); err != nil {
			return err
		}
		i, ok := d.node(n.Name)
		if !ok {
			return errors.New("it holds more nodes than are allowed now")
		}
		for _, s := range n.Spans {
			d.nodes[i].spans = append(d.nodes[i].spans, span{s.Boot, s.From, s.Until})
		}
	}
	for range head.Groups {
		var name string
		if err := from.Decode(&name); err != nil {
			return err
		}
		d.groups = append(d.groups, group{name: name})
		d.groupIndex[name] = uint32(len(d.groups))
	}
	for range head.Identities {
		var s savedIdentity
		if err := from.Decode(&s); err != nil {
			return err
		}
		if err := d.loadIdentity(&s); err != nil {
			return err
		}
	}
	for range head.Resources {
		var name string
		if err := from.Decode(&name); err != nil {
			return err
		}
		r, err := event.ParseResource(name)
		if err != nil {
			return err
		}
		d.resIndex[r] = uint32(len(d.resources))
		d.resources = append(d.resources, r)
		d.users = append(d.users, users{})
	}
	for range head.Edges {
		var s savedEdge
		if err := from.Decode(&s); err != nil {
			return err
		}
		if err := d.loadEdge(&s); err != nil {
			return err
		}
	}
	if err := d.loadRest(from, &head); err != nil {
		return err
	}
	return d.loadKnown(from, &head)
}

func (d *Detector) loadIdentity(s *savedIdentity) error {
	id, err := event.ParseIdentity(s.ID)
	if err != nil {
		return err
	}
	i, ok := d.identity(id)
	if !ok || int(s.Group) > len(d.groups) {
		return errors.New("it holds more identities than are allowed now, or groups that are not there")
	}
	x := &d.identities[i]
	if s.Stable {
		d.stable++
	}
	x.group, x.minute, x.told, x.stable, x.since, x.tls, x.profile = s.Group, s.Minute, s.Told, s.Stable, s.Since, s.TLS, s.Profile.profile()
	x.dormant, x.downgraded = s.Dormant, s.Downgraded
	if s.Group > 0 {
		d.groups[s.Group-1].identities++
	}
	for _, at := range s.Seen {
		if int(at.Node) >= len(d.nodes) {
			return errors.New("a node is not there")
		}
		x.seen = append(x.seen, sighting{at.Node, at.First})
	}
	return nil
}

func (d *Detector) loadEdge(s *savedEdge) error {
	if int(s.Identity) >= len(d.identities) || int(s.Resource) >= len(d.resources) || int(s.Rule) >= len(reachRules) {
		return errors.New("an edge refers to nothing")
	}
	_, e := d.add(s.Identity, d.resources[s.Resource], s.First, s.Last)
	if e == nil {
		return errors.New("it holds more edges than are allowed now")
	}
	e.connections, e.sent, e.days, e.hours, e.state, e.rule = s.Connections, s.Sent, s.Days, s.Hours, edgeState(s.State), s.Rule
	if len(s.Volumes) == 2 {
		e.volumes = &volumes{s.Volumes[0].volume(), s.Volumes[1].volume()}
	}
	return nil
}
