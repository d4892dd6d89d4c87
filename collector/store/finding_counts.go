package store

import "context"

// FindingCounts says how many findings there are. Each map is of what all filters but the one that it is about choose.
type FindingCounts struct {
	Total      uint64            `json:"total"` // that all filters choose
	Statuses   map[string]uint64 `json:"statuses"`
	Severities map[string]uint64 `json:"severities"`
	Rules      map[string]uint64 `json:"rules"`
	Namespaces map[string]uint64 `json:"namespaces"` // "" are those of no namespace
}

// CountFindings counts the findings that a filter chooses. Its ID, limit and cursor say nothing.
func (s *Store) CountFindings(ctx context.Context, f FindingFilter) (FindingCounts, error) {
	args := named("status", string(f.Status), "severity", string(f.Severity), "rule", f.Rule, "namespace", f.Namespace, "identity", f.Identity.String(),
		"text", f.Text, "since", microsOrZero(f.Since), "until", microsOrZero(f.Until))
	var c FindingCounts
	into := []any{&c.Total, &c.Statuses, &c.Severities, &c.Rules, &c.Namespaces}
	err := s.scan(ctx, "count findings", findingCountsSQL, args, into, func() error { return nil })
	for _, m := range []*map[string]uint64{&c.Statuses, &c.Severities, &c.Rules, &c.Namespaces} {
		if *m == nil {
			*m = map[string]uint64{}
		}
	}
	return c, err
}
