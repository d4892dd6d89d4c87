package store

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Scopes have versions, which are all kept; the newest holds, until it is withdrawn.
func TestScopes(t *testing.T) {
	s := open(t)
	a, b := identity(t, "spiffe://shop.example/ns/shop/sa/a"), identity(t, "spiffe://shop.example/ns/shop/sa/b")
	at := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	if _, err := s.Scope(t.Context(), a); !errors.Is(err, ErrNotFound) {
		t.Fatalf("no scope gives %v", err)
	}
	apply := func(id event.Identity, expected *uint64, resources ...string) (event.Scope, error) {
		scope := event.Scope{Identity: id, ApprovedBy: "alice'\"\x3c", At: at}
		for _, r := range resources {
			scope.Entries = append(scope.Entries, event.ScopeEntry{Resource: r})
		}
		return s.ApplyScope(t.Context(), scope, expected)
	}
	none, one := uint64(0), uint64(1)
	if v, err := apply(a, &none, "dns:a.example:443/tcp"); err != nil || v.Version != 1 {
		t.Fatalf("%d %v", v.Version, err)
	}
	if _, err := apply(a, &none, "dns:b.example:443/tcp"); !errors.Is(err, ErrChanged) {
		t.Errorf("a scope that is there is not noticed: %v", err)
	}
	if v, err := apply(a, &one, "dns:b.example:443/tcp"); err != nil || v.Version != 2 {
		t.Errorf("%d %v", v.Version, err)
	}
	if _, err := apply(b, nil); err != nil {
		t.Error(err)
	}
	if _, err := apply(b, nil, "dns:*:443/tcp"); !errors.Is(err, ErrRefused) {
		t.Errorf("a bad scope: %v", err)
	}
	if v, err := s.Scope(t.Context(), a); err != nil || v.Version != 2 || v.Entries[0].Resource != "dns:b.example:443/tcp" || v.ApprovedBy != "alice'\"\x3c" || !v.At.Equal(at) {
		t.Errorf("%+v %v", v, err)
	}
	page, next, err := s.Scopes(t.Context(), ScopeFilter{Limit: 1})
	if err != nil || len(page) != 1 || page[0].Identity != a || next == "" {
		t.Fatalf("%v %q %v", page, next, err)
	}
	if page, next, err = s.Scopes(t.Context(), ScopeFilter{Limit: 1, Cursor: next}); err != nil || len(page) != 1 || page[0].Identity != b || next != "" {
		t.Errorf("%v %q %v", page, next, err)
	}
	if err := s.WithdrawScope(t.Context(), b, "bob", at, nil); err != nil {
		t.Error(err)
	}
	if err := s.WithdrawScope(t.Context(), b, "bob", at, nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("withdrawn twice: %v", err)
	}
	if page, _, err = s.Scopes(t.Context(), ScopeFilter{Query: "/SA/"}); err != nil || len(page) != 1 {
		t.Errorf("%v %v", page, err)
	}
	versions, err := s.ScopeVersions(t.Context(), b)
	if err != nil || len(versions) != 2 || !versions[0].Withdrawn || versions[0].Version != 2 {
		t.Errorf("%v %v", versions, err)
	}
	if v, err := apply(b, &none, "net:10.0.0.0/8:443/tcp"); err != nil || v.Version != 3 {
		t.Errorf("after a withdrawal: %d %v", v.Version, err)
	}
	if err := s.WithdrawScope(t.Context(), b, "bob", at, nil); err != nil {
		t.Error(err)
	}
	var told []string
	err = s.EachScope(t.Context(), time.Time{}, nil, func(x *event.Scope) error {
		told = append(told, fmt.Sprint(x.Identity, x.Version, len(x.Entries), x.ApprovedBy != ""))
		return nil
	})
	if want := []string{fmt.Sprint(a, 2, 1, true), fmt.Sprint(b, 4, 0, false)}; err != nil || !slices.Equal(told, want) {
		t.Errorf("%v %v, want %v", told, err, want)
	}
}
