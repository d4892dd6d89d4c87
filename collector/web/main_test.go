package web_test

import (
	"os"
	"testing"

	"github.com/ambit-nhi/ambit/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }
