/* What gets past the sockets: datagrams of sockets that were connected before, raw sockets, and what was turned to another address on its way. Of TCP, the
 * packets that begin a connection, and those of connections that must be cut so, as the kernel does not end them. A datagram is refused with EPERM; TCP tries again in vain, as it does against a firewall.
 * Hooks: cgroup_skb both ways.
 * Not seen: sockets below IP (AF_PACKET), ports behind IPv6 extension headers, ports of later fragments. */
#pragma once

enum { TCP_ACK = 16 };

enum { DENY_NOTHING, DENY_BEGINS, DENY_GOES_ON };

static __always_inline bool deny_cut(struct __sk_buff *skb)
{
	__u64 cookie = bpf_get_socket_cookie(skb);
	__u64 *until = bpf_map_lookup_elem(&deny_cuts, &cookie);
	return until && *until > bpf_ktime_get_boot_ns();
}

/* deny_look fills in who is at the other end, and says what there is to ask about. Port is where the packet goes, other where it comes from. */
static __always_inline int deny_look(struct __sk_buff *skb, struct deny_ask *a, __u16 *other, bool out)
{
	__u8 *ip = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u32 header = 40;
	bool first = true;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (ip + 20 > end)
			return DENY_NOTHING;
		header = (ip[0] & 15) * 4;
		first = !(ip[6] & 0x1f || ip[7]);
		a->protocol = ip[9];
		deny_address4(a, *(__be32 *)(ip + (out ? 16 : 12)));
	} else {
		if (skb->protocol != bpf_htons(ETH_P_IPV6) || ip + 40 > end)
			return DENY_NOTHING;
		a->protocol = ip[6];
		deny_address6(a, (void *)(ip + (out ? 24 : 8)));
	}
	bool tcp = a->protocol == IPPROTO_TCP;
	if (!tcp && a->protocol != IPPROTO_UDP || !first)
		return out ? DENY_BEGINS : DENY_NOTHING; /* who is reached counts all the same */
	__u8 *h = ip + header;
	if (h + 8 > end)
		return DENY_NOTHING;
	*other = bpf_ntohs(*(__be16 *)h);
	a->port = bpf_ntohs(*(__be16 *)(h + 2));
	if (!tcp)
		return DENY_BEGINS;
	if (h + 20 > end)
		return DENY_NOTHING;
	return (h[13] & (TCP_SYN | TCP_ACK)) == TCP_SYN ? DENY_BEGINS : DENY_GOES_ON;
}

/* deny_goes_on decides about a packet of an established connection: who opened it says which rules are about it. */
static __always_inline int deny_goes_on(struct __sk_buff *skb, struct deny_ask *a, __u16 other, bool out)
{
	struct bpf_sock *any = skb->sk;
	struct tcp_sock *t = any ? bpf_skc_to_tcp_sock(any) : 0;
	if (!t)
		return 1;
	a->inbound = BPF_CORE_READ((struct sock *)t, sk_max_ack_backlog) != 0; /* inherited from the listener */
	if (a->inbound == out) /* the port that is meant is the other end of this packet */
		a->port = other;
	return !deny_cuts_off(a);
}

static __always_inline int deny_packet(struct __sk_buff *skb, bool out)
{
	struct deny_ask a = {.inbound = !out};
	struct deny_control *c = deny_armed();
	__u16 other = 0;
	if (!c)
		return 1;
	if (c->cuts && deny_cut(skb))
		return 0;
	if (!deny_named(bpf_skb_cgroup_id(skb), &a.subject))
		return 1;
	int what = deny_look(skb, &a, &other, out);
	if (what == DENY_NOTHING || what == DENY_GOES_ON && !c->established)
		return 1;
	if (what == DENY_GOES_ON)
		return deny_goes_on(skb, &a, other, out);
	if (!out && a.protocol == IPPROTO_UDP) { /* a connected socket hears whom it asked */
		struct bpf_sock *any = skb->sk, *sk = any ? bpf_sk_fullsock(any) : 0;
		if (sk && sk->dst_port)
			return 1;
	}
	return !deny_refuses(&a);
}

SEC("cgroup_skb/ingress")
int deny_in(struct __sk_buff *skb)
{
	return deny_packet(skb, false);
}

SEC("cgroup_skb/egress")
int deny_out(struct __sk_buff *skb)
{
	return deny_packet(skb, true);
}
