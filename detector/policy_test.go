package detector

import (
	"strings"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

func TestGlob(t *testing.T) {
	f := func(pattern, text string, want bool) {
		t.Helper()
		if got := glob(pattern, text); got != want {
			t.Errorf("%q fits %q: %t", pattern, text, got)
		}
	}
	f("shop", "shop", true)
	f("shop", "shop-dev", false)
	f("*", "", true)
	f("shop-*", "shop-dev", true)
	f("*-dev", "shop-dev", true)
	f("*-dev", "shop-dev-2", false)
	f("spiffe://*/sa/*", "spiffe://shop.example/ns/shop/sa/cart", true)
	f("a*b*c", "a-b-b-c", true)
	f("a*a", "a", false)
	f("*db*", "mydb-1", true)
}

func TestParsePolicyNamesEveryFault(t *testing.T) {
	f := func(want string, m map[string]any) {
		t.Helper()
		_, err := ParsePolicy([]map[string]any{{"rule": "volume", "off": true}, m})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("error %v instead of %q", err, want)
		}
	}
	f("detector.policy: rule 2: unknown rule new-reech, did you mean new-reach?", map[string]any{"rule": "new-reech", "off": true})
	f("detector.policy: rule 2: unknown key serverity, did you mean severity?", map[string]any{"rule": "volume", "serverity": "low"})
	f("detector.policy: rule 2: unknown key match.namspace, did you mean match.namespace?", map[string]any{"match": map[string]any{"namspace": "shop"}, "off": true})
	f("detector.policy: rule 2: severity hihg is not one of info, low, medium, high, critical, did you mean high?", map[string]any{"severity": "hihg"})
	f("detector.policy: rule 2: min_score is 7; it must be between 0 and 1", map[string]any{"min_score": 7.0})
	f("detector.policy: rule 2: it sets nothing", map[string]any{"rule": "volume"})
	f("detector.policy: rule 2: an empty text in match", map[string]any{"match": map[string]any{"owner": []any{""}}, "off": true})
	f("detector.policy: rule 2: 'off' expected type 'bool'", map[string]any{"off": "maybe"})

	p, err := ParsePolicy([]map[string]any{{"match": map[string]any{"namespace": "shop-*,blog", "owner": []any{"Deployment/*"}}, "rule": "volume", "off": false, "at_most": "low"}})
	if err != nil || len(p) != 1 || len(p[0].Match.Namespace) != 2 || p[0].Off == nil || *p[0].Off || p[0].AtMost != event.Low {
		t.Errorf("got %+v, %v", p, err)
	}
	if err := DefaultPolicy().Validate(); err != nil {
		t.Error(err)
	}
}

// The policy changes what is told of whom it matches, and of nobody else; what it silences is counted and does not become normal.
func TestPolicy(t *testing.T) {
	f := func(list []map[string]any, want ...string) {
		t.Helper()
		p, err := ParsePolicy(list)
		if err != nil {
			t.Fatal(err)
		}
		d := New(mustConfig(t, func(c *Config) { c.Learn, c.Policy = time.Hour, p }))
		var told []event.Finding
		see := func(who string, at time.Duration, name string) {
			o := outbound(who, epoch.Add(at), name, 1)
			o.Workload.Owner = "Deployment/" + o.Workload.ServiceAccount
			d.Cover("n1", "boot", epoch, o.Time)
			told = d.Observe(&o, told)
		}
		see("shop/cart", 0, "a.example")
		see("blog/web", 0, "a.example")
		see("shop/cart", 2*time.Hour, "db.example")
		see("blog/web", 2*time.Hour, "mysql.example")
		see("shop/cart", 3*time.Hour, "db.example")
		var got []string
		for _, x := range d.Pending(told) {
			if x.Count == 1 {
				got = append(got, shortName(&x.Workload)+" "+string(x.Severity))
			}
		}
		if strings.Join(got, ",") != strings.Join(want, ",") {
			t.Errorf("%v: got %v, want %v", list, got, want)
		}
		if silenced := uint64(2 - len(want)); d.Counters()[causePolicy] != silenced {
			t.Errorf("%v: %d counted, want %d", list, d.Counters()[causePolicy], silenced)
		}
	}
	match := func(key, text string) map[string]any { return map[string]any{key: text} }
	f(nil, "shop/cart medium", "blog/web medium")
	f([]map[string]any{{"off": true}})
	f([]map[string]any{{"rule": "new-reach", "off": true, "match": match("namespace", "sh*")}}, "blog/web medium")
	f([]map[string]any{{"rule": "new-reach", "off": true, "match": match("owner", "Deployment/web")}}, "shop/cart medium")
	f([]map[string]any{{"rule": "new-reach", "off": true, "match": match("identity", "*/sa/web")}}, "shop/cart medium")
	f([]map[string]any{{"rule": "volume", "off": true}}, "shop/cart medium", "blog/web medium")
	f([]map[string]any{{"rule": "new-reach", "off": false, "match": match("namespace", "shop")}, {"off": true}}, "shop/cart medium")
	f([]map[string]any{{"rule": "new-reach", "severity": "critical", "match": match("namespace", "blog")}}, "shop/cart medium", "blog/web critical")
	f([]map[string]any{{"at_most": "low"}}, "shop/cart low", "blog/web low")
	f([]map[string]any{{"rule": "new-reach", "min_score": 0.99}})
}
