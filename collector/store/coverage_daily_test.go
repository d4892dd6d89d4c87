package store

import (
	_ "embed"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
)

// watchedByHourSQL is the question as it is without days.
//
//go:embed testdata/watched_by_hour.sql
var watchedByHourSQL string

// TestCoverageDaily: days give the same answers as hours.
func TestCoverageDaily(t *testing.T) {
	s := open(t)
	r := rand.New(rand.NewPCG(1, 2))
	var all []Coverage
	for node := range 3 {
		for boot := range 4 {
			from := noon.Add(-time.Duration(r.IntN(12*24*60)) * time.Minute)
			lost, tls := map[string]uint64{}, map[string]uint64{}
			for at := from; at.Before(noon) && r.IntN(150) > 0; at = at.Add(time.Duration(r.IntN(150)) * time.Minute) {
				if r.IntN(4) == 0 {
					lost[[]string{"stream#1", "stream#2", "edges-full", "tls-ring-full", "spool-full"}[r.IntN(5)]] += uint64(r.IntN(3))
				}
				tls["connections"] += uint64(r.IntN(5))
				tls["tls-stack:OpenSSL 3"] = uint64(r.IntN(9))
				c := Coverage{Node: fmt.Sprint("n", node), Boot: fmt.Sprint("b", boot), From: from, Until: at, Lost: map[string]uint64{}, TLS: map[string]uint64{}, Version: "1", Kernel: "6"}
				for cause, n := range lost {
					c.Lost[cause] = n
				}
				for name, n := range tls {
					c.TLS[name] = n
				}
				if r.IntN(20) == 0 {
					c.Missing = []string{fmt.Sprint("blind spot ", r.IntN(3))}
				}
				all = append(all, c)
			}
		}
	}
	cover(t, s, all...)
	for i := range 20 {
		since := noon.Add(-time.Duration(r.IntN(13*24*60*60)) * time.Second)
		if i == 0 {
			since = noon.Truncate(day)
		}
		want, got := collect[watchedRow](t, s, watchedByHourSQL, since), collect[watchedRow](t, s, watchedSQL, since)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("watched since %s: %+v, want %+v", since, got, want)
		}
	}
}

func collect[T any](t *testing.T, s *Store, sql string, since time.Time) (out []T) {
	t.Helper()
	arguments := named("since", since.UnixMicro())
	if err := each(t.Context(), s, "read", sql, arguments, func(row *T) error {
		out = append(out, *row)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}
