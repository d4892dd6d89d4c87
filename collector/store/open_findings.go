package store

import (
	"context"
	"time"
)

// OpenFindings are the findings of one rule about one identity that nobody has closed.
type OpenFindings struct {
	Identity string
	Rule     string
	Count    uint64
	Title    string // of the latest
	Resource string // of the latest
}

// OpenFindings visits the findings of rules that were told since a time and are neither suppressed nor resolved, by identity.
func (s *Store) OpenFindings(ctx context.Context, rules []string, since time.Time, visit func(OpenFindings)) error {
	var f OpenFindings
	args := named("rules", rules, "since", since.UnixMicro())
	return s.scan(ctx, "read findings", openFindingsSQL, args, []any{&f.Identity, &f.Rule, &f.Count, &f.Title, &f.Resource}, func() error {
		visit(f)
		return nil
	})
}
