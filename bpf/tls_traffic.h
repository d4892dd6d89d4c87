/* What is sent and received while a handshake goes on, in the task that does so.
 * Hooks: tp_btf/sock_send_length and tp_btf/sock_recv_length; before 6.3 fentry/tcp_sendmsg and fentry/tcp_recvmsg. */
#pragma once

static __always_inline void carried(struct sock *sk, bool cookies)
{
	__u64 id = bpf_get_current_pid_tgid(), socket = 0, cookie = 0;
	bool thread = window_open(id), process = window_open(id >> 32);
	if (!thread && !process)
		return;
	struct frame *f = thread ? current_window() : 0;
	if (!f && !process || sk->sk_protocol != IPPROTO_TCP)
		return;
	bpf_probe_read_kernel(&socket, sizeof socket, &sk); /* its address as a number */
	struct handshake *h = f ? 0 : handshake_of(system_caller());
	if (f ? f->settled == socket : !h || h->settled == socket)
		return;
	__u64 connection = f ? f->connection : h->connection;
	struct connection *c = connection_of(connection);
	if (!c)
		return;
	if (cookies)
		cookie = bpf_get_socket_cookie(sk);
	if (!bind_socket(connection, c, socket, cookie))
		return;
	if (f)
		f->settled = socket;
	else
		h->settled = socket;
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(sent, struct sock *sk, int ret, int flags)
{
	if (ret > 0)
		carried(sk, true);
	return 0;
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(received, struct sock *sk, int ret, int flags)
{
	if (ret > 0) /* every other call finds nothing there */
		carried(sk, true);
	return 0;
}

SEC("fentry/tcp_sendmsg")
int BPF_PROG(tcp_sends, struct sock *sk)
{
	carried(sk, false);
	return 0;
}

SEC("fentry/tcp_recvmsg")
int BPF_PROG(tcp_receives, struct sock *sk)
{
	carried(sk, false);
	return 0;
}
