//go:build ignore

/* Whose certificates connections carry, read where programs handle them, for 5.10 and later with BTF. An object of its own: without it edges are
 * counted all the same. This file is the table of contents. */
#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>

char __license[] SEC("license") = "Dual BSD/GPL";

/* Configuration, set before loading. */
const volatile __u64 attached_as;   /* what the attach cookie says, for kernels that have none: there each target has programs of its own */
const volatile __u32 anchor_offset; /* where the first object's anchor stands in its data */

#include "kernel.h"        /* only the kernel fields that are read */
#include "preempt.h"       /* programs that keep their CPU */
#include "tls_registers.h" /* arguments and results of functions in user space */
#include "tls_event.h"     /* what crosses to Go */
#include "tls_maps.h"      /* the maps and the counters of losses */
#include "tls_record.h"    /* records to user space */
#include "tls_socket.h"    /* connections -> sockets and edges */
#include "tls_window.h"    /* which connection a thread is at work on */
#include "tls_openssl.h"   /* OpenSSL and what has its functions */
#include "tls_go.h"        /* Go's crypto/tls */
#include "tls_traffic.h"   /* what is sent and received meanwhile */
