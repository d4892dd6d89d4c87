package event

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestAck(t *testing.T) {
	a := Ack{Decision: "d-1", Serial: 7, Node: "n1", Boot: "b", State: AckInForce, Why: "held\nby " + strings.Repeat("x", 600), At: decisionTime, Told: decisionTime, Denied: 3, Entries: 2}
	data, err := a.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeAck(data)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Why) > maxWords || !strings.HasSuffix(got.Why, "…") {
		t.Errorf("why is %q", got.Why)
	}
	got.Why = a.Why
	if !reflect.DeepEqual(*got, a) {
		t.Errorf("got %+v, want %+v", got, a)
	}
	f := func(data string, want error) {
		t.Helper()
		if _, err := DecodeAck([]byte(data)); !errors.Is(err, want) {
			t.Errorf("%.80s: %v, want %v", data, err, want)
		}
	}
	good := string(data)
	f(good, nil)
	f(strings.Replace(good, `"entries"`, `"later":1,"entries"`, 1), nil) // of a newer agent
	f(strings.Replace(good, `in-force`, `done`, 1), ErrMalformed)
	f(strings.Replace(good, `"d-1"`, `"d.1"`, 1), ErrMalformed)
	f(strings.Replace(good, `"n1"`, `""`, 1), ErrMalformed)
	f(strings.Replace(good, `"entries":2`, `"entries":-2`, 1), ErrMalformed)
	f(strings.Replace(good, `"denied":3`, `"denied":18446744073709551615`, 1), ErrMalformed)
	f(strings.ReplaceAll(good, `2026-11-22`, `1026-11-22`), ErrMalformed)
	f(`{}`, ErrMalformed)
	f(`[]`, ErrMalformed)
	f(strings.Repeat(" ", maxAck+1), ErrTooLarge)
}

func FuzzDecodeAck(f *testing.F) {
	a := Ack{Decision: "d-1", Serial: 7, Node: "n1", State: AckReceived, At: decisionTime, Told: decisionTime}
	data, err := a.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := DecodeAck(data)
		if err != nil {
			return
		}
		if _, err := a.Encode(); err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
	})
}
