package cli

import (
	"os"
	"path/filepath"
	"testing"
)

// TestFolderRefused checks that neither a planted link nor a folder that others may write gets as far as to a start.
func TestFolderRefused(t *testing.T) {
	t.Setenv("AMBIT_CLICKHOUSE_LIBRARY", os.Args[0])
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, filepath.Join(data, "lock")); err != nil {
		t.Fatal(err)
	}
	up := []string{"up", "--no-agent", "--listen", "127.0.0.1:0", "--data", data}
	refused(t, exitFailed, up, data, "lock", "link")
	if got, err := os.ReadFile(victim); err != nil || string(got) != "precious" {
		t.Errorf("the file behind the link now holds %q (%v)", got, err)
	}
	if err := os.Chmod(data, 0o777); err != nil {
		t.Fatal(err)
	}
	refused(t, exitFailed, up, data, "others may write", "--data")
}
