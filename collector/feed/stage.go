package feed

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// item is a record in the queue of a lane.
type item struct {
	record   *Record // nil: there is nothing to send of the message
	from     message
	sequence uint64 // of the message, where the item is its last one; else 0
	injected bool   // a summary, or the end of a decision: made here
	bad      error  // the message could not be read
}

// Why a record is not sent; label values.
const (
	leftFilter    = "filter"
	leftUnchanged = "unchanged"
	leftRate      = "rate"
	leftEnd       = "end" // of a decision: too many are in force to remember it
)

// staged is what becomes of an item, if all before it has been delivered.
type staged struct {
	docs  []Document
	left  string // why there are none
	aside error  // the item is to be set aside
	key   uint64 // of the ledger; 0: the ledger does not change
	entry entry
	limit bool // it uses the rate
}

// stage says what becomes of the first items, with at most so many documents, or as many items. It changes nothing: if sending fails, it is asked
// again.
func (l *lane) stage(ctx context.Context, items []item, docs int, now time.Time) ([]staged, error) {
	overlay := map[uint64]entry{}
	limit := l.mark.Window.clone()
	var out []staged
	for n := 0; len(out) < len(items) && n < docs; {
		i := &items[len(out)]
		s := staged{aside: i.bad}
		if i.record != nil {
			if err := l.stageRecord(ctx, i, &s, overlay); err != nil {
				if len(out) > 0 { // deliver what there is first
					return out, nil
				}
				return nil, err
			}
		}
		if len(s.docs) > 0 && !i.injected {
			s.limit = true
			if !limit.admit(now, l.cfg.Rate) {
				s = staged{left: leftRate}
			}
		}
		if s.key != 0 {
			overlay[s.key] = s.entry
		}
		n += len(s.docs)
		out = append(out, s)
	}
	return out, nil
}

func (l *lane) stageRecord(ctx context.Context, i *item, s *staged, overlay map[uint64]entry) error {
	r := *i.record
	if err := l.own(ctx, &r); err != nil {
		return err
	}
	takes := i.injected || l.cfg.Filter.takes(&r) && l.unrouted(&r)
	var before *entry
	if !i.injected && r.Observation == nil {
		s.key, s.entry = ledgerKey(r.UID), entryOf(r.severity(), statusOf(&r))
		if e, ok := overlay[s.key]; ok {
			before = &e
		} else if e := l.ledger.told.Get(s.key); e != nil {
			copied := *e
			before = &copied
		}
		r.Life = next(before, s.entry, l.cfg.Updates)
		switch {
		case !takes && (before == nil || before.closed()): // what was told goes on being told, so that its end is
			*s = staged{left: leftFilter}
			return nil
		case r.Life == "" && before != nil && s.entry != *before && before.closed():
			s.left = leftUnchanged // the end was told; which one it is, is remembered
			return nil
		case r.Life == "":
			*s = staged{left: leftUnchanged}
			return nil
		}
	} else if !takes {
		*s = staged{left: leftFilter}
		return nil
	}
	if l.cfg.Format == "alertmanager" && before != nil && !before.closed() && words(before.severity()).Alertmanager != words(r.severity()).Alertmanager { // its labels are another alert's
		old := *r.Finding
		old.Severity = before.severity()
		former := r
		former.Finding, former.Life = &old, Close
		l.write(&former, s)
	}
	l.write(&r, s)
	return nil
}

// write adds the document of a record, or says that there cannot be one.
func (l *lane) write(r *Record, s *staged) {
	body, err := l.maker.encode(l.making, r)
	if err != nil {
		s.docs, s.aside, s.key = nil, fmt.Errorf("write %s in the format %s: %w", r.UID, l.cfg.Format, err), 0
		return
	}
	s.docs = append(s.docs, Document{r, body})
}

func statusOf(r *Record) event.Status {
	if r.Finding != nil {
		return r.Finding.Status
	}
	if !r.Decision.Revoked.IsZero() || r.Life == Close {
		return event.StatusResolved
	}
	return event.StatusNew
}

// own fills in the owner of the identity. Where the owner decides, not to know it is an error.
func (l *lane) own(ctx context.Context, r *Record) error {
	id := r.identity()
	if l.owners == nil || id.IsZero() {
		return nil
	}
	owner, err := l.owners.of(ctx, id)
	if err != nil && (l.cfg.Filter.wantsOwner() || strings.Contains(l.cfg.Subject+l.cfg.Topic, "{owner}")) {
		return fmt.Errorf("look up the owner of an identity: %w", err)
	}
	r.Owner = owner
	return nil
}

// unrouted says whether no other feed takes the record for its owner, where that matters.
func (l *lane) unrouted(r *Record) bool {
	if !l.cfg.Filter.Unrouted {
		return true
	}
	return !slices.ContainsFunc(l.all, func(c Config) bool {
		return c.Name != l.cfg.Name && !c.Off && len(c.Filter.Owner) > 0 && c.Filter.takes(r)
	})
}
