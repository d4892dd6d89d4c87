/* Inventory: open sockets of all network namespaces, by the files of all tasks.
 * Hook: iter/task_file, read after the others are attached, and again now and then. A TCP socket without tag is older than we are and gets one; for
 * every one the number of its edge is written, so that a reader can correct what skipped programs left open. Shared sockets come more than once.
 * Not seen: sockets without a file (accepted by nobody yet, or closed and lingering); the end of an untagged one counts as TAG_LOST. */
#pragma once

/* The address of anchor as a number, to match socket_number() for a pointer that was read and is a number already. */
static __always_inline __u64 anchor_address(void)
{
	void *p = &anchor;
	__u64 v = 0;
	bpf_probe_read_kernel(&v, sizeof v, &p);
	return v;
}

static __always_inline __u64 cgroup_read(struct sock *sk)
{
	if (bpf_core_field_exists(sk->sk_cgrp_data.cgroup))
		return BPF_CORE_READ(sk, sk_cgrp_data.cgroup, kn, id);
	struct sock___old *o = (void *)sk;
	__u64 v = BPF_CORE_READ(o, sk_cgrp_data.val);
	struct cgroup *cg = (void *)(v & ~3ULL);
	return v & 1 ? 0 : BPF_CORE_READ(cg, kn, id);
}

SEC("iter/task_file")
int open_sockets(struct bpf_iter__task_file *c)
{
	struct task_struct *t = c->task;
	struct file *f = c->file;
	if (!t || !f) /* threads that share their files come once */
		return 0;
	if ((f->f_inode->i_mode & S_IFMT) != S_IFSOCK)
		return 0;
	struct socket *s = f->private_data;
	struct sock *sk = BPF_CORE_READ(s, sk);
	if (!sk)
		return 0;
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);
	__u16 protocol = BPF_CORE_READ(sk, sk_protocol);
	if (family != AF_INET && family != AF_INET6 || protocol != IPPROTO_TCP && protocol != IPPROTO_UDP)
		return 0;

	struct process p = {};
	task_process(t, &p);
	p.uid = t->cred->uid.val;
	__u64 cgroup = cgroup_read(sk);
	__u16 local = BPF_CORE_READ(sk, __sk_common.skc_num);
	__u8 state = BPF_CORE_READ(sk, __sk_common.skc_state);
	if (protocol == IPPROTO_UDP || state == TCP_LISTEN) {
		struct listener l = {.cgroup = cgroup, .port = local, .protocol = protocol};
		if (local && !listens(&l)) /* who called listen is told already, and the first of those who share a socket is mostly their parent */
			listen(&l, &p);
		return 0;
	}
	if (state == TCP_CLOSE || state == TCP_SYN_RECV)
		return 0;
	struct open_socket o = {.socket = (__u64)sk - anchor_address()};
	if (tag_of(o.socket, &o.number)) {
		bpf_seq_write(c->meta->seq, &o, sizeof o);
		return 0;
	}
	struct edge_key k = {.cgroup = cgroup, .protocol = IPPROTO_TCP};
	if (BPF_CORE_READ(sk, sk_max_ack_backlog)) { /* inherited from the listener */
		k.flags = EDGE_INBOUND;
		k.port = local;
	} else {
		k.executable = executable_number(&p);
		k.port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	}
	if (family == AF_INET6) {
		__u64 a[2];
		BPF_CORE_READ_INTO(&a, sk, __sk_common.skc_v6_daddr);
		set_address6(&k, a[0], a[1]);
	} else
		set_address4(&k, BPF_CORE_READ(sk, __sk_common.skc_daddr));
	struct edge *e = edge_of(&k, &p);
	if (!e)
		return 0;
	o.number = e->number;
	if (!tag(o.socket, o.number))
		return 0;
	if (BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_CLOSE && untag(o.socket, &o.number)) /* it ended before it had a tag */
		return 0;
	__sync_fetch_and_add(&e->inherited, 1);
	e->last = tick;
	bpf_seq_write(c->meta->seq, &o, sizeof o);
	return 0;
}
