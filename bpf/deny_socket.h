/* What a socket asks for: refused with EPERM. The cgroup that the socket was made in decides, whoever has it by now.
 * Hooks: cgroup/connect4,6, of TCP and UDP; cgroup/sendmsg4,6, of UDP sockets that are not connected. Before address translation by netfilter, and where the kernel
 * has BPF_F_PREORDER (6.15), before other programs turn it elsewhere. What it becomes then is seen by packets (deny_packet.h). */
#pragma once

extern void *bpf_rdonly_cast(const void *what, __u32 type) __weak __ksym; /* from 6.2 on */

/* deny_cgroup_of reads the cgroup of a socket that may be of any type. */
static __always_inline __u64 deny_cgroup_of(struct bpf_sock *any)
{
	struct sock *sk = 0;
	if (bpf_rdonly_cast) { /* as fast as any memory */
		sk = bpf_rdonly_cast(any, bpf_core_type_id_kernel(struct sock));
		return sk->sk_cgrp_data.cgroup->kn->id;
	}
	bpf_probe_read_kernel(&sk, sizeof sk, &any); /* its address as a number */
	if (bpf_core_field_exists(sk->sk_cgrp_data.cgroup))
		return BPF_CORE_READ(sk, sk_cgrp_data.cgroup, kn, id);
	struct sock___old *o = (void *)sk;
	__u64 v = BPF_CORE_READ(o, sk_cgrp_data.val);
	struct cgroup *cg = (void *)(v & ~3ULL);
	return v & 1 ? 0 : BPF_CORE_READ(cg, kn, id);
}

static __always_inline int deny_socket(struct bpf_sock_addr *c, bool six)
{
	struct deny_ask a = {};
	struct bpf_sock *sk;
	if (!deny_armed() || !(sk = c->sk) || !deny_named(deny_cgroup_of(sk), &a.subject))
		return 1;
	a.protocol = c->protocol;
	a.port = bpf_ntohs(c->user_port);
	if (six) {
		__u32 words[4] = {c->user_ip6[0], c->user_ip6[1], c->user_ip6[2], c->user_ip6[3]};
		deny_address6(&a, words);
	} else
		deny_address4(&a, c->user_ip4);
	return !deny_refuses(&a);
}

SEC("cgroup/connect4")
int deny_connect4(struct bpf_sock_addr *c)
{
	return deny_socket(c, false);
}

SEC("cgroup/connect6")
int deny_connect6(struct bpf_sock_addr *c)
{
	return deny_socket(c, true);
}

SEC("cgroup/sendmsg4")
int deny_sendmsg4(struct bpf_sock_addr *c)
{
	return deny_socket(c, false);
}

SEC("cgroup/sendmsg6")
int deny_sendmsg6(struct bpf_sock_addr *c)
{
	return deny_socket(c, true);
}
