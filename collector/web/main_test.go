package web_test

import (
	"os"
	"testing"

	"github.com/ambit-nhi/ambit/internal/demo/story"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

func TestMain(m *testing.M) {
	if story.Program() {
		return
	}
	os.Exit(testenv.Main(m))
}
