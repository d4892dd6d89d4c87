/* UDP, which has no states: who speaks first to whom decides who reaches whom, for each socket and peer.
 *   cgroup/connect4,6     task context: the peer of a connected socket. No edge yet: resolvers connect sockets only to learn a route
 *   cgroup/sendmsg4,6     task context: the peer of a datagram, of sockets that are not connected
 *   cgroup/post_bind4,6   task context: who listens
 *   cgroup_skb both ways  bytes; the first datagram of a connected socket; inbound edges; DNS answers
 * opened counts connected sockets that sent something, datagrams sent by other clients, and datagrams that servers received.
 * Not seen: UDP behind IPv6 extension headers, later fragments, raw sockets. A server whose peers were talking to it before the agent started
 * is told by its port: below the ephemeral range, toward a port within. */
#pragma once

static __always_inline bool same_peer(const struct edge_key *a, const struct edge_key *b)
{
	return a->port == b->port && a->address[0] == b->address[0] && a->address[1] == b->address[1];
}

/* inbound_key is the key of what remote, which holds the peer's address and port, does toward a local port. */
static __always_inline void inbound_key(struct edge_key *k, const struct edge_key *remote, __u64 cgroup, __u16 local)
{
	*k = *remote;
	k->cgroup = cgroup;
	k->protocol = IPPROTO_UDP;
	k->flags |= EDGE_INBOUND;
	k->port = local;
}

static __always_inline bool looks_like_server(__u16 local, __u16 remote)
{
	return local && local < ephemeral_port && remote >= ephemeral_port;
}

static __always_inline void remote_of(struct edge_key *k, struct bpf_sock_addr *c, bool six)
{
	__builtin_memset(k, 0, sizeof *k);
	k->port = bpf_ntohs(c->user_port);
	if (six)
		set_address6(k, c->user_ip6[0] | (__u64)c->user_ip6[1] << 32, c->user_ip6[2] | (__u64)c->user_ip6[3] << 32);
	else
		set_address4(k, c->user_ip4);
	if (!k->address[0] && k->address[1] == 0) /* unspecified means loopback */
		k->address[1] = (__u64)bpf_htonl(1) << 32;
	if (!k->address[0] && k->address[1] == 0xffff0000u)
		set_address4(k, bpf_htonl(0x7f000001));
}

/* new_flow makes a client's flow toward remote, in task context. */
static __always_inline void new_flow(struct flow *f, const struct edge_key *remote, bool connected)
{
	f->number = NO_EDGE;
	f->connected = connected;
	current_process(&f->process);
	f->key = *remote;
	f->key.cgroup = bpf_get_current_cgroup_id();
	f->key.executable = executable_number(&f->process);
	f->key.protocol = IPPROTO_UDP;
}

static __always_inline void keep_flow(__u64 cookie, const struct flow *f)
{
	if (bpf_map_update_elem(&flows, &cookie, f, BPF_ANY))
		count(UDP_FLOW_FULL);
}

static __always_inline int udp_connect(struct bpf_sock_addr *c, bool six)
{
	if (c->protocol != IPPROTO_UDP)
		return 1;
	struct edge_key remote, k;
	struct flow f;
	__u64 cookie = bpf_get_socket_cookie(c);
	struct bpf_sock *sk = c->sk;
	remote_of(&remote, c, six);
	inbound_key(&k, &remote, bpf_get_current_cgroup_id(), sk ? sk->src_port : 0);
	if (known_edge(&k)) { /* a server turns to one who spoke to it, as DTLS servers do */
		bpf_map_delete_elem(&flows, &cookie);
		return 1;
	}
	new_flow(&f, &remote, true);
	keep_flow(cookie, &f);
	return 1;
}

static __always_inline int udp_sendmsg(struct bpf_sock_addr *c, bool six)
{
	struct edge_key remote, k;
	struct edge *e;
	struct flow f;
	__u64 cookie = bpf_get_socket_cookie(c);
	struct flow *known = bpf_map_lookup_elem(&flows, &cookie);
	remote_of(&remote, c, six);
	if (known && same_peer(&known->key, &remote)) { /* most often the same peer again */
		if (known->connected) /* IPv4 on a connected IPv6 socket comes here too; it counts on the way out */
			return 1;
		e = known->number == NO_EDGE ? 0 : edge_by_number(known->number);
		if (e)
			goto opened;
	}
	struct bpf_sock *sk = c->sk;
	__u16 local = sk ? sk->src_port : 0;
	if (local) {
		inbound_key(&k, &remote, bpf_get_current_cgroup_id(), local);
		if (known_edge(&k) || looks_like_server(local, remote.port)) /* an answer: its bytes count on the way out */
			return 1;
	}
	new_flow(&f, &remote, false);
	k = f.key; /* edge_of may change it */
	e = edge_of(&k, &f.process);
	if (!e)
		return 1;
	f.number = e->number;
	keep_flow(cookie, &f);
opened:
	__sync_fetch_and_add(&e->opened, 1);
	e->last = tick;
	return 1;
}

static __always_inline int udp_bind(struct bpf_sock *sk)
{
	if (sk->protocol == IPPROTO_UDP) {
		struct process p;
		current_process(&p);
		struct listener l = {.cgroup = bpf_get_current_cgroup_id(), .port = sk->src_port, .protocol = IPPROTO_UDP};
		listen(&l, &p);
	}
	return 1;
}

SEC("cgroup/connect4")
int udp_connect4(struct bpf_sock_addr *c)
{
	return udp_connect(c, false);
}

SEC("cgroup/connect6")
int udp_connect6(struct bpf_sock_addr *c)
{
	return udp_connect(c, true);
}

SEC("cgroup/sendmsg4")
int udp_sendmsg4(struct bpf_sock_addr *c)
{
	return udp_sendmsg(c, false);
}

SEC("cgroup/sendmsg6")
int udp_sendmsg6(struct bpf_sock_addr *c)
{
	return udp_sendmsg(c, true);
}

SEC("cgroup/post_bind4")
int udp_bind4(struct bpf_sock *sk)
{
	return udp_bind(sk);
}

SEC("cgroup/post_bind6")
int udp_bind6(struct bpf_sock *sk)
{
	return udp_bind(sk);
}

/* ---- packets */

struct datagram {
	struct edge_key remote; /* address, its flag, and port */
	__u16 local_port;
	__u32 payload; /* offset */
	__u32 length;  /* of the payload */
};

/* parse_udp reads the headers of UDP and of nothing else, which is most packets: those must be told quickly. A packet begins at its network header
 * here, and the kernel has put all headers into its linear part by now. */
static __always_inline bool parse_udp(struct __sk_buff *skb, bool out, struct datagram *d)
{
	__u8 *ip = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u32 offset = 40;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (ip + 20 > end || ip[9] != IPPROTO_UDP)
			return false;
		if (ip[6] & 0x1f || ip[7]) /* a later fragment has no ports */
			return false;
		offset = (ip[0] & 15) * 4;
		d->remote.flags = 0;
		set_address4(&d->remote, *(__be32 *)(ip + (out ? 16 : 12)));
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		if (ip + 40 > end || ip[6] != IPPROTO_UDP)
			return false;
		__be32 *a = (__be32 *)(ip + (out ? 24 : 8));
		d->remote.flags = 0;
		set_address6(&d->remote, a[0] | (__u64)a[1] << 32, a[2] | (__u64)a[3] << 32);
	} else
		return false;
	__be16 *u = (__be16 *)(ip + offset);
	if ((__u8 *)(u + 4) > end)
		return false;
	d->local_port = bpf_ntohs(u[out ? 0 : 1]);
	d->remote.port = bpf_ntohs(u[out ? 1 : 0]);
	d->remote.cgroup = d->remote.executable = 0;
	d->remote.protocol = IPPROTO_UDP;
	d->remote.unused = 0;
	d->payload = offset + 8;
	d->length = bpf_ntohs(u[2]) - 8;
	return d->length <= 65527;
}

static __always_inline void emit_answer(struct __sk_buff *skb, const struct datagram *d, __u64 cgroup)
{
	struct answer *a = bpf_ringbuf_reserve(&answers, sizeof *a, 0);
	if (!a) {
		count(ANSWER_RING_FULL);
		return;
	}
	a->cgroup = cgroup;
	a->length = d->length;
	a->unused = 0;
	__u64 n = d->length;
	if (n < DNS_HEADER)
		goto discard;
	barrier_var(n); /* two checks, or the compiler makes one of them that the verifier does not understand */
	if (n > ANSWER_BYTES) {
		count(ANSWER_CUT);
		n = ANSWER_BYTES;
	}
	if (bpf_skb_load_bytes(skb, d->payload, a->payload, n))
		goto discard;
	bpf_ringbuf_submit(a, BPF_RB_NO_WAKEUP);
	return;
discard:
	bpf_ringbuf_discard(a, BPF_RB_NO_WAKEUP);
}

/* datagram_edge finds the edge of a datagram, or makes it. answer says that it came from a peer that this socket had spoken to. */
static __always_inline struct edge *datagram_edge(struct __sk_buff *skb, const struct datagram *d, __u64 cgroup, bool out, bool *answer)
{
	struct edge *e;
	struct edge_key k;
	struct process nobody = {};
	__u64 cookie = bpf_get_socket_cookie(skb);
	struct flow *f = bpf_map_lookup_elem(&flows, &cookie);
	*answer = false;
	if (f && same_peer(&f->key, &d->remote)) {
		*answer = !out;
		e = f->number == NO_EDGE ? 0 : edge_by_number(f->number);
		if (e)
			return e;
		k = f->key; /* a connected socket's first datagram; or its edge was given away */
		e = edge_of(&k, &f->process);
		if (e) {
			__sync_fetch_and_add(&e->opened, 1);
			f->number = e->number;
		}
		return e;
	}
	inbound_key(&k, &d->remote, cgroup, d->local_port);
	e = known_edge(&k);
	if (e) {
		if (!out)
			__sync_fetch_and_add(&e->opened, 1);
		return e;
	}
	struct edge_key asked = d->remote;
	asked.cgroup = f ? f->key.cgroup : cgroup;
	asked.executable = f ? f->key.executable : 0;
	asked.protocol = IPPROTO_UDP;
	e = f ? known_edge(&asked) : 0; /* one of several peers */
	if (!e) {
		/* Not where its flow led: another program turned it to another address, as service load balancers do. Without flow: it is older than we are,
		 * or its flow was pushed out. */
		struct bpf_sock *any = skb->sk, *sk = any ? bpf_sk_fullsock(any) : 0;
		bool ours = out || sk && sk->dst_port;
		if (!ours || !f && looks_like_server(d->local_port, d->remote.port))
			goto inbound;
		struct process who = {};
		if (f)
			who = f->process;
		e = edge_of(&asked, &who);
		if (!e)
			return 0;
	}
	*answer = !out;
	if (f && f->connected && f->number == NO_EDGE) {
		__sync_fetch_and_add(&e->opened, 1);
		f->number = e->number;
	}
	return e;

inbound:
	e = edge_of(&k, &nobody);
	if (e && !out)
		__sync_fetch_and_add(&e->opened, 1);
	return e;
}

static __always_inline int udp_packet(struct __sk_buff *skb, bool out)
{
	bool answer;
	struct datagram d;
	if (!parse_udp(skb, out, &d))
		return 1;
	__u64 cgroup = bpf_skb_cgroup_id(skb);
	struct edge *e = datagram_edge(skb, &d, cgroup, out, &answer);
	if (e) {
		__sync_fetch_and_add(out ? &e->sent : &e->received, d.length);
		e->last = tick;
	}
	if (answer && d.remote.port == 53) /* asked for: what nobody asked cannot name anything */
		emit_answer(skb, &d, cgroup);
	return 1;
}

SEC("cgroup_skb/ingress")
int udp_ingress(struct __sk_buff *skb)
{
	return udp_packet(skb, false);
}

SEC("cgroup_skb/egress")
int udp_egress(struct __sk_buff *skb)
{
	return udp_packet(skb, true);
}
