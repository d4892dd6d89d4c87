/* Who may not reach what. User space writes all of it but the counts; it is small until something is denied. */
#pragma once

#define DENY_SORTS 16       /* sorts of rules that one subject may have, each way */
#define DENY_SUBJECTS 2048  /* the first is the floor: what is never refused */
#define DENY_DECISIONS 16384
#define DENY_CGROUPS 16384
#define DENY_RULES 262144
#define DENY_CUTS 16384

enum { DENY_ENFORCE, DENY_DRY_RUN, DENY_MODES };

/* Written as a whole. */
struct deny_control {
	__u32 armed;       /* 0: nothing is looked at */
	__u32 cuts;        /* some connections are cut by their packets */
	__u32 established; /* all are that rules are against: this kernel does not end them */
	__u32 unused;
};

/* What rules of one sort have in common: which bits of the address count, and whether port and protocol do. */
struct deny_sort {
	__u64 mask[2];
	__u16 port;     /* all bits, or none */
	__u8 protocol;  /* likewise */
	__u8 used;
	__u32 unused;
};

/* Somebody whom rules are for: an identity on this node. */
struct deny_subject {
	struct deny_sort sorts[2][DENY_SORTS]; /* outbound, inbound */
};

/* What is refused. What does not count in its sort is zero. */
struct deny_rule_key {
	__u64 address[2]; /* of the peer, IPv4 as ::ffff:a.b.c.d, network order */
	__u32 subject;
	__u16 port;       /* of the service, host order: the peer's outbound, our own inbound */
	__u8 protocol;    /* IPPROTO_* */
	__u8 inbound;
};

struct deny_rule {
	__u64 until[DENY_MODES];    /* boot clock, ns; 0: no such rule */
	__u32 decision[DENY_MODES]; /* index of its count */
};

/* What a decision did. One cache line. */
struct deny_count {
	__u64 decision; /* number that user space knows it by; 0: nobody's */
	__u64 denied;
	__u64 would;    /* would have been */
	__u64 first;    /* denied, or would have been: boot clock, ns */
	__u64 last;
	__u64 spared;   /* by the floor */
	__u64 unused[2];
};

struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, struct deny_control); } deny_control SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(map_flags, BPF_F_NO_PREALLOC); __uint(max_entries, DENY_CGROUPS); __type(key, __u64); __type(value, __u32); } deny_cgroups SEC(".maps"); /* cgroup -> subject */
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, DENY_SUBJECTS); __type(key, __u32); __type(value, struct deny_subject); } deny_subjects SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(map_flags, BPF_F_NO_PREALLOC); __uint(max_entries, DENY_RULES); __type(key, struct deny_rule_key); __type(value, struct deny_rule); } deny_rules SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(map_flags, BPF_F_MMAPABLE); __uint(max_entries, DENY_DECISIONS); __type(key, __u32); __type(value, struct deny_count); } deny_counts SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, DENY_CUTS); __type(key, __u64); __type(value, __u64); } deny_cuts SEC(".maps"); /* socket cookie -> until */
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 16); __type(value, __u64); } deny_made SEC(".maps"); /* cgroups that were made */
