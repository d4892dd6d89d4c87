package scope

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"

	"github.com/ambit-nhi/ambit/event"
)

// Version is that of Ambit's own form of scopes.
const Version = "ambit.dev/v1"

// file is a scope as people write it.
type file struct {
	APIVersion string      `yaml:"apiVersion"`
	Kind       string      `yaml:"kind"`
	Identity   string      `yaml:"identity"`
	Origin     string      `yaml:"origin,omitempty"`
	Entries    []fileEntry `yaml:"entries"`
}

type fileEntry struct {
	Resource  string   `yaml:"resource"`
	Direction string   `yaml:"direction,omitempty"`
	Flags     []string `yaml:"flags,omitempty,flow"`
}

func (w *writer) ambit() any {
	f := file{APIVersion: Version, Kind: "Scope", Identity: w.scope.Identity.String(), Origin: w.scope.Origin, Entries: []fileEntry{}}
	for _, e := range w.scope.Entries {
		f.Entries = append(f.Entries, fileEntry{e.Resource, string(e.Direction), e.Flags})
	}
	return f
}

// Bounds of files.
const (
	MaxFile   = 16 << 20
	maxScopes = 10_000
)

// Read reads scopes as [Write] writes them in Ambit's form, one or more documents of YAML. Whatever is wrong is an error that says where.
func Read(in io.Reader) ([]event.Scope, error) {
	data, err := io.ReadAll(io.LimitReader(in, MaxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read scopes: %w", err)
	}
	if len(data) > MaxFile {
		return nil, fmt.Errorf("read scopes: there are more than %d MiB", MaxFile>>20)
	}
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	var out []event.Scope
	seen := map[event.Identity]bool{}
	for n := 1; ; n++ {
		var f file
		err := d.Decode(&f)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read scope %d: %s", n, line(err.Error()))
		}
		if n > maxScopes {
			return nil, fmt.Errorf("read scopes: there are more than %d", maxScopes)
		}
		if f.APIVersion != Version || f.Kind != "Scope" {
			return nil, fmt.Errorf("read scope %d: apiVersion and kind are not %s and Scope", n, Version)
		}
		id, err := event.ParseIdentity(f.Identity)
		if err != nil {
			return nil, fmt.Errorf("read scope %d: %w", n, err)
		}
		s := event.Scope{Identity: id, Origin: f.Origin, Entries: []event.ScopeEntry{}}
		for _, e := range f.Entries {
			s.Entries = append(s.Entries, event.ScopeEntry{Resource: e.Resource, Direction: event.Direction(e.Direction), Flags: e.Flags})
		}
		if err := s.Validate(); err != nil {
			return nil, fmt.Errorf("read scope %d, of %s: %w", n, id, err)
		}
		if seen[id] {
			return nil, fmt.Errorf("read scope %d: %s has one already", n, id)
		}
		seen[id] = true
		out = append(out, s)
	}
	if len(out) == 0 {
		return nil, errors.New("read scopes: there is none")
	}
	return out, nil
}
