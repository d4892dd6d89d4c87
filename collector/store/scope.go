package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

type scopeRow struct {
	Identity   string    `ch:"identity"`
	Version    uint64    `ch:"version"`
	Time       time.Time `ch:"time"`
	Origin     string    `ch:"origin"`
	ApprovedBy string    `ch:"approved_by"`
	Entries    string    `ch:"entries"`
	Withdrawn  bool      `ch:"withdrawn"`
}

func (r *scopeRow) scope() (ScopeVersion, error) {
	id, err := event.ParseIdentity(r.Identity)
	if err != nil {
		return ScopeVersion{}, err
	}
	v := ScopeVersion{Scope: event.Scope{Identity: id, Version: r.Version, Origin: r.Origin, ApprovedBy: r.ApprovedBy, At: r.Time.UTC()}, Withdrawn: r.Withdrawn}
	if err := json.Unmarshal([]byte(r.Entries), &v.Entries); err != nil {
		return ScopeVersion{}, err
	}
	if v.Entries == nil {
		v.Entries = []event.ScopeEntry{}
	}
	return v, nil
}

// ScopeVersion is a scope as it was applied or, without entries, withdrawn.
type ScopeVersion struct {
	event.Scope
	Withdrawn bool `json:"withdrawn,omitempty"`
}

// ScopeFilter chooses scopes, which come in the order of identities.
type ScopeFilter struct {
	Query     string // part of the identity's URI, in any case
	Withdrawn bool   // also those that were withdrawn
	Limit     int    // 0 is 100, at most 1000
	Cursor    string // where the page before ended

	since time.Time // applied or withdrawn since then; zero: all
}

func scopeArgs(f ScopeFilter, identity, after string, versions, limit int) []any {
	withdrawn := uint8(0)
	if f.Withdrawn {
		withdrawn = 1
	}
	since := int64(0)
	if !f.since.IsZero() {
		since = f.since.UnixMicro()
	}
	return named("after", after, "since", since, "identity", identity, "q", f.Query, "versions", uint32(versions), "withdrawn", withdrawn, "limit", uint32(limit))
}

func (s *Store) scopes(ctx context.Context, args []any, visit func(*ScopeVersion) error) error {
	return each(ctx, s, "read scopes", scopesSQL, args, func(r *scopeRow) error {
		v, err := r.scope()
		if err != nil {
			s.corrupt["scopes"].Add(1)
			return nil
		}
		return visit(&v)
	})
}

// Scopes gives a page of the scopes that hold, and the cursor of the next page or "".
func (s *Store) Scopes(ctx context.Context, f ScopeFilter) ([]ScopeVersion, string, error) {
	after, err := parseCursor(f.Cursor, 1)
	if err != nil {
		return nil, "", fmt.Errorf("read scopes: %w", err)
	}
	limit := bound(f.Limit, 100, 1000)
	out := []ScopeVersion{}
	err = s.scopes(ctx, scopeArgs(f, "", after[0], 1, limit+1), func(v *ScopeVersion) error {
		out = append(out, *v)
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	out, next := page(out, limit, func(v *ScopeVersion) string { return cursor(v.Identity.String()) })
	return out, next, nil
}

// maxVersions bounds the history of a scope that is given.
const maxVersions = 1000

// ScopeVersions gives all that was ever applied to an identity, the newest first. It is empty where nothing was.
func (s *Store) ScopeVersions(ctx context.Context, id event.Identity) ([]ScopeVersion, error) {
	out := []ScopeVersion{}
	err := s.scopes(ctx, scopeArgs(ScopeFilter{Withdrawn: true}, id.String(), "", maxVersions, maxVersions), func(v *ScopeVersion) error {
		out = append(out, *v)
		return nil
	})
	return out, err
}

// Scope gives the scope that holds of an identity, or [ErrNotFound].
func (s *Store) Scope(ctx context.Context, id event.Identity) (event.Scope, error) {
	var found *ScopeVersion
	err := s.scopes(ctx, scopeArgs(ScopeFilter{}, id.String(), "", 1, 1), func(v *ScopeVersion) error {
		found = v
		return nil
	})
	if err == nil && found == nil {
		err = fmt.Errorf("read the scope of %s: %w", id, ErrNotFound)
	}
	if err != nil {
		return event.Scope{}, err
	}
	return found.Scope, nil
}

// ErrChanged says that something is not any more what was to be replaced.
var ErrChanged = errors.New("it was changed meanwhile")

// ApplyScope makes a scope the one that holds of its identity, as the next version, and gives it as it is then. expected is the version that it
// replaces, 0 where there is none; nil takes any. Another version gives [ErrChanged].
func (s *Store) ApplyScope(ctx context.Context, scope event.Scope, expected *uint64) (event.Scope, error) {
	if err := scope.Validate(); err != nil {
		return event.Scope{}, fmt.Errorf("apply scope: %w: %w", ErrRefused, err)
	}
	return s.nextScope(ctx, scope, expected, false)
}

// WithdrawScope says that an identity has no scope any more. See [Store.ApplyScope].
func (s *Store) WithdrawScope(ctx context.Context, id event.Identity, by string, at time.Time, expected *uint64) error {
	if _, err := s.Scope(ctx, id); err != nil {
		return err
	}
	_, err := s.nextScope(ctx, event.Scope{Identity: id, ApprovedBy: by, At: at}, expected, true)
	return err
}

func (s *Store) nextScope(ctx context.Context, scope event.Scope, expected *uint64, withdrawn bool) (event.Scope, error) {
	s.importing.Lock()
	defer s.importing.Unlock()
	if s.ScopeLock != nil {
		held, unlock, err := s.ScopeLock.Lock(ctx)
		if err != nil {
			return event.Scope{}, fmt.Errorf("apply the scope of %s: %w", scope.Identity, err)
		}
		defer unlock()
		ctx = held // it ends when somebody else may have the lock
		if err := s.settle(ctx, "scopes"); err != nil {
			return event.Scope{}, err
		}
	}
	var last, holds uint64
	err := s.scopes(ctx, scopeArgs(ScopeFilter{Withdrawn: true}, scope.Identity.String(), "", 1, 1), func(v *ScopeVersion) error {
		if last = v.Version; !v.Withdrawn {
			holds = v.Version
		}
		return nil
	})
	if err != nil {
		return event.Scope{}, err
	}
	if expected != nil && *expected != holds {
		return event.Scope{}, fmt.Errorf("apply the scope of %s: %w: its version is %d, not %d", scope.Identity, ErrChanged, holds, *expected)
	}
	if scope.Entries == nil {
		scope.Entries = []event.ScopeEntry{}
	}
	entries, err := json.Marshal(scope.Entries)
	if err != nil {
		return event.Scope{}, fmt.Errorf("encode a scope: %w", err)
	}
	defer s.changed()
	scope.Version, scope.At = last+1, scope.At.UTC().Truncate(time.Microsecond)
	row := scopeRow{scope.Identity.String(), scope.Version, scope.At, scope.Origin, scope.ApprovedBy, string(entries), withdrawn}
	return scope, insert(ctx, s, "scopes", repeatable(), []scopeRow{row})
}

// scopePage is how many scopes are read at once where all are.
const scopePage = 1000

// EachScope gives the scope that holds of each identity that is in, where it was applied or withdrawn since a time; zero is all. One that was withdrawn comes
// without entries and without who approved it.
func (s *Store) EachScope(ctx context.Context, since time.Time, in func(event.Identity) bool, visit func(*event.Scope) error) error {
	after := ""
	for {
		n := 0
		err := each(ctx, s, "read scopes", scopesSQL, scopeArgs(ScopeFilter{Withdrawn: true, since: since}, "", after, 1, scopePage), func(r *scopeRow) error {
			n++ // also of one that cannot be read: others follow it
			after = r.Identity
			v, err := r.scope()
			if err != nil {
				s.corrupt["scopes"].Add(1)
				return nil
			}
			if in != nil && !in(v.Identity) {
				return nil
			}
			if v.Withdrawn {
				v.Entries, v.ApprovedBy = nil, ""
			}
			return visit(&v.Scope)
		})
		if err != nil || n < scopePage {
			return err
		}
	}
}
