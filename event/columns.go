package event

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// columns are the records and peers of a batch since version 2, one field after the other instead of one record after the other: like stands beside
// like, which compresses far better, and no record needs maps read or written. A column is a byte string of uvarints (encoding/binary), one for each
// peer or record; one that would be zeros only is left out. The numbers of the fields are never reused.
type columns struct {
	// Peers. What several have in common, which is all but the address mostly, is in a template.
	Peers    uint32 `cbor:"1,keyasint,omitempty"`
	Template []byte `cbor:"2,keyasint,omitempty"` // see place
	Family   []byte `cbor:"3,keyasint,omitempty"` // 4 and 6: the next bytes of Address; 0: as in the template
	Address  []byte `cbor:"4,keyasint,omitempty"` // 4 or 16 bytes each

	Records     uint32   `cbor:"5,keyasint,omitempty"`
	Workload    []byte   `cbor:"6,keyasint,omitempty"`  // index
	Peer        []byte   `cbor:"7,keyasint,omitempty"`  // see place
	TLS         []byte   `cbor:"8,keyasint,omitempty"`  // index plus 1; 0 is none
	Flags       []byte   `cbor:"9,keyasint,omitempty"`  // 1 inbound, 2 UDP
	First       []byte   `cbor:"10,keyasint,omitempty"` // ms before Time, rounded down
	Age         []byte   `cbor:"11,keyasint,omitempty"` // likewise
	Connections []byte   `cbor:"12,keyasint,omitempty"`
	Failed      []byte   `cbor:"13,keyasint,omitempty"`
	Denied      []byte   `cbor:"14,keyasint,omitempty"`
	Sent        []byte   `cbor:"15,keyasint,omitempty"`
	Received    []byte   `cbor:"16,keyasint,omitempty"`
	Error       []byte   `cbor:"17,keyasint,omitempty"` // index in Errors plus 1; 0 is none
	Errors      []string `cbor:"18,keyasint,omitempty"`
}

const (
	flagInbound = 1
	flagUDP     = 2
)

// unit is how exact the times of records are.
const unit = int64(time.Millisecond)

// place writes an index of a table whose entries are used in their order for the first time: 0 is the next one, and n the one that is n before that.
func place(index uint32, next *uint32) uint64 {
	if index == *next {
		*next++
		return 0
	}
	return uint64(*next - index)
}

// placed reads what place wrote.
func placed(value uint64, next *uint32) (uint32, bool) {
	if value == 0 {
		*next++
		return *next - 1, true
	}
	return *next - uint32(value), value <= uint64(*next)
}

// columnWriter makes columns. Its memory is used again and again.
type columnWriter struct {
	template, family, address                     column
	workload, peer, tls, flags, first, age, fault column
	connections, failed, denied, sent, received   column
	errors                                        []string
}

// column is one that is being written.
type column struct {
	data  []byte
	zeros bool // nothing else so far
}

func (c *column) reset() { c.data, c.zeros = c.data[:0], true }

func (c *column) add(v uint64) {
	c.zeros = c.zeros && v == 0
	c.data = binary.AppendUvarint(c.data, v)
}

func (c *column) bytes() []byte {
	if c.zeros {
		return nil
	}
	return c.data
}

// write makes columns of peers, without what is in their templates, and of records that are before the end of their batch. They are valid until the next
// call.
func (w *columnWriter) write(peers []builtPeer, records []record) columns {
	for _, c := range []*column{
		&w.template, &w.family, &w.address, &w.workload, &w.peer, &w.tls, &w.flags, &w.first, &w.age, &w.fault, &w.connections, &w.failed, &w.denied, &w.sent, &w.received,
	} {
		c.reset()
	}
	w.errors = w.errors[:0]
	var next uint32
	for i := range peers {
		p := &peers[i]
		w.template.add(place(p.template, &next))
		switch {
		case p.address.Is4():
			a := p.address.As4()
			w.family.add(4)
			w.address.data = append(w.address.data, a[:]...)
		case p.address.IsValid():
			a := p.address.As16()
			w.family.add(6)
			w.address.data = append(w.address.data, a[:]...)
		default:
			w.family.add(0)
		}
	}
	next = 0
	for i := range records {
		r := &records[i]
		w.workload.add(uint64(r.Workload))
		w.peer.add(place(r.Peer, &next))
		w.tls.add(uint64(r.TLS))
		w.flags.add(r.flags())
		w.first.add(uint64(r.First / unit))
		w.age.add(uint64(r.Age / unit))
		w.connections.add(r.Counts.Connections)
		w.failed.add(r.Counts.Failed)
		w.denied.add(r.Counts.Denied)
		w.sent.add(r.Counts.BytesSent)
		w.received.add(r.Counts.BytesReceived)
		w.fault.add(w.error(r.Error))
	}
	return columns{
		Peers: uint32(len(peers)), Template: w.template.bytes(), Family: w.family.bytes(), Address: w.address.data,
		Records: uint32(len(records)), Workload: w.workload.bytes(), Peer: w.peer.bytes(), TLS: w.tls.bytes(), Flags: w.flags.bytes(), First: w.first.bytes(), Age: w.age.bytes(),
		Connections: w.connections.bytes(), Failed: w.failed.bytes(), Denied: w.denied.bytes(), Sent: w.sent.bytes(), Received: w.received.bytes(),
		Error: w.fault.bytes(), Errors: w.errors,
	}
}

// error gives the place of a text, of which there are a handful.
func (w *columnWriter) error(text string) uint64 {
	if text == "" {
		return 0
	}
	for i, known := range w.errors {
		if known == text {
			return uint64(i) + 1
		}
	}
	w.errors = append(w.errors, text)
	return uint64(len(w.errors))
}

func (r *record) flags() (f uint64) {
	if r.Inbound {
		f |= flagInbound
	}
	if r.UDP {
		f |= flagUDP
	}
	return f
}

// columnReader reads a column. Whether all went well is asked at the end.
type columnReader struct {
	data []byte
	left bool // it was left out: zeros
	bad  bool
}

func readColumn(data []byte) columnReader { return columnReader{data: data, left: len(data) == 0} }

func (c *columnReader) next() uint64 {
	if c.left {
		return 0
	}
	if len(c.data) > 0 && c.data[0] < 0x80 { // nearly always
		v := c.data[0]
		c.data = c.data[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(c.data)
	if n <= 0 {
		c.bad = true
		return 0
	}
	c.data = c.data[n:]
	return v
}

// number is next for what must fit in 32 bits, as all indices do.
func (c *columnReader) number() uint32 {
	v := c.next()
	c.bad = c.bad || v > 1<<32-1
	return uint32(v)
}

// time is next for what is in units of time.
func (c *columnReader) time() int64 {
	v := c.next()
	if v > uint64(latest.UnixNano()/unit) {
		c.bad = true
		return 0
	}
	return int64(v) * unit
}

func checkColumns(columns ...*columnReader) error {
	for _, c := range columns {
		if c.bad || len(c.data) > 0 {
			return errors.New("a column is not as long as it should be, or holds what it cannot")
		}
	}
	return nil
}

// peers gives the peers that templates and columns stand for.
func (c *columns) peers(templates []Peer) ([]Peer, error) {
	if c.Peers > maxTable {
		return nil, fmt.Errorf("more than %d peers", maxTable)
	}
	template, family, address := readColumn(c.Template), readColumn(c.Family), c.Address
	peers := make([]Peer, c.Peers)
	var next uint32
	for i := range peers {
		t, ok := placed(template.next(), &next)
		if !ok || int64(t) >= int64(len(templates)) {
			return nil, fmt.Errorf("peer %d has no template", i)
		}
		p := &peers[i]
		*p = templates[t]
		size := 0
		switch family.next() {
		case 0:
		case 4:
			size = 4
		case 6:
			size = 16
		default:
			return nil, fmt.Errorf("peer %d has an address of no known family", i)
		}
		if size == 0 {
			continue
		}
		if len(address) < size {
			return nil, fmt.Errorf("the address of peer %d is missing", i)
		}
		p.Address, _ = netip.AddrFromSlice(address[:size])
		address = address[size:]
	}
	if len(address) > 0 {
		return nil, errors.New("there are more addresses than peers")
	}
	return peers, checkColumns(&template, &family)
}

// records gives the records that columns stand for. What they refer to is not checked here.
func (c *columns) records() ([]record, error) {
	if c.Records > maxTable {
		return nil, fmt.Errorf("more than %d records", maxTable)
	}
	workload, peer, tls, flags, first, age := readColumn(c.Workload), readColumn(c.Peer), readColumn(c.TLS), readColumn(c.Flags), readColumn(c.First), readColumn(c.Age)
	connections, failed, denied, sent, received := readColumn(c.Connections), readColumn(c.Failed), readColumn(c.Denied), readColumn(c.Sent), readColumn(c.Received)
	fault := readColumn(c.Error)
	records := make([]record, c.Records)
	var next uint32
	for i := range records {
		r := &records[i]
		r.Workload, r.TLS = workload.number(), tls.number()
		var ok bool
		if r.Peer, ok = placed(peer.next(), &next); !ok {
			return nil, fmt.Errorf("record %d refers to no peer", i)
		}
		f := flags.next()
		r.Inbound, r.UDP = f&flagInbound != 0, f&flagUDP != 0
		r.First, r.Age = first.time(), age.time()
		r.Counts = Counts{connections.next(), failed.next(), denied.next(), sent.next(), received.next()}
		if e := fault.next(); e > 0 {
			if e > uint64(len(c.Errors)) {
				return nil, fmt.Errorf("record %d refers to no error", i)
			}
			r.Error = c.Errors[e-1]
		}
	}
	return records, checkColumns(&workload, &peer, &tls, &flags, &first, &age, &connections, &failed, &denied, &sent, &received, &fault)
}
