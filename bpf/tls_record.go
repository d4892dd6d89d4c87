package bpf

import (
	"fmt"
	"iter"
	"net/netip"
	"time"
	"unsafe"
)

// TLSKind says what a TLSRecord tells.
type TLSKind uint8

// What is told of TLS connections.
const (
	RecordBound           = TLSKind(tlsKindBOUND)            // the connection's socket is known, or more of it; the last one before RecordDone counts
	RecordPeerCertificate = TLSKind(tlsKindPEER_CERTIFICATE) // DER
	RecordOwnCertificate  = TLSKind(tlsKindOWN_CERTIFICATE)  // DER
	RecordSession         = TLSKind(tlsKindSESSION)          // a server takes up an old session; DER of its client's certificate, empty if it had none
	RecordRandom          = TLSKind(tlsKindRANDOM)           // the random of the hello that this side sends; Client says that it is a ClientHello
	RecordVerified        = TLSKind(tlsKindVERIFIED)         // the program judged the peer's chain; what its callback forgave counts as a fault
	RecordALPN            = TLSKind(tlsKindALPN)             // the protocol that was agreed on
	RecordDone            = TLSKind(tlsKindDONE)             // OK: the handshake is complete; else it failed, or waits for its peer
	RecordFreed           = TLSKind(tlsKindFREED)            // what comes of the connection's address is about another
	RecordGoDone          = TLSKind(tlsKindGO_DONE)          // a Go handshake returned; payload: ALPN, a zero byte, server name
)

// String is the kind's name, for logs and tests.
func (k TLSKind) String() string {
	if int(k) < len(tlsKindNames) && tlsKindNames[k] != "" {
		return tlsKindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

var tlsKindNames = [...]string{
	RecordBound: "bound", RecordPeerCertificate: "peer certificate", RecordOwnCertificate: "own certificate", RecordSession: "session",
	RecordRandom: "random", RecordVerified: "verified", RecordALPN: "ALPN", RecordDone: "done", RecordFreed: "freed", RecordGoDone: "Go done",
}

// TLSRecord is what the kernel side tells of a TLS connection.
type TLSRecord struct {
	Kind          TLSKind
	At            time.Duration  // monotonic
	Target        uint32         // by which the program is watched
	TGID, TID     uint32         // of the process and its thread
	Cgroup        uint64         // of the process
	Connection    uint64         // address of SSL or tls.Conn in the process, which may be given to another after RecordFreed
	Cookie        uint64         // of the socket; 0 while not known
	Edge          Number         // of the socket's connection; 0 while not known
	Local, Remote netip.AddrPort // of the socket; not valid while not known
	Client        bool           // RecordGoDone, RecordRandom
	Version       uint16         // RecordGoDone: 0x0304 is TLS 1.3
	Resumed       bool           // RecordGoDone
	Verified      bool           // RecordGoDone, RecordVerified: the program's own rules hold
	OK            bool           // RecordGoDone, RecordDone
	Index         uint32         // of a certificate in its chain, 0 is the leaf
	Length        int            // of the payload before it was cut to 4096 bytes
	Payload       []byte         // valid until the next record
}

// Records gives what was told since the last call, without waiting.
func (t *TLS) Records() iter.Seq2[TLSRecord, error] {
	return func(yield func(TLSRecord, error) bool) {
		t.records.drain(func(sample []byte, err error) bool {
			var r TLSRecord
			if err == nil {
				r, err = decodeTLSRecord(sample)
			}
			return yield(r, err)
		})
	}
}

func decodeTLSRecord(b []byte) (TLSRecord, error) {
	const client, resumed, verified, ok = 1, 2, 4, 8
	var head tlsRecord
	size := int(unsafe.Sizeof(head))
	if len(b) < size {
		return TLSRecord{}, fmt.Errorf("TLS record of %d bytes", len(b))
	}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&head)), size), b)
	r := TLSRecord{
		Kind: TLSKind(head.Kind), At: time.Duration(head.At), Target: head.Target, TGID: head.Tgid, TID: head.Tid, Cgroup: head.Cgroup,
		Connection: head.Connection, Cookie: head.Ends.Cookie, Edge: Number(head.Ends.Edge), Client: head.Flags&client != 0,
		Version: head.Version, Resumed: head.Flags&resumed != 0, Verified: head.Flags&verified != 0, OK: head.Flags&ok != 0, Index: head.Index,
		Length: int(head.Length), Payload: b[size : size+min(int(head.Length), len(b)-size)],
	}
	if head.Ends.RemotePort != 0 {
		r.Local = netip.AddrPortFrom(addressOf(&head.Ends.Local), head.Ends.LocalPort)
		r.Remote = netip.AddrPortFrom(addressOf(&head.Ends.Remote), head.Ends.RemotePort)
	}
	return r, nil
}
