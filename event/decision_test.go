package event

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"
	"pgregory.net/rapid"
)

var decisionTime = time.Date(2026, 11, 22, 12, 0, 0, 123456789, time.UTC)

// decisionKey is made of a fixed seed, so that what it signs can be held in a file.
func decisionKey(t testing.TB, fill byte) (nkeys.KeyPair, string) {
	t.Helper()
	key, err := nkeys.FromRawSeed(nkeys.PrefixByteAccount, bytes.Repeat([]byte{fill}, 32))
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return key, public
}

func sampleDecision() *Decision {
	return &Decision{
		ID: "d-1", Serial: 7, Identity: "spiffe://shop.example/ns/shop/sa/checkout", To: "dns:api.example.com:443/tcp", Direction: Outbound, Mode: Enforce,
		Code: "compromised", Reason: "its token was found in a public place", Requester: "ada", Approver: "grace", Finding: "f-9",
		Issued: decisionTime, Expires: decisionTime.Add(time.Hour),
	}
}

func TestDecisionSignature(t *testing.T) {
	key, public := decisionKey(t, 1)
	other, otherPublic := decisionKey(t, 2)
	f := func(name string, change func(d *Decision), keys []string, after time.Duration, want error) {
		t.Helper()
		d := sampleDecision()
		if err := d.Sign(key); err != nil {
			t.Fatal(err)
		}
		change(d)
		if err := d.Verify(keys, decisionTime.Add(after), MaxDecisionLife); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	trusted := []string{otherPublic, public}
	none := func(*Decision) {}
	f("good", none, trusted, 0, nil)
	f("clock behind a little", none, trusted, -59*time.Second, nil)
	f("from the future", none, trusted, -2*time.Minute, ErrNotYet)
	f("at its end", none, trusted, time.Hour, ErrExpired)
	f("before its end", none, trusted, time.Hour-1, nil)
	f("no keys", none, nil, 0, ErrUnknownKey)
	f("other key", none, []string{otherPublic}, 0, ErrUnknownKey)
	f("unsigned", func(d *Decision) { d.Signature = nil }, trusted, 0, ErrUnsigned)
	f("without a key", func(d *Decision) { d.Key = "" }, trusted, 0, ErrUnsigned)
	f("key of another", func(d *Decision) { d.Key = otherPublic }, trusted, 0, ErrSignature)
	f("short signature", func(d *Decision) { d.Signature = d.Signature[:63] }, trusted, 0, ErrSignature)
	f("key that is none", func(d *Decision) { d.Key = "nonsense" }, []string{"nonsense"}, 0, ErrUnknownKey)
	f("longer", func(d *Decision) { d.Expires = d.Expires.Add(time.Hour) }, trusted, 0, ErrSignature)
	f("revoked by whoever", func(d *Decision) { d.Revoked = decisionTime.Add(time.Minute) }, trusted, 0, ErrSignature)
	f("signed too long", func(d *Decision) {
		d.Expires = d.Issued.Add(MaxDecisionLife + 1)
		if err := d.Sign(key); err != nil {
			t.Fatal(err)
		}
	}, trusted, 0, ErrTooLong)
	f("signed by another", func(d *Decision) {
		if err := d.Sign(other); err != nil {
			t.Fatal(err)
		}
	}, []string{public}, 0, ErrUnknownKey)
	f("revoked", func(d *Decision) {
		d.Revoked, d.RevokedBy, d.RevokedWhy, d.Serial = decisionTime.Add(time.Minute), "ada", "was wrong", 8
		if err := d.Sign(key); err != nil {
			t.Fatal(err)
		}
	}, trusted, time.Minute, nil)
	f("signed nonsense", func(d *Decision) {
		d.To = "nowhere"
		d.Key = public
		data, err := d.Canonical()
		if err != nil {
			t.Fatal(err)
		}
		if d.Signature, err = key.Sign(data); err != nil {
			t.Fatal(err)
		}
	}, trusted, 0, ErrDecision)
}

func TestDecisionIsSignedOnlyIfValid(t *testing.T) {
	key, _ := decisionKey(t, 1)
	f := func(field string, change func(d *Decision)) {
		t.Helper()
		d := sampleDecision()
		change(d)
		if err := d.Sign(key); err == nil || !strings.Contains(err.Error(), ": "+field+":") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", field, err)
		}
	}
	f("id", func(d *Decision) { d.ID = "" })
	f("id", func(d *Decision) { d.ID = "a.b" })
	f("id", func(d *Decision) { d.ID = "a>" })
	f("id", func(d *Decision) { d.ID = "é" })
	f("id", func(d *Decision) { d.ID = strings.Repeat("a", 65) })
	f("serial", func(d *Decision) { d.Serial = 0 })
	f("identity", func(d *Decision) { d.Identity = "" })
	f("identity", func(d *Decision) { d.Identity = "spiffe://shop.example/*" })
	f("identity", func(d *Decision) { d.Identity, d.Glob = "*", true })
	f("identity", func(d *Decision) { d.Identity, d.Glob = "spiffe://*/ns/shop", true })
	f("identity", func(d *Decision) { d.Identity, d.Glob = "spiffe://shop.example", true })
	f("identity", func(d *Decision) { d.Identity, d.Glob = "spiffe://shop.example/a\nb*", true })
	f("to", func(d *Decision) { d.To = "" })
	f("direction", func(d *Decision) { d.Direction = "up" })
	f("mode", func(d *Decision) { d.Mode = "" })
	f("reason", func(d *Decision) { d.Reason = " " })
	f("reason", func(d *Decision) { d.Reason = "a\nb" })
	f("reason", func(d *Decision) { d.Reason = "\xff" })
	f("requester", func(d *Decision) { d.Requester = "" })
	f("approver", func(d *Decision) { d.Approver = d.Requester })
	f("issued", func(d *Decision) { d.Issued = time.Time{} })
	f("expires", func(d *Decision) { d.Expires = time.Time{} })
	f("expires", func(d *Decision) { d.Expires = d.Issued })
	f("expires", func(d *Decision) { d.Expires = time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC) })
	f("revoked", func(d *Decision) { d.Revoked, d.RevokedBy, d.RevokedWhy = d.Issued.Add(-1), "a", "b" })
	f("revoked_by", func(d *Decision) { d.Revoked, d.RevokedWhy = d.Issued, "b" })
	f("revoked_why", func(d *Decision) { d.Revoked, d.RevokedBy = d.Issued, "a" })

	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	if err := sampleDecision().Sign(user); err == nil || !strings.Contains(err.Error(), "account nkey") {
		t.Errorf("signed with a user's key: %v", err)
	}
}

// The bytes that are signed are a promise: an agent of another version makes the same of a decision.
func TestDecisionGolden(t *testing.T) {
	key, _ := decisionKey(t, 1)
	d := sampleDecision()
	d.Revoked, d.RevokedBy, d.RevokedWhy = decisionTime.Add(time.Minute), "ada", "was wrong"
	if err := d.Sign(key); err != nil {
		t.Fatal(err)
	}
	canonical, err := d.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got := hex.EncodeToString(canonical) + "\n" + string(text) + "\n"
	file := filepath.Join("testdata", "decision.golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func drawDecision(t *rapid.T) *Decision {
	life := time.Duration(rapid.Int64Range(1, int64(MaxDecisionLife)).Draw(t, "life"))
	d := &Decision{
		ID: rapid.StringMatching(`[A-Za-z0-9_-]{1,64}`).Draw(t, "id"), Serial: rapid.Uint64Min(1).Draw(t, "serial"),
		Identity:  rapid.SampledFrom([]string{"spiffe://a.example/x", "spiffe://a.example/ns/b/sa/c", "x509://00ff/CN=a:b"}).Draw(t, "identity"),
		To:        rapid.SampledFrom([]string{"*", "dns:a.b:1/udp", "net:fd00::/8", "svc:a.b", "port:22/tcp", "spiffe://a.example/x:5"}).Draw(t, "to"),
		Direction: rapid.SampledFrom([]Direction{Inbound, Outbound, Both}).Draw(t, "direction"), Mode: rapid.SampledFrom([]Mode{DryRun, Enforce}).Draw(t, "mode"),
		Code: rapid.StringMatching(`[a-z-]{0,20}`).Draw(t, "code"), Reason: "because " + rapid.StringMatching(`[^\p{C}]{0,40}`).Draw(t, "reason"),
		Requester: "r" + rapid.StringMatching(`[^\p{C}]{0,20}`).Draw(t, "requester"), Approver: rapid.StringMatching(`|a[a-z]{0,20}`).Draw(t, "approver"),
		Automatic: rapid.Bool().Draw(t, "automatic"), Issued: decisionTime, Expires: decisionTime.Add(life),
	}
	if rapid.Bool().Draw(t, "glob") {
		d.Glob, d.Identity = true, "spiffe://a.example/ns/*"
	}
	if rapid.Bool().Draw(t, "revoked") {
		d.Revoked, d.RevokedBy, d.RevokedWhy = decisionTime.Add(life/2), "x", "y"
	}
	return d
}

// A signed decision survives JSON, and no change of any of its bytes there goes unnoticed.
func TestDecisionAlteredIsNeverBelieved(t *testing.T) {
	key, public := decisionKey(t, 1)
	rapid.Check(t, func(t *rapid.T) {
		d := drawDecision(t)
		if err := d.Sign(key); err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		same, err := DecodeDecision(data)
		if err != nil {
			t.Fatal(err)
		}
		if err := same.Verify([]string{public}, decisionTime, MaxDecisionLife); err != nil {
			t.Fatalf("it is not believed after JSON: %v", err)
		}
		altered := bytes.Clone(data)
		altered[rapid.IntRange(0, len(data)-1).Draw(t, "at")] ^= byte(rapid.IntRange(1, 255).Draw(t, "by"))
		other, err := DecodeDecision(altered)
		if err != nil || other.Verify([]string{public}, decisionTime, MaxDecisionLife) != nil {
			return
		}
		// What is believed says the same: only the way it is written changed, such as a capital in a field's name.
		a, _ := d.Canonical()
		b, _ := other.Canonical()
		if !bytes.Equal(a, b) {
			t.Fatalf("believed though altered:\n%s\n%s", data, altered)
		}
	})
}

func TestVerifierKnowsReplays(t *testing.T) {
	key, public := decisionKey(t, 1)
	signed := func(serial uint64, change func(*Decision)) *Decision {
		d := sampleDecision()
		d.Serial = serial
		change(d)
		if err := d.Sign(key); err != nil {
			t.Fatal(err)
		}
		return d
	}
	none := func(*Decision) {}
	revoke := func(d *Decision) {
		d.Revoked, d.RevokedBy, d.RevokedWhy = decisionTime.Add(time.Second), "ada", "was wrong"
		d.Expires = d.Issued.Add(time.Minute) // sooner than what it revokes
	}
	v := Verifier{Keys: []string{public}}
	f := func(d *Decision, after time.Duration, want error) {
		t.Helper()
		if err := v.Check(d, decisionTime.Add(after)); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	first := signed(7, none)
	f(first, 0, nil)
	f(first, 1, nil) // again
	f(signed(7, func(d *Decision) { d.To = "*" }), 1, ErrReplayed)
	f(signed(8, revoke), 2*time.Second, nil)
	f(first, 3*time.Second, ErrReplayed)
	v.Forget(decisionTime.Add(2 * time.Minute)) // the revocation has expired, what it revokes has not
	f(first, 2*time.Minute, ErrReplayed)

	kept := Verifier{Keys: []string{public}}
	data, err := json.Marshal(v.Seen())
	if err != nil {
		t.Fatal(err)
	}
	var seen map[string]Seen
	if err := json.Unmarshal(data, &seen); err != nil {
		t.Fatal(err)
	}
	kept.Remember(seen)
	if err := kept.Check(first, decisionTime.Add(3*time.Second)); !errors.Is(err, ErrReplayed) {
		t.Errorf("after a restart: %v", err)
	}
	v.Forget(decisionTime.Add(time.Hour))
	if len(v.Seen()) != 0 {
		t.Errorf("%d are remembered after they expired", len(v.Seen()))
	}

	small := Verifier{Keys: []string{public}, Max: 1}
	if err := small.Check(first, decisionTime); err != nil {
		t.Fatal(err)
	}
	if err := small.Check(signed(1, func(d *Decision) { d.ID = "d-2" }), decisionTime); !errors.Is(err, ErrCrowded) {
		t.Errorf("one too many: %v", err)
	}
}

func TestDecisionNames(t *testing.T) {
	f := func(identity string, glob bool, id string, want bool) {
		t.Helper()
		parsed, err := ParseIdentity(id)
		if err != nil {
			t.Fatal(err)
		}
		d := Decision{Identity: identity, Glob: glob}
		if d.Names(parsed) != want {
			t.Errorf("%s (glob %v) names %s: %v", identity, glob, id, !want)
		}
	}
	f("spiffe://a.example/x", false, "spiffe://a.example/x", true)
	f("spiffe://a.example/x", false, "spiffe://a.example/xy", false)
	f("spiffe://a.example/*", false, "spiffe://a.example/x", false)
	f("spiffe://a.example/*", true, "spiffe://a.example/x/y", true)
	f("spiffe://a.example/*/sa/*", true, "spiffe://a.example/ns/sa/y", true)
	f("spiffe://a.example/*/sa/b", true, "spiffe://a.example/ns/sa/sa/b", true)
	f("spiffe://a.example/*/sa/b", true, "spiffe://a.example/ns/sa/c", false)
	f("spiffe://a.example/a*a", true, "spiffe://a.example/a", false)
	f("", false, "spiffe://a.example/a", false)
}

func FuzzDecodeDecision(f *testing.F) {
	key, public := decisionKey(f, 1)
	d := sampleDecision()
	if err := d.Sign(key); err != nil {
		f.Fatal(err)
	}
	data, err := json.Marshal(d)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"id":"a","signature":"AAAA","key":"A"}`))
	f.Add([]byte(`{"issued":"9999-12-31T23:59:59Z"}`))
	signed, err := d.Canonical()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := DecodeDecision(data)
		if err != nil {
			return
		}
		if got.Verify([]string{public}, decisionTime, MaxDecisionLife) != nil {
			return
		}
		if c, err := got.Canonical(); err != nil || !bytes.Equal(c, signed) {
			t.Fatalf("a decision is believed that was never signed: %s", data)
		}
	})
}
