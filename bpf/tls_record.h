/* Records to user space. Each is written where it stays: programs of user probes may be interrupted by one another on a CPU, so that nothing that is
 * shared by a CPU would keep two handshakes apart. */
#pragma once

/* new_record begins a record of the current task. connection may be 0 where there is none. */
static __always_inline void new_record(struct record *r, __u8 kind, __u64 connection, __u32 target)
{
	__u64 id = bpf_get_current_pid_tgid();
	__builtin_memset(r, 0, sizeof *r);
	r->at = bpf_ktime_get_ns();
	r->cgroup = bpf_get_current_cgroup_id();
	r->connection = connection;
	r->target = target;
	r->tgid = id >> 32;
	r->tid = id;
	r->kind = kind;
}

static __always_inline bool emit_sized(const struct record *r, const void *from, __u64 n, const __u64 room)
{
	struct record *to = bpf_ringbuf_reserve(&records, sizeof *r + room, 0);
	if (!to) {
		lost(RING_FULL);
		return false;
	}
	*to = *r;
	barrier_var(n);
	if (n > room)
		n = room;
	if (n && bpf_probe_read_user(to + 1, n, from)) {
		lost(FAULT);
		bpf_ringbuf_discard(to, BPF_RB_NO_WAKEUP);
		return false;
	}
	bpf_ringbuf_submit(to, BPF_RB_NO_WAKEUP);
	return true;
}

/* emit sends a record without payload. */
static __always_inline bool emit(struct record *r)
{
	return emit_sized(r, 0, 0, 0);
}

/* emit_user sends a record whose payload is length bytes of the program's memory, as many as are kept. */
static __always_inline bool emit_user(struct record *r, __u64 from, __u64 length)
{
	const void *p = (const void *)from;
	r->length = length;
	if (length <= 256)
		return emit_sized(r, p, length, 256);
	if (length <= 1024)
		return emit_sized(r, p, length, 1024);
	if (length <= 2048)
		return emit_sized(r, p, length, 2048);
	if (length > TLS_PAYLOAD)
		lost(CERTIFICATE_CUT);
	return emit_sized(r, p, length, TLS_PAYLOAD);
}
