package decision

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"
	"pgregory.net/rapid"

	"github.com/ambit-nhi/ambit/event"
)

func TestKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	key, err := EnsureKey(file)
	if err != nil {
		t.Fatal(err)
	}
	again, err := EnsureKey(file)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := key.PublicKey()
	b, _ := again.PublicKey()
	if a != b || !nkeys.IsValidPublicAccountKey(a) {
		t.Errorf("keys are %s and %s", a, b)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v, %v", info.Mode(), err)
	}
	if _, err := MakeKey(file); err == nil {
		t.Error("a key is made over another")
	}
	seed, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	f := func(name string, data []byte, mode os.FileMode) {
		t.Helper()
		bad := filepath.Join(t.TempDir(), "bad")
		if err := os.WriteFile(bad, data, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(bad, mode); err != nil {
			t.Fatal(err)
		}
		_, err := EnsureKey(bad)
		if err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
		for _, secret := range []string{string(seed[:20]), "SUAB"} {
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("%s: the error tells the key: %v", name, err)
			}
		}
	}
	f("open to others", seed, 0o640)
	f("empty", nil, 0o600)
	f("cut", seed[:30], 0o600)
	f("large", []byte(strings.Repeat("x", 2000)), 0o600)
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	userSeed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	f("of a user", userSeed, 0o600)
	if _, err := LoadKey(t.TempDir()); err == nil {
		t.Error("a folder is a key")
	}
}

// Two patterns overlap if and only if some text fits both. Short texts over a small alphabet are enough for short patterns.
func TestOverlap(t *testing.T) {
	var texts []string
	for n := range 7 {
		for i := range 1 << n {
			texts = append(texts, strings.Map(func(r rune) rune { return r - '0' + 'a' }, fmt.Sprintf("%0*b", n, i))[:n])
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.StringMatching(`[ab*]{0,4}`).Draw(t, "a"), rapid.StringMatching(`[ab*]{0,4}`).Draw(t, "b")
		want := false
		for _, text := range texts {
			want = want || event.Fits(a, text) && event.Fits(b, text)
		}
		if got := overlap(a, b); got != want {
			t.Fatalf("%q and %q overlap: %v", a, b, got)
		}
	})
}

// However automatic decisions come, there are never more in a minute, nor at a time, than allowed; and after too many there are none for a while.
func TestBreaker(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := breaker{perMinute: rapid.IntRange(0, 5).Draw(t, "per minute"), most: rapid.IntRange(0, 12).Draw(t, "most")}
		life := time.Duration(rapid.IntRange(1, 600).Draw(t, "life")) * time.Second
		now := time.Unix(1_000_000, 0)
		var issued []time.Time
		var opened time.Time
		for range rapid.IntRange(1, 300).Draw(t, "findings") {
			now = now.Add(time.Duration(rapid.IntRange(0, 30_000).Draw(t, "wait")) * time.Millisecond)
			var holding []time.Time
			for _, at := range issued {
				if now.Sub(at) < life {
					holding = append(holding, at)
				}
			}
			err := b.allow(now, holding)
			if err != nil {
				if !errors.Is(err, ErrRail) {
					t.Fatal(err)
				}
				if strings.Contains(err.Error(), "opens") {
					opened = now
				}
				continue
			}
			if !opened.IsZero() && now.Sub(opened) < breakerRest {
				t.Fatalf("one is allowed %s after the breaker opened", now.Sub(opened))
			}
			issued = append(issued, now)
			lately := 0
			for _, at := range issued {
				if now.Sub(at) < time.Minute {
					lately++
				}
			}
			if lately > b.perMinute || len(holding)+1 > b.most {
				t.Fatalf("%d in a minute, %d at a time, and %d and %d are allowed", lately, len(holding)+1, b.perMinute, b.most)
			}
		}
	})
}

func TestConfig(t *testing.T) {
	f := func(want string, change func(c *Config)) {
		t.Helper()
		c := Default()
		change(&c)
		err := c.Validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	good := Rule{Rule: "new-resource", Severity: event.High, To: "resource", Mode: event.DryRun, For: time.Hour}
	f("", func(*Config) {})
	f("", func(c *Config) { c.Automatic = []Rule{good} })
	f("deny.max_life", func(c *Config) { c.MaxLife = 0 })
	f("decisions.approval", func(c *Config) { c.Approval = "some" })
	f("decisions.wait", func(c *Config) { c.Wait = 0 })
	f("deny.protected", func(c *Config) { c.Protected = []string{" "} })
	f("deny.floor", func(c *Config) { c.Floor = []string{"nowhere"} })
	f("deny.floor", func(c *Config) { c.Floor = []string{"*"} })
	f("deny.keys", func(c *Config) { c.Trusted = []string{"ABC"} })
	rule := func(change func(r *Rule)) func(c *Config) {
		r := good
		change(&r)
		return func(c *Config) { c.Automatic = []Rule{r} }
	}
	f("severity", rule(func(r *Rule) { r.Severity = "bad" }))
	f("to", rule(func(r *Rule) { r.To = "dns:a.b" }))
	f("mode", rule(func(r *Rule) { r.Mode = "" }))
	f("for", rule(func(r *Rule) { r.For = 25 * time.Hour }))
	f("every finding", rule(func(r *Rule) { r.Rule, r.Severity = "", event.Low }))
}
