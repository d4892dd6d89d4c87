package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOpenLock(t *testing.T) {
	const victim = "what must not be lost"
	file := func(t *testing.T) string {
		name := filepath.Join(t.TempDir(), "victim")
		if err := os.WriteFile(name, []byte(victim), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	f := func(name string, prepare func(t *testing.T, folder string) (untouched string), want ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			folder := filepath.Join(t.TempDir(), "data")
			untouched := prepare(t, folder)
			lock, err := OpenLock(folder, "lock")
			if err == nil {
				lock.Close()
			}
			if !errors.Is(err, ErrUnsafe) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("the error is %v", err)
			}
			for _, w := range want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
			if untouched != "" {
				if got, err := os.ReadFile(untouched); err != nil || string(got) != victim {
					t.Errorf("another file now holds %q (%v)", got, err)
				}
			}
		})
	}
	made := func(t *testing.T, folder string, mode os.FileMode) {
		t.Helper()
		if err := errors.Join(os.Mkdir(folder, 0o700), os.Chmod(folder, mode)); err != nil {
			t.Fatal(err)
		}
	}
	f("link", func(t *testing.T, folder string) string {
		made(t, folder, 0o700)
		v := file(t)
		if err := os.Symlink(v, filepath.Join(folder, "lock")); err != nil {
			t.Fatal(err)
		}
		return v
	}, "lock", "remove it")
	f("link to nothing", func(t *testing.T, folder string) string {
		made(t, folder, 0o700)
		if err := os.Symlink(filepath.Join(folder, "none"), filepath.Join(folder, "lock")); err != nil {
			t.Fatal(err)
		}
		return ""
	}, "lock", "remove it")
	f("second name", func(t *testing.T, folder string) string {
		made(t, folder, 0o700)
		v := file(t)
		if err := os.Link(v, filepath.Join(folder, "lock")); err != nil {
			t.Fatal(err)
		}
		return v
	}, "lock", "remove it")
	f("pipe", func(t *testing.T, folder string) string {
		made(t, folder, 0o700)
		if err := unix.Mkfifo(filepath.Join(folder, "lock"), 0o600); err != nil {
			t.Fatal(err)
		}
		return ""
	}, "lock", "remove it")
	f("others may write", func(t *testing.T, folder string) string { made(t, folder, 0o777|os.ModeSticky); return "" }, "data", "--data", "chmod 700")
	f("the group may write", func(t *testing.T, folder string) string { made(t, folder, 0o770); return "" }, "data", "0770")
	stranger := func(t *testing.T, name string) {
		t.Helper()
		if os.Geteuid() != 0 {
			if os.Getenv("CI") != "" {
				t.Fatal("needs root, to make files of another user")
			}
			t.Skip("needs root, to make files of another user")
		}
		if err := os.Lchown(name, 12345, 12345); err != nil {
			t.Fatal(err)
		}
	}
	f("another user's", func(t *testing.T, folder string) string {
		made(t, folder, 0o700)
		stranger(t, folder)
		return ""
	}, "data", "user 12345", fmt.Sprintf("user %d", os.Geteuid()), "--data")
	f("another user's link", func(t *testing.T, folder string) string {
		if err := os.Symlink(t.TempDir(), folder); err != nil {
			t.Fatal(err)
		}
		stranger(t, folder)
		return ""
	}, "data", "user 12345")
	f("another user's lock", func(t *testing.T, folder string) string {
		made(t, folder, 0o700)
		v := filepath.Join(folder, "lock")
		if err := os.WriteFile(v, []byte(victim), 0o600); err != nil {
			t.Fatal(err)
		}
		stranger(t, v)
		return v
	}, "lock", "remove it")
}

// TestOpenLockMode checks that what is ours is closed to others, and that a folder that is something else's keeps its mode.
func TestOpenLockMode(t *testing.T) {
	f := func(prepare func(folder string) error, want os.FileMode) {
		t.Helper()
		folder := filepath.Join(t.TempDir(), "data")
		if err := prepare(folder); err != nil {
			t.Fatal(err)
		}
		for range 2 { // what a start leaves behind does not make a folder ours at the next one
			lock, err := OpenLock(folder, "lock", "nats")
			if err != nil {
				t.Error(err)
				return
			}
			lock.Close()
		}
		info, err := os.Stat(folder)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("the mode is %04o (%v), want %04o", info.Mode().Perm(), err, want)
		}
	}
	with := func(name string) func(string) error {
		return func(folder string) error {
			return errors.Join(os.Mkdir(folder, 0o755), os.WriteFile(filepath.Join(folder, name), nil, 0o600))
		}
	}
	f(func(string) error { return nil }, 0o700)
	f(func(folder string) error { return os.Mkdir(folder, 0o755) }, 0o700)
	f(with("lock"), 0o700)
	f(with("nats"), 0o700)
	f(with("passwd"), 0o755)
	f(func(folder string) error { // one's own link
		return errors.Join(os.Mkdir(folder+"-far", 0o755), os.Symlink(folder+"-far", folder))
	}, 0o700)
}
