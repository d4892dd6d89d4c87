package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestToken(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "token")
	first, err := ensureToken(folder)
	if err != nil || len(first) != 64 {
		t.Fatalf("the token is %q: %v", first, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("the mode is %v: %v", info.Mode(), err)
	}
	if again, err := ensureToken(folder); err != nil || again != first {
		t.Errorf("the next start has another token: %v", err)
	}
	if other, err := ensureToken(t.TempDir()); err != nil || other == first {
		t.Errorf("another folder has the same token: %v", err)
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v %v", left, err)
	}

	// Where a client finds it.
	f := func(file string) {
		t.Helper()
		if got, err := findToken(file); err != nil || got != first {
			t.Errorf("%q: %q %v", file, got, err)
		}
	}
	f(path)
	t.Setenv("AMBIT_TOKEN_FILE", path)
	f("")
	t.Setenv("AMBIT_TOKEN_FILE", filepath.Join(folder, "none"))
	f(path)
	if _, err := findToken(""); err == nil || !strings.Contains(err.Error(), "--token-file") || !strings.Contains(err.Error(), "none") {
		t.Errorf("a missing file: %v", err)
	}
	t.Setenv("AMBIT_TOKEN_FILE", "")
	home := t.TempDir()
	t.Chdir(home)
	if err := os.Rename(folder, filepath.Join(home, "ambit-data")); err != nil {
		t.Fatal(err)
	}
	f("")

	refused := func(want string, prepare func(path string) error) {
		t.Helper()
		folder := t.TempDir()
		if err := prepare(filepath.Join(folder, "token")); err != nil {
			t.Fatal(err)
		}
		if _, err := ensureToken(folder); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), folder) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	refused("holds no token", func(path string) error { return os.WriteFile(path, nil, 0o600) })
	refused("holds no token", func(path string) error { return os.WriteFile(path, []byte(first+first), 0o600) })
	refused("chmod 600", func(path string) error { return os.WriteFile(path, []byte(first), 0o644) })
	refused("token", func(path string) error { return os.Symlink(filepath.Join(home, "ambit-data", "token"), path) })
}
