//go:build ignore

/* What identities may not reach, refused in the kernel, for 5.10 and later with BTF. An object of its own: its maps and links are pinned, and go on while
 * nobody watches. This file is the table of contents. */
#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>

char __license[] SEC("license") = "Dual BSD/GPL";

#include "kernel.h"      /* only the kernel fields that are read */
#include "deny_maps.h"   /* who may not reach what */
#include "deny.h"        /* whether somebody may reach something */
#include "deny_socket.h" /* connect, sendmsg */
#include "deny_packet.h" /* packets, both ways */
#include "deny_cgroup.h" /* cgroups that are made below others */
