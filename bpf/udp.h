/* UDP, which has no states: who speaks first to whom decides who reaches whom, for each socket and peer.
 *   cgroup/connect4,6     task context (connect.h): the peer of a connected socket. No edge yet: resolvers connect sockets only to learn a route
 *   cgroup/sendmsg4,6     task context: the peer of a datagram, of sockets that are not connected
 *   cgroup/post_bind4,6   task context: who listens
 *   cgroup_skb both ways  (packet.h) bytes; the first datagram of a connected socket; inbound edges
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

static __always_inline void udp_connect(struct bpf_sock_addr *c, bool six)
{
	struct edge_key remote, k;
	struct flow f;
	__u64 cookie = bpf_get_socket_cookie(c);
	struct bpf_sock *sk = c->sk;
	meant_of(&remote, c, six);
	inbound_key(&k, &remote, bpf_get_current_cgroup_id(), sk ? sk->src_port : 0);
	if (known_edge(&k)) { /* a server turns to one who spoke to it, as DTLS servers do */
		bpf_map_delete_elem(&flows, &cookie);
		return;
	}
	new_flow(&f, &remote, true);
	keep_flow(cookie, &f);
}

static __always_inline int udp_sendmsg(struct bpf_sock_addr *c, bool six)
{
	struct edge_key remote, k;
	struct edge *e;
	struct flow f;
	__u64 cookie = bpf_get_socket_cookie(c);
	struct flow *known = bpf_map_lookup_elem(&flows, &cookie);
	meant_of(&remote, c, six);
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
