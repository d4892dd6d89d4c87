package store

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Declarations gives what is declared of identities, or of all where ids is nil, those that are gone too, in the order of identity, source and name of
// the source. Of labels and annotations there are only Ambit's own, unless pairs is set. LastDeclared is when a declaration last changed.
// What visit is given is used again for the next one.
func (s *Store) Declarations(ctx context.Context, ids []event.Identity, pairs bool, visit func(*event.Declaration) error) error {
	if ids == nil {
		return s.declarations(ctx, []string{}, pairs, visit)
	}
	return eachOf(ids, func(part []string) error { return s.declarations(ctx, part, pairs, visit) })
}

func (s *Store) declarations(ctx context.Context, of []string, pairs bool, visit func(*event.Declaration) error) error {
	with := uint8(0)
	if pairs {
		with = 1
	}
	var (
		r                   inventoryRow
		created, expires    int64
		first, last, gone   int64
		reasons, tokens     string
		labels, annotations string
		d                   event.Declaration
	)
	into := []any{&r.Identity, &r.Source, &r.SourceName, &r.Kind, &r.Namespace, &r.Name, &r.Owner, &r.Purpose, &r.Environment, &r.Domain, &r.Privilege,
		&reasons, &tokens, &r.BusinessFunction, &created, &expires, &labels, &annotations, &first, &last, &gone}
	return s.scan(ctx, "read declarations", declarationsSQL, named("identities", of, "pairs", with), into, func() error {
		r.PrivilegeReasons, r.Tokens = unpack(reasons), unpack(tokens)
		r.Labels, r.Annotations = unpackPairs(labels), unpackPairs(annotations)
		r.Created, r.Expires = time.Unix(created, 0), time.Unix(expires, 0)
		r.FirstDeclared, r.LastDeclared, r.Gone = time.UnixMicro(first), time.UnixMicro(last), time.UnixMicro(gone)
		var err error
		if d, err = r.declaration(); err != nil {
			s.corrupt["inventory"].Add(1)
			return nil
		}
		return visit(&d)
	})
}

// unpack takes texts apart that stand one behind the other, each with its length and a colon before it.
func unpack(packed string) (out []string) {
	for packed != "" {
		length, rest, _ := strings.Cut(packed, ":")
		n, err := strconv.Atoi(length)
		if err != nil || n < 0 || n > len(rest) {
			return out
		}
		out, packed = append(out, rest[:n]), rest[n:]
	}
	return out
}

// unpackPairs takes keys and values apart.
func unpackPairs(packed string) map[string]string {
	texts := unpack(packed)
	if len(texts) < 2 {
		return nil
	}
	out := make(map[string]string, len(texts)/2)
	for i := 0; i+1 < len(texts); i += 2 {
		out[texts[i]] = texts[i+1]
	}
	return out
}
