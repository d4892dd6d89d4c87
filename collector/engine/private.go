package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrUnsafe means that someone else could put files into a folder, or has: links there would have this process write elsewhere.
var ErrUnsafe = errors.New("not safe")

// OpenLock makes a folder that only this user can open, if it is missing, and opens the file named lock in it, which it makes too. It refuses
// with [ErrUnsafe] a folder that belongs to someone else or that others may write, and a lock that is a link or no plain file. A folder that
// holds nothing but the lock and known names is closed to others, who may have been able to read it; another one, such as a mistyped /etc,
// keeps its mode. The caller locks the file, and closes it.
func OpenLock(folder, lock string, known ...string) (*os.File, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	if err := checkFolder(folder); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	f, err := openPlain(filepath.Join(folder, lock))
	if err != nil {
		return nil, err
	}
	foreign := slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() != lock && !slices.Contains(known, e.Name()) })
	if !foreign {
		if err := os.Chmod(folder, 0o700); err != nil {
			f.Close()
			return nil, err
		}
	}
	return f, nil
}

// checkFolder refuses a folder that is not this user's alone to write. A link to a folder is one's own choice, if it is one's own link.
func checkFolder(folder string) error {
	for _, look := range []func(string) (fs.FileInfo, error){os.Lstat, os.Stat} {
		info, err := look(folder)
		if err != nil {
			return err
		}
		if owner := info.Sys().(*syscall.Stat_t).Uid; int(owner) != os.Geteuid() {
			return fmt.Errorf("data folder %s is %w: it belongs to user %d, but Ambit runs as user %d; choose another folder with --data, or give it to this user if you trust what it holds",
				folder, ErrUnsafe, owner, os.Geteuid())
		}
		if mode := info.Mode(); mode.IsDir() && mode.Perm()&0o022 != 0 {
			return fmt.Errorf("data folder %s is %w: others may write it (mode %04o); choose another folder with --data, or chmod 700 it if you trust what it holds",
				folder, ErrUnsafe, mode.Perm())
		}
	}
	return nil
}

// openPlain opens or makes a file of this user, never through a link.
func openPlain(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("%s is %w: it is a link, which Ambit does not make; remove it", path, ErrUnsafe)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	stat := info.Sys().(*syscall.Stat_t)
	if !info.Mode().IsRegular() || int(stat.Uid) != os.Geteuid() || stat.Nlink > 1 {
		f.Close()
		return nil, fmt.Errorf("%s is %w: it is no plain file of user %d with one name; remove it", path, ErrUnsafe, os.Geteuid())
	}
	return f, nil
}
