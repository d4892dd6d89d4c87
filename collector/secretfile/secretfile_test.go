package secretfile

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestCheck looks at real files, also as a user without privilege where the test may become one.
func TestCheck(t *testing.T) {
	if dir := os.Getenv("SECRETS"); dir != "" { // the user without privilege
		for name, want := range map[string]string{"0440": "", "0640": "", "0660": "open", "0444": "open"} {
			check(t, filepath.Join(dir, name), want)
		}
		return
	}
	dir := t.TempDir()
	for _, mode := range []os.FileMode{0o400, 0o440, 0o444, 0o600, 0o640, 0o660} {
		path := filepath.Join(dir, fmt.Sprintf("%04o", mode))
		if err := os.WriteFile(path, []byte("secret"), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{"0400": "", "0600": "", "0440": "open", "0444": "open", "0640": "open", "0660": "open", ".": "not a file"} {
		check(t, filepath.Join(dir, name), want)
	}
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("only root can become a user without privilege")
		}
		t.Skip("only root can become a user without privilege")
	}
	for _, at := range []string{dir, filepath.Dir(dir)} { // so that it can look
		if err := os.Chmod(at, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(dir, "program")
	text, err := os.ReadFile(os.Args[0])
	if err == nil {
		err = os.WriteFile(program, text, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-test.run=^TestCheck$")
	cmd.Env, cmd.Dir = append(os.Environ(), "SECRETS="+dir), dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func check(t *testing.T, path, want string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err = Check(info); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("%s: want %q, got %v", path, want, err)
	}
}
