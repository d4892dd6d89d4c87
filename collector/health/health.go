// Package health has the words in which the parts of a collector say how they are.
package health

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
)

// State of a thing.
type State string

// States.
const (
	OK      State = "ok"
	Warning State = "warning" // it works, but somebody should look
	Failed  State = "failed"  // observations do not flow
)

// Check is how one thing is.
type Check struct {
	Name   string `json:"name"`
	State  State  `json:"state"`
	Detail string `json:"detail,omitempty"` // for people, one line
}

// Of is a check that failed if there is an error, and is well otherwise.
func Of(name string, err error) Check {
	if err == nil {
		return Check{Name: name, State: OK}
	}
	return Check{name, Failed, line(err.Error())}
}

// Warn is a check that somebody should look at.
func Warn(name, format string, args ...any) Check {
	return Check{name, Warning, line(fmt.Sprintf(format, args...))}
}

// Fail is a check that failed.
func Fail(name, format string, args ...any) Check {
	return Check{name, Failed, line(fmt.Sprintf(format, args...))}
}

// Ready says whether nothing failed.
func Ready(checks []Check) bool {
	return !slices.ContainsFunc(checks, func(c Check) bool { return c.State == Failed })
}

// String is one line.
func (c Check) String() string {
	if c.Detail == "" {
		return c.Name + ": " + string(c.State)
	}
	return c.Name + ": " + string(c.State) + ": " + c.Detail
}

func line(s string) string { return strings.Join(strings.Fields(s), " ") }

// Bounds of the space that is left where files are kept.
const (
	littleSpace = 1 << 30  // parts of tables are merged by writing them anew
	noSpace     = 64 << 20 // the stream needs a quarter of it to go on
)

// Disk asks how much space is left where a folder is.
func Disk(folder string) Check {
	const name = "disk"
	var s syscall.Statfs_t
	if err := syscall.Statfs(folder, &s); err != nil {
		return Fail(name, "ask for the space of %s: %v", folder, err)
	}
	return space(folder, uint64(s.Bavail)*uint64(s.Bsize), s.Ffree, s.Files)
}

func space(folder string, free, files, ofFiles uint64) Check {
	const name = "disk"
	switch left := fmt.Sprintf("%d MiB are left where %s is", free>>20, folder); {
	case free < noSpace:
		return Fail(name, "%s: what is taken in soon cannot be kept; make room", left)
	case ofFiles > 0 && files < 1000: // some file systems do not count them
		return Fail(name, "only %d more files fit where %s is; make room", files, folder)
	case free < littleSpace:
		return Warn(name, "%s; make room", left)
	}
	return Check{Name: name, State: OK}
}
