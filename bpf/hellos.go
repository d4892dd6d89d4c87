package bpf

import (
	"fmt"
	"iter"
	"net/netip"
	"time"
	"unsafe"
)

// A Hello is a part of a plain TLS hello as it stands in a TCP segment: of a ClientHello, a ServerHello, or a certificate message of TLS 1.2, with their
// record headers. Parts may come twice, overlapping or out of order. Other messages of the same records are with them.
type Hello struct {
	At       time.Duration  // monotonic
	Cookie   uint64         // of the socket
	Edge     Number         // of the socket's connection; 0 while not known
	Cgroup   uint64         // of the socket
	TGID     uint32         // of the process that sent it, where that is known; else 0
	Local    netip.AddrPort // of the socket; not valid where it is not known
	Remote   netip.AddrPort
	Out      bool   // sent by the socket's side, not received
	Sequence uint32 // of the first byte, as TCP counts
	Length   int    // of the payload, all of which is there
	Payload  []byte // 2048 bytes at most, valid until the next one
}

// Hellos gives the parts of TLS hellos that were sent and received since the last call, without waiting.
func (k *Kernel) Hellos() iter.Seq2[Hello, error] {
	const head = int(unsafe.Offsetof(ambitHello{}.Payload))
	return func(yield func(Hello, error) bool) {
		k.hellos.drain(func(sample []byte, err error) bool {
			if err == nil && len(sample) < head {
				err = fmt.Errorf("hello of %d bytes", len(sample))
			}
			if err != nil {
				return yield(Hello{}, err)
			}
			var h ambitHello // the sample may be shorter
			copy(unsafe.Slice((*byte)(unsafe.Pointer(&h)), head), sample)
			o, payload := &h.Origin, sample[head:]
			payload = payload[:min(int(h.Length), len(payload))]
			var local, remote netip.AddrPort
			if o.RemotePort != 0 {
				local, remote = netip.AddrPortFrom(addressOf(&o.Local), o.LocalPort), netip.AddrPortFrom(addressOf(&o.Remote), o.RemotePort)
			}
			return yield(Hello{
				At: time.Duration(o.At), Cookie: o.Cookie, Edge: Number(o.Edge), Cgroup: o.Cgroup, TGID: o.Tgid, Local: local, Remote: remote, Out: o.Out != 0,
				Sequence: o.Sequence, Length: int(h.Length), Payload: payload,
			}, nil)
		})
	}
}
