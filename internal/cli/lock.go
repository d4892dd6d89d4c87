package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/collector/engine"
)

// errInUse means that another process has the data folder.
var errInUse = errors.New("in use")

// lockFolder makes the data folder if it is missing, takes it for this process alone, and checks that files can be written there, by nobody
// else. Closing the file gives the folder free, as does the end of the process however it comes.
func lockFolder(folder string) (*os.File, error) {
	lock, err := engine.OpenLock(folder, "lock", "nats", "clickhouse", "run", tokenName, tokensName, decisionKeyName, reportFolder, reportKeyName)
	if errors.Is(err, engine.ErrUnsafe) {
		return nil, err
	}
	if err != nil {
		return nil, folderError(folder, err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer lock.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, folderError(folder, err)
		}
		holder := "another process"
		if pid, err := io.ReadAll(io.LimitReader(lock, 20)); err == nil && len(pid) > 0 {
			holder = "pid " + strings.TrimSpace(string(pid))
		}
		return nil, fmt.Errorf("data folder %s is %w by %s: stop it, or choose another folder with --data", folder, errInUse, holder)
	}
	if err := errors.Join(lock.Truncate(0), writePID(lock)); err != nil {
		lock.Close()
		return nil, folderError(folder, err)
	}
	return lock, nil
}

func writePID(lock *os.File) error {
	_, err := fmt.Fprintf(lock, "%d\n", os.Getpid())
	return err
}

func folderError(folder string, err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	if errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.EEXIST) {
		return fmt.Errorf("data folder %s cannot be made: a part of its path is a file; choose another folder with --data", folder)
	}
	return fmt.Errorf("data folder %s cannot be written: %w; make it writable, or choose another folder with --data", folder, err)
}
