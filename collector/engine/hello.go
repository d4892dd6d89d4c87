package engine

import (
	"bytes"
	"encoding/binary"
	"strings"
)

// helloQuery is the first query of every clickhouse-go connection.
const helloQuery = "SELECT displayName(), version(), revision(), timezone()"

// hello is who the engine says it is.
type hello struct {
	name, version, timezone string
}

func (r *request) isHello() bool {
	return r.output == "Native" && string(bytes.TrimSpace(r.text)) == helloQuery
}

// Revisions from which a Native block says more.
const (
	revisionBlockInfo           = 51903
	revisionCustomSerialization = 54454
)

// encode gives the answer to helloQuery as a Native block in the layout of
// revision, which clickhouse-go fixes before it knows the server. The revision
// that the answer states is 0, because that is the layout in which libchdb
// writes every later block.
func (h hello) encode(revision int) []byte {
	var b []byte
	text := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	column := func(name, kind string) {
		text(name)
		text(kind)
		if revision >= revisionCustomSerialization {
			b = append(b, 0)
		}
	}
	if revision >= revisionBlockInfo {
		b = append(b, 1, 0, 2, 0xff, 0xff, 0xff, 0xff, 0) // no overflow, bucket -1
	}
	b = append(b, 4, 1) // columns, rows
	column("displayName()", "String")
	text(h.name)
	column("version()", "String")
	text(h.version)
	column("revision()", "UInt32")
	b = append(b, 0, 0, 0, 0)
	column("timezone()", "String")
	text(h.timezone)
	return b
}

// ask reads the hello from the engine.
func ask(c *conn) (hello, error) {
	r, err := c.exec([]byte("SELECT displayName(), version(), timezone()"), "TabSeparatedRaw", nil)
	if err != nil {
		return hello{}, err
	}
	defer r.free()
	fields := append(strings.Split(strings.TrimSpace(string(r.bytes())), "\t"), "", "", "")
	return hello{fields[0], fields[1], fields[2]}, nil
}
