/* connect, of TCP and of UDP: what a program asks for, before anyone turns it elsewhere where the kernel lets us be first.
 * Hooks: cgroup/connect4,6, in task context. */
#pragma once

static __always_inline int connects(struct bpf_sock_addr *c, bool six)
{
	if (c->protocol == IPPROTO_TCP) {
		struct bpf_sock *sk = c->sk;
		struct tcp_sock *t = sk ? bpf_skc_to_tcp_sock(sk) : 0;
		struct process p;
		current_process(&p);
		if (t)
			remember_asked(socket_number(t), c, six, &p);
	} else if (c->protocol == IPPROTO_UDP)
		udp_connect(c, six);
	return 1;
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *c)
{
	return connects(c, false);
}

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *c)
{
	return connects(c, true);
}
