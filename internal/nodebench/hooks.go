package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/ambit-nhi/ambit/agent/workload"
)

// hooks are programs that do nothing where Ambit's are called in these loops: what the kernel takes for calling anybody there, which no program of ours can
// save as long as it has that hook.
type hooks struct {
	name     string
	packets  bool // only those that see each packet
	programs []*ebpf.Program
	links    []link.Link
}

func (h *hooks) String() string { return h.name }

func (h *hooks) start(context.Context) error {
	mount, err := workload.FindMount()
	if err != nil {
		return err
	}
	for _, at := range []struct {
		kind   ebpf.ProgramType
		attach ebpf.AttachType
		to     string // a tracepoint
		packet bool
	}{
		{ebpf.CGroupSKB, ebpf.AttachCGroupInetIngress, "", true},
		{ebpf.CGroupSKB, ebpf.AttachCGroupInetEgress, "", true},
		{ebpf.CGroupSockAddr, ebpf.AttachCGroupInet4Connect, "", false},
		{ebpf.Tracing, ebpf.AttachTraceRawTp, "inet_sock_set_state", false},
		{ebpf.Tracing, ebpf.AttachTraceRawTp, "sock_send_length", false},
		{ebpf.Tracing, ebpf.AttachTraceRawTp, "sock_recv_length", false},
	} {
		if h.packets && !at.packet {
			continue
		}
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Type: at.kind, AttachType: at.attach, AttachTo: at.to, License: "Dual BSD/GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()},
		})
		if errors.Is(err, ebpf.ErrNotSupported) && at.to != "" { // sends and receives: since Linux 6.3
			continue
		}
		if err != nil {
			return errors.Join(fmt.Errorf("load an empty program for %v %s: %w", at.attach, at.to, err), h.stop())
		}
		h.programs = append(h.programs, p)
		var l link.Link
		if at.to == "" {
			l, err = link.AttachCgroup(link.CgroupOptions{Path: mount.Path, Attach: at.attach, Program: p})
		} else {
			l, err = link.AttachTracing(link.TracingOptions{Program: p})
		}
		if err != nil {
			return errors.Join(fmt.Errorf("attach an empty program to %v %s: %w", at.attach, at.to, err), h.stop())
		}
		h.links = append(h.links, l)
	}
	return nil
}

func (h *hooks) stop() error {
	var errs []error
	for _, l := range h.links {
		errs = append(errs, l.Close())
	}
	for _, p := range h.programs {
		errs = append(errs, p.Close())
	}
	h.links, h.programs = nil, nil
	return errors.Join(errs...)
}
