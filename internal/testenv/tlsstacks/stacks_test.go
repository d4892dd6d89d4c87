package tlsstacks

import (
	"slices"
	"testing"
)

// Both ends of every connection tell the same: what Ambit is measured by is true.
func TestBothEndsAgree(t *testing.T) {
	stage := NewStage(t)
	for _, stack := range Stacks() {
		t.Run(stack.Name, func(t *testing.T) {
			stack.Require(t)
			if stack.Listen != nil {
				t.Run("server", func(t *testing.T) { check(t, stack, stage.PlayServer(t, stack, nil)) })
			}
			if stack.Start != nil {
				t.Run("client", func(t *testing.T) { check(t, stack, stage.PlayClient(t, stack, nil)) })
			}
		})
	}
}

// check looks for what the plan means to show.
func check(t *testing.T, stack *Stack, all []Connection) {
	t.Helper()
	resumed, burst := map[string]int{}, 0
	for _, c := range all {
		// nginx lets handshakes with expired certificates come about, and then answers with an error.
		refused := c.Case == "refused" || c.Case == "expired" || stack.Name == "nginx" && !c.Client && c.Case == "any expired"
		if c.Failed != refused {
			t.Errorf("%s by TLS %s: failed is %t: %s", c.Case, c.Version, c.Failed, c.Error)
		}
		if c.Failed {
			continue
		}
		if c.Truth.Own != c.Own.SHA256 || c.Truth.Peer != c.Peer.SHA256 {
			t.Errorf("%s by TLS %s: the certificates are %s and %s and must be %s and %s", c.Case, c.Version, c.Truth.Own, c.Truth.Peer, c.Own.SHA256, c.Peer.SHA256)
		}
		if want := map[bool]string{true: "http/1.1"}[c.Offers != ""]; c.ALPN != want {
			t.Errorf("%s by TLS %s: ALPN is %q", c.Case, c.Version, c.ALPN)
		}
		if c.Resumed {
			resumed[c.Version]++
		}
		if c.Burst {
			burst++
		}
	}
	if want := stack.burst(); burst != want {
		t.Errorf("%d connections of the burst succeeded and %d must", burst, want)
	}
	t.Logf("%d connections, resumed %v", len(all), resumed)
	for _, version := range both {
		// nginx as a proxy uses a session of TLS 1.2 once.
		if least := 1; (!all[0].Client || slices.Contains(stack.Resumes, version)) && resumed[version] < least {
			t.Errorf("by TLS %s, %d connections resumed a session", version, resumed[version])
		}
	}
}
