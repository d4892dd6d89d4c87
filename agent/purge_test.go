package agent

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/ambit-nhi/ambit/agent/spool"
)

// TestHoldState: while a spool is open, nobody removes it; while somebody removes it, none opens.
func TestHoldState(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "agent")
	if lock, err := HoldState(dir); lock != nil || err != nil {
		t.Errorf("a folder that is not there gives %v, %v", lock, err)
	}
	cfg := spool.Config{Dir: filepath.Join(dir, "spool"), Node: "n1", MaxBytes: spool.Default().MaxBytes, MaxAge: spool.Default().MaxAge, Lost: func(spool.Loss) []byte { return nil }}
	s, err := spool.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if lock, err := HoldState(dir); lock != nil || !errors.Is(err, ErrRuns) {
		t.Errorf("while an agent runs, it gives %v, %v", lock, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	lock, err := HoldState(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if s, err := spool.Open(cfg); err == nil {
		t.Error("an agent starts while its folder is being removed", s.Close())
	}
	if removed, err := RemoveState(dir); !removed || err != nil {
		t.Errorf("%v, %v", removed, err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something is left: %v", err)
	}
	if removed, err := RemoveState(dir); removed || err != nil {
		t.Errorf("again: %v, %v", removed, err)
	}
}
