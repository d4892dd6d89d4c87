package tlsprobe

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// What was lost, by cause.
const (
	lostNews      = "tls-news-lost"      // times that the kernel's news of mappings were not read in time; all processes were looked through instead
	lostWaiting   = "tls-files-waiting"  // files that were not looked into, because too many were waiting
	lostChanged   = "tls-file-changed"   // files that were others when they were opened
	lostMalformed = "tls-file-malformed" // files that claim to have TLS code and cannot be read
	lostRefused   = "tls-file-refused"   // files that the kernel would not open, or not attach to
	lostStuck     = "tls-files-stuck"    // files and processes that the kernel does not answer about
	lostTargets   = "tls-targets-full"   // files that were not attached, because too many are
)

const (
	maxLines  = 16 // of a kind, in Missing
	maxStacks = 24 // that have a gauge of their own
	others    = "other"
)

// report is what is told of the work, for people and for coverage.
type report struct {
	counters map[string]uint64
	news     string // why there are none
	scan     string // why processes cannot be looked through
	targets  string
	refusals []string
	blinds   map[blindError]*blindFiles
}

type blindFiles struct {
	count   uint64
	example string
}

func newReport() report {
	r := report{counters: map[string]uint64{}, blinds: map[blindError]*blindFiles{}}
	for _, cause := range []string{lostNews, lostWaiting, lostChanged, lostMalformed, lostRefused, lostStuck, lostTargets} {
		r.counters[cause] = 0
	}
	return r
}

func (r *report) count(cause string) { r.counters[cause]++ }

func (r *report) blind(stack, why, path string) {
	key := blindError{stack, why}
	b := r.blinds[key]
	if b == nil {
		if len(r.blinds) >= maxLines {
			key = blindError{others, "they are too many kinds to name"}
		}
		if b = r.blinds[key]; b == nil {
			b = &blindFiles{example: printable(path)}
			r.blinds[key] = b
		}
	}
	b.count++
}

// refuse keeps the last errors.
func (r *report) refuse(err error) {
	text := err.Error()
	if i := slices.Index(r.refusals, text); i >= 0 {
		r.refusals = slices.Delete(r.refusals, i, i+1)
	} else if len(r.refusals) == maxLines {
		r.refusals = slices.Delete(r.refusals, 0, 1)
	}
	r.refusals = append(r.refusals, text)
}

func (r *report) full(most int, path string) {
	r.targets = fmt.Sprintf("TLS of more than %d programs and libraries at a time: %s is not followed", most, printable(path))
}

func (f *Finder) count(cause string) {
	f.mu.Lock()
	f.report.count(cause)
	f.mu.Unlock()
}

// refused takes note that the kernel gives no news.
func (f *Finder) refused(err error) {
	f.mu.Lock()
	f.report.news = fmt.Sprintf("TLS of programs that end within %v: no news of mappings (%v); processes are looked through instead", f.cfg.ScanInterval, err)
	f.mu.Unlock()
}

// swept takes note of how a look through all processes went.
func (f *Finder) swept(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rounds++
	if f.report.scan = ""; err != nil {
		f.report.scan = fmt.Sprintf("TLS of programs that run already: %v", err)
	}
}

// Missing says what is not seen here and why, a line each.
func (f *Finder) Missing() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := &f.report
	var lines []string
	for _, line := range []string{r.news, r.scan, r.targets} {
		if line != "" {
			lines = append(lines, line)
		}
	}
	var blind []string
	for key, b := range r.blinds {
		where := b.example
		if b.count > 1 {
			where = fmt.Sprintf("%s and %d more", where, b.count-1)
		}
		blind = append(blind, fmt.Sprintf("%s, beyond what the wire shows (%s)", key.Error(), where))
	}
	slices.Sort(blind)
	lines = append(lines, blind...)
	for _, text := range r.refusals {
		lines = append(lines, "TLS of one file: "+text)
	}
	return lines
}

// Counters are what was lost, by cause; they only grow. Every cause is there.
func (f *Finder) Counters() map[string]uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.report.counters)
}

// Gauges are how many files are attached, in all and by stack. Files of stacks that cannot be followed have a gauge, too: how many were seen.
func (f *Finder) Gauges() map[string]uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	stacks := map[string]uint64{}
	for _, x := range f.attached {
		stacks[x.stack]++
	}
	for key, b := range f.report.blinds {
		if key.stack != "" {
			stacks[stackOf(key.stack)] += b.count
		}
	}
	gauges := map[string]uint64{"tls-targets": uint64(len(f.attached)), "tls-targets-max": uint64(f.cfg.MaxTargets), "tls-files-waiting": uint64(len(f.waiting) + len(f.ready))}
	for i, name := range slices.Sorted(maps.Keys(stacks)) {
		n := stacks[name]
		if i >= maxStacks {
			name = others
		}
		gauges["tls-stack:"+name] += n
	}
	return gauges
}

// Stack names the TLS library of a target and its version as far as it is known: "openssl-3.0.17", "node-openssl-3.0.17", "go1.22.3". It is empty for a
// target that is not attached.
func (f *Finder) Stack(target uint32) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if x := f.attached[target]; x != nil {
		return x.stack
	}
	return ""
}

// stackOf makes a name of what a file says of itself.
func stackOf(version string) string {
	version, _, _ = strings.Cut(version, " ")
	const most = 48
	name := strings.Map(func(r rune) rune {
		if r == '.' || r == '-' || r == '+' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return -1
	}, version[:min(len(version), most)])
	if name == "" {
		return "unknown"
	}
	return name
}
