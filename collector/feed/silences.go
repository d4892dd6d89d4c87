package feed

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/event"
)

// silencesEvery is how often Alertmanager is asked which alerts of ours are silenced.
var silencesEvery = 15 * time.Second

// maxSilenced bounds how many findings can be silenced at a time.
const maxSilenced = 10_000

// silenced says by which silence a finding is suppressed, and until when.
type silenced struct {
	Silence string    `json:"silence"`
	By      string    `json:"by"`
	Until   time.Time `json:"until"`
}

// followSilences has findings suppressed while their alerts are silenced.
func (l *lane) followSilences(ctx context.Context) error {
	tick := time.NewTicker(silencesEvery)
	defer tick.Stop()
	for {
		if err := l.honourSilences(ctx); err != nil && ctx.Err() == nil {
			l.log.Warn("read the silences of Alertmanager", "error", l.veil.told(err))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (l *lane) silencesKey() string { return "silences." + l.name }

func (l *lane) honourSilences(ctx context.Context) error {
	w, err := newWebhook(&opening{Config: &l.cfg, maker: l.maker, making: l.making, veil: l.veil}, "")
	if err != nil {
		return err
	}
	defer w.close()
	known := map[string]silenced{}
	e, err := l.bucket.Get(ctx, l.silencesKey())
	switch {
	case err == nil:
		if known, err = readSilenced(e.Value()); err != nil {
			return fmt.Errorf("read which findings are silenced: %w", err)
		}
	case !errors.Is(err, jetstream.ErrKeyNotFound):
		return fmt.Errorf("read which findings are silenced: %w", err)
	}
	now, err := w.silencedFindings(ctx)
	if err != nil {
		return err
	}
	changed := false
	for finding, s := range now {
		if old, ok := known[finding]; ok && old == s {
			continue
		}
		if err := l.verdict(ctx, finding, event.VerdictSuppress, "silenced in Alertmanager: "+s.Silence, s.By, s.Until); err != nil {
			return err
		}
		known[finding], changed = s, true
	}
	for finding, s := range known {
		if _, still := now[finding]; still {
			continue
		}
		if time.Now().Before(s.Until) { // it was ended by somebody, not by time
			if err := l.verdict(ctx, finding, event.VerdictUnsuppress, "the silence in Alertmanager is over", s.By, time.Time{}); err != nil {
				return err
			}
		}
		delete(known, finding)
		changed = true
	}
	if !changed {
		return nil
	}
	data, err := packSilenced(known)
	if err == nil {
		_, err = l.bucket.Put(ctx, l.silencesKey(), data)
	}
	if err != nil {
		return fmt.Errorf("write which findings are silenced: %w", err)
	}
	return nil
}

// packSilenced makes so little of what is known that a message holds it: the texts of one silence come with each of its findings.
func packSilenced(known map[string]silenced) ([]byte, error) {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	err := errors.Join(json.NewEncoder(z).Encode(known), z.Close())
	return out.Bytes(), err
}

func readSilenced(data []byte) (map[string]silenced, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	known := map[string]silenced{}
	err = json.NewDecoder(io.LimitReader(z, 64<<20)).Decode(&known)
	return known, err
}

// verdict decides about a finding. One that is not known here is none of ours.
func (l *lane) verdict(ctx context.Context, finding string, kind event.VerdictKind, reason, by string, until time.Time) error {
	_, err := l.decide(ctx, finding, kind, clipTo(reason, 500), by, until)
	if err == nil || errors.Is(err, ErrUnknown) {
		return nil
	}
	return fmt.Errorf("decide for a silence: %w", err)
}

// silencedFindings asks Alertmanager which findings have an alert that is silenced.
func (w *webhook) silencedFindings(ctx context.Context) (map[string]silenced, error) {
	var alerts []struct {
		Labels map[string]string `json:"labels"`
		Status struct {
			SilencedBy []string `json:"silencedBy"`
		} `json:"status"`
	}
	query := url.Values{"active": {"false"}, "inhibited": {"false"}, "unprocessed": {"false"}, "silenced": {"true"}, "filter": {`source="ambit"`}}
	if err := w.get(ctx, "/api/v2/alerts?"+query.Encode(), &alerts); err != nil {
		return nil, err
	}
	if len(alerts) > maxSilenced {
		return nil, fmt.Errorf("%d alerts are silenced, more than the %d that are honoured", len(alerts), maxSilenced)
	}
	silences := map[string]silenced{}
	out := map[string]silenced{}
	for _, a := range alerts {
		for _, id := range a.Status.SilencedBy {
			s, ok := silences[id]
			if !ok {
				var got struct {
					CreatedBy string    `json:"createdBy"`
					Comment   string    `json:"comment"`
					EndsAt    time.Time `json:"endsAt"`
				}
				if err := w.get(ctx, "/api/v2/silence/"+url.PathEscape(id), &got); err != nil {
					return nil, err
				}
				s = silenced{Silence: clipTo(oneLine(got.Comment+" ("+id+")"), 400), By: silencedBy + clipTo(oneLine(got.CreatedBy), 100), Until: got.EndsAt.UTC()}
				silences[id] = s
			}
			if finding := a.Labels["finding"]; finding != "" && s.Until.After(out[finding].Until) { // the longest one counts
				out[finding] = s
			}
		}
	}
	return out, nil
}

func (w *webhook) get(ctx context.Context, path string, into any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+path, nil)
	if err != nil {
		return errors.New("make a request: the URL cannot be used")
	}
	if w.auth != "" {
		r.Header.Set("Authorization", w.auth)
	}
	answer, err := w.http.Do(r)
	if err != nil {
		return withoutURL(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("ask Alertmanager: it answers %s", answer.Status)
	}
	if kind := answer.Header.Get("Content-Type"); !strings.HasPrefix(kind, "application/json") {
		return fmt.Errorf("ask Alertmanager: it answers with %s, not with JSON", clipTo(oneLine(kind), 100))
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, 64<<20)).Decode(into); err != nil {
		return fmt.Errorf("read the answer of Alertmanager: %w", err)
	}
	return nil
}
