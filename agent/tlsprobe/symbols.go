package tlsprobe

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
)

const (
	symbolSize   = 24
	maxNames     = 256 << 20 // bytes of a string table that is searched
	maxTable     = 512 << 20 // bytes of a symbol table
	maxMatches   = 1 << 17   // places in a string table, and functions of these names
	maxSearchFor = 64        // bytes of a name that is searched for
)

// match is a place in a string table where a searched name begins: every symbol whose name begins there has it.
type match struct {
	at   uint32
	name uint16 // of those searched for
}

// named is a function, and which of the names it has.
type named struct {
	symbol
	name uint16
}

// functions reads a symbol table of any size, forward and holding a page of it at a time, for functions whose names begin with any of these; a name
// that ends with a zero byte is meant whole. They are in the order of addresses.
func (f *elfFile) functions(table, names section, search []string) ([]named, error) {
	if table.size > maxTable || names.size > maxNames {
		return nil, errTooLarge
	}
	matches, err := f.matches(names, search)
	if err != nil || len(matches) == 0 {
		return nil, err
	}
	var found []named
	w := newWindow(f.r)
	const step = pageSize / symbolSize * symbolSize
	for at := uint64(0); at+symbolSize <= table.size; {
		b, err := w.at(table.offset+at, int(min(step, (table.size-at)/symbolSize*symbolSize)))
		if err != nil {
			return nil, fmt.Errorf("read symbols: %w", err)
		}
		at += uint64(len(b))
		for ; len(b) > 0; b = b[symbolSize:] {
			s, name, ok := parseSymbol(b)
			if !ok {
				continue
			}
			i, ok := slices.BinarySearchFunc(matches, name, func(m match, at uint32) int { return cmp.Compare(m.at, at) })
			if !ok {
				continue
			}
			if len(found) >= maxMatches {
				return nil, errTooManyMatches
			}
			found = append(found, named{s, matches[i].name})
		}
	}
	slices.SortFunc(found, func(a, b named) int { return cmp.Compare(a.address, b.address) })
	return found, nil
}

var (
	errTooManyMatches = errors.New("too many functions have names of TLS")
	errTooLarge       = errors.New("its symbol table is larger than what is read")
)

// matches searches a string table. Tables share the ends of names, so that one may begin anywhere.
func (f *elfFile) matches(names section, search []string) ([]match, error) {
	var found []match
	w := newWindow(f.r)
	for at := uint64(0); at < names.size; {
		b, err := w.at(names.offset+at, int(min(pageSize, names.size-at)))
		if err != nil {
			return nil, fmt.Errorf("read names of symbols: %w", err)
		}
		last := at+uint64(len(b)) == names.size
		own := len(b) // what begins after it, the next page has
		if !last {
			own -= maxSearchFor
		}
		page := len(found)
		for i, name := range search {
			for from := 0; ; {
				j := bytes.Index(b[from:min(len(b), own+len(name)-1)], []byte(name))
				if j < 0 {
					break
				}
				if len(found) >= maxMatches {
					return nil, errTooManyMatches
				}
				found = append(found, match{uint32(at) + uint32(from+j), uint16(i)})
				from += j + 1
			}
		}
		slices.SortStableFunc(found[page:], func(a, b match) int { return cmp.Compare(a.at, b.at) })
		if last {
			break
		}
		at += uint64(own)
	}
	return slices.CompactFunc(found, func(a, b match) bool { return a.at == b.at }), nil
}
