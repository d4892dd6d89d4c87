package inventory

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/ambit-nhi/ambit/event"
)

// Bounds of a list.
const (
	MaxBytes    = 64 << 20 // of a list
	maxEntries  = 500_000
	maxRefusals = 100 // that are told in words
)

// List is what a source declares, whole. Declarations are ordered by identity, one for each.
type List struct {
	Declarations []event.Declaration
	Refused      int       // entries that were not taken
	Refusals     []Refusal // why, of the first ones
}

// Refusal is an entry that was not taken.
type Refusal struct {
	Line   int    `json:"line"`            // where the entry begins, from 1
	Field  string `json:"field,omitempty"` // or column
	Reason string `json:"reason"`
}

func (r Refusal) String() string {
	if r.Field == "" {
		return fmt.Sprintf("line %d: %s", r.Line, r.Reason)
	}
	return fmt.Sprintf("line %d, %s: %s", r.Line, r.Field, r.Reason)
}

// Parse reads a whole list. An error says that it is no such list, and nothing of it was taken; entries that cannot be read are refused one by one.
func Parse(source event.DeclarationSource, name string, r io.Reader) (*List, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read the list: %w", err)
	}
	if len(data) > MaxBytes {
		return nil, fmt.Errorf("the list is larger than %d MiB: split it, with a --source of its own for each part", MaxBytes>>20)
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		return nil, errors.New("the list is UTF-16: save it as UTF-8")
	}
	if i := invalidUTF8(data); i >= 0 {
		return nil, fmt.Errorf("line %d: the list is not UTF-8: save it as UTF-8", lineAt(data, i))
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, errors.New("the list is empty: did the command that writes it fail?")
	}
	c := &collect{source: source, name: name, at: map[event.Identity]int{}, contrary: map[event.Identity]bool{}}
	switch source {
	case event.SourceCSV:
		err = parseCSV(data, c)
	case event.SourceJSON:
		err = parseJSON(data, c)
	case event.SourceSPIRE:
		err = parseSPIRE(data, c)
	default:
		err = fmt.Errorf("source %q is not one of csv, json, spire", source)
	}
	if err != nil {
		return nil, err
	}
	return c.list(), nil
}

func invalidUTF8(data []byte) int {
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n < 2 {
			return i
		}
		i += n
	}
	return -1
}

// lineAt is the line of a place in a text, from 1.
func lineAt(data []byte, at int) int { return 1 + bytes.Count(data[:min(at, len(data))], []byte("\n")) }

// collect gathers entries.
type collect struct {
	source   event.DeclarationSource
	name     string
	entries  []entry
	at       map[event.Identity]int // index in entries
	contrary map[event.Identity]bool
	refusals []Refusal
	refused  int
}

type entry struct {
	line        int
	declaration event.Declaration
}

var errEntries = fmt.Errorf("the list has more than %d entries: split it, with a --source of its own for each part", maxEntries)

func (c *collect) refuse(line int, field, reason string) {
	c.refused++
	if len(c.refusals) < maxRefusals {
		c.refusals = append(c.refusals, Refusal{line, field, reason})
	}
}

// take takes an entry. join makes one of two declarations of an identity; where it cannot, neither is believed.
func (c *collect) take(line int, d event.Declaration, join func(a, b *event.Declaration) bool) error {
	d.Source, d.SourceName = c.source, c.name
	if err := d.Validate(); err != nil {
		field, reason, _ := strings.Cut(err.Error(), ": ")
		c.refuse(line, field, reason)
		return nil
	}
	normalize(&d)
	i, again := c.at[d.Identity]
	if !again {
		if len(c.entries) == maxEntries {
			return errEntries
		}
		c.at[d.Identity] = len(c.entries)
		c.entries = append(c.entries, entry{line, d})
		return nil
	}
	first := &c.entries[i]
	if c.contrary[d.Identity] || !join(&first.declaration, &d) {
		if !c.contrary[d.Identity] {
			c.contrary[d.Identity] = true
			c.refuse(first.line, "identity", fmt.Sprintf("%s is declared again in line %d, differently: neither is taken", d.Identity, line))
		}
		c.refuse(line, "identity", fmt.Sprintf("%s was declared in line %d, differently: neither is taken", d.Identity, first.line))
	}
	return nil
}

// same joins only equal declarations.
func same(a, b *event.Declaration) bool { return Equal(a, b) }

func (c *collect) list() *List {
	l := &List{Declarations: make([]event.Declaration, 0, len(c.entries)), Refused: c.refused, Refusals: c.refusals}
	for i := range c.entries {
		if d := &c.entries[i].declaration; !c.contrary[d.Identity] {
			l.Declarations = append(l.Declarations, *d)
		}
	}
	slices.SortFunc(l.Declarations, func(a, b event.Declaration) int { return strings.Compare(a.Identity.String(), b.Identity.String()) })
	slices.SortStableFunc(l.Refusals, func(a, b Refusal) int { return a.Line - b.Line })
	return l
}

// normalize makes equal what says the same.
func normalize(d *event.Declaration) {
	d.Created, d.Expires = second(d.Created), second(d.Expires)
	slices.Sort(d.Tokens)
	d.Tokens = slices.Compact(d.Tokens)
	slices.Sort(d.PrivilegeReasons)
	d.PrivilegeReasons = slices.Compact(d.PrivilegeReasons)
}
