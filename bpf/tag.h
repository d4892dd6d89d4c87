/* Tags: the number of the edge that a TCP socket's connection belongs to, by the socket's address. */
#pragma once

/* A pointer minus a pointer is a number that every verifier accepts. */
static __always_inline __u64 socket_number(const void *sk)
{
	return (__u64)sk - (__u64)&anchor;
}

static __always_inline bool tag(__u64 sk, __u32 edge)
{
	__u64 h = sk * 0x9E3779B97F4A7C15ULL, value = h << 32 | edge;
	__u32 i = h >> 48;
	struct tag *t = bpf_map_lookup_elem(&tags, &i);
	if (!t)
		return false;
	if (!t->sk || t->sk == sk) {
		t->value = value;
		*(volatile __u64 *)&t->sk = sk;
	} else if (bpf_map_update_elem(&tags_more, &sk, &value, BPF_ANY)) {
		count(TAG_OVERFLOW);
		return false;
	}
	return true;
}

static __always_inline bool tag_of(__u64 sk, __u32 *edge)
{
	__u64 h = sk * 0x9E3779B97F4A7C15ULL;
	__u32 i = h >> 48;
	struct tag *t = bpf_map_lookup_elem(&tags, &i);
	if (t && t->sk == sk) {
		*edge = t->value;
		return true;
	}
	__u64 *v = bpf_map_lookup_elem(&tags_more, &sk);
	if (v)
		*edge = *v;
	return v != 0;
}

static __always_inline bool untag(__u64 sk, __u32 *edge)
{
	__u64 h = sk * 0x9E3779B97F4A7C15ULL;
	__u32 i = h >> 48;
	struct tag *t = bpf_map_lookup_elem(&tags, &i);
	if (!t)
		return false;
	if (t->sk == sk) {
		__u64 value = t->value;
		*(volatile __u64 *)&t->sk = 0;
		*edge = value;
		return (__u32)(value >> 32) == (__u32)h;
	}
	__u64 *v = bpf_map_lookup_elem(&tags_more, &sk);
	if (!v)
		return false;
	*edge = *v;
	bpf_map_delete_elem(&tags_more, &sk);
	return true;
}
