package bpf

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"testing"
)

// A seen is what was told of one connection, until its address was given away.
type seen struct {
	address    uint64
	tgid       uint32
	bound      TLSRecord
	peers      [][]byte
	own        []byte
	session    []byte
	resumed    bool
	random     []byte
	client     bool
	alpn       string
	done       bool
	verified   bool
	freed      bool
	alsoTarget map[uint32]bool
}

// fold puts records together by connection.
type fold struct {
	open map[[2]uint64]*seen
	all  []*seen
}

// take reads what was told of a process: others use the library, too.
func (f *fold) take(t testing.TB, tls *TLS, tgid uint32) {
	t.Helper()
	takeAll(t, tls, map[uint32]*fold{tgid: f})
}

func takeAll(t testing.TB, tls *TLS, of map[uint32]*fold) {
	t.Helper()
	for r, err := range tls.Records() {
		if err != nil {
			t.Fatal(err)
		}
		f := of[r.TGID]
		if f == nil {
			continue
		}
		if os.Getenv("AMBIT_TEST_RECORDS") != "" {
			t.Logf("%v %d/%d %x %v edge %d cookie %d %v->%v ok %v verified %v index %d length %d", r.Kind, r.TGID, r.TID, r.Connection, r.Target, r.Edge, r.Cookie, r.Local, r.Remote, r.OK, r.Verified, r.Index, r.Length)
		}
		key := [2]uint64{uint64(r.TGID), r.Connection}
		s := f.open[key]
		if s == nil {
			if f.open == nil {
				f.open = map[[2]uint64]*seen{}
			}
			s = &seen{address: r.Connection, tgid: r.TGID, alsoTarget: map[uint32]bool{}}
			f.open[key] = s
			f.all = append(f.all, s)
		}
		s.alsoTarget[r.Target] = true
		switch r.Kind {
		case RecordBound:
			s.bound = r
			s.bound.Payload = nil
		case RecordPeerCertificate:
			if int(r.Index) != len(s.peers) {
				t.Errorf("peer certificate %d comes as number %d", r.Index, len(s.peers))
			}
			s.peers = append(s.peers, bytes.Clone(r.Payload))
		case RecordOwnCertificate:
			s.own = bytes.Clone(r.Payload)
		case RecordSession:
			s.resumed, s.session = true, bytes.Clone(r.Payload)
		case RecordRandom:
			s.random, s.client = bytes.Clone(r.Payload), r.Client
		case RecordALPN:
			s.alpn = string(r.Payload)
		case RecordVerified:
			s.verified = r.Verified
		case RecordDone:
			s.done = s.done || r.OK
		case RecordFreed:
			s.freed = true
			delete(f.open, key)
		}
	}
}

func fingerprint(der []byte) string {
	if der == nil {
		return ""
	}
	h := sha256.Sum256(der)
	return hex.EncodeToString(h[:])
}

func noTLSLosses(t *testing.T, tls *TLS) {
	t.Helper()
	losses, err := tls.Losses()
	if err != nil {
		t.Fatal(err)
	}
	for cause, n := range losses {
		if n != 0 {
			t.Errorf("%s: %d", cause, n)
		}
	}
}
