package store

import (
	"fmt"
	"net/netip"
	"reflect"
	"time"
	"unsafe"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// field is a column of rows that are structs: where it stands in one, and how those of many rows are appended.
type field struct {
	name   string
	offset uintptr
	kind   reflect.Type
}

// fields lists the tagged fields of a struct, those of embedded ones among them.
func fields(t reflect.Type) []field {
	var out []field
	for f := range t.Fields() {
		if f.Anonymous {
			for _, inner := range fields(f.Type) {
				inner.offset += f.Offset
				out = append(out, inner)
			}
		} else {
			out = append(out, field{f.Tag.Get("ch"), f.Offset, f.Type})
		}
	}
	return out
}

// wireTypes are the types in which columns go over HTTP, where all of them are simple. ClickHouse makes of them what its columns are, so that the
// client neither asks for these before each insert nor looks for equal strings in them. (The native protocol has the server's types.)
func wireTypes(columns []field) (types []clickhouse.ColumnNameAndType, simple bool) {
	for _, f := range columns {
		name, ok := wireType[f.kind]
		if !ok {
			return nil, false
		}
		types = append(types, clickhouse.ColumnNameAndType{Name: f.name, Type: name})
	}
	return types, true
}

var wireType = map[reflect.Type]string{
	reflect.TypeFor[string]():     "String",
	reflect.TypeFor[time.Time]():  "DateTime64(6, 'UTC')",
	reflect.TypeFor[netip.Addr](): "IPv6",
	reflect.TypeFor[uint64]():     "UInt64",
	reflect.TypeFor[uint32]():     "UInt32",
	reflect.TypeFor[uint16]():     "UInt16",
	reflect.TypeFor[bool]():       "Bool",
}

// scratch holds one column at a time, on its way from rows to a batch, which copies it.
type scratch struct {
	strings   []string
	times     []time.Time
	addresses []netip.Addr
	numbers   []uint64
	counts    []uint32
	ports     []uint16
	flags     []bool
}

// appendColumns appends rows to a batch column by column. A row by itself costs a value boxed for each column and a type asked for each of them:
// three times as much.
func appendColumns[T any](batch driver.Batch, columns []field, rows []T, s *scratch) error {
	for i, f := range columns {
		c := batch.Column(i)
		var err error
		switch f.kind {
		case reflect.TypeFor[string]():
			s.strings = gather(s.strings, rows, f.offset)
			err = c.Append(s.strings)
		case reflect.TypeFor[time.Time]():
			s.times = gather(s.times, rows, f.offset)
			err = c.Append(s.times)
		case reflect.TypeFor[netip.Addr]():
			s.addresses = gather(s.addresses, rows, f.offset)
			err = c.Append(s.addresses)
		case reflect.TypeFor[uint64]():
			s.numbers = gather(s.numbers, rows, f.offset)
			err = c.Append(s.numbers)
		case reflect.TypeFor[uint32]():
			s.counts = gather(s.counts, rows, f.offset)
			err = c.Append(s.counts)
		case reflect.TypeFor[uint16]():
			s.ports = gather(s.ports, rows, f.offset)
			err = c.Append(s.ports)
		case reflect.TypeFor[bool]():
			s.flags = gather(s.flags, rows, f.offset)
			err = c.Append(s.flags)
		default:
			err = fmt.Errorf("no way to append a %s", f.kind)
		}
		if err != nil {
			return fmt.Errorf("column %s: %w", f.name, err)
		}
	}
	return nil
}

// gather reads the field at an offset, of type V, from all rows.
func gather[V, T any](into []V, rows []T, offset uintptr) []V {
	if cap(into) < len(rows) {
		into = make([]V, len(rows))
	}
	into = into[:len(rows)]
	for i := range rows {
		into[i] = *(*V)(unsafe.Add(unsafe.Pointer(&rows[i]), offset))
	}
	return into
}
