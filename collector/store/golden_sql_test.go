package store

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/ambit-nhi/ambit/event"
)

// recorder notes the questions that go through it.
type recorder struct {
	driver.Conn
	asked []string
}

func (r *recorder) Query(ctx context.Context, sql string, args ...any) (driver.Rows, error) {
	var b strings.Builder
	for _, a := range args {
		if n, ok := a.(driver.NamedValue); ok {
			fmt.Fprintf(&b, "-- %s = %#v\n", n.Name, n.Value)
		}
	}
	r.asked = append(r.asked, b.String()+sql)
	return r.Conn.Query(ctx, sql, args...)
}

// TestGoldenSQL compares what reports ask the database, with all parameters, with files that are read by people; and the database takes it, whatever
// stands in the parameters.
func TestGoldenSQL(t *testing.T) {
	s := open(t)
	r := &recorder{Conn: s.conn}
	s.conn = r
	ctx, since := t.Context(), noon.Add(-90*day)
	ids := []event.Identity{identity(t, checkout), identity(t, billing)}
	hostile := []string{`'; DROP TABLE reach; --`, `\'`, `{identity:String}`, "x\x00y", "`", `$$`}
	nothing := func(any) error { return nil }
	for name, ask := range map[string]func() error{
		"population":        func() error { _, err := s.Population(ctx, since, noon, false); return err },
		"population_unused": func() error { _, err := s.Population(ctx, since, noon, true); return err },
		"last_uses":         func() error { _, err := s.LastUses(ctx, ids); return err },
		"declarations": func() error {
			return s.Declarations(ctx, ids, false, func(d *event.Declaration) error { return nothing(d) })
		},
		"declarations_all": func() error {
			return s.Declarations(ctx, nil, true, func(d *event.Declaration) error { return nothing(d) })
		},
		"held":         func() error { _, err := s.Held(ctx, ids, since); return err },
		"exemptions":   func() error { _, err := s.Exemptions(ctx, nil, noon); return err },
		"reviews":      func() error { _, err := s.Reviews(ctx, ids[0], 10); return err },
		"last_reviews": func() error { _, err := s.LastReviews(ctx); return err },
		"run_items":    func() error { _, err := s.RunItems(ctx, Run{Report: hostile[0], Time: noon}); return err },
		"found_unused": func() error { _, err := s.FoundUnused(ctx, hostile[1], since); return err },
		"links":        func() error { _, err := s.Links(ctx, Way(hostile[0]), hostile, hostile[2], since, 10); return err },
		"reached":      func() error { _, _, err := s.Reached(ctx, hostile, since, hostile, 10); return err },
		"reachers":     func() error { _, err := s.Reachers(ctx, resource(t, "dns:a'b\\c:1/tcp"), since, 10); return err },
		"exposed":      func() error { return s.Exposed(ctx, ids, since, func(Exposed) {}) },
		"exposed_all":  func() error { return s.ExposedIdentities(ctx, since, func(string) {}) },
		"findings": func() error {
			_, _, err := s.Findings(ctx, FindingFilter{ID: hostile[0], Rule: hostile[1], Namespace: hostile[2], Identity: ids[0], Text: hostile[3], Since: since, Until: noon})
			return err
		},
		"finding_counts": func() error {
			_, err := s.CountFindings(ctx, FindingFilter{Rule: hostile[0], Namespace: hostile[1], Text: hostile[2], Since: since})
			return err
		},
		"finding_similar": func() error {
			_, err := s.SimilarFindings(ctx, &event.Finding{ID: hostile[0], Rule: hostile[1], Identity: ids[0], Resource: resource(t, "dns:a'b\\c:1/tcp")}, 10)
			return err
		},
		"finding_days":       func() error { _, err := s.UseByDay(ctx, ids[0], hostile[0], since, noon); return err },
		"finding_places":     func() error { _, err := s.Places(ctx, ids[0], hostile[0], since, 10); return err },
		"finding_handshakes": func() error { _, err := s.Handshakes(ctx, ids[0], hostile[1], since, 10); return err },
		"activity":           func() error { _, err := s.Activity(ctx, ids[0], since, noon); return err },
		"map_links": func() error {
			_, _, err := s.MapLinks(ctx, Those{Identities: hostile}, since, 10)
			return err
		},
		"map_links_namespace": func() error {
			_, _, err := s.MapLinks(ctx, Those{Namespace: hostile[0]}, since, 10)
			return err
		},
		"map_resources": func() error {
			_, _, err := s.MapResources(ctx, Those{Identities: hostile}, since, 10)
			return err
		},
		"map_resources_all":  func() error { _, _, err := s.MapResources(ctx, Those{}, since, 10); return err },
		"map_findings":       func() error { _, err := s.FindingsOf(ctx, hostile); return err },
		"open_findings":      func() error { return s.OpenFindings(ctx, hostile, since, func(OpenFindings) {}) },
		"findings_over_time": func() error { _, err := s.FindingsOverTime(ctx, since, day); return err },
		"findings_standing":  func() error { _, err := s.FindingsStanding(ctx); return err },
	} {
		r.asked = nil
		if err := ask(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		file, got := filepath.Join("testdata", "asked", name+".sql"), strings.Join(r.asked, "\n;\n")
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) || got == "" {
			t.Errorf("%s differs from what is asked; look at it with go test -update and git diff", file)
		}
	}
	if n := number(t, s, "(SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = 'reach')"); n != 1 {
		t.Error("a parameter was taken for SQL")
	}
}
