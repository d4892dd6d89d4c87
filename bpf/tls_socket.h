/* Connections -> sockets and edges. A connection belongs to the socket that its thread sends to or receives from while it is at work on it.
 * Not seen: what is not TCP. */
#pragma once

#define SOCKETS 8 /* told for one connection at most */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct sock_common___cookie {
	struct {
		__s64 counter;
	} skc_cookie;
};

struct sock___cookie {
	struct sock_common___cookie __sk_common;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct task_struct___tls {
	struct files_struct *files;
	struct task_struct___tls *group_leader;
	__u64 start_time;
};

#pragma clang attribute pop

/* open_windows counts for each thread (OpenSSL) or process (Go), by the low bits of its number, what it is at work on: what is sent elsewhere on the
 * machine must cost next to nothing. Processes that end in the middle leave some behind, and cost a little more to those who share their bits. */
__u32 open_windows[THREADS];
__u32 encoding[THREADS]; /* likewise threads that write a certificate of their own down */

static __always_inline __u32 *number_at(__u32 *of, __u64 number)
{
	barrier_var(number);
	number &= THREADS - 1;
	barrier_var(number); /* or the compiler scales it first, and the verifier does not see the bound */
	return &of[number & (THREADS - 1)];
}

static __always_inline __u32 *windows_at(__u64 number)
{
	return number_at(open_windows, number);
}

static __always_inline void window_opens(__u64 number)
{
	__sync_fetch_and_add(windows_at(number), 1);
}

static __always_inline void window_closes(__u64 number)
{
	__u32 *n = windows_at(number);
	if (*n)
		__sync_fetch_and_add(n, -1);
}

static __always_inline bool window_open(__u64 number)
{
	return *windows_at(number) != 0;
}

/* process_born and thread_born tell a process or thread from an older one of its number. */
static __always_inline __u64 process_born(void)
{
	struct task_struct___tls *t = (void *)bpf_get_current_task();
	return BPF_CORE_READ(t, group_leader, start_time);
}

static __always_inline __u64 thread_born(void)
{
	struct task_struct___tls *t = (void *)bpf_get_current_task();
	return BPF_CORE_READ(t, start_time);
}

/* edge_of_socket is the number of the edge that the first object tagged a socket with, 0 if it has none. */
static __always_inline __u32 edge_of_socket(__u64 sk)
{
	__u32 zero = 0;
	__u64 data = 0, *first = bpf_map_lookup_elem(&edge_data, &zero);
	if (!first)
		return 0;
	bpf_probe_read_kernel(&data, sizeof data, &first); /* its address as a number */
	__u64 number = sk - (data + anchor_offset), h = number * 0x9E3779B97F4A7C15ULL;
	__u32 i = h >> 48;
	struct tag *t = bpf_map_lookup_elem(&tags, &i);
	if (t && t->sk == number)
		return t->value;
	__u64 *v = bpf_map_lookup_elem(&tags_more, &number);
	return v ? *v : 0;
}

/* ends_of reads a socket, whose address is a number here. It is false if it is no TCP socket. */
static __always_inline bool ends_of(struct ends *e, __u64 socket)
{
	struct sock *sk = (void *)socket;
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);
	__builtin_memset(e, 0, sizeof *e);
	if (family != AF_INET && family != AF_INET6 || BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
		return false;
	if (family == AF_INET6) {
		BPF_CORE_READ_INTO(&e->local, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(&e->remote, sk, __sk_common.skc_v6_daddr);
	} else {
		e->local[1] = (__u64)BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr) << 32 | 0xffff0000;
		e->remote[1] = (__u64)BPF_CORE_READ(sk, __sk_common.skc_daddr) << 32 | 0xffff0000;
	}
	e->local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
	e->remote_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	e->edge = edge_of_socket(socket);
	struct sock___cookie *c = (void *)socket;
	e->cookie = BPF_CORE_READ(c, __sk_common.skc_cookie.counter);
	return true;
}

/* socket_of_fd finds the socket behind a file descriptor of the current process; 0 if it is none. */
static __always_inline __u64 socket_of_fd(__u32 fd)
{
	struct task_struct___tls *t = (void *)bpf_get_current_task();
	struct fdtable *table = BPF_CORE_READ(t, files, fdt);
	if (!table || fd >= BPF_CORE_READ(table, max_fds))
		return 0;
	struct file **files = BPF_CORE_READ(table, fd), *f = 0;
	if (bpf_probe_read_kernel(&f, sizeof f, files + fd) || !f)
		return 0;
	if ((BPF_CORE_READ(f, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return 0;
	struct socket *s = BPF_CORE_READ(f, private_data);
	return (__u64)BPF_CORE_READ(s, sk);
}

/* connection_of gives what is known of a connection of the current process, 0 if nothing is. */
static __always_inline struct connection *connection_of(__u64 connection)
{
	struct connection_key k = {.tgid = bpf_get_current_pid_tgid() >> 32, .connection = connection};
	return bpf_map_lookup_elem(&connections, &k);
}

/* remember_connection does likewise, but makes it known where it is not. */
static __always_inline struct connection *remember_connection(__u64 connection, __u32 target)
{
	struct connection_key k = {.tgid = bpf_get_current_pid_tgid() >> 32, .connection = connection};
	struct connection *c = bpf_map_lookup_elem(&connections, &k);
	__u64 born = process_born();
	if (c && c->born == born)
		return c;
	struct connection fresh = {.born = born, .target = target};
	bpf_map_update_elem(&connections, &k, &fresh, BPF_ANY);
	c = bpf_map_lookup_elem(&connections, &k);
	if (!c)
		lost(CONNECTION_LOST);
	return c;
}

/* bind_socket ties a connection to a socket, and tells so if that is news: another socket, or its cookie or edge, which may come later. cookie is 0
 * where only the socket itself knows it. It says whether all is known. */
static __always_inline bool bind_socket(__u64 connection, struct connection *c, __u64 socket, __u64 cookie)
{
	struct ends e;
	if (c->socket == socket && c->ends.cookie && c->ends.edge && (!cookie || cookie == c->ends.cookie))
		return true;
	if (!ends_of(&e, socket))
		return false;
	if (cookie)
		e.cookie = cookie;
	if (c->socket == socket && e.cookie == c->ends.cookie && e.edge == c->ends.edge && e.remote_port == c->ends.remote_port)
		return false;
	if (c->sockets >= SOCKETS)
		return false;
	c->sockets++;
	c->socket = socket;
	c->ends = e;
	struct record r;
	new_record(&r, BOUND, connection, c->target);
	r.ends = e;
	emit(&r);
	return e.cookie && e.edge;
}
