package tlsprobe

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// gotlsEnv makes the test binary be the program of gotls_program_test.go.
const gotlsEnv = "AMBIT_GOTLS"

func TestMain(m *testing.M) {
	if os.Getenv(gotlsEnv) != "" {
		gotlsMain()
		return
	}
	if os.Getenv(usesEnv) != "" {
		usesMain()
		return
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		removeBuilds()
		os.Exit(code)
	}))
}
