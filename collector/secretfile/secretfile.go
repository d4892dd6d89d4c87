// Package secretfile says who may read a file with a secret.
package secretfile

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// Check refuses a file that is not a regular one, or that others than this process may read. A group may read what root owns, if this process is not root: so do
// programs without privilege get files that they cannot change, such as Kubernetes' Secrets.
func Check(info fs.FileInfo) error {
	mode := info.Mode()
	if !mode.IsRegular() {
		return fmt.Errorf("is not a file")
	}
	open := fs.FileMode(0o077)
	if s, ok := info.Sys().(*syscall.Stat_t); ok && s.Uid == 0 && os.Geteuid() != 0 {
		open = 0o037
	}
	if mode.Perm()&open != 0 {
		return fmt.Errorf("is open to others (mode %04o): make it 0600", mode.Perm())
	}
	return nil
}
