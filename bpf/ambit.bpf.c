//go:build ignore

/* Who reaches what, aggregated in the kernel, for 5.10 and later with BTF. This file is the table of contents. */
#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>

char __license[] SEC("license") = "Dual BSD/GPL";

/* Configuration, set before loading. */
const volatile __u32 edges_per_cgroup = 4096; /* one noisy workload cannot take all */
const volatile __u16 ephemeral_port = 32768;  /* first of ip_local_port_range */
const volatile __u8 hellos_wanted = 0;        /* TLS hellos are told */

__u64 tick;   /* monotonic clock, ns, written by the agent whenever it polls: reading the clock at each hit would cost 25 to 70 ns */
__u32 inventoried; /* sockets that are older than we are all have their tags by now, but for the kernel's own */
__u64 anchor; /* a kernel address that does not move */

#include "kernel.h"    /* only the kernel fields that are read */
#include "event.h"     /* what crosses to Go */
#include "maps.h"      /* the maps and the counters of losses */
#include "process.h"   /* executables, users, cgroup names */
#include "edge.h"      /* edges: key -> number -> counters */
#include "tag.h"       /* TCP sockets -> edges */
#include "dialled.h"   /* what was asked for, where another program or the network turns it elsewhere */
#include "tcp.h"       /* TCP connections */
#include "udp.h"       /* UDP flows */
#include "hello.h"     /* TLS hellos */
#include "packet.h"    /* UDP bytes, DNS answers */
#include "connect.h"   /* connect, of both */
#include "inventory.h" /* sockets that are older than we are */
