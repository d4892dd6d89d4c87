/* The plain beginning of TLS over TCP, for who parses it: ClientHello, ServerHello, and the certificates of TLS 1.2. Records are followed by their
 * headers, over segments too, until something comes that tells nothing of who is there, at the latest where encryption begins: nothing encrypted leaves.
 * The functions are global, so that the verifier looks at each of them once, and not at every way that leads to it.
 * Hooks: cgroup_skb both ways, called by packet.h.
 * Not seen: hellos that begin later than HELLO_WITHIN bytes into a stream; a hello that comes before its socket is there (TCP_DEFER_ACCEPT, TCP fast
 * open); what overtakes the record header before it; SSL 2. */
#pragma once

#define HELLO_WITHIN 32768  /* bytes of a stream in which TLS begins, after a STARTTLS, PROXY or CONNECT perhaps */
#define HELLO_TOLD 16384    /* bytes that are told of one direction of a connection */
#define HELLO_RECORDS 16    /* records that may end in one segment */
#define HELLO_UNTOLD (~0u)  /* hello_stream.message: it cannot be told where messages begin */

enum { TLS_CHANGE_CIPHER_SPEC = 20, TLS_HANDSHAKE = 22 };
enum { TLS_CLIENT_HELLO = 1, TLS_SERVER_HELLO = 2, TLS_CERTIFICATE = 11, TLS_CERTIFICATE_STATUS = 22 };

/* sending_process is the process that sends, where it does so itself: it holds the socket's lock then, and all others must wait with what they have. */
static __always_inline __u32 sending_process(struct tcp_sock *t)
{
	struct sock *sk = (struct sock *)t;
	if (!sk->sk_lock.owned || BPF_CORE_READ_BITFIELD(sk, sk_kern_sock))
		return 0;
	struct task_struct *task = (void *)bpf_get_current_task();
	return BPF_CORE_READ(task, tgid);
}

static __always_inline void ends_of_hello(struct hello_origin *o, struct tcp_sock *t)
{
	struct sock_common *c = &((struct sock *)t)->__sk_common;
	if (c->skc_family == AF_INET6) {
		__u32 *local = c->skc_v6_rcv_saddr.in6_u.u6_addr32, *remote = c->skc_v6_daddr.in6_u.u6_addr32;
		o->local[0] = local[0] | (__u64)local[1] << 32;
		o->local[1] = local[2] | (__u64)local[3] << 32;
		o->remote[0] = remote[0] | (__u64)remote[1] << 32;
		o->remote[1] = remote[2] | (__u64)remote[3] << 32;
	} else {
		o->local[1] = (__u64)c->skc_rcv_saddr << 32 | 0xffff0000;
		o->remote[1] = (__u64)c->skc_daddr << 32 | 0xffff0000;
	}
	o->local_port = c->skc_num;
	o->remote_port = bpf_ntohs(c->skc_dport);
}

static __always_inline void describe_hello(struct __sk_buff *skb, struct hello_origin *o, __u32 sequence, __u32 out)
{
	struct bpf_sock *sk = skb->sk;
	struct tcp_sock *t = sk ? bpf_skc_to_tcp_sock(sk) : 0;
	__u32 edge = 0;
	__builtin_memset(o, 0, sizeof *o);
	o->at = bpf_ktime_get_ns();
	o->cookie = bpf_get_socket_cookie(skb);
	o->cgroup = bpf_skb_cgroup_id(skb);
	o->sequence = sequence;
	o->out = out;
	if (t) {
		tag_of(socket_number(t), &edge);
		ends_of_hello(o, t);
		if (out)
			o->tgid = sending_process(t);
	}
	o->edge = edge;
}

/* emit_hello sends length bytes, limit at most. There must be one. */
static __always_inline void emit_hello(struct __sk_buff *skb, const struct hello_origin *o, __u32 offset, __u32 length, const __u32 limit)
{
	struct hello *h = bpf_ringbuf_reserve(&hellos, offsetof(struct hello, payload) + limit, 0);
	if (!h) {
		count(HELLO_RING_FULL);
		return;
	}
	__u64 before_last = length - 1; /* less one, so that every verifier sees that it is not zero */
	barrier_var(before_last);
	if (before_last > limit - 1)
		before_last = limit - 1;
	h->origin = *o;
	h->length = before_last + 1;
	if (bpf_skb_load_bytes(skb, offset, h->payload, before_last + 1))
		bpf_ringbuf_discard(h, BPF_RB_NO_WAKEUP);
	else
		bpf_ringbuf_submit(h, BPF_RB_NO_WAKEUP);
}

/* hello_bytes sends up to HELLO_BYTES of a segment. */
__noinline int hello_bytes(struct __sk_buff *skb, __u32 offset, __u32 length, __u32 sequence, __u32 out)
{
	struct hello_origin o;
	describe_hello(skb, &o, sequence, out);
	if (length <= HELLO_TINY)
		emit_hello(skb, &o, offset, length, HELLO_TINY);
	else if (length <= HELLO_SHORT)
		emit_hello(skb, &o, offset, length, HELLO_SHORT);
	else
		emit_hello(skb, &o, offset, length, HELLO_BYTES);
	return 0;
}

/* hello_held sends the first bytes of a record, of which some came with earlier segments: whole, so that they tell a hello, and before others take their place. */
__noinline int hello_held(struct __sk_buff *skb, __u32 length, __u32 sequence, __u32 out)
{
	struct hello_origin o;
	describe_hello(skb, &o, sequence, out);
	__u64 key = o.cookie << 1 | out;
	struct hello_stream *s = bpf_map_lookup_elem(&hello_streams, &key);
	if (!s)
		return 0;
	struct hello *h = bpf_ringbuf_reserve(&hellos, offsetof(struct hello, payload) + HELLO_TINY, 0);
	if (!h) {
		count(HELLO_RING_FULL);
		return 0;
	}
	h->origin = o;
	h->length = length;
	__builtin_memcpy(h->payload, s->head, HELLO_HEAD);
	bpf_ringbuf_submit(h, BPF_RB_NO_WAKEUP);
	return 0;
}

enum { HEADER_BAD = -1, HEADER_MORE = -2 };

/* record_length judges the first bytes of a record: the length of what follows the header if it is told of, or one of the above. */
static __always_inline int record_length(struct hello_stream *s, __u32 have)
{
	__u8 *h = s->head;
	bool change = h[0] == TLS_CHANGE_CIPHER_SPEC && !s->hello;
	if (h[0] != TLS_HANDSHAKE && !change || have > 1 && h[1] != 3 || have > 2 && h[2] > 4)
		return HEADER_BAD;
	if (have < 5)
		return HEADER_MORE;
	__u32 length = h[3] << 8 | h[4];
	if (!length || length > 16384 || change && length != 1)
		return HEADER_BAD;
	if (change || !s->hello && s->message)
		return length;
	/* A message begins. In records that could be encrypted, which are longer, more than its type must be right. */
	__u32 want = s->hello ? 6 : 4;
	if (want > length)
		want = length;
	if (have < 5 + want)
		return HEADER_MORE;
	if (h[5] != TLS_CLIENT_HELLO && h[5] != TLS_SERVER_HELLO && (s->hello || h[5] != TLS_CERTIFICATE && h[5] != TLS_CERTIFICATE_STATUS))
		return HEADER_BAD;
	if (s->hello && want == 6 && (h[6] || h[9] != 3 || h[10] > 4))
		return HEADER_BAD;
	return length;
}

/* message_rest is what is missing of a message behind a record. Of several messages in a record only the first is looked at: the last should be whole. */
static __always_inline __u32 message_rest(const struct hello_stream *s, __u32 length)
{
	const __u8 *h = s->head;
	__u32 message = s->message;
	if (message == HELLO_UNTOLD || !message && length < 4)
		return HELLO_UNTOLD;
	if (!message)
		message = 4 + (h[6] << 16 | h[7] << 8 | h[8]);
	return message > length ? message - length : 0;
}

/* hello_header takes the bytes of a record header that a segment has at an offset, and goes on to the next header if they complete it. It says whether to go on. */
__noinline int hello_header(struct __sk_buff *skb, __u32 at, __u32 out)
{
	__u64 key = bpf_get_socket_cookie(skb) << 1 | out;
	struct hello_stream *s = bpf_map_lookup_elem(&hello_streams, &key);
	__u32 rest = skb->len - at;
	if (!s)
		return 0;
	__u64 have = s->have;
	__u32 held = have, start = s->boundary;
	if (have >= HELLO_HEAD)
		return 0;
	__u64 before_last = HELLO_HEAD - have - 1;
	if (before_last > rest - 1)
		before_last = rest - 1;
	barrier_var(before_last);
	if (before_last >= HELLO_HEAD)
		return 0;
	if (bpf_skb_load_bytes(skb, at, s->head + have, before_last + 1))
		return 0;
	have += before_last + 1;
	int length = record_length(s, have);
	if (length == HEADER_MORE) {
		s->have = have;
		return rest == before_last + 1;
	}
	if (length < 0)
		return 0;
	s->have = 0;
	if (s->head[0] == TLS_CHANGE_CIPHER_SPEC) {
		s->boundary += 6;
		s->hello = 1; /* after a HelloRetryRequest; else what follows is encrypted */
		s->message = 0;
		return 1;
	}
	if (s->hello) {
		s->begin = s->boundary;
		s->message = 0;
	}
	s->message = message_rest(s, length);
	s->hello = 0;
	s->boundary = start + 5 + length;
	s->end = s->boundary;
	if (held)
		hello_held(skb, have > 5 + length ? 5 + length : have, start, out);
	return 1;
}

/* hello_segment tells what belongs to a hello in a segment of a connection that has begun one. It says whether the hello is over. */
__noinline int hello_segment(struct __sk_buff *skb, __u32 at, __u32 sequence, __u32 out)
{
	__u64 key = bpf_get_socket_cookie(skb) << 1 | out;
	struct hello_stream *s = bpf_map_lookup_elem(&hello_streams, &key);
	if (!s)
		return 0;
	__u32 length = skb->len - at, start = s->boundary, held = s->have, told = s->told;
	bool fresh = s->hello, on = true;
	__s32 p = start + held - sequence;
	if (p < 0) {
		count(HELLO_CUT);
		bpf_map_delete_elem(&hello_streams, &key);
		return 0;
	}
	for (int i = 0; i < HELLO_RECORDS && on && p < (__s32)length; i++) {
		on = hello_header(skb, at + p, out);
		p = s->boundary + s->have - sequence;
	}
	bool over = !on;
	if (on && p < (__s32)length) {
		count(HELLO_CUT);
		on = false;
	}
	__s32 from = (fresh ? start : s->begin) - sequence, to = s->end - sequence;
	if (from < 0)
		from = 0;
	if (to > (__s32)length)
		to = length;
	if (to > from) {
		__u32 n = to - from;
		if (n > HELLO_TOLD - told) {
			count(HELLO_CUT);
			n = HELLO_TOLD - told;
			on = false;
		}
		s->told = told + n;
		for (int i = 0; i < HELLO_TOLD / HELLO_BYTES && n; i++) {
			__u32 part = n > HELLO_BYTES ? HELLO_BYTES : n;
			hello_bytes(skb, at + from, part, sequence + from, out);
			from += part;
			n -= part;
		}
	}
	if (on)
		return 0;
	over = over && s->told;
	bpf_map_delete_elem(&hello_streams, &key);
	return over;
}

/* Streams that are past their beginning, by a hash of their addresses and ports: what else tells it takes a call, which costs five times as much. A stream
 * begins with a SYN, which takes what stood for another with the same ends away. The kernel's own hash, which it draws for each connection, is in it:
 * another network may have the same addresses. */
#define LATE 1024 /* 8 KiB, which stay in caches */
__u64 late[LATE];

/* is_late says whether a segment belongs to one of those. stream is its hash, 0 if it has none. */
static __always_inline bool is_late(struct __sk_buff *skb, const __u8 *tcp, bool out, __u64 *stream)
{
	__u8 *ip = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	*stream = 0;
	if (ip + 40 > end) /* an IPv6 header, or both of IPv4 */
		return false;
	__u32 *from = (__u32 *)(ip + 12), *to = (__u32 *)(ip + 16);
	if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		from = (__u32 *)(ip + 20);
		to = (__u32 *)(ip + 36);
	}
	__u64 h = (((__u64)*from << 32 | *to) + out) * 0x9E3779B97F4A7C15ULL;
	h = (h ^ h >> 32 ^ *(__u32 *)tcp ^ (__u64)skb->hash << 32) * 0xff51afd7ed558ccdULL | 1;
	*stream = h;
	__u64 *place = &late[h >> 54];
	if (*place != h)
		return false;
	if (!(tcp[13] & TCP_SYN))
		return true;
	*place = 0;
	return false;
}

/* may_begin_hello says whether a segment stands early enough in its stream. It is inline: most segments end here. */
static __always_inline bool may_begin_hello(struct __sk_buff *skb, __u32 at, bool out, __u64 stream)
{
	struct bpf_sock *sk = skb->sk;
	struct tcp_sock *t = sk ? bpf_skc_to_tcp_sock(sk) : 0;
	if (!t || !stream || ((struct sock *)t)->sk_type != SOCK_STREAM) /* old kernels take a raw socket of TCP's number for one of TCP */
		return false;
	if ((out ? t->bytes_sent - (skb->len - at) : t->bytes_received) <= HELLO_WITHIN)
		return true;
	late[stream >> 54] = stream;
	return false;
}

/* hello_packet looks at a TCP segment, whose payload begins at an offset and is not empty. Most have nothing to do with hellos: they must leave early. It
 * says whether nothing more is to come in the stream. */
__noinline int hello_packet(struct __sk_buff *skb, __u32 at, __u32 sequence, __u32 out)
{
	__u64 key = bpf_get_socket_cookie(skb) << 1 | out;
	bool known = bpf_map_lookup_elem(&hello_streams, &key) != 0;
	__u8 first;
	if (!known && (bpf_skb_load_bytes(skb, at, &first, 1) || first != TLS_HANDSHAKE))
		return 0;
	struct bpf_sock *sk = skb->sk;
	struct tcp_sock *t = sk ? bpf_skc_to_tcp_sock(sk) : 0;
	__u32 length = skb->len - at;
	if (!t)
		return 0;
	if (((struct sock *)t)->__sk_common.skc_state == TCP_LISTEN) {
		count(HELLO_EARLY);
		return 0;
	}
	/* TCP has not looked at what comes in: outside of its window it is old, or somebody's guess. */
	if (!out && ((__s32)(sequence + length - t->rcv_nxt) <= 0 || (__s32)(t->rcv_wup + t->rcv_wnd - sequence) <= 0))
		return 0;
	if (!known) {
		struct hello_stream s = {.begin = sequence, .boundary = sequence, .end = sequence, .hello = 1};
		bpf_map_update_elem(&hello_streams, &key, &s, BPF_ANY);
	}
	return hello_segment(skb, at, sequence, out);
}
