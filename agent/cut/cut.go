// Package cut ends TCP connections that are established, from outside of the programs that hold them: with SOCK_DESTROY, in the network namespace that they
// are in. Both ends notice at once.
package cut

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Socket is one end of a TCP connection.
type Socket struct {
	Cookie        uint64
	Cgroup        uint64 // that it was made in; 0 if the kernel does not tell
	Local, Remote netip.AddrPort
	Accepted      bool // somebody listens at its own port: the peer opened it
	id            [48]byte
	family, state uint8
}

// Swept is what a sweep did.
type Swept struct {
	Cut  int
	Left []Socket // that this kernel does not end
}

// ErrUnsupported says that this kernel does not tell of connections (CONFIG_INET_DIAG), so that none can be ended.
var ErrUnsupported = errors.New("the kernel does not tell of connections; load the module tcp_diag")

// ErrForbidden says that this process may not enter the network namespaces of others, so that nothing in them can be ended.
var ErrForbidden = errors.New("network namespaces of others cannot be entered without CAP_SYS_ADMIN")

// Namespaces opens the network namespaces that the processes of cgroups are in, each once, with those of this process. The caller closes them.
// Dirs are the cgroups' folders; those that are gone are left out.
func Namespaces(dirs []string) ([]*os.File, error) {
	seen := map[uint64]bool{}
	var open []*os.File
	add := func(pid string) error {
		f, err := os.Open(filepath.Join("/proc", pid, "ns/net"))
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil || seen[st.Ino] {
			return errors.Join(err, f.Close())
		}
		seen[st.Ino] = true
		open = append(open, f)
		return nil
	}
	if err := add("self"); err != nil {
		return nil, fmt.Errorf("open network namespaces: %w", err)
	}
	for _, dir := range dirs {
		procs, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(procs)) {
			_ = add(strings.TrimSpace(line)) // it ended
		}
	}
	return open, nil
}

// Sweep ends the connections of a network namespace that match, and those that are being opened.
func Sweep(namespace *os.File, match func(*Socket) bool) (s Swept, err error) {
	runtime.LockOSThread()
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return s, fmt.Errorf("open the own network namespace: %w", err)
	}
	defer own.Close()
	if same, err := sameFile(own, namespace); err != nil || same { // to enter it would take CAP_SYS_ADMIN all the same
		runtime.UnlockOSThread()
		if err != nil {
			return s, fmt.Errorf("tell network namespaces apart: %w", err)
		}
		return sweep(match)
	}
	if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		if errors.Is(err, unix.EPERM) {
			return s, ErrForbidden
		}
		return s, fmt.Errorf("enter network namespace: %w", err)
	}
	defer func() {
		if back := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); back != nil {
			err = errors.Join(err, fmt.Errorf("leave network namespace: %w", back))
			return // the thread stays locked, and ends with its goroutine: nobody else comes to run there
		}
		runtime.UnlockOSThread()
	}()
	return sweep(match)
}

func sameFile(a, b *os.File) (bool, error) {
	x, err := a.Stat()
	if err != nil {
		return false, err
	}
	y, err := b.Stat()
	return err == nil && os.SameFile(x, y), err
}

func sweep(match func(*Socket) bool) (s Swept, err error) {
	var all []Socket
	listening := map[uint16]bool{}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		found, err := list(family, listening)
		if err != nil {
			return s, err
		}
		all = append(all, found...)
	}
	low := ephemeral()
	for i := range all {
		k := &all[i]
		k.Accepted = listening[k.Local.Port()] || k.Local.Port() < low && k.Remote.Port() >= low // a server that takes no more
		if !match(k) {
			continue
		}
		switch err := destroy(k); {
		case err == nil:
			s.Cut++
		case errors.Is(err, unix.ENOENT): // it has ended
		case errors.Is(err, unix.EOPNOTSUPP):
			s.Left = append(s.Left, *k)
		default:
			return s, fmt.Errorf("end a connection: %w", err)
		}
	}
	return s, nil
}

// ephemeral is the first port that the kernel chooses for those who do not care, in this thread's network namespace.
func ephemeral() uint16 {
	var low uint16
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return 32768
	}
	if _, err := fmt.Sscan(string(text), &low); err != nil || low == 0 {
		return 32768
	}
	return low
}

// What the kernel's inet_diag.h has.
const (
	sockDiagByFamily = 20
	sockDestroy      = 21
	diagCgroup       = 21 // INET_DIAG_CGROUP_ID, from 5.9 on
	requestBytes     = 56
	messageBytes     = 72
	// Neither TIME_WAIT nor CLOSE.
	states = 1<<1 | 1<<2 | 1<<3 | 1<<4 | 1<<5 | 1<<8 | 1<<9 | 1<<10 | 1<<11
	listen = 10
)

type request struct {
	family, protocol uint8
	states           uint32
	id               [48]byte
}

func (*request) Len() int { return requestBytes }

func (r *request) Serialize() []byte {
	b := make([]byte, requestBytes)
	b[0], b[1] = r.family, r.protocol
	binary.NativeEndian.PutUint32(b[4:], r.states)
	copy(b[8:], r.id[:])
	return b
}

func list(family uint8, listening map[uint16]bool) ([]Socket, error) {
	all, err := dump(family, states)
	if err != nil {
		return nil, err
	}
	open := all[:0]
	for _, s := range all {
		if s.state == listen {
			listening[s.Local.Port()] = true
		} else {
			open = append(open, s)
		}
	}
	return open, nil
}

func dump(family uint8, states uint32) ([]Socket, error) {
	q := nl.NewNetlinkRequest(sockDiagByFamily, unix.NLM_F_DUMP)
	q.AddData(&request{family: family, protocol: unix.IPPROTO_TCP, states: states})
	messages, err := q.Execute(unix.NETLINK_INET_DIAG, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EPROTONOSUPPORT) {
		return nil, fmt.Errorf("list connections: %w", ErrUnsupported)
	}
	if err != nil {
		return nil, fmt.Errorf("list connections: %w", err)
	}
	var out []Socket
	for _, m := range messages {
		if len(m) < messageBytes {
			return nil, fmt.Errorf("list connections: a message of %d bytes", len(m))
		}
		s := Socket{family: m[0], state: m[1]}
		copy(s.id[:], m[4:52])
		s.Local, s.Remote = end(m[0], s.id[4:20], s.id[0:2]), end(m[0], s.id[20:36], s.id[2:4])
		s.Cookie = uint64(binary.NativeEndian.Uint32(s.id[40:])) | uint64(binary.NativeEndian.Uint32(s.id[44:]))<<32
		attributes, err := nl.ParseRouteAttr(m[messageBytes:])
		if err != nil {
			return nil, fmt.Errorf("list connections: %w", err)
		}
		for _, a := range attributes {
			if a.Attr.Type == diagCgroup && len(a.Value) >= 8 {
				s.Cgroup = binary.NativeEndian.Uint64(a.Value)
			}
		}
		out = append(out, s)
	}
	return out, nil
}

// OwnCgroup gives the cgroup that this process makes sockets in, as the kernel numbers it: its path says nothing in a cgroup namespace.
func OwnCgroup() (uint64, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("look for the own cgroup: %w", err)
	}
	defer unix.Close(fd)
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, 1)); err != nil {
		return 0, fmt.Errorf("look for the own cgroup: %w", err)
	}
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		return 0, fmt.Errorf("look for the own cgroup: %w", err)
	}
	all, err := dump(unix.AF_INET, 1<<listen)
	if err != nil {
		return 0, err
	}
	for _, s := range all {
		if s.Cookie == cookie && s.Cgroup != 0 {
			return s.Cgroup, nil
		}
	}
	return 0, fmt.Errorf("look for the own cgroup: %w", ErrUnsupported)
}

func end(family uint8, address, port []byte) netip.AddrPort {
	a := netip.AddrFrom4([4]byte(address))
	if family == unix.AF_INET6 {
		a = netip.AddrFrom16([16]byte(address)).Unmap()
	}
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(port))
}

func destroy(s *Socket) error {
	q := nl.NewNetlinkRequest(sockDestroy, unix.NLM_F_ACK)
	q.AddData(&request{family: s.family, protocol: unix.IPPROTO_TCP, states: states, id: s.id})
	_, err := q.Execute(unix.NETLINK_INET_DIAG, 0)
	return err
}
