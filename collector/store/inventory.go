package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ambit-nhi/ambit/collector/inventory"
	"github.com/ambit-nhi/ambit/event"
)

type inventoryRow struct {
	Identity         string            `ch:"identity"`
	Source           string            `ch:"source"`
	SourceName       string            `ch:"source_name"`
	Kind             string            `ch:"kind"`
	Namespace        string            `ch:"namespace"`
	Name             string            `ch:"name"`
	Owner            string            `ch:"owner"`
	Purpose          string            `ch:"purpose"`
	Environment      string            `ch:"environment"`
	Domain           string            `ch:"domain"`
	Privilege        string            `ch:"privilege"`
	PrivilegeReasons []string          `ch:"privilege_reasons"`
	Tokens           []string          `ch:"tokens"`
	BusinessFunction string            `ch:"business_function"`
	Created          time.Time         `ch:"created"`
	Expires          time.Time         `ch:"expires"`
	Labels           map[string]string `ch:"labels"`
	Annotations      map[string]string `ch:"annotations"`
	FirstDeclared    time.Time         `ch:"first_declared"`
	LastDeclared     time.Time         `ch:"last_declared"`
	Gone             time.Time         `ch:"gone"`
	Version          uint64            `ch:"version"`
}

func inventoryRowOf(d *event.Declaration, version uint64) inventoryRow {
	return inventoryRow{
		Identity: d.Identity.String(), Source: string(d.Source), SourceName: d.SourceName, Kind: d.Kind, Namespace: d.Namespace, Name: d.Name,
		Owner: d.Owner, Purpose: d.Purpose, Environment: d.Environment, Domain: string(d.Domain), Privilege: string(d.Privilege),
		PrivilegeReasons: list(d.PrivilegeReasons), Tokens: list(d.Tokens), BusinessFunction: d.BusinessFunction,
		Created: past(d.Created), Expires: past(d.Expires), Labels: d.Labels, Annotations: d.Annotations,
		FirstDeclared: past(d.FirstDeclared), LastDeclared: past(d.LastDeclared), Gone: past(d.Gone), Version: version,
	}
}

func (r *inventoryRow) declaration() (event.Declaration, error) {
	id, err := event.ParseIdentity(r.Identity)
	d := event.Declaration{
		Identity: id, Source: event.DeclarationSource(r.Source), SourceName: r.SourceName, Kind: r.Kind, Namespace: r.Namespace, Name: r.Name,
		Owner: r.Owner, Purpose: r.Purpose, Environment: r.Environment, Domain: event.Domain(r.Domain), Privilege: event.Privilege(r.Privilege),
		BusinessFunction: r.BusinessFunction, Created: moment(r.Created), Expires: moment(r.Expires),
		FirstDeclared: moment(r.FirstDeclared), LastDeclared: moment(r.LastDeclared), Gone: moment(r.Gone),
	}
	if len(r.PrivilegeReasons) > 0 {
		d.PrivilegeReasons = r.PrivilegeReasons
	}
	for _, token := range r.Tokens {
		d.Tokens = append(d.Tokens, event.TokenKind(token))
	}
	if len(r.Labels) > 0 {
		d.Labels = r.Labels
	}
	if len(r.Annotations) > 0 {
		d.Annotations = r.Annotations
	}
	return d, err
}

// list makes strings of words; an array of the database is never NULL.
func list[T ~string](words []T) []string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = string(w)
	}
	return out
}

// past is a time as the database writes it: 1970 for none.
func past(t time.Time) time.Time {
	if t.IsZero() {
		return never
	}
	return t
}

// InventorySource is a source of the inventory as it was last told.
type InventorySource struct {
	Source       event.DeclarationSource `json:"source"`
	Name         string                  `json:"name"`
	LastTime     time.Time               `json:"last_time"`
	LastComplete time.Time               `json:"last_complete,omitzero"` // without a refused entry
	Entries      uint64                  `json:"entries"`
	Refused      uint64                  `json:"refused"`
}

type inventorySourceRow struct {
	Source       string    `ch:"source"`
	Name         string    `ch:"name"`
	LastTime     time.Time `ch:"last_time"`
	LastComplete time.Time `ch:"last_complete"`
	Entries      uint64    `ch:"entries"`
	Refused      uint64    `ch:"refused"`
	Version      uint64    `ch:"version"`
}

// InventorySources lists the sources that ever told anything.
func (s *Store) InventorySources(ctx context.Context) ([]InventorySource, error) {
	out := []InventorySource{}
	err := each(ctx, s, "read sources of the inventory", inventorySourcesSQL, nil, func(r *inventorySourceRow) error {
		out = append(out, InventorySource{event.DeclarationSource(r.Source), r.Name, moment(r.LastTime), moment(r.LastComplete), r.Entries, r.Refused})
		return nil
	})
	return out, err
}

// Inventory is what one source declares, whole.
type Inventory struct {
	Source       event.DeclarationSource
	Name         string
	Declarations []event.Declaration // at most one of each identity
	Refused      int                 // entries that are not among them: while there are any, nothing counts as gone, since it may be one of these
	Time         time.Time
	DryRun       bool // only say what would change
}

// InventoryChange is what a telling changed. Added, Changed and Unchanged are of what was told, Gone and Kept of what was not.
type InventoryChange struct {
	Added     int `json:"added"`
	Changed   int `json:"changed"`
	Unchanged int `json:"unchanged"`
	Gone      int `json:"gone"` // not declared any more
	Kept      int `json:"kept"` // not found, but kept since entries were refused
}

// ReplaceInventory takes what a source declares in place of what it declared before. Telling the same again writes no declaration. A call that
// was cut short is made good by the next one. Calls are one after another; two collectors must not tell the same source.
func (s *Store) ReplaceInventory(ctx context.Context, in Inventory) (InventoryChange, error) {
	var change InventoryChange
	told := make(map[string]*event.Declaration, len(in.Declarations))
	for i := range in.Declarations {
		d := &in.Declarations[i]
		if err := d.Validate(); err != nil {
			return change, fmt.Errorf("replace the inventory of %s %s: %w: entry %d: %w", in.Source, in.Name, ErrRefused, i, err)
		}
		if d.Source != in.Source || d.SourceName != in.Name || told[d.Identity.String()] != nil {
			return change, fmt.Errorf("replace the inventory of %s %s: %w: entry %d, %s, is of another source or there twice", in.Source, in.Name, ErrRefused, i, d.Identity)
		}
		told[d.Identity.String()] = d
	}
	if !in.Time.After(earliestTime) {
		return change, errors.New("replace the inventory: no time")
	}
	s.importing.Lock()
	defer s.importing.Unlock()

	var rows []inventoryRow
	version := uint64(in.Time.UnixMicro())
	met := make(map[string]bool, len(told))
	err := each(ctx, s, "read the inventory", inventorySQL, inventoryArgs(InventoryFilter{Source: in.Source, Name: in.Name, Gone: true}, "", "", [3]string{}, 1<<31),
		func(r *inventoryRow) error {
			version = max(version, r.Version+1) // whatever the clock says
			d, err := r.declaration()
			if err != nil {
				s.corrupt["inventory"].Add(1)
				return nil
			}
			now := told[r.Identity]
			met[r.Identity] = true
			switch {
			case now == nil && !d.Gone.IsZero():
			case now == nil && in.Refused > 0:
				change.Kept++
			case now == nil:
				change.Gone++
				d.Gone = in.Time
				rows = append(rows, inventoryRowOf(&d, 0))
			case d.Gone.IsZero() && inventory.Equal(&d, now):
				change.Unchanged++
			default:
				if d.Gone.IsZero() {
					change.Changed++
				} else {
					change.Added++ // again
				}
				next := *now
				next.FirstDeclared, next.LastDeclared, next.Gone = d.FirstDeclared, in.Time, time.Time{}
				rows = append(rows, inventoryRowOf(&next, 0))
			}
			return nil
		})
	if err != nil {
		return InventoryChange{}, err
	}
	for i := range in.Declarations {
		if d := in.Declarations[i]; !met[d.Identity.String()] {
			change.Added++
			d.FirstDeclared, d.LastDeclared, d.Gone = in.Time, in.Time, time.Time{}
			rows = append(rows, inventoryRowOf(&d, 0))
		}
	}
	if in.DryRun {
		return change, nil
	}
	for i := range rows {
		rows[i].Version = version
	}
	if len(rows) > 0 || len(met) == 0 { // or there is an inventory now, be it empty
		defer s.changed()
	}
	for part := range slices.Chunk(rows, maxBlockRows) {
		if err := insert(ctx, s, "inventory", repeatable(), part); err != nil {
			return InventoryChange{}, err
		}
	}
	return change, s.noteSource(ctx, &in)
}

// noteSource says that a source was told.
func (s *Store) noteSource(ctx context.Context, in *Inventory) error {
	row := inventorySourceRow{
		Source: string(in.Source), Name: in.Name, LastTime: in.Time, LastComplete: never, Entries: uint64(len(in.Declarations)),
		Refused: uint64(in.Refused), Version: uint64(in.Time.UnixMicro()),
	}
	err := each(ctx, s, "read sources of the inventory", inventorySourcesSQL, nil, func(r *inventorySourceRow) error {
		if r.Source == row.Source && r.Name == row.Name {
			row.Version = max(row.Version, r.Version+1)
			row.LastComplete = r.LastComplete
		}
		return nil
	})
	if err != nil {
		return err
	}
	if in.Refused == 0 {
		row.LastComplete = in.Time
	}
	return insert(ctx, s, "inventory_sources", repeatable(), []inventorySourceRow{row})
}

// InventoryFilter chooses declarations, which come in the order of identity, source and name of the source.
type InventoryFilter struct {
	Query  string // part of the identity's URI, in any case
	Source event.DeclarationSource
	Name   string // of the source
	Gone   bool   // also those that are gone
	Limit  int    // 0 is 100, at most 1000
	Cursor string // where the page before ended

	Keep func(*event.Declaration) bool // may change it; nil keeps all
}

func inventoryArgs(f InventoryFilter, from, until string, after [3]string, limit int) []any {
	gone := uint8(0)
	if f.Gone {
		gone = 1
	}
	return named("from", from, "until", until, "q", f.Query, "source", string(f.Source), "name", f.Name, "gone", gone,
		"after_identity", after[0], "after_source", after[1], "after_name", after[2], "limit", uint32(limit))
}

// Inventory gives a page of declarations, and the cursor of the next page or "". Where Keep keeps few, a page may hold less than its limit
// although another one follows.
func (s *Store) Inventory(ctx context.Context, f InventoryFilter) ([]event.Declaration, string, error) {
	key, err := parseCursor(f.Cursor, 3)
	if err != nil {
		return nil, "", fmt.Errorf("read the inventory: %w", err)
	}
	after := [3]string(key)
	limit := bound(f.Limit, 100, 1000)
	most := limit + 1
	if f.Keep != nil {
		most = 1001
	}
	out := make([]event.Declaration, 0, limit)
	for range maxReads {
		read, last := 0, ""
		err := each(ctx, s, "read the inventory", inventorySQL, inventoryArgs(f, after[0], "", after, most), func(r *inventoryRow) error {
			if last != "" {
				return nil
			}
			read++
			d, err := r.declaration()
			if err != nil {
				s.corrupt["inventory"].Add(1)
				return nil
			}
			if f.Keep != nil && !f.Keep(&d) {
				after = [3]string{r.Identity, r.Source, r.SourceName}
				return nil
			}
			if len(out) == limit {
				last = cursor(after[:]...)
				return nil
			}
			after = [3]string{r.Identity, r.Source, r.SourceName}
			out = append(out, d)
			return nil
		})
		if err != nil || last != "" || read < most {
			return out, last, err
		}
	}
	return out, cursor(after[:]...), nil
}

// declare adds to identities, which are in order, what is declared of them.
func (s *Store) declare(ctx context.Context, query string, identities []Identity) error {
	if len(identities) == 0 {
		return nil
	}
	at := make(map[string]*Identity, len(identities))
	for i := range identities {
		at[identities[i].Identity.String()] = &identities[i]
	}
	from, until := identities[0].Identity.String(), identities[len(identities)-1].Identity.String()
	args := inventoryArgs(InventoryFilter{Query: query, Gone: true}, from, until, [3]string{}, 1<<31)
	return each(ctx, s, "read the inventory", inventorySQL, args, func(r *inventoryRow) error {
		i := at[r.Identity]
		if i == nil {
			return nil
		}
		d, err := r.declaration()
		if err != nil {
			s.corrupt["inventory"].Add(1)
			return nil
		}
		i.Declarations = append(i.Declarations, d)
		return nil
	})
}
