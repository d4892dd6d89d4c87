/* Edges: found by key once per connection, then by number. Shared by the TCP and UDP families. */
#pragma once

static __always_inline struct edge *edge_by_number(__u32 number)
{
	__u32 i = number & (EDGES - 1);
	struct edge *e = bpf_map_lookup_elem(&edges, &i);
	return e && e->number == number ? e : 0; /* given away meanwhile */
}

static __always_inline struct edge *add_edge(struct edge_key *k, const struct process *p)
{
	__u32 zero = 0, n, *number, *made = bpf_map_lookup_elem(&quota, &k->cgroup);
	if (!made) {
		bpf_map_update_elem(&quota, &k->cgroup, &zero, BPF_NOEXIST);
		made = bpf_map_lookup_elem(&quota, &k->cgroup);
	}
	if (made && *made >= edges_per_cgroup) { /* what is above the quota shares one edge per cgroup, protocol and direction */
		count(EDGE_QUOTA);
		k->executable = k->port = 0;
		k->address[0] = k->address[1] = 0;
		k->flags = (k->flags & EDGE_INBOUND) | EDGE_OVERFLOW;
		number = bpf_map_lookup_elem(&numbers, k);
		if (number)
			return edge_by_number(*number);
	} else if (made)
		__sync_fetch_and_add(made, 1);
	if (bpf_map_pop_elem(&unused, &n)) {
		count(EDGES_FULL);
		return 0;
	}
	__u32 i = n & (EDGES - 1);
	struct edge *e = bpf_map_lookup_elem(&edges, &i);
	struct origin *o = bpf_map_lookup_elem(&origins, &i);
	if (!e || !o)
		return 0;
	__u64 now = bpf_ktime_get_ns();
	e->opened = e->inherited = e->failed = e->closed = e->sent = e->received = 0;
	e->error = 0;
	e->last = now;
	e->number = n;
	o->key = *k;
	o->first = now;
	o->process = *p;
	if (k->flags & EDGE_INBOUND) {
		struct listener l = {.cgroup = k->cgroup, .port = k->port, .protocol = k->protocol};
		struct process *who = bpf_map_lookup_elem(&listeners, &l);
		if (who)
			o->process = *who;
	}
	o->number = n;
	if (bpf_map_update_elem(&numbers, k, &n, BPF_NOEXIST)) { /* another CPU was first, or no space */
		e->number = o->number = 0;
		bpf_map_push_elem(&unused, &n, 0);
		number = bpf_map_lookup_elem(&numbers, k);
		if (!number) {
			count(EDGES_FULL);
			return 0;
		}
		return edge_by_number(*number);
	}
	__u32 *r = bpf_ringbuf_reserve(&new_edges, sizeof *r, 0);
	if (r) {
		*r = n;
		bpf_ringbuf_submit(r, BPF_RB_NO_WAKEUP); /* a wake-up would cost more than all else here; the agent polls */
	} else
		count(EDGE_RING_FULL);
	return e;
}

static __always_inline struct edge *known_edge(const struct edge_key *k)
{
	__u32 *number = bpf_map_lookup_elem(&numbers, k);
	return number ? edge_by_number(*number) : 0;
}

/* edge_of may turn k into the key of its cgroup's overflow edge. */
static __always_inline struct edge *edge_of(struct edge_key *k, const struct process *p)
{
	struct edge *e = known_edge(k);
	return e ?: add_edge(k, p);
}

static __always_inline void set_address4(struct edge_key *k, __be32 a)
{
	k->address[0] = 0;
	k->address[1] = (__u64)a << 32 | 0xffff0000u;
}

static __always_inline void set_address6(struct edge_key *k, __u64 high, __u64 low)
{
	k->address[0] = high;
	k->address[1] = low;
	if (high || (__u32)low != 0xffff0000u)
		k->flags |= EDGE_IPV6;
}

/* listen remembers who waits for connections, for the inbound edges to come. */
static __always_inline void listen(__u64 cgroup, __u16 port, __u16 protocol, const struct process *p)
{
	struct listener l = {.cgroup = cgroup, .port = port, .protocol = protocol};
	bpf_map_update_elem(&listeners, &l, p, BPF_ANY);
}
