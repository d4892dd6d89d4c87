/* What a program asked for and what it got. Another program at the connect hooks, such as a service load balancer, may turn a connection elsewhere:
 * the first is then told as dialled. Translation later on, by netfilter, is seen by nobody here: for peers that user space names (service_ranges) the
 * first established connection's own end is kept, by which the connection tracker can be asked.
 * Not seen: what was asked where the other program runs before ours, as do those that were attached before us, or to a cgroup below, where the kernel has
 * no BPF_F_PREORDER (before 6.15), and there all who were at sendmsg before we noticed them; MPTCP. */
#pragma once

#define SERVICE_RANGES 4

struct range {
	__u64 address[2];
	__u64 mask[2];
};

struct range service_ranges[SERVICE_RANGES]; /* written by user space */
__u32 service_range_count;

static __always_inline struct asked *asking_slot(__u64 socket)
{
	__u32 i = socket * 0x9E3779B97F4A7C15ULL >> 54;
	return bpf_map_lookup_elem(&asking, &i);
}

static __always_inline __u64 asked_check(__u64 socket, const struct asked *a)
{
	const __u64 *w = (void *)&a->process;
	_Static_assert(sizeof a->process == 32, "all of it is checked");
	return socket ^ a->address[0] ^ a->address[1] ^ a->port << 32 ^ w[0] ^ w[1] ^ w[2] ^ w[3];
}

/* remember_asked: what this socket does next, in the same task, is what became of it. */
static __always_inline void remember_asked(__u64 socket, struct bpf_sock_addr *c, bool six, const struct process *p)
{
	struct edge_key k;
	struct asked *a = asking_slot(socket);
	if (!a)
		return;
	remote_of(&k, c, six);
	a->check = 0;
	if (unspecified(&k)) /* the kernel means something by it that we need not know */
		return;
	barrier();
	a->address[0] = k.address[0];
	a->address[1] = k.address[1];
	a->port = k.port;
	a->process = *p;
	barrier();
	a->check = asked_check(socket, a);
}

/* take_asked gives what a socket was asked for, once. */
static __always_inline bool take_asked(__u64 socket, struct asked *copy)
{
	struct asked *a = asking_slot(socket);
	if (!a)
		return false;
	*copy = *a;
	if (copy->check != asked_check(socket, copy)) /* another socket's by now */
		return false;
	a->check = 0;
	return true;
}

static __always_inline bool elsewhere(const struct asked *a, const struct edge_key *k)
{
	return a->port != k->port || a->address[0] != k->address[0] || a->address[1] != k->address[1];
}

static __always_inline void set_dialled(__u32 number, const __u64 *address, __u16 port)
{
	__u32 i = number & (EDGES - 1);
	struct origin *o = bpf_map_lookup_elem(&origins, &i);
	if (!o || o->number != number || o->dialled_port || o->key.flags & EDGE_OVERFLOW)
		return;
	o->dialled[0] = address[0];
	o->dialled[1] = address[1];
	barrier();
	o->dialled_port = port;
}

static __always_inline bool in_service_ranges(__u64 high, __u64 low)
{
#pragma unroll
	for (int i = 0; i < SERVICE_RANGES; i++) {
		const struct range *r = &service_ranges[i];
		if (i < service_range_count && (high & r->mask[0]) == r->address[0] && (low & r->mask[1]) == r->address[1])
			return true;
	}
	return false;
}

/* tcp_established keeps the own end of an outbound connection. */
static __always_inline void tcp_established(struct sock *sk)
{
	__u32 n;
	struct edge_key peer = {}, own = {};
	if (!service_range_count)
		return;
	if (sk->__sk_common.skc_family == AF_INET6) {
		__u32 *a = sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32, *b = sk->__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32;
		set_address6(&peer, a[0] | (__u64)a[1] << 32, a[2] | (__u64)a[3] << 32);
		set_address6(&own, b[0] | (__u64)b[1] << 32, b[2] | (__u64)b[3] << 32);
	} else {
		set_address4(&peer, sk->__sk_common.skc_daddr);
		set_address4(&own, sk->__sk_common.skc_rcv_saddr);
	}
	if (!in_service_ranges(peer.address[0], peer.address[1]) || !tag_of(socket_number(sk), &n))
		return;
	__u32 i = n & (EDGES - 1);
	struct origin *o = bpf_map_lookup_elem(&origins, &i);
	if (!o || o->number != n || o->local_port || o->key.flags & EDGE_OVERFLOW)
		return;
	o->local[0] = own.address[0];
	o->local[1] = own.address[1];
	barrier();
	o->local_port = sk->__sk_common.skc_num;
}
