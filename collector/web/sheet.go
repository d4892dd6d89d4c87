package web

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/ambit-nhi/ambit/collector/report"
)

// Bounds of a file: rows that are asked for and held at a time, and in all.
const (
	maxExport = 10_000
	maxFile   = 200_000
)

// errLong says that a report is longer than a file may be: nobody would see that a part of it is missing.
var errLong = &Fault{http.StatusBadRequest, fmt.Sprintf("The report has more than %d rows, which is more than a file of the pages holds: choose less with a filter, or take all with ambit report, or from the API.", maxFile)}

// listing gives the part of a report behind a cursor.
type listing[T any] func(ctx context.Context, part report.Paging) (*report.List[T], error)

// each shows all parts of a report to visit, from one that was asked for already.
func (l listing[T]) each(ctx context.Context, part *report.List[T], visit func(items []T) error) error {
	for rows := 0; ; {
		if err := visit(part.Items); err != nil {
			return err
		}
		if part.Next == "" {
			return nil
		}
		if rows += len(part.Items); rows >= maxFile {
			return errLong
		}
		next := part.Next
		part = nil // is not held while the next one is read
		var err error
		if part, err = l(ctx, report.Paging{Limit: maxExport, Cursor: next}); err != nil {
			return err
		}
	}
}

// sheet says how a report is written as a file of comma-separated values.
type sheet[T any] struct {
	name string // of the report
	head []string
	row  func(*T) []string
}

// file is all of a report that was made at a time. Its first part is read now, so that a question which cannot be answered is told as on a page, the others while
// it is written.
func (s *sheet[T]) file(ctx context.Context, made time.Time, parts listing[T]) (*File, error) {
	first, err := parts(ctx, report.Paging{Limit: maxExport})
	if err != nil {
		return nil, err
	}
	if first.Total > maxFile {
		return nil, errLong
	}
	return &File{
		Name: "ambit-" + s.name + "-" + made.Format(time.DateOnly) + ".csv", Type: "text/csv; charset=utf-8",
		Write: func(ctx context.Context, w io.Writer) error {
			begin := first
			first = nil
			return s.write(ctx, w, begin, parts)
		},
	}, nil
}

// write writes a report, from its first part. A file that cannot be ended says so in its last row, for who is left with it although the connection breaks.
func (s *sheet[T]) write(ctx context.Context, w io.Writer, first *report.List[T], parts listing[T]) error {
	out := csv.NewWriter(w)
	put := func(row []string) error {
		for i := range row {
			row[i] = cell(row[i])
		}
		return out.Write(row)
	}
	if err := put(append([]string{}, s.head...)); err != nil {
		return err
	}
	err := parts.each(ctx, first, func(items []T) error {
		for i := range items {
			if err := put(s.row(&items[i])); err != nil {
				return err
			}
		}
		out.Flush() // what is written is not kept
		return out.Error()
	})
	if err != nil && out.Error() == nil {
		err = errors.Join(err, put([]string{"NOT COMPLETE: the rest of the report could not be read"}))
	}
	out.Flush()
	return errors.Join(err, out.Error())
}

// cell keeps what workloads chose from steering a spreadsheet, which computes what begins like a formula, or what shows it.
func cell(s string) string {
	if first, _ := utf8.DecodeRuneInString(s); s != "" && strings.ContainsRune("=+-@\t\r\n＝＋－＠", first) { // some read the wide ones alike
		s = "'" + s
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// stamp is a time in a file; never is empty.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
