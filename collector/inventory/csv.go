package inventory

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// csvColumns are the columns of a list in CSV; identity is required, and label:<key> is a label.
var csvColumns = map[string]func(d *event.Declaration, cell string) error{
	"identity": func(d *event.Declaration, cell string) (err error) {
		d.Identity, err = parseIdentity(cell)
		return err
	},
	"kind":              func(d *event.Declaration, cell string) error { d.Kind = cell; return nil },
	"namespace":         func(d *event.Declaration, cell string) error { d.Namespace = cell; return nil },
	"name":              func(d *event.Declaration, cell string) error { d.Name = cell; return nil },
	"owner":             func(d *event.Declaration, cell string) error { d.Owner = cell; return nil },
	"purpose":           func(d *event.Declaration, cell string) error { d.Purpose = cell; return nil },
	"environment":       func(d *event.Declaration, cell string) error { d.Environment = cell; return nil },
	"domain":            func(d *event.Declaration, cell string) error { d.Domain = event.Domain(cell); return nil },
	"privilege":         func(d *event.Declaration, cell string) error { d.Privilege = event.Privilege(cell); return nil },
	"business_function": func(d *event.Declaration, cell string) error { d.BusinessFunction = cell; return nil },
	"created":           func(d *event.Declaration, cell string) (err error) { d.Created, err = parseTime(cell); return err },
	"expires":           func(d *event.Declaration, cell string) (err error) { d.Expires, err = parseTime(cell); return err },
}

// csvTold are columns of lists that Ambit prints which say nothing here: such a list can be completed and read again.
var csvTold = []string{"source", "source_name", "privilege_reasons", "tokens", "first_declared", "last_declared", "gone"}

const labelColumn = "label:"

// maxColumns is more than all that are known, and the labels that a declaration may have.
const maxColumns = 100

// parseCSV reads comma-separated values with a line of column names, as spreadsheets save them.
func parseCSV(data []byte, c *collect) error {
	r := csv.NewReader(bytes.NewReader(data))
	r.FieldsPerRecord = -1 // a short line refuses itself, not the list
	r.ReuseRecord = true
	record, err := r.Read()
	if err != nil {
		return csvFault(err)
	}
	columns, err := csvHeader(slices.Clone(record), r)
	if err != nil {
		return err
	}
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil { // where quotes do not match, nobody knows where an entry ends
			return csvFault(err)
		}
		line, _ := r.FieldPos(0)
		if len(record) == 1 && strings.TrimSpace(record[0]) == "" {
			continue
		}
		if len(record) != len(columns) {
			c.refuse(line, "", fmt.Sprintf("has %d columns, want %d as in the first line", len(record), len(columns)))
			continue
		}
		d, column, err := csvEntry(columns, record)
		if err != nil {
			c.refuse(line, column, err.Error())
			continue
		}
		if err := c.take(line, d, same); err != nil {
			return err
		}
	}
}

func csvHeader(names []string, r *csv.Reader) ([]string, error) {
	if len(names) == 1 && (strings.Contains(names[0], ";") || strings.Contains(names[0], "\t")) {
		return nil, errors.New("line 1: the columns are not separated by commas: save the list with commas")
	}
	if len(names) > maxColumns {
		return nil, fmt.Errorf("line 1: there are %d columns, at most %d are read", len(names), maxColumns)
	}
	for i, name := range names {
		line, column := r.FieldPos(i)
		name = strings.ToLower(strings.TrimSpace(name))
		if key, ok := strings.CutPrefix(strings.TrimSpace(names[i]), labelColumn); ok {
			name = labelColumn + strings.TrimSpace(key)
		}
		_, known := csvColumns[name]
		known = known || slices.Contains(csvTold, name)
		if !known && (!strings.HasPrefix(name, labelColumn) || name == labelColumn) {
			return nil, fmt.Errorf("line %d, column %d: column %q is unknown; known are %s, and %s<key> for anything else", line, column, shorten(name),
				strings.Join(columnNames(), ", "), labelColumn)
		}
		if slices.Contains(names[:i], name) {
			return nil, fmt.Errorf("line %d, column %d: there are two columns %q", line, column, shorten(name))
		}
		names[i] = name
	}
	if !slices.Contains(names, "identity") {
		return nil, errors.New("line 1: there is no column identity; the first line must name the columns")
	}
	return names, nil
}

func columnNames() []string {
	return []string{"identity", "kind", "namespace", "name", "owner", "purpose", "environment", "domain", "privilege", "business_function", "created", "expires"}
}

func csvEntry(columns, record []string) (d event.Declaration, column string, err error) {
	for i, cell := range record {
		cell = plain(strings.TrimSpace(cell))
		if cell == "" {
			continue
		}
		if key, ok := strings.CutPrefix(columns[i], labelColumn); ok {
			if d.Labels == nil {
				d.Labels = map[string]string{}
			}
			d.Labels[key] = cell
			continue
		}
		read, ok := csvColumns[columns[i]]
		if !ok {
			continue
		}
		if err := read(&d, cell); err != nil {
			return d, columns[i], err
		}
	}
	return d, "", nil
}

// plain takes off the ' that keeps a spreadsheet from computing a cell: lists that Ambit prints have it.
func plain(cell string) string {
	if len(cell) > 1 && cell[0] == '\'' && strings.ContainsRune("=+-@\t", rune(cell[1])) {
		return cell[1:]
	}
	return cell
}

func csvFault(err error) error {
	var parse *csv.ParseError
	switch {
	case !errors.As(err, &parse):
		return fmt.Errorf("read the list: %w", err)
	case errors.Is(parse.Err, csv.ErrBareQuote):
		return fmt.Errorf("line %d, column %d: a quote stands in a cell without quotes: write the cell in quotes, and its quotes twice", parse.Line, parse.Column)
	case errors.Is(parse.Err, csv.ErrQuote):
		return fmt.Errorf("line %d, column %d: a quoted cell does not end, or goes on behind its end", parse.Line, parse.Column)
	}
	return fmt.Errorf("line %d, column %d: %w", parse.Line, parse.Column, parse.Err)
}

func parseIdentity(text string) (event.Identity, error) {
	if text == "" {
		return event.Identity{}, errors.New("is missing")
	}
	id, err := event.ParseIdentity(text)
	if err != nil {
		return event.Identity{}, fmt.Errorf("is no identity: %s", strings.TrimPrefix(err.Error(), "parse identity "))
	}
	return id, nil
}

// parseTime reads a time or a date.
func parseTime(text string) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t.UTC(), nil
	}
	if t, err := time.Parse(time.DateOnly, text); err == nil {
		return t, nil
	}
	return time.Time{}, fmt.Errorf("%q is not a time such as 2026-03-01 or 2026-03-01T12:00:00Z", shorten(text))
}

func shorten(s string) string {
	if len(s) <= 60 {
		return s
	}
	return strings.ToValidUTF8(s[:60], "") + "…"
}
