package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/event"
)

// account is what became of what an agent made, in observations.
type account struct {
	made, there, missing, unsure, doubled uint64 // unsure: missing of what it was killed too soon after
	wrong                                 uint64 // ticks whose connections are not those that were made
	lost                                  map[string]uint64
}

// counted is how many of them the counters say are lost. Those of the stream count messages, which others count as observations.
func (a *account) counted() (n uint64) {
	for cause, lost := range a.lost {
		if cause != "stream" {
			n += lost
		}
	}
	return n
}

// ok says whether what is missing is exactly what was counted.
func (a *account) ok() bool {
	return a.doubled == 0 && a.wrong == 0 && a.missing <= a.counted() && a.counted() <= a.missing+a.unsure
}

// there is what the engine has of a tick.
type there struct {
	Node        string `json:"node"`
	Tick        uint64 `json:"tick"`
	Rows        uint64 `json:"rows"`
	Distinct    uint64 `json:"distinct"`
	Connections uint64 `json:"connections"`
}

const thereSQL = `SELECT node, bytes_sent AS tick, count() AS rows, uniqExact(identity, resource) AS distinct, sum(connections) AS connections
FROM observations GROUP BY node, tick`

const lostSQL = `SELECT node, splitByChar('#', cause)[1] AS what, sum(n) AS lost FROM
(SELECT node, boot, cause, max(value) AS n FROM coverage ARRAY JOIN mapKeys(lost) AS cause, mapValues(lost) AS value GROUP BY node, boot, cause)
GROUP BY node, what`

// accounts compares what agents made until a time with what is in the engine.
func (s *stage) accounts(ctx context.Context, until time.Time) ([agents]account, error) {
	var out [agents]account
	var rows []there
	var losses []struct {
		Node string `json:"node"`
		What string `json:"what"`
		Lost uint64 `json:"lost"`
	}
	if err := s.query(ctx, &losses, lostSQL); err != nil { // before the rows: what comes in between must not look lost and be there
		return out, err
	}
	if err := s.query(ctx, &rows, thereSQL); err != nil {
		return out, err
	}
	for i := range agents {
		made, err := readTicks(s.ticksOf(i))
		if err != nil {
			return out, err
		}
		found := map[uint64]there{}
		for _, r := range rows {
			if r.Node == nodeName(i) {
				found[r.Tick] = r
			}
		}
		a := &out[i]
		a.lost = map[string]uint64{}
		for _, l := range losses {
			if l.Node == nodeName(i) {
				a.lost[l.What] += l.Lost
			}
		}
		for _, t := range made {
			if t.At <= until.UnixMilli() {
				a.add(i, t, found[t.Number], s.unsure(i, t))
			}
			delete(found, t.Number)
		}
		for _, r := range found { // nobody made them
			a.doubled += r.Rows
		}
	}
	return out, nil
}

func (a *account) add(agent int, t tick, got there, unsure bool) {
	n, connections := t.sums(agent)
	a.made += n
	a.there += got.Rows
	a.doubled += got.Rows - got.Distinct
	switch {
	case got.Distinct > n:
		a.doubled += got.Distinct - n
	case got.Distinct < n && unsure:
		a.unsure += n - got.Distinct
	case got.Distinct < n:
		a.missing += n - got.Distinct
	default:
		if got.Rows == n && connections != got.Connections {
			a.wrong++
		}
	}
}

func (s *stage) unsure(i int, t tick) bool {
	return slices.ContainsFunc(s.killed[i], func(k killed) bool { return t.At >= k.from && t.At <= k.until })
}

// settled waits until all that was made until a time is in the engine, or counted as lost.
func (s *stage) settled(until time.Time, most time.Duration) error {
	ctx, cancel := context.WithTimeout(s.ctx, most)
	defer cancel()
	var last error
	for {
		all, err := s.accounts(ctx, until)
		for i := range all {
			if a := &all[i]; err == nil && !a.ok() {
				err = fmt.Errorf("of agent %d, %d of %d observations are missing (and %d that may be), %d are there twice, %d are counted as lost", i, a.missing, a.made, a.unsure, a.doubled, a.counted())
			}
		}
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-time.After(300 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("after %s: %w", most, errors.Join(last, s.ctx.Err()))
		}
	}
}

// verdict is the end of it all.
type verdict struct {
	accounts [agents]account
	faults   []string
	findings int
}

// judge ends the agents, and compares everything.
func (s *stage) judge(results []result) (v verdict, err error) {
	say("the end: agents stop")
	for i := range agents {
		if err := s.tell(i, "stop"); err != nil {
			return v, err
		}
	}
	for i, a := range s.agents {
		select {
		case <-a.Ended():
		case <-time.After(time.Minute):
			return v, fmt.Errorf("agent %d did not end", i)
		}
	}
	for _, r := range results {
		if r.err != nil {
			v.faults = append(v.faults, r.name+": "+r.err.Error())
		}
	}
	if err := s.settled(time.Now(), usual); err != nil {
		v.faults = append(v.faults, "at the end: "+err.Error())
	}
	ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
	defer cancel()
	if v.accounts, err = s.accounts(ctx, time.Now()); err != nil {
		return v, err
	}
	for _, check := range []func(context.Context, *verdict) error{s.judgeReach, s.judgeFindings} {
		if err := check(ctx, &v); err != nil {
			return v, err
		}
	}
	if len(v.faults) > 0 {
		return v, errors.New("not all is as it should be")
	}
	return v, nil
}

// sums are the totals of an identity toward a resource.
type sums struct {
	Identity    string `json:"identity"`
	Resource    string `json:"resource"`
	Connections uint64 `json:"connections"`
	Bytes       uint64 `json:"bytes"`
}

const reachSQL = `SELECT identity, resource, sum(connections) AS connections, sum(bytes_sent) AS bytes FROM reach GROUP BY identity, resource`

// judgeReach compares the totals of reach with what agents made. Of one of whose observations some are lost, each total is at most what was made, and all
// together lack what is lost.
func (s *stage) judgeReach(ctx context.Context, v *verdict) error {
	var rows, raw []sums
	if err := s.query(ctx, &rows, reachSQL); err != nil {
		return err
	}
	if err := s.query(ctx, &raw, strings.ReplaceAll(reachSQL, "FROM reach", "FROM observations")); err != nil {
		return err
	}
	type key struct{ identity, resource string }
	index := func(rows []sums) map[key]sums {
		m := map[key]sums{}
		for _, r := range rows {
			m[key{r.Identity, r.Resource}] = r
		}
		return m
	}
	reach, observed := index(rows), index(raw)
	if !maps.Equal(reach, observed) {
		v.faults = append(v.faults, fmt.Sprintf("the totals of reach (%d edges) are not those of the observations (%d edges)", len(reach), len(observed)))
	}
	for i := range agents {
		if a := &v.accounts[i]; a.missing+a.unsure > 0 {
			continue // tick by tick, above
		}
		made, err := readTicks(s.ticksOf(i))
		if err != nil {
			return err
		}
		want := map[key]sums{}
		for _, t := range made {
			t.observe(i, time.Time{}, func(o *event.Observation) {
				k := key{o.Workload.Identity.String(), event.ResourceOf(o).String()}
				w := want[k]
				want[k] = sums{k.identity, k.resource, w.Connections + o.Counts.Connections, w.Bytes + o.Counts.BytesSent}
			})
		}
		for k, w := range want {
			if reach[k] != w {
				v.faults = append(v.faults, fmt.Sprintf("reach of agent %d: %+v, want %+v", i, reach[k], w))
				break
			}
		}
	}
	return nil
}

// judgeFindings compares the findings in the stream and in the engine with the edges that were new and arrived.
func (s *stage) judgeFindings(ctx context.Context, v *verdict) error {
	var edges, stored []struct {
		Identity string `json:"identity"`
		Resource string `json:"resource"`
		N        uint64 `json:"n"`
	}
	if err := s.query(ctx, &edges, "SELECT identity, resource, count() AS n FROM observations WHERE peer_port = 4433 GROUP BY identity, resource"); err != nil {
		return err
	}
	if err := s.query(ctx, &stored, "SELECT identity, resource, uniqExact(id) AS n FROM findings GROUP BY identity, resource"); err != nil {
		return err
	}
	told, err := s.told(ctx)
	if err != nil {
		return err
	}
	v.findings = len(edges)
	inEngine := map[string]uint64{}
	for _, f := range stored {
		inEngine[f.Identity+" "+f.Resource] = f.N
	}
	var lost, doubled, unstored int
	for _, e := range edges {
		k := e.Identity + " " + e.Resource
		switch n := told[k]; {
		case n == 0:
			lost++
		case n > 1:
			doubled++
		}
		if inEngine[k] != 1 {
			unstored++
		}
		delete(told, k)
		delete(inEngine, k)
	}
	for _, f := range []struct {
		n    int
		what string
	}{
		{lost, "findings were not told on NATS"}, {doubled, "findings were told more than once"}, {unstored, "findings are not in the engine exactly once"},
		{len(told), "findings on NATS are of nothing new"}, {len(inEngine), "findings in the engine are of nothing new"},
	} {
		if f.n > 0 {
			v.faults = append(v.faults, fmt.Sprintf("%d of %d %s", f.n, len(edges), f.what))
		}
	}
	for k := range told {
		say("  of nothing new: %s", k)
		break
	}
	return nil
}

// told counts the messages in the stream of findings by what they are about.
func (s *stage) told(ctx context.Context) (map[string]int, error) {
	stream, err := s.js.Stream(ctx, event.StreamFindings)
	if err != nil {
		return nil, err
	}
	info, err := stream.Info(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string]int{}
	if info.State.Msgs == 0 {
		return out, nil
	}
	consumer, err := s.js.OrderedConsumer(ctx, event.StreamFindings, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return nil, err
	}
	messages, err := consumer.Messages()
	if err != nil {
		return nil, err
	}
	defer messages.Stop()
	for range info.State.Msgs {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return nil, fmt.Errorf("read findings: %w", err)
		}
		var f event.Finding
		if err := json.Unmarshal(m.Data(), &f); err != nil {
			return nil, fmt.Errorf("read findings: %w", err)
		}
		out[f.Identity.String()+" "+f.Resource.String()]++
	}
	return out, nil
}

func report(results []result, v verdict) {
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "what happened\ttook\trecovered in\tresult\t")
	for _, r := range results {
		word := "ok"
		if r.err != nil {
			word = "NOT RECOVERED"
		}
		fmt.Fprintf(t, "%s\t%.1fs\t%.1fs\t%s\t\n", r.name, r.took.Seconds(), r.recovery.Seconds(), word)
	}
	fmt.Fprintln(t)
	fmt.Fprintln(t, "agent\tmade\tin the engine\tmissing\tof its last second\tcounted as lost\ttwice\tresult\t")
	for i := range v.accounts {
		a, word := &v.accounts[i], "ok"
		if !a.ok() {
			word = "DIFFERS"
		}
		var causes []string
		for _, c := range slices.Sorted(maps.Keys(a.lost)) {
			causes = append(causes, fmt.Sprintf(" %s %d", c, a.lost[c]))
		}
		fmt.Fprintf(t, "%d\t%d\t%d\t%d\t%d\t%d%s\t%d\t%s\t\n", i, a.made, a.there, a.missing, a.unsure, a.counted(), strings.Join(causes, ","), a.doubled, word)
	}
	t.Flush()
	fmt.Printf("\n%d edges were new after learning.\n", v.findings)
	for _, f := range v.faults {
		fmt.Println("FAULT:", f)
	}
}
