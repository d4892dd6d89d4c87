package bpf

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

type hook struct {
	program string
	name    string // as the kernel calls it
	purpose string // what is blind without it, in words
	needed  bool
	attach  func(*ebpf.Program, Config) (link.Link, error) // nil for iterators, which are read once
	beside  ebpf.AttachType                                // attached only once another program is attached there
}

var hooks = []hook{
	{"cgroup_mkdir_name", "tp_btf/cgroup_mkdir", "names of cgroups that are gone before anyone looks", false, tracing, 0},
	{"exec_name", "tp_btf/sched_process_exec", "paths of executables that end before anyone looks", false, tracing, 0},
	{"tcp_state", "tp_btf/inet_sock_set_state", "TCP connections", true, tracing, 0},
	{"connect4", "cgroup/connect4", "executables behind connected UDP sockets, and services that a load balancer stands for (IPv4)", false, first(ebpf.AttachCGroupInet4Connect), 0},
	{"connect6", "cgroup/connect6", "executables behind connected UDP sockets, and services that a load balancer stands for (IPv6)", false, first(ebpf.AttachCGroupInet6Connect), 0},
	{"udp_sendmsg4", "cgroup/sendmsg4", "services that a load balancer turns unconnected UDP sockets away from (IPv4)", false, first(ebpf.AttachCGroupUDP4Sendmsg), ebpf.AttachCGroupUDP4Sendmsg},
	{"udp_sendmsg6", "cgroup/sendmsg6", "services that a load balancer turns unconnected UDP sockets away from (IPv6)", false, first(ebpf.AttachCGroupUDP6Sendmsg), ebpf.AttachCGroupUDP6Sendmsg},
	{"udp_bind4", "cgroup/post_bind4", "executables of UDP servers (IPv4)", false, cgroup(ebpf.AttachCGroupInet4PostBind), 0},
	{"udp_bind6", "cgroup/post_bind6", "executables of UDP servers (IPv6)", false, cgroup(ebpf.AttachCGroupInet6PostBind), 0},
	{"packet_in", "cgroup_skb/ingress", "inbound UDP, the DNS answers that name what is reached, and TLS hellos received", false, cgroup(ebpf.AttachCGroupInetIngress), 0},
	{"packet_out", "cgroup_skb/egress", "outbound UDP, and TLS hellos sent", false, cgroup(ebpf.AttachCGroupInetEgress), 0},
	{"running_tasks", "iter/task", "executables of processes older than the agent that end early", false, nil, 0},
	{"open_sockets", "iter/task_file", "connections that were open before the agent started", false, nil, 0},
}

func tracing(p *ebpf.Program, _ Config) (link.Link, error) {
	return link.AttachTracing(link.TracingOptions{Program: p})
}

func cgroup(at ebpf.AttachType) func(*ebpf.Program, Config) (link.Link, error) {
	return func(p *ebpf.Program, cfg Config) (link.Link, error) {
		return link.AttachCgroup(link.CgroupOptions{Path: cfg.CgroupRoot, Attach: at, Program: p})
	}
}

// first attaches before the programs of others where the kernel lets us: what they turn elsewhere is seen as it was asked for only then. Linux 6.15 and
// later take BPF_F_PREORDER, which puts us also before those of cgroups below. Elsewhere they run in the order in which they were attached.
func first(at ebpf.AttachType) func(*ebpf.Program, Config) (link.Link, error) {
	return func(p *ebpf.Program, cfg Config) (link.Link, error) {
		root, err := os.Open(cfg.CgroupRoot)
		if err != nil {
			return nil, err
		}
		defer root.Close()
		for _, flags := range []uint32{unix.BPF_F_PREORDER | unix.BPF_F_BEFORE, unix.BPF_F_PREORDER, unix.BPF_F_BEFORE} {
			l, err := link.AttachRawLink(link.RawLinkOptions{Target: int(root.Fd()), Program: p, Attach: at, Flags: flags})
			if err == nil {
				return l, nil
			}
		}
		return cgroup(at)(p, cfg)
	}
}

// others says whether anyone has attached a program to a hook of the root cgroup. If the kernel does not tell, somebody may have.
func others(at ebpf.AttachType, cfg Config) bool {
	root, err := os.Open(cfg.CgroupRoot)
	if err != nil {
		return true
	}
	defer root.Close()
	attached, err := link.QueryPrograms(link.QueryOptions{Target: int(root.Fd()), Attach: at})
	return err != nil || len(attached.Programs) > 0
}

// HookStatus says whether this kernel takes a hook.
type HookStatus struct {
	Name    string // as the kernel calls it, such as "tp_btf/inet_sock_set_state"
	Purpose string // what is blind without it
	Needed  bool   // without it the agent does not start
	Err     error  // why the kernel refused it; nil if it takes it
}

// Probe loads each program alone, attaches nothing, and says what the kernel answered. It needs the same privileges as [Load].
func Probe() []HookStatus {
	status := make([]HookStatus, len(hooks))
	memlock := rlimit.RemoveMemlock()
	spec, err := newSpec(Config{Hellos: true})
	for i, h := range hooks {
		status[i] = HookStatus{h.name, h.purpose, h.needed, errors.Join(err, memlock)}
		if status[i].Err == nil {
			status[i].Err = tryProgram(spec, h.program)
		}
	}
	return status
}

// dropRefused removes the programs that the kernel refuses one by one from spec. It is an error if one of them is needed, or if none is
// refused alone, in which case loadErr is about something else.
func dropRefused(spec *ebpf.CollectionSpec, loadErr error) ([]HookStatus, error) {
	var refused []HookStatus
	for _, h := range hooks {
		err := tryProgram(spec, h.program)
		if err == nil {
			continue
		}
		if h.needed {
			return nil, fmt.Errorf("load %s: %w", h.name, err)
		}
		refused = append(refused, HookStatus{h.name, h.purpose, h.needed, err})
	}
	if len(refused) == 0 {
		return nil, fmt.Errorf("load programs: %w", loadErr)
	}
	for _, r := range refused {
		for _, h := range hooks {
			if h.name == r.Name {
				delete(spec.Programs, h.program)
			}
		}
	}
	return refused, nil
}

// tryProgram loads one program with maps of one entry where their size does not matter to the verifier.
func tryProgram(spec *ebpf.CollectionSpec, program string) error {
	one := only(spec, program)
	for name, m := range one.Maps {
		if name != ".bss" && name != ".rodata" && m.Type != ebpf.RingBuf && m.Type != ebpf.PerCPUArray {
			m.MaxEntries = min(m.MaxEntries, 64)
		}
	}
	c, err := ebpf.NewCollection(one)
	if err != nil {
		return err
	}
	c.Close()
	return nil
}
