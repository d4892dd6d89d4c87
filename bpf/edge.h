/* Edges: found by key once per connection, then by number. Shared by the TCP and UDP families. */
#pragma once

static __always_inline struct edge *edge_by_number(__u32 number)
{
	__u32 i = number & (EDGES - 1);
	struct edge *e = bpf_map_lookup_elem(&edges, &i);
	return e && e->number == number ? e : 0; /* given away meanwhile */
}

/* listen remembers who waits for connections, for the inbound edges to come. */
static __always_inline void listen(const struct listener *l, const struct process *p)
{
	if (l->protocol == IPPROTO_TCP)
		bpf_map_update_elem(&listeners, l, p, BPF_ANY);
	else
		bpf_map_update_elem(&udp_listeners, l, p, BPF_ANY);
}

static __always_inline struct process *listens(const struct listener *l)
{
	return l->protocol == IPPROTO_TCP ? bpf_map_lookup_elem(&listeners, l) : bpf_map_lookup_elem(&udp_listeners, l);
}

/* listener_of fills in who listens where an inbound edge leads; if nobody is known to, who was found there. */
static __always_inline void listener_of(struct process *p, const struct edge_key *k, const struct process *found)
{
	struct listener l = {.cgroup = k->cgroup, .port = k->port, .protocol = k->protocol};
	struct process *who = listens(&l);
	*p = who ? *who : *found;
}

static __always_inline struct edge *known_edge(const struct edge_key *k)
{
	__u32 *number = bpf_map_lookup_elem(&numbers, k);
	return number ? edge_by_number(*number) : 0;
}

/* quota_of gives how many edges a cgroup has made. */
static __always_inline __u32 *quota_of(__u64 cgroup)
{
	__u32 zero = 0, *made = bpf_map_lookup_elem(&quota, &cgroup);
	if (!made) {
		bpf_map_update_elem(&quota, &cgroup, &zero, BPF_NOEXIST);
		made = bpf_map_lookup_elem(&quota, &cgroup);
	}
	return made;
}

/* add_edge makes an edge. What is above the quota shares one edge for each cgroup, protocol and direction, which is nobody's in particular. Inbound
 * edges may take half of the quota: whoever can reach a server could otherwise blind us to what it reaches. */
static __always_inline struct edge *add_edge(struct edge_key *k, const struct process *p)
{
	__u32 n, most = k->flags & EDGE_INBOUND ? edges_per_cgroup / 2 : edges_per_cgroup, *made = quota_of(k->cgroup);
	struct edge *e;
	if (made && *made >= most) {
		count(EDGE_QUOTA);
		k->executable = k->port = 0;
		k->address[0] = k->address[1] = 0;
		k->flags = (k->flags & EDGE_INBOUND) | EDGE_OVERFLOW;
		made = 0;
		e = known_edge(k);
		if (e)
			return e;
	}
	if (bpf_map_pop_elem(&unused, &n)) {
		count(EDGES_FULL);
		return 0;
	}
	__u32 i = n & (EDGES - 1);
	struct origin *o = bpf_map_lookup_elem(&origins, &i);
	e = bpf_map_lookup_elem(&edges, &i);
	if (!e || !o) /* cannot be */
		return 0;
	__u64 now = bpf_ktime_get_ns();
	e->opened = e->inherited = e->failed = e->closed = e->sent = e->received = 0;
	e->error = 0;
	e->last = now;
	e->number = n; /* before the key, by which other CPUs find it */
	if (bpf_map_update_elem(&numbers, k, &n, BPF_NOEXIST)) { /* another CPU was first */
		e->number = 0;
		bpf_map_push_elem(&unused, &n, 0);
		e = known_edge(k);
		if (!e)
			count(EDGES_FULL);
		return e;
	}
	if (made)
		__sync_fetch_and_add(made, 1);
	o->key = *k;
	o->first = now;
	o->dialled_port = o->local_port = 0;
	if (k->flags & EDGE_OVERFLOW)
		__builtin_memset(&o->process, 0, sizeof o->process);
	else if (k->flags & EDGE_INBOUND)
		listener_of(&o->process, k, p);
	else
		o->process = *p;
	barrier();
	o->number = n; /* last, and only for who won: a reader that scans believes it */
	__u32 *r = bpf_ringbuf_reserve(&new_edges, sizeof *r, 0);
	if (r) {
		*r = n;
		bpf_ringbuf_submit(r, BPF_RB_NO_WAKEUP); /* a wake-up would cost more than all else here; the agent polls */
	} else
		count(EDGE_RING_FULL);
	return e;
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

/* remote_of is the address that a hook was called with. */
static __always_inline void remote_of(struct edge_key *k, struct bpf_sock_addr *c, bool six)
{
	__builtin_memset(k, 0, sizeof *k);
	k->port = bpf_ntohs(c->user_port);
	if (six)
		set_address6(k, c->user_ip6[0] | (__u64)c->user_ip6[1] << 32, c->user_ip6[2] | (__u64)c->user_ip6[3] << 32);
	else
		set_address4(k, c->user_ip4);
}

static __always_inline bool unspecified(const struct edge_key *k)
{
	return !k->address[0] && (k->address[1] == 0 || k->address[1] == 0xffff0000u);
}

/* meant_of is what it means: unspecified is loopback. */
static __always_inline void meant_of(struct edge_key *k, struct bpf_sock_addr *c, bool six)
{
	remote_of(k, c, six);
	if (!unspecified(k))
		return;
	if (k->address[1])
		set_address4(k, bpf_htonl(0x7f000001));
	else
		k->address[1] = (__u64)bpf_htonl(1) << 32;
}
