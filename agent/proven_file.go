package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"github.com/ambit-nhi/ambit/event"
)

// What workloads have proven outlives the agent: one that keeps its connections for days shows its certificate only once, and must not be somebody else
// until it does again. It lasts as long as the certificate does.

const (
	provenName    = "proven.json" // in the agent's folder
	provenVersion = 1
	maxProvenFile = 16 << 20
)

type provenFile struct {
	Version int           `json:"version"`
	Node    string        `json:"node"`
	Claims  []provenClaim `json:"claims"`
}

type provenClaim struct {
	Cgroup   string         `json:"cgroup"`
	Identity event.Identity `json:"identity"`
	Until    time.Time      `json:"until"`
}

// snapshot is what to write down; ok says that it changed since the last one.
func (p *proven) snapshot(node string) (data []byte, ok bool, err error) {
	if !p.changed {
		return nil, false, nil
	}
	f := provenFile{Version: provenVersion, Node: node, Claims: []provenClaim{}}
	for cgroup, c := range p.cgroups.All() {
		if !c.identity.IsZero() {
			f.Claims = append(f.Claims, provenClaim{cgroup, c.identity, c.until})
		}
	}
	slices.SortFunc(f.Claims, func(a, b provenClaim) int { return strings.Compare(a.Cgroup, b.Cgroup) })
	if data, err = json.Marshal(f); err != nil {
		return nil, false, fmt.Errorf("write proven identities: %w", err)
	}
	p.changed = false
	return data, true, nil
}

// restore takes what was written down, as far as its certificates have not ended.
func (p *proven) restore(from io.Reader, node string, now time.Time) error {
	data, err := io.ReadAll(io.LimitReader(from, maxProvenFile+1))
	if err != nil {
		return fmt.Errorf("read proven identities: %w", err)
	}
	var f provenFile
	switch err := json.Unmarshal(data, &f); {
	case len(data) > maxProvenFile:
		return fmt.Errorf("read proven identities: longer than %d bytes", maxProvenFile)
	case err != nil:
		return fmt.Errorf("read proven identities: %w", err)
	case f.Version != provenVersion:
		return fmt.Errorf("read proven identities: their version is %d, not %d", f.Version, provenVersion)
	case f.Node != node:
		return fmt.Errorf("read proven identities: they are of node %q, not %q", f.Node, node)
	}
	for _, c := range f.Claims {
		if c.Cgroup != "" && !c.Identity.IsZero() && now.Before(c.Until) {
			p.cgroups.Put(c.Cgroup, claim{identity: c.Identity, until: c.Until})
		}
	}
	return nil
}

// restoreFile is restore; that there is no file is no error.
func (p *proven) restoreFile(path, node string, now time.Time) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read proven identities: %w", err)
	}
	defer f.Close()
	return p.restore(f, node, now)
}

// keep writes down what it is given, until there is no more. What cannot be written is told once.
func keep(ctx context.Context, path string, snapshots <-chan []byte) error {
	told := false
	write := func(data []byte) {
		err := renameio.WriteFile(path, data, 0o600, renameio.WithTempDir(filepath.Dir(path)))
		if err != nil && !told {
			slog.Warn("cannot keep the identities that workloads have proven for the next start", "error", err)
		}
		told = err != nil
	}
	for {
		select {
		case data := <-snapshots:
			write(data)
		case <-ctx.Done():
			select {
			case data := <-snapshots:
				write(data)
			default:
			}
			return nil
		}
	}
}
