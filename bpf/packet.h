/* Packets, of UDP and of nothing else but the answers of DNS servers and hellos of TLS over TCP: all others are most, and must be told quickly. A packet begins at its
 * network header here, and the kernel has put all headers into its linear part by now.
 * Hooks: cgroup_skb both ways.
 * Not seen: IPv6 extension headers; data on a SYN; what an unconnected UDP socket asked for where netfilter turned it in the socket's own namespace. */
#pragma once

#define DNS_PORT 53

struct datagram {
	struct edge_key remote; /* address, its flag, and port */
	__u16 local_port;
	__u32 payload; /* offset */
	__u32 length;  /* of the payload */
};

/* protocol_of reads the IP header. Where it gives a protocol, offset is where that one's header begins; later fragments have none. */
static __always_inline __u8 protocol_of(struct __sk_buff *skb, __u32 *offset)
{
	__u8 *ip = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (ip + 20 > end || ip[6] & 0x1f || ip[7])
			return 0;
		*offset = (ip[0] & 15) * 4;
		return ip[9];
	}
	if (skb->protocol != bpf_htons(ETH_P_IPV6) || ip + 40 > end)
		return 0;
	*offset = 40;
	return ip[6];
}

static __always_inline bool parse_udp(struct __sk_buff *skb, __u32 offset, bool out, struct datagram *d)
{
	__u8 *ip = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__be16 *u = (__be16 *)(ip + offset);
	d->remote.flags = 0;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (ip + 20 > end)
			return false;
		set_address4(&d->remote, *(__be32 *)(ip + (out ? 16 : 12)));
	} else {
		if (ip + 40 > end)
			return false;
		__be32 *a = (__be32 *)(ip + (out ? 24 : 8));
		set_address6(&d->remote, a[0] | (__u64)a[1] << 32, a[2] | (__u64)a[3] << 32);
	}
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

static __always_inline struct edge *opened(struct edge *e)
{
	if (e)
		__sync_fetch_and_add(&e->opened, 1);
	return e;
}

/* flow_edge is the edge of a datagram between a flow's ends. */
static __always_inline struct edge *flow_edge(struct flow *f)
{
	struct edge *e = f->number == NO_EDGE ? 0 : edge_by_number(f->number);
	if (e)
		return e;
	struct edge_key k = f->key; /* a connected socket's first datagram; or its edge was given away */
	e = edge_of(&k, &f->process);
	if (e) {
		f->number = e->number;
		if (f->connected)
			opened(e);
	}
	return e;
}

static __always_inline bool connected_to(struct bpf_sock *sk, const struct edge_key *k)
{
	if (sk->dst_port != bpf_htons(k->port))
		return false;
	if (k->flags & EDGE_IPV6)
		return k->address[0] == (sk->dst_ip6[0] | (__u64)sk->dst_ip6[1] << 32) && k->address[1] == (sk->dst_ip6[2] | (__u64)sk->dst_ip6[3] << 32);
	return k->address[1] >> 32 == sk->dst_ip4;
}

/* sender is who sends, and for which cgroup: the task we are in, unless the socket is the kernel's own. */
static __always_inline __u64 sender(struct bpf_sock *sk, __u64 cgroup, struct process *p)
{
	struct sock *s = 0;
	bpf_probe_read_kernel(&s, sizeof s, &sk); /* its address as a number */
	__builtin_memset(p, 0, sizeof *p);
	if (sk->protocol != IPPROTO_UDP || BPF_CORE_READ_BITFIELD_PROBED(s, sk_kern_sock))
		return cgroup;
	current_process(p);
	return current_cgroup();
}

/* sent_edge finds the edge of a datagram that goes out, or makes it. */
static __always_inline struct edge *sent_edge(struct __sk_buff *skb, const struct datagram *d, struct flow *f, __u64 cookie)
{
	struct edge *e;
	struct edge_key k;
	struct process p;
	struct flow now;
	struct asked asked;
	if (f && same_peer(&f->key, &d->remote)) {
		e = flow_edge(f);
		return f->connected ? e : opened(e);
	}
	__u64 cgroup = bpf_skb_cgroup_id(skb);
	inbound_key(&k, &d->remote, cgroup, d->local_port);
	e = known_edge(&k);
	if (e)
		return e;
	struct bpf_sock *any = skb->sk, *sk = any ? bpf_sk_fullsock(any) : 0;
	if (!sk)
		return 0;
	bool connected = connected_to(sk, &d->remote), ours = f && f->connected;
	/* A socket that is connected to a service and sends elsewhere: netfilter turned the datagram, unless the program named another address for this one;
	 * user space can tell, which knows who stands behind services. */
	bool served = !connected && ours && in_service_ranges(f->key.address[0], f->key.address[1]) && connected_to(sk, &f->key);
	if (!connected && !served && looks_like_server(d->local_port, d->remote.port)) { /* an answer to whom we did not hear */
		__builtin_memset(&p, 0, sizeof p);
		return edge_of(&k, &p);
	}
	/* A connected socket that sends where it is connected, and not where its flow leads: another program turned it there. If it has no flow, it is
	 * older than we are, or its flow was pushed out: it has counted. */
	bool turned = connected && ours || served, first = !connected && !served || ours && f->number == NO_EDGE;
	if (turned) {
		asked.address[0] = f->key.address[0];
		asked.address[1] = f->key.address[1];
		asked.port = f->key.port;
		p = f->process;
		cgroup = f->key.cgroup;
	} else
		cgroup = sender(sk, cgroup, &p);
	new_flow(&now, &d->remote, cgroup, &p, connected);
	if (!turned && !connected && take_asked(cookie, &asked))
		turned = elsewhere(&asked, &now.key);
	now.key.flags |= turned * EDGE_TURNED;
	k = now.key;
	e = edge_of(&k, &now.process);
	if (!e)
		return 0;
	now.number = e->number;
	if (served)
		f->number = e->number; /* what comes back has the service's address again */
	else if (connected || !ours) /* a connected socket may send elsewhere now and then */
		keep_flow(cookie, &now);
	if (turned)
		set_dialled(e->number, asked.address, asked.port);
	return first ? opened(e) : e;
}

/* received_edge finds the edge of a datagram that comes in, or makes it. answer says that it came from a peer that this socket had spoken to. */
static __always_inline struct edge *received_edge(struct __sk_buff *skb, const struct datagram *d, struct flow *f, bool *answer)
{
	struct edge *e;
	struct edge_key k;
	struct process nobody;
	if (f && same_peer(&f->key, &d->remote)) {
		*answer = true;
		return flow_edge(f);
	}
	__u64 cgroup = bpf_skb_cgroup_id(skb);
	inbound_key(&k, &d->remote, cgroup, d->local_port);
	e = known_edge(&k);
	if (e)
		return opened(e);
	struct edge_key asked = d->remote;
	asked.cgroup = f ? f->key.cgroup : cgroup;
	asked.executable = f ? f->key.executable : 0;
	asked.protocol = IPPROTO_UDP;
	e = f ? known_edge(&asked) : 0;
	if (f && !e) {
		asked.flags |= EDGE_TURNED;
		e = known_edge(&asked);
		asked.flags &= ~EDGE_TURNED;
	}
	if (e) { /* one of several peers */
		*answer = true;
		return e;
	}
	struct bpf_sock *any = skb->sk, *sk = any ? bpf_sk_fullsock(any) : 0;
	__builtin_memset(&nobody, 0, sizeof nobody);
	/* A connected socket hears its peer alone; one without flow is older than we are, or its flow was pushed out. */
	if (!sk || !sk->dst_port || !f && looks_like_server(d->local_port, d->remote.port))
		return opened(edge_of(&k, &nobody));
	*answer = true;
	if (f)
		nobody = f->process;
	return edge_of(&asked, &nobody);
}

/* ---- DNS */

/* emit_answer sends length bytes, of which the first ANSWER_BYTES are kept. There must be one. */
static __always_inline void emit_answer(struct __sk_buff *skb, __u32 offset, __u32 length, bool tcp, __u32 sequence)
{
	struct answer *a = bpf_ringbuf_reserve(&answers, sizeof *a, 0);
	if (!a) {
		count(ANSWER_RING_FULL);
		return;
	}
	a->cgroup = bpf_skb_cgroup_id(skb);
	a->flow = bpf_get_socket_cookie(skb);
	a->sequence = sequence;
	a->length = length;
	a->tcp = tcp;
	if (length > ANSWER_BYTES)
		count(ANSWER_CUT);
	__u64 before_last = length - 1; /* less one, so that every verifier sees that it is not zero */
	barrier_var(before_last);
	if (before_last > ANSWER_BYTES - 1)
		before_last = ANSWER_BYTES - 1;
	if (bpf_skb_load_bytes(skb, offset, a->payload, before_last + 1))
		bpf_ringbuf_discard(a, BPF_RB_NO_WAKEUP);
	else
		bpf_ringbuf_submit(a, BPF_RB_NO_WAKEUP);
}

/* outbound_connection says whether this side opened a socket's connection: who else connects from port 53 answers nothing. */
static __always_inline bool outbound_connection(const struct tcp_sock *t)
{
	__u32 n;
	if (!tag_of(socket_number(t), &n))
		return false;
	__u32 i = n & (EDGES - 1);
	struct origin *o = bpf_map_lookup_elem(&origins, &i);
	return o && o->number == n && !(o->key.flags & EDGE_INBOUND);
}

/* answer_segment sends what a DNS server said over TCP. */
static __always_inline void answer_segment(struct __sk_buff *skb, __u32 at, __u32 sequence)
{
	__u32 rest = skb->len - at;
	struct bpf_sock *sk = skb->sk;
	struct tcp_sock *t = sk ? bpf_skc_to_tcp_sock(sk) : 0;
	if (!t || !outbound_connection(t))
		return;
	/* TCP has not looked at it yet: what is outside of its window is old, or somebody's guess. */
	if ((__s32)(sequence + rest - t->rcv_nxt) <= 0 || (__s32)(t->rcv_wup + t->rcv_wnd - sequence) <= 0)
		return;
	sequence -= t->rcv_nxt - (__u32)t->bytes_received; /* that is where the stream began */
#pragma unroll
	for (int i = 0; i < SEGMENT_PARTS && rest; i++) {
		__u32 n = rest > ANSWER_BYTES && i < SEGMENT_PARTS - 1 ? ANSWER_BYTES : rest;
		emit_answer(skb, at, n, true, sequence);
		at += n;
		sequence += n;
		rest -= n;
	}
}

static __always_inline void tcp_packet(struct __sk_buff *skb, __u32 offset, bool out)
{
	__u8 *tcp = (void *)(long)skb->data + offset, *end = (void *)(long)skb->data_end;
	__u64 stream;
	if (tcp + 20 > end)
		return;
	bool syn = tcp[13] & TCP_SYN, answer = !out && *(__be16 *)tcp == bpf_htons(DNS_PORT);
	if (!answer && !hellos_wanted)
		return;
	__u32 sequence = bpf_ntohl(*(__be32 *)(tcp + 4)), at = offset + (tcp[12] >> 4) * 4;
	if (!syn && skb->len <= at || !answer && is_late(skb, tcp, out, &stream) || syn) /* a SYN has no place in the window yet */
		return;
	if (answer)
		answer_segment(skb, at, sequence);
	else if (may_begin_hello(skb, at, out, stream) && hello_packet(skb, at, sequence, out))
		late[stream >> 54] = stream;
}

static __always_inline void udp_packet(struct __sk_buff *skb, __u32 offset, bool out)
{
	bool answer = false;
	struct datagram d;
	if (!parse_udp(skb, offset, out, &d))
		return;
	__u64 cookie = bpf_get_socket_cookie(skb);
	struct flow *f = bpf_map_lookup_elem(&flows, &cookie);
	struct edge *e = out ? sent_edge(skb, &d, f, cookie) : received_edge(skb, &d, f, &answer);
	if (e) {
		__sync_fetch_and_add(out ? &e->sent : &e->received, d.length);
		e->last = tick;
	}
	if (!answer || d.remote.port != DNS_PORT || d.length < DNS_HEADER) /* asked for: what nobody asked cannot name anything */
		return;
	emit_answer(skb, d.payload, d.length, false, 0);
}

/* Functions of their own, so that what they need of the stack is not there below those of hello.h. */
static __noinline void udp_in(struct __sk_buff *skb, __u32 offset)
{
	udp_packet(skb, offset, false);
}

static __noinline void udp_out(struct __sk_buff *skb, __u32 offset)
{
	udp_packet(skb, offset, true);
}

SEC("cgroup_skb/ingress")
int packet_in(struct __sk_buff *skb)
{
	__u32 offset;
	__u8 protocol = protocol_of(skb, &offset);
	if (protocol == IPPROTO_TCP)
		tcp_packet(skb, offset, false);
	else if (protocol == IPPROTO_UDP)
		udp_in(skb, offset);
	return 1;
}

SEC("cgroup_skb/egress")
int packet_out(struct __sk_buff *skb)
{
	__u32 offset;
	__u8 protocol = protocol_of(skb, &offset);
	if (protocol == IPPROTO_TCP)
		tcp_packet(skb, offset, true);
	else if (protocol == IPPROTO_UDP)
		udp_out(skb, offset);
	return 1;
}
