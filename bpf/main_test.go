package bpf

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain runs the tests, or the traffic that a test started this binary again for.
func TestMain(m *testing.M) {
	if name := os.Getenv(trafficName); name != "" {
		makeTraffic(name)
		return
	}
	goleak.VerifyTestMain(m)
}
