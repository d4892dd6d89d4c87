package cli

import (
	"os"
	"testing"

	"github.com/ambit-nhi/ambit/internal/testenv"
)

// A test that needs an engine starts this binary again as one.
func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }
