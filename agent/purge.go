package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrRuns means that an agent runs on this machine.
var ErrRuns = errors.New("an agent runs on this machine")

// HoldState keeps agents from starting in a folder of what outlives a restart (see Config.StateDir) until the file is closed. It is nil where there is no such
// folder. While an agent has it, the error is [ErrRuns].
func HoldState(dir string) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(dir, "spool", "lock"), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at the agent's folder: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = fmt.Errorf("%w and holds %s; stop it first", ErrRuns, dir)
		}
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// RemoveState removes what an agent keeps on the disk: what waits there to be sent, what it knew of pods, and what workloads had proven. The caller holds it by
// HoldState. It says whether there was anything.
func RemoveState(dir string) (bool, error) {
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return true, fmt.Errorf("remove the agent's folder: %w", err)
	}
	return true, nil
}
