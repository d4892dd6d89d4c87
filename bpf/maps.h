/* The maps. Memory at the sizes below: about 29 MiB. */
#pragma once

#define EDGES 65536 /* at most 1 << 16: the index is 16 bits of an edge's number */
#define TAGS 65536
#define ASKING 1024

struct tag {
	__u64 sk;
	__u64 value; /* high: part of the hash, to tell a torn pair; low: number of the edge */
};

/* One direction of a TCP connection that has begun a TLS hello. Numbers of bytes are TCP's. */
#define HELLO_HEAD 11 /* of a record's first bytes, that tell a hello from all else */
struct hello_stream {
	__u32 begin;    /* of the hello */
	__u32 boundary; /* where the next record begins */
	__u32 end;      /* of the last record that was a handshake's */
	__u32 told;     /* bytes */
	__u32 message;  /* bytes that are missing of a handshake message */
	__u8 hello;     /* what comes next must be a hello */
	__u8 have;      /* bytes of the next record that came already: */
	__u8 head[2 * HELLO_HEAD];
};

/* Edges: key -> number, number -> counters and origin. User space maps both arrays and reads them without a system call. */
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, EDGES); __type(key, struct edge_key); __type(value, __u32); } numbers SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(map_flags, BPF_F_MMAPABLE); __uint(max_entries, EDGES); __type(key, __u32); __type(value, struct edge); } edges SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(map_flags, BPF_F_MMAPABLE); __uint(max_entries, EDGES); __type(key, __u32); __type(value, struct origin); } origins SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_QUEUE); __uint(max_entries, EDGES); __type(value, __u32); } unused SEC(".maps"); /* numbers to give out, filled by user space: 5.10 has no fetching atomics */
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 16384); __type(key, __u64); __type(value, __u32); } quota SEC(".maps"); /* cgroup -> edges made */

/* TCP: socket -> number of its edge. */
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, TAGS); __type(key, __u32); __type(value, struct tag); } tags SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(map_flags, BPF_F_NO_PREALLOC); __uint(max_entries, 262144); __type(key, __u64); __type(value, __u64); } tags_more SEC(".maps");

/* What a socket was asked for a moment ago, by its number or cookie. */
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, ASKING); __type(key, __u32); __type(value, struct asked); } asking SEC(".maps");

/* UDP: socket cookie -> peer and edge. Servers have none. */
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 32768); __type(key, __u64); __type(value, struct flow); } flows SEC(".maps");

/* TLS: socket cookie << 1 | out -> what was begun. */
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 16384); __type(key, __u64); __type(value, struct hello_stream); } hello_streams SEC(".maps");

/* Names and places: kept where they happen, read by user space when a new edge needs them. */
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 8192); __type(key, __u64); __type(value, struct executable); } executables SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 8192); __type(key, __u64); __type(value, struct cgroup_name); } cgroups SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 16384); __type(key, struct listener); __type(value, struct process); } listeners SEC(".maps"); /* TCP */
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 16384); __type(key, struct listener); __type(value, struct process); } udp_listeners SEC(".maps"); /* clients too: some bind a port for each question */
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, struct cgroup_name); } cgroup_scratch SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, struct executable); } executable_scratch SEC(".maps");

struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, COUNTERS); __type(key, __u32); __type(value, __u64); } counters SEC(".maps");

/* Three rings, so that a flood of answers or hellos cannot hide new edges. */
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); __type(value, __u32); } new_edges SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); __type(value, struct answer); } answers SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 21); __type(value, struct hello); } hellos SEC(".maps");

static __always_inline void count(__u32 cause)
{
	__u64 *v = bpf_map_lookup_elem(&counters, &cause);
	if (v)
		__sync_fetch_and_add(v, 1); /* a softirq may count here too */
}
