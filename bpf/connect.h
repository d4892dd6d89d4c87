/* connect, of TCP and of UDP: what a program asks for, before anyone turns it elsewhere where the kernel lets us be first.
 * Hooks: cgroup/connect4,6, in task context. */
#pragma once

static __always_inline int connects(struct bpf_sock_addr *c, bool six)
{
	if (c->protocol == IPPROTO_TCP)
		remember_asked(c, six);
	else if (c->protocol == IPPROTO_UDP)
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
