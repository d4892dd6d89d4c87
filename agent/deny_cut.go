package agent

import (
	"errors"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/agent/cut"
	"github.com/ambit-nhi/ambit/agent/enforce"
)

// sweep ends the established connections that are refused by now.
func (d *denier) sweep() {
	if d.broken {
		return
	}
	dirs := []string{}
	for id := range d.engine.Named() {
		if path, ok := d.cgroups[id]; ok {
			dirs = append(dirs, filepath.Join(d.root, path))
		}
	}
	err := d.sweepIn(dirs, func(s *cut.Socket, now time.Duration) (uint32, bool) {
		return d.engine.Refuses(connectionOf(s), now)
	})
	if lacking := errors.Is(err, cut.ErrUnsupported) || errors.Is(err, cut.ErrForbidden); err == nil || lacking {
		if lacking == d.dropping {
			return
		}
		if d.dropping = lacking; lacking {
			slog.Warn("established connections that are denied are cut by dropping their packets", "reason", firstLine(err))
		}
		err = d.kernel.DropEstablished(lacking)
	}
	if err != nil {
		slog.Warn("cannot cut all connections that are denied", "error", err)
	}
}

func connectionOf(s *cut.Socket) enforce.Connection {
	c := enforce.Connection{Cgroup: s.Cgroup, Inbound: s.Accepted, Peer: s.Remote.Addr(), Port: s.Remote.Port(), Protocol: unix.IPPROTO_TCP}
	if s.Accepted {
		c.Port = s.Local.Port()
	}
	return c
}

func (d *denier) sweepIn(dirs []string, refuses func(*cut.Socket, time.Duration) (uint32, bool)) error {
	if len(dirs) == 0 {
		return nil
	}
	at, err := d.moment()
	if err != nil {
		return err
	}
	namespaces, err := cut.Namespaces(dirs)
	if err != nil {
		return err
	}
	var errs []error
	by := map[uint64]uint32{} // slots of the decisions, by socket
	for _, n := range namespaces {
		swept, err := cut.Sweep(n, func(s *cut.Socket) bool {
			slot, yes := refuses(s, at.Boot)
			if yes {
				by[s.Cookie] = slot
				if t := d.tallies[slot]; t != nil {
					t.cut++
					t.lastCut = at.Wall
				}
			}
			return yes
		})
		errs = append(errs, err, n.Close())
		for _, s := range swept.Left { // their packets, at least
			for _, h := range d.engine.All() {
				if h.Slot == by[s.Cookie] {
					errs = append(errs, d.kernel.CutPackets(s.Cookie, h.Deadline))
				}
			}
		}
	}
	return errors.Join(errs...)
}

// cutPeer ends the connections of a workload to where a handshake has shown a denied peer. New ones to the same address may lead to others, and may begin.
func (d *denier) cutPeer(m meeting) error {
	at, err := d.moment()
	if err != nil || d.broken {
		return err
	}
	h, yes := d.engine.RefusesPeer(m.own, m.peer, m.connection, at.Boot)
	path, known := d.cgroups[m.connection.Cgroup]
	if !yes || !known {
		return nil
	}
	want := m.connection
	if !slices.ContainsFunc(d.Workloads(), func(w enforce.Workload) bool { return w.Cgroup == want.Cgroup && !w.Own && !w.Shared }) {
		return nil // as the rules: neither Ambit itself, nor who cannot be told apart
	}
	return d.sweepIn([]string{filepath.Join(d.root, path)}, func(s *cut.Socket, _ time.Duration) (uint32, bool) {
		return h.Slot, connectionOf(s) == want
	})
}

// peerAddress is an address as sockets have it.
func peerAddress(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }
