/* TCP, by one hook: tp_btf/inet_sock_set_state. Work is done at six of a connection's transitions:
 *   outbound  CLOSE    -> SYN_SENT     task context: executable, edge, opened, tag; failing connects count too
 *   outbound  SYN_SENT -> CLOSE        failed and errno
 *   any       other    -> CLOSE        closed and bytes
 *   outbound  SYN_SENT -> ESTABLISHED  its own end, where somebody wants to know (dialled.h)
 *   inbound   SYN_RECV -> ESTABLISHED  edge, opened, tag; its executable is the listener's
 *   inbound   CLOSE    -> LISTEN       task context: who listens
 * A key is looked up once per connection; the socket's tag keeps the edge's number, and the end adds to it without building a key.
 * The kernel skips a tracing program that would start on a CPU where it runs already: below a softirq, and from 7.x on below another task. A skipped
 * begin is made up for: an outbound one's with the next transition, by what connect left (dialled.h), others' at their end. A skipped end is for the
 * census to find.
 * Not seen: connects that fail before SYN_SENT (no route, EPERM). Bytes of a connection count when it ends. */
#pragma once

static __always_inline __u64 cgroup_of(struct sock *sk)
{
	if (bpf_core_field_exists(sk->sk_cgrp_data.cgroup))
		return sk->sk_cgrp_data.cgroup->kn->id;
	struct sock___old *o = (void *)sk;
	__u64 v = BPF_CORE_READ(o, sk_cgrp_data.val);
	struct cgroup *cg = (void *)(v & ~3ULL);
	return v & 1 ? 0 : BPF_CORE_READ(cg, kn, id); /* bit 0: a v1 class id stands there instead */
}

static __always_inline void tcp_key(struct edge_key *k, struct sock *sk, bool inbound, __u16 local)
{
	__builtin_memset(k, 0, sizeof *k);
	k->cgroup = cgroup_of(sk);
	if (!k->cgroup)
		count(CGROUP_UNKNOWN);
	k->protocol = IPPROTO_TCP;
	k->flags = inbound ? EDGE_INBOUND : 0;
	k->port = inbound ? local : bpf_ntohs(sk->__sk_common.skc_dport);
	if (sk->__sk_common.skc_family == AF_INET6) {
		__u32 *a = sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32;
		set_address6(k, a[0] | (__u64)a[1] << 32, a[2] | (__u64)a[3] << 32);
	} else
		set_address4(k, sk->__sk_common.skc_daddr);
}

static __always_inline struct edge *tcp_opened(struct sock *sk, struct edge_key *k, const struct process *p)
{
	struct edge *e = edge_of(k, p);
	if (!e || !tag(socket_number(sk), e->number)) /* without a tag it counts when it ends */
		return 0;
	__sync_fetch_and_add(&e->opened, 1);
	e->last = tick;
	return e;
}

/* tcp_connects begins an outbound connection. Out of the task that connects, it does so only where that left a word of what it asked for. */
static __always_inline void tcp_connects(struct sock *sk, bool in_task)
{
	struct edge_key k;
	struct asked a;
	bool asked = take_asked(socket_number(sk), &a);
	if (!asked && !in_task)
		return;
	if (!asked)
		current_process(&a.process);
	tcp_key(&k, sk, false, 0);
	k.executable = executable_number(&a.process);
	bool turned = asked && elsewhere(&a, &k);
	if (turned)
		k.flags |= EDGE_TURNED;
	struct edge *e = tcp_opened(sk, &k, &a.process);
	if (e && turned)
		set_dialled(e->number, a.address, a.port);
}

static __always_inline void tcp_closed(struct sock *sk, int old)
{
	__u32 n;
	struct edge *e;
	struct tcp_sock *t = bpf_skc_to_tcp_sock(sk);
	if (!t)
		return;
	if (untag(socket_number(sk), &n)) {
		e = edge_by_number(n);
		if (!e)
			count(TAG_STALE);
	} else {
		if (old == TCP_SYN_RECV) /* never was a connection */
			return;
		/* Opened before us, or its begin was lost: executable unknown. An accepted socket has its listener's backlog, which may be zero; skc_num is 0 by
		 * now, inet_sport is not. */
		struct edge_key k;
		struct process nobody = {};
		count(TAG_LOST);
		struct listener l = {.cgroup = cgroup_of(sk), .port = bpf_ntohs(t->inet_conn.icsk_inet.inet_sport), .protocol = IPPROTO_TCP};
		tcp_key(&k, sk, sk->sk_max_ack_backlog || old != TCP_SYN_SENT && listens(&l), l.port);
		e = edge_of(&k, &nobody);
		if (e && inventoried)
			__sync_fetch_and_add(&e->opened, 1);
	}
	if (!e)
		return;
	e->last = tick;
	if (old == TCP_SYN_SENT) {
		e->error = sk->sk_err ?: ECANCELED; /* none: the application gave up */
		__sync_fetch_and_add(&e->failed, 1);
		return;
	}
	__u64 sent = t->bytes_sent, again = t->bytes_retrans, received = t->bytes_received; /* data only: bytes_acked counts SYN and FIN */
	sent -= again < sent ? again : sent;                                                /* a retransmission that never left counts there too */
	if (received && sk->__sk_common.skc_flags >> SOCK_DONE & 1)                         /* less the peer's FIN */
		received--;
	if (sent)
		__sync_fetch_and_add(&e->sent, sent);
	if (received)
		__sync_fetch_and_add(&e->received, received);
	__sync_fetch_and_add(&e->closed, 1);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(tcp_state, struct sock *sk, int old, int new)
{
	struct edge_key k;
	struct process p;
	if (new != TCP_SYN_SENT && new != TCP_ESTABLISHED && new != TCP_CLOSE && new != TCP_LISTEN)
		return 0;
	if (sk->sk_protocol != IPPROTO_TCP) /* not the MPTCP socket on top; its subflows are TCP */
		return 0;
	__u32 n;
	if (new == TCP_SYN_SENT || old == TCP_SYN_SENT && !tag_of(socket_number(sk), &n))
		tcp_connects(sk, new == TCP_SYN_SENT);
	if (new == TCP_SYN_SENT)
		return 0;
	if (new == TCP_CLOSE) {
		if (old != TCP_CLOSE && old != TCP_LISTEN)
			tcp_closed(sk, old);
	} else if (new == TCP_ESTABLISHED) {
		if (old == TCP_SYN_SENT) {
			tcp_established(sk);
			return 0;
		}
		if (!sk->sk_max_ack_backlog && tag_of(socket_number(sk), &n)) /* no listener's child: both ends connected, or one to itself */
			return 0;
		__builtin_memset(&p, 0, sizeof p);
		tcp_key(&k, sk, true, sk->__sk_common.skc_num);
		tcp_opened(sk, &k, &p);
	} else {
		current_process(&p);
		struct listener l = {.cgroup = cgroup_of(sk), .port = sk->__sk_common.skc_num, .protocol = IPPROTO_TCP};
		listen(&l, &p);
	}
	return 0;
}
