package process

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Usage is what a process has taken of the machine.
type Usage struct {
	RSS, Peak uint64 // bytes
	CPU       time.Duration
}

// UsageOf looks at a process.
func UsageOf(pid int) (u Usage, err error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, fmt.Errorf("look at a process: %w", err)
	}
	defer f.Close()
	want := map[string]*uint64{"VmRSS": &u.RSS, "VmHWM": &u.Peak}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ":")
		if to := want[key]; to != nil {
			n, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			if err != nil {
				return u, fmt.Errorf("look at a process: %w", err)
			}
			*to = n << 10
		}
	}
	if err := lines.Err(); err != nil {
		return u, err
	}
	fields, err := stat(pid)
	if err != nil {
		return u, err
	}
	const utime, stime, tick = 11, 12, 10 * time.Millisecond // USER_HZ is 100 wherever Go runs
	for _, i := range []int{utime, stime} {
		n, err := strconv.ParseUint(fields[i], 10, 64)
		if err != nil {
			return u, fmt.Errorf("look at a process: %w", err)
		}
		u.CPU += time.Duration(n) * tick
	}
	return u, nil
}

// stat are the fields of a process's state behind its name.
func stat(pid int) ([]string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, fmt.Errorf("look at a process: %w", err)
	}
	_, rest, _ := strings.Cut(string(text[strings.LastIndexByte(string(text), ')'):]), " ")
	return strings.Fields(rest), nil
}

// Children are the processes that a process has started and that run.
func Children(pid int) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var out []int
	for _, e := range entries {
		child, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if fields, err := stat(child); err == nil && len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			out = append(out, child)
		}
	}
	return out, nil
}
