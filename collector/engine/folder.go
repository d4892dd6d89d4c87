package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxSocketPath is what the kernel allows for a unix socket, without the NUL.
const maxSocketPath = 107

// lockFile in the data folder is locked while an engine uses the folder. The
// library has a lock of its own, but names neither folder nor owner.
const lockFile = "ambit.lock"

// lockWait is how long lockFolder waits: an engine whose parent was killed
// needs a moment to end, and its successor may be there already.
const lockWait = 3 * time.Second

// lockFolder makes the data folder and claims it until the file is closed or
// the process ends, however it ends.
func lockFolder(ctx context.Context, dir string) (*os.File, error) {
	f, err := OpenLock(dir, lockFile)
	if errors.Is(err, ErrUnsafe) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("open data folder %s: %w; choose a folder that this user may write with --data", dir, err)
	}
	if err := flock(ctx, f); err != nil {
		owner, _ := io.ReadAll(io.LimitReader(f, 20))
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("data folder %s is in use by process %s: stop it, or choose another folder with --data", dir, strings.TrimSpace(string(owner)))
		}
		return nil, fmt.Errorf("lock data folder %s: %w", dir, err)
	}
	if err = f.Truncate(0); err == nil {
		_, err = fmt.Fprintln(f, os.Getpid())
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("write lock of data folder %s: %w", dir, err)
	}
	return f, nil
}

func flock(ctx context.Context, f *os.File) error {
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-again.C:
		}
	}
}

// listenPrivate serves on a unix socket that only this user can open. A socket
// left by a process that died is replaced; one that is served is not.
func listenPrivate(path string) (net.Listener, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make socket folder: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("read socket folder: %w", err)
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; int(owner) != os.Geteuid() {
		return nil, fmt.Errorf("socket folder %s belongs to user %d and must belong to user %d: choose another with --socket", dir, owner, os.Geteuid())
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("socket folder %s has mode %04o and must let in its owner only: chmod 700 %s", dir, mode, dir)
	}
	switch c, err := net.Dial("unix", path); {
	case err == nil:
		c.Close()
		return nil, fmt.Errorf("socket %s is served by another process: stop it, or choose another with --socket", path)
	case errors.Is(err, fs.ErrNotExist):
	case errors.Is(err, syscall.ECONNREFUSED):
		if info, err := os.Lstat(path); err == nil && info.Mode().Type() != fs.ModeSocket {
			return nil, fmt.Errorf("listen on %s: a file that is no socket is there; choose another path with --socket", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove stale socket: %w", err)
		}
	default:
		return nil, fmt.Errorf("check socket %s: %w", path, err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("close socket to others: %w", err)
	}
	return l, nil
}
