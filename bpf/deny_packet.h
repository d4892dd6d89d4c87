/* What gets past the sockets: datagrams of sockets that were connected before, raw sockets, and what was turned to another address on its way. Of TCP, the
 * packets that begin a connection, and all of those that are cut so. A datagram is refused with EPERM; TCP tries again in vain, as it does against a firewall.
 * Hooks: cgroup_skb both ways.
 * Not seen: sockets below IP (AF_PACKET), ports behind IPv6 extension headers, ports of later fragments. */
#pragma once

enum { TCP_ACK = 16 };

static __always_inline bool deny_cut(struct __sk_buff *skb)
{
	__u64 cookie = bpf_get_socket_cookie(skb);
	__u64 *until = bpf_map_lookup_elem(&deny_cuts, &cookie);
	return until && *until > bpf_ktime_get_boot_ns();
}

/* deny_begins fills in who is at the other end, and says whether there is anything to ask about. */
static __always_inline bool deny_begins(struct __sk_buff *skb, struct deny_ask *a, bool out)
{
	__u8 *ip = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u32 header = 40;
	bool first = true;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (ip + 20 > end)
			return false;
		header = (ip[0] & 15) * 4;
		first = !(ip[6] & 0x1f || ip[7]);
		a->protocol = ip[9];
		deny_address4(a, *(__be32 *)(ip + (out ? 16 : 12)));
	} else {
		if (skb->protocol != bpf_htons(ETH_P_IPV6) || ip + 40 > end)
			return false;
		a->protocol = ip[6];
		deny_address6(a, (void *)(ip + (out ? 24 : 8)));
	}
	bool tcp = a->protocol == IPPROTO_TCP;
	if (!tcp && a->protocol != IPPROTO_UDP || !first)
		return out; /* who is reached counts all the same */
	__u8 *h = ip + header;
	if (h + 8 > end)
		return false;
	if (tcp && (h + 20 > end || (h[13] & (TCP_SYN | TCP_ACK)) != TCP_SYN))
		return false;
	a->port = bpf_ntohs(*(__be16 *)(h + 2)); /* where it goes */
	return true;
}

static __always_inline int deny_packet(struct __sk_buff *skb, bool out)
{
	struct deny_ask a = {.inbound = !out};
	struct deny_control *c = deny_armed();
	if (!c)
		return 1;
	if (c->cuts && deny_cut(skb))
		return 0;
	if (!deny_named(bpf_skb_cgroup_id(skb), &a.subject) || !deny_begins(skb, &a, out))
		return 1;
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
