package event

import (
	"errors"
	"iter"
	"reflect"
	"testing"
	"time"
)

func TestRestamp(t *testing.T) {
	h := fullHeartbeat()
	message, err := h.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if message, err = Restamp(message, -time.Hour); err != nil {
		t.Fatal(err)
	}
	h.Started, h.Time = h.Started.Add(-time.Hour), h.Time.Add(-time.Hour)
	if got, err := DecodeHeartbeat(message); err != nil || !reflect.DeepEqual(got, h) {
		t.Errorf("got %+v, want %+v, %v", got, h, err)
	}

	b, o := fullBatch(t)
	if message, err = b.Encode(7, 3, o.Time); err != nil {
		t.Fatal(err)
	}
	whole, err := DecodeBatch(message)
	if err != nil {
		t.Fatal(err)
	}
	if message, err = Restamp(message, -2*time.Hour); err != nil {
		t.Fatal(err)
	}
	got, err := DecodeBatch(message)
	if err != nil {
		t.Fatal(err)
	}
	if got.Sequence != 7 || got.Number != 3 || got.Len() != whole.Len() || !got.Time.Equal(whole.Time.Add(-2*time.Hour)) || !got.Started.Equal(whole.Started.Add(-2*time.Hour)) {
		t.Errorf("got %+v", got)
	}
	next, stop := iter.Pull(whole.Observations())
	defer stop()
	for r := range got.Observations() {
		w, _ := next()
		want := *w
		want.Time, want.FirstTime = want.Time.Add(-2*time.Hour), want.FirstTime.Add(-2*time.Hour)
		if !reflect.DeepEqual(*r, want) {
			t.Errorf("got %+v, want %+v", *r, want)
		}
	}
}

func TestRestampRefuses(t *testing.T) {
	for name, v := range map[string]any{
		"without times": map[uint64]any{1: 1},
		"words":         map[uint64]any{5: "noon", 6: 1},
		"a list":        []int{1},
	} {
		message, err := pack(v)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Restamp(message, time.Hour); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Restamp([]byte("nothing"), time.Hour); !errors.Is(err, ErrMalformed) {
		t.Errorf("no message: %v", err)
	}
}
