/* UDP, which has no states: who speaks first to whom decides who reaches whom, for each socket and peer.
 *   cgroup/connect4,6     task context (connect.h): the peer of a connected socket. No edge yet: resolvers connect sockets only to learn a route
 *   cgroup/sendmsg4,6     what was asked for, attached only while another program is there, too: the lock that the kernel takes for it costs more than all else
 *   cgroup/post_bind4,6   task context: who listens
 *   cgroup_skb egress     (packet.h) in the task that sends: edges of clients; bytes
 *   cgroup_skb ingress    (packet.h) inbound edges; bytes
 * opened counts connected sockets that sent something, datagrams sent by other clients, and datagrams that servers received.
 * Not seen: datagrams that found no way out, UDP behind IPv6 extension headers, later fragments, raw sockets. A server whose peers were talking to it before the agent started
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

/* new_flow makes a client's flow toward remote. */
static __always_inline void new_flow(struct flow *f, const struct edge_key *remote, __u64 cgroup, const struct process *p, bool connected)
{
	f->number = NO_EDGE;
	f->connected = connected;
	f->process = *p;
	f->key = *remote;
	f->key.cgroup = cgroup;
	f->key.executable = executable_number(p);
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
	struct process p;
	current_process(&p);
	new_flow(&f, &remote, bpf_get_current_cgroup_id(), &p, true);
	keep_flow(cookie, &f);
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

static __always_inline int udp_sendmsg(struct bpf_sock_addr *c, bool six)
{
	struct process nobody = {};
	remember_asked(bpf_get_socket_cookie(c), c, six, &nobody);
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
