package feed

import (
	"encoding/binary"
	"errors"
	"hash/fnv"
	"slices"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/lru"
)

// maxLedger bounds how many findings a feed remembers that it has told. One that it forgot is created again, with the same uid.
const maxLedger = 65_536

// ledger is what a feed has told of each finding.
type ledger struct {
	told *lru.Cache[uint64, entry]
}

// entry packs the severity and the status that were told last: status in the high four bits, severity in the low ones.
type entry uint8

func newLedger() *ledger { return &ledger{lru.New[uint64, entry](maxLedger)} }

var statusOrder = []event.Status{event.StatusNew, event.StatusAcknowledged, event.StatusSuppressed, event.StatusResolved}

func entryOf(severity event.Severity, status event.Status) entry {
	return entry(max(slices.Index(statusOrder, status), 0)<<4 | max(slices.Index(severityOrder, severity), 0))
}

func (e entry) severity() event.Severity { return severityOrder[min(int(e&0xf), len(severityOrder)-1)] }
func (e entry) status() event.Status     { return statusOrder[min(int(e>>4), len(statusOrder)-1)] }

// closed says that the end was told.
func (e entry) closed() bool {
	return e.status() == event.StatusSuppressed || e.status() == event.StatusResolved
}

func ledgerKey(uid string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(uid))
	return h.Sum64()
}

// next says what is to be told of a finding after what was told, "" for nothing. updates is as in Config.
func next(before *entry, after entry, updates string) Life {
	changed := before != nil && *before != after
	switch {
	case before == nil && after.closed():
		return ""
	case before == nil:
		return Create
	case after.closed() && (!before.closed() || before.status() != after.status()):
		return Close
	case after.closed():
		return ""
	case before.closed(): // it goes on after its end
		return Update
	case updates == "all", updates == "changes" && changed:
		return Update
	}
	return ""
}

const ledgerVersion = 1

var errLedger = errors.New("the ledger cannot be read")

// encode writes the ledger as it is after a message of the stream.
func (l *ledger) encode(sequence uint64) []byte {
	out := make([]byte, 0, 9+9*l.told.Len())
	out = append(out, ledgerVersion)
	out = binary.LittleEndian.AppendUint64(out, sequence)
	type pair struct {
		key uint64
		e   entry
	}
	var list []pair
	for key, e := range l.told.All() {
		list = append(list, pair{key, *e})
	}
	for _, p := range slices.Backward(list) { // the oldest first, as they are put in again
		out = binary.LittleEndian.AppendUint64(out, p.key)
		out = append(out, byte(p.e))
	}
	return out
}

// decodeLedger reads what encode wrote.
func decodeLedger(data []byte) (*ledger, uint64, error) {
	if len(data) < 9 || data[0] != ledgerVersion || (len(data)-9)%9 != 0 || (len(data)-9)/9 > maxLedger {
		return nil, 0, errLedger
	}
	l := newLedger()
	for rest := data[9:]; len(rest) > 0; rest = rest[9:] {
		l.told.Put(binary.LittleEndian.Uint64(rest), entry(rest[8]))
	}
	return l, binary.LittleEndian.Uint64(data[1:]), nil
}
