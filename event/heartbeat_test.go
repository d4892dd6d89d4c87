package event

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func fullHeartbeat() *Heartbeat {
	return &Heartbeat{
		Node: "n1", Boot: "boot-1", Sequence: 9, Numbers: []uint64{3, 0, 4}, Started: noon.Add(-time.Hour), Time: noon, Version: "0.1.0", Kernel: "6.1.0",
		Missing: []string{"no BTF"}, Lost: map[string]uint64{"ring_full": 3, "spool_full": maxCount}, Gauges: map[string]uint64{"edges": 12},
		Gaps: []Gap{
			{Cause: "spool-full", From: noon.Add(-2 * time.Hour), Until: noon.Add(-time.Hour), Lost: 5000},
			{Cause: "api-away", From: noon.Add(-time.Minute), Until: noon},
		},
	}
}

func TestHeartbeatWire(t *testing.T) {
	message, err := fullHeartbeat().Encode()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "heartbeat.golden", message)
	got, err := DecodeHeartbeat(message)
	if err != nil || !reflect.DeepEqual(got, fullHeartbeat()) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestHeartbeatRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := &Heartbeat{
			Node: drawName(t, "node"), Boot: drawName(t, "boot"), Sequence: rapid.Uint64().Draw(t, "sequence"),
			Started: noon.Add(-time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "since"))), Time: noon,
			Lost: rapid.MapOfN(rapid.StringMatching(`[a-z_]{1,64}`), rapid.Uint64Max(maxCount), 1, maxCauses).Draw(t, "lost"),
			Gaps: rapid.SliceOfN(rapid.Custom(drawGap), 1, MaxGaps).Draw(t, "gaps"),
		}
		message, err := h.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := DecodeHeartbeat(message); err != nil || !reflect.DeepEqual(got, h) {
			t.Fatalf("%v\n got %+v\nwant %+v", err, got, h)
		}
	})
}

func drawGap(t *rapid.T) Gap {
	from := noon.Add(-time.Duration(rapid.Int64Range(0, int64(1000*time.Hour)).Draw(t, "from")))
	return Gap{
		Cause: rapid.StringMatching(`[a-z-]{1,64}`).Draw(t, "cause"), From: from,
		Until: from.Add(time.Duration(rapid.Int64Range(0, int64(1000*time.Hour)).Draw(t, "for"))), Lost: rapid.Uint64Max(maxCount).Draw(t, "lost"),
	}
}

func TestDecodeHeartbeatRefuses(t *testing.T) {
	many := map[string]uint64{}
	for i := range maxCauses + 1 {
		many[fmt.Sprint("cause", i)] = 1
	}
	for name, spoil := range map[string]func(*Heartbeat){
		"no node":       func(h *Heartbeat) { h.Node = "" },
		"no boot":       func(h *Heartbeat) { h.Boot = "" },
		"long ago":      func(h *Heartbeat) { h.Time, h.Started = time.Unix(0, 0), time.Unix(0, 0) },
		"ends early":    func(h *Heartbeat) { h.Started = h.Time.Add(1) },
		"many losses":   func(h *Heartbeat) { h.Lost = many },
		"many gauges":   func(h *Heartbeat) { h.Gauges = many },
		"many missing":  func(h *Heartbeat) { h.Missing = make([]string, maxCauses+1) },
		"long cause":    func(h *Heartbeat) { h.Lost = map[string]uint64{strings.Repeat("a", maxCauses+1): 1} },
		"long node":     func(h *Heartbeat) { h.Node = strings.Repeat("n", maxNode+1) },
		"long version":  func(h *Heartbeat) { h.Version = strings.Repeat("1", maxWords+1) },
		"wraps a sum":   func(h *Heartbeat) { h.Lost = map[string]uint64{"ring_full": maxCount + 1} },
		"large gauge":   func(h *Heartbeat) { h.Gauges = map[string]uint64{"edges": 1 << 63} },
		"many gaps":     func(h *Heartbeat) { h.Gaps = slices.Repeat(h.Gaps, MaxGaps/2+1) },
		"no cause":      func(h *Heartbeat) { h.Gaps[0].Cause = "" },
		"long gap":      func(h *Heartbeat) { h.Gaps[0].Cause = strings.Repeat("a", maxCauseName+1) },
		"backward gap":  func(h *Heartbeat) { h.Gaps[0].Until = h.Gaps[0].From.Add(-1) },
		"ancient gap":   func(h *Heartbeat) { h.Gaps[0].From = time.Unix(0, 0) },
		"gap to come":   func(h *Heartbeat) { h.Gaps[0].Until = latest.Add(1) },
		"large gap":     func(h *Heartbeat) { h.Gaps[0].Lost = maxCount + 1 },
		"unnamed gauge": func(h *Heartbeat) { h.Gauges = map[string]uint64{"": 1} },
	} {
		h := fullHeartbeat()
		spoil(h)
		message, err := h.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := DecodeHeartbeat(message); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
	h := fullHeartbeat()
	message, err := pack(&wireHeartbeat{
		Format: wireVersion, Node: h.Node, Boot: h.Boot, Started: h.Started.UnixNano(), Time: h.Time.UnixNano(),
		Missing: []string{strings.Repeat("m", maxWords+1)},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeHeartbeat(message); !errors.Is(err, ErrMalformed) {
		t.Errorf("long missing: got %+v, %v", got, err)
	}
	message, err = pack(&wireHeartbeat{Format: 2})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := DecodeHeartbeat(message); !errors.Is(err, ErrVersion) {
		t.Errorf("version 2: %v", err)
	}
}

// What a server said of itself, such as all the names in its certificate, must not cost the heartbeat.
func TestHeartbeatCutsSentences(t *testing.T) {
	h := fullHeartbeat()
	h.Missing = []string{"new pods: " + strings.Repeat("é", maxWords), "\xff", "short"}
	message, err := h.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeHeartbeat(message)
	if err != nil {
		t.Fatal(err)
	}
	if m := got.Missing; len(m) != 3 || len(m[0]) < maxWords-8 || !strings.HasPrefix(m[0], "new pods: é") || !strings.HasSuffix(m[0], "é…") || m[1] != "\ufffd" || m[2] != "short" {
		t.Errorf("got %q", m)
	}
}

func FuzzDecodeHeartbeat(f *testing.F) {
	message, err := fullHeartbeat().Encode()
	if err != nil {
		f.Fatal(err)
	}
	plain, err := theCodec().unzip.DecodeAll(message, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(message, false)
	f.Add(plain, true)
	f.Fuzz(func(t *testing.T, data []byte, isPlain bool) {
		if isPlain {
			data = theCodec().zip.EncodeAll(data, nil)
		}
		h, err := DecodeHeartbeat(data)
		if err != nil {
			return
		}
		again, err := h.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := DecodeHeartbeat(again); err != nil || back.Sequence != h.Sequence || len(back.Lost) != len(h.Lost) || !slices.Equal(back.Gaps, h.Gaps) {
			t.Errorf("%+v came back as %+v: %v", h, back, err)
		}
	})
}
