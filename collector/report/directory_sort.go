package report

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/collector/store"
)

// Sorts are what entries can be sorted by; a minus before one turns it round.
var Sorts = []string{"identity", "last-seen", "last-used", "first-seen", "state", "owner"}

// entryKey is where an entry stands in a sorted list.
type entryKey struct {
	number         int64
	text, identity string
	at             int // index of the entry
}

func sortKey(name string) (key func(*Entry) entryKey, descending bool, err error) {
	name, descending = strings.CutPrefix(name, "-")
	times := func(get func(*Entry) time.Time) func(*Entry) entryKey {
		return func(e *Entry) entryKey {
			t := get(e)
			if t.IsZero() {
				return entryKey{}
			}
			return entryKey{number: t.UnixMicro()}
		}
	}
	switch name {
	case "", "identity":
		key = func(e *Entry) entryKey { return entryKey{text: e.Identity.String()} }
	case "last-seen":
		key = times(func(e *Entry) time.Time { return e.LastSeen })
	case "last-used":
		key = times(func(e *Entry) time.Time { return e.LastUsed })
	case "first-seen":
		key = times(func(e *Entry) time.Time { return e.FirstSeen })
	case "state":
		key = func(e *Entry) entryKey { return entryKey{text: e.State} }
	case "owner":
		key = func(e *Entry) entryKey { return entryKey{text: e.Owner} }
	default:
		return nil, false, fmt.Errorf("sort %q is not one of %s", name, strings.Join(Sorts, ", "))
	}
	return key, descending, nil
}

func (k *entryKey) String() string {
	return base64.RawURLEncoding.EncodeToString([]byte(strings.Join([]string{strconv.FormatInt(k.number, 10), k.text, k.identity}, "\x00")))
}

func parseEntryCursor(cursor string) (*entryKey, error) {
	if cursor == "" {
		return nil, nil
	}
	data, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return nil, store.ErrCursor
	}
	parts := strings.Split(string(data), "\x00")
	if len(parts) != 3 {
		return nil, store.ErrCursor
	}
	number, err := strconv.ParseInt(parts[0], 10, 64)
	if err != nil {
		return nil, store.ErrCursor
	}
	return &entryKey{number: number, text: parts[1], identity: parts[2]}, nil
}
