/* The maps of TLS. Memory at the sizes below: about 12 MiB. */
#pragma once

#define THREADS 16384 /* a power of two */

/* As the first object has it. */
struct tag {
	__u64 sk;
	__u64 value; /* low half: number of the edge */
};

struct connection_key {
	__u64 tgid;
	__u64 connection;
};

/* What is known of a connection: an SSL or a tls.Conn. */
struct connection {
	struct ends ends;
	__u64 socket; /* the struct sock's address as a number */
	__u64 born;   /* start of the process: tells whether the numbers were given again */
	__u32 target;
	__u8 news;    /* something of a handshake was told that is not done */
	__u8 done;
	__u8 alpn;    /* was told */
	__u8 sockets; /* how often it was bound */
	__u8 certified; /* certificates were told, or a session */
	__u8 peers;     /* certificates of the peer were told that were not judged yet */
	__u8 unused[2];
};

enum verdict { UNJUDGED, REFUSED, ACCEPTED };

#define WINDOWS 4 /* within one another; a power of two */

/* A call that works on a connection, until it returns. */
struct frame {
	__u64 connection;
	__u64 stack; /* where it was called: the same when it returns */
	__u64 settled; /* the socket that it is bound to, with nothing left to be told of it */
	__u64 base;  /* where offset 0 of the target's file would be, for the segment with its code */
	__u64 out;   /* where the own certificate is being written */
	__u64 out_stack;
	__u64 store; /* X509_STORE_CTX by which the peer's chain is being judged */
	__u64 store_stack;
	__u32 target;
	__u8 peers; /* certificates told */
	__u8 owns;
	__u8 hello; /* told, by its type */
	__u8 verdict; /* on the peer's chain; enum verdict */
};

struct window {
	__u64 born; /* start of the thread */
	__u64 depth;
	struct frame frames[WINDOWS];
};

/* A call that gives its answer by pointers. */
struct call {
	__u64 connection;
	__u64 data, length;
	__u64 stack;
};

/* What a thread is at work on, and what is known of each connection. Both forget the oldest: processes may end anywhere. */
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 8192); __type(key, __u64); __type(value, struct window); } windows SEC(".maps"); /* by tgid and tid */
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 16384); __type(key, struct connection_key); __type(value, struct connection); } connections SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 4096); __type(key, __u64); __type(value, struct call); } calls SEC(".maps"); /* by tgid and tid */

/* Targets, by their numbers. User space fills these before it attaches. */
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(map_flags, BPF_F_NO_PREALLOC); __uint(max_entries, 4096); __type(key, __u32); __type(value, struct target); } targets SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(map_flags, BPF_F_NO_PREALLOC); __uint(max_entries, 4096); __type(key, __u32); __type(value, struct go_layout); } go_layouts SEC(".maps");

/* Of the first object, put here when both are loaded. The size of its data is known only then. */
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 65536); __type(key, __u32); __type(value, struct tag); } tags SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(map_flags, BPF_F_NO_PREALLOC); __uint(max_entries, 262144); __type(key, __u64); __type(value, __u64); } tags_more SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(map_flags, BPF_F_MMAPABLE); __uint(max_entries, 1); __type(key, __u32); __type(value, __u64); } edge_data SEC(".maps");

struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, LOSSES); __type(key, __u32); __type(value, __u64); } losses SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 22); } records SEC(".maps");

static __always_inline void lost(__u32 cause)
{
	__u64 *v = bpf_map_lookup_elem(&losses, &cause);
	if (v)
		__sync_fetch_and_add(v, 1);
}
