package deploy

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// built is the folder of programs, packages and images that several tests take, also one that runs in a process of its own.
var built string

const builtFolder = "AMBIT_DEPLOY_BUILT"

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if built = os.Getenv(builtFolder); built != "" {
		return m.Run()
	}
	var err error
	if built, err = os.MkdirTemp("", "ambit-deploy-"); err == nil {
		defer os.RemoveAll(built)
		err = os.Setenv(builtFolder, built)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// once makes a folder that is not there yet.
func once(t *testing.T, name string, makeIt func(dir string)) (dir string) {
	t.Helper()
	dir = built + "/" + strings.NewReplacer("/", "-", "~", "-").Replace(name)
	done := dir + "/.made" // a test that failed in between has made half of it
	if _, err := os.Stat(done); err == nil {
		return dir
	}
	check(t, os.RemoveAll(dir))
	check(t, os.Mkdir(dir, 0o755))
	makeIt(dir)
	check(t, os.WriteFile(done, nil, 0o600))
	return dir
}
