package cli

import (
	"os"
	"testing"

	"github.com/ambit-nhi/ambit/internal/testenv"
)

// A test that needs an engine starts this binary again as one, as does a test that runs ambit up.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "clickhouse" {
		os.Exit(Main(os.Args[1:]))
	}
	os.Exit(testenv.Main(m))
}
