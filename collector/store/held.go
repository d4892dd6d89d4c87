package store

import (
	"context"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Held is the credential that an identity presented last, and how it was replaced.
type Held struct {
	LastCredential
	Recent uint64        // credentials that were in use since the time that was asked for
	Every  time.Duration // between two new ones of these; zero where there was one
}

// Held gives the credentials of identities, or of all where ids is nil. Those that presented none that was seen are not among them.
func (s *Store) Held(ctx context.Context, ids []event.Identity, since time.Time) (map[string]Held, error) {
	out := map[string]Held{}
	ask := func(of []string) error {
		var (
			holder, sha256      string
			presented, seen     int64
			notAfter, notBefore int64
			proven              uint8
			recent, total       uint64
			every               float64
		)
		into := []any{&holder, &presented, &seen, &notAfter, &sha256, &notBefore, &proven, &recent, &total, &every}
		return s.scan(ctx, "read credentials", credentialsAllSQL, named("identities", of, "since", since.UnixMicro()), into, func() error {
			out[holder] = Held{
				LastCredential{sha256, proven != 0, seconds(notBefore), seconds(notAfter), micros(seen), micros(presented), total},
				recent, time.Duration(every * float64(time.Second)),
			}
			return nil
		})
	}
	if ids == nil {
		return out, ask([]string{})
	}
	return out, eachOf(ids, ask)
}

// seconds reads a time in seconds, where 1970 is never.
func seconds(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(n, 0).UTC()
}
