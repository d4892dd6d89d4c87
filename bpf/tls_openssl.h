/* OpenSSL and what has its functions: no structure of it is read. Certificates are seen on their way in and out of their encoding.
 * Not seen: handshakes of connections that are driven by other functions (BIO_f_ssl, DTLS); who the peer of a resumed connection is, on the client's
 * side. */
#pragma once

/* told notes that something of a connection's handshake is told, by a record. */
static __always_inline struct connection *told(struct record *r)
{
	struct connection *c = connection_of(r->connection);
	if (!c)
		return 0;
	r->ends = c->ends;
	c->news = 1;
	if (c->done) /* once more on the same connection */
		c->done = c->alpn = c->sockets = c->certified = c->peers = 0;
	return c;
}

static __always_inline void ends_in(struct record *r)
{
	struct connection *c = connection_of(r->connection);
	if (c)
		r->ends = c->ends;
}

static __always_inline void emit_certificate(__u8 kind, const struct frame *f, __u32 index, __u64 from, __u64 length)
{
	struct record r;
	new_record(&r, kind, f->connection, f->target);
	r.index = index;
	struct connection *c = told(&r);
	if (c) {
		c->certified = 1;
		if (kind == PEER_CERTIFICATE)
			c->peers = 1;
	}
	emit_user(&r, from, length);
}

static __always_inline void emit_done(__u64 connection, __u32 target, bool ok)
{
	struct record r;
	new_record(&r, DONE, connection, target);
	r.flags = ok ? FLAG_OK : 0;
	ends_in(&r);
	emit(&r);
}

/* int SSL_do_handshake(SSL *): SSL_connect and SSL_accept call it. A socket that does not block makes it return many times. */
UPROBE(ssl_handshake)
{
	enter(ctx, ARGUMENT1(ctx));
	return 0;
}

URETPROBE(ssl_handshake_return)
{
	__u32 target = 0;
	__u64 connection = leave(ctx, &target);
	struct connection *c = connection ? connection_of(connection) : 0;
	bool ok = (__s32)RESULT(ctx) == 1;
	if (!c || ok && c->done)
		return 0;
	c->done = ok;
	if (ok)
		c->news = 0;
	emit_done(connection, target, ok);
	return 0;
}

/* int SSL_read(SSL *, ...), SSL_write, SSL_read_ex, SSL_write_ex: they do what is left of a handshake first. */
UPROBE(ssl_io)
{
	enter(ctx, ARGUMENT1(ctx));
	return 0;
}

URETPROBE(ssl_io_return)
{
	__u32 target = 0;
	__u64 connection = leave(ctx, &target);
	struct connection *c = connection && (__s32)RESULT(ctx) > 0 ? connection_of(connection) : 0;
	if (!c || !c->news)
		return 0;
	c->news = 0;
	c->done = 1;
	emit_done(connection, target, true);
	return 0;
}

/* int SSL_clear(SSL *): each handshake begins with it, in its window, and SSL_new ends with it. What a program does with an SSL that it used before is
 * another connection's. */
UPROBE(ssl_clear)
{
	struct record r;
	__u64 connection = ARGUMENT1(ctx);
	struct connection *c = connection_of(connection);
	if (!c)
		return 0;
	if (c->done || c->news || c->sockets) {
		new_record(&r, FREED, connection, c->target);
		r.ends = c->ends;
		struct connection fresh = {.born = c->born, .target = c->target};
		*c = fresh;
		emit(&r);
	}
	struct frame *f = current_window();
	if (f && f->connection == connection) {
		f->settled = 0;
		c->news = 1; /* it is to end, though nothing else may be told of it */
	}
	return 0;
}

/* void SSL_free(SSL *): the address may be given again. */
UPROBE(ssl_free)
{
	struct record r;
	struct connection_key k = {.tgid = bpf_get_current_pid_tgid() >> 32, .connection = ARGUMENT1(ctx)};
	struct connection *c = bpf_map_lookup_elem(&connections, &k);
	if (!c)
		return 0;
	new_record(&r, FREED, k.connection, c->target);
	r.ends = c->ends;
	emit(&r);
	bpf_map_delete_elem(&connections, &k);
	return 0;
}

/* X509 *d2i_X509(X509 **, const unsigned char **in, long length): the peer's chain is decoded, leaf first. */
UPROBE(d2i_x509)
{
	__u64 from = 0;
	struct frame *f = current_window();
	if (!f || f->peers >= PEER_CERTIFICATES || !by_handshake(ctx, f, caller(ctx)))
		return 0;
	if (bpf_probe_read_user(&from, sizeof from, (void *)ARGUMENT2(ctx))) {
		lost(FAULT);
		return 0;
	}
	emit_certificate(PEER_CERTIFICATE, f, f->peers++, from, ARGUMENT3(ctx));
	return 0;
}

/* int i2d_X509(const X509 *, unsigned char **out): the own chain is encoded, leaf first. Without out only its length is asked for. */
UPROBE(i2d_x509)
{
	__u64 out = 0;
	if (!ARGUMENT2(ctx)) /* before all else: every other call is such */
		return 0;
	struct frame *f = current_window();
	if (!f || f->owns || !by_handshake(ctx, f, caller(ctx)))
		return 0;
	if (bpf_probe_read_user(&out, sizeof out, (void *)ARGUMENT2(ctx))) {
		lost(FAULT);
		return 0;
	}
	if (!f->out)
		__sync_fetch_and_add(number_at(encoding, bpf_get_current_pid_tgid()), 1);
	f->out = out;
	f->out_stack = STACK(ctx);
	return 0;
}

URETPROBE(i2d_x509_return)
{
	__u32 *n = number_at(encoding, bpf_get_current_pid_tgid());
	if (!*n)
		return 0;
	struct frame *f = current_window();
	__s32 length = RESULT(ctx);
	if (!f || !f->out || f->out_stack != STACK(ctx) - STACK_POPPED)
		return 0;
	if (length > 0)
		emit_certificate(OWN_CERTIFICATE, f, f->owns++, f->out, length);
	f->out = 0;
	__sync_fetch_and_add(n, -1);
	return 0;
}

/* judged tells what libssl made of the peer's chain: error is what it will take for the result. */
static __always_inline void judged(struct frame *f, struct connection *c, __u32 error)
{
	struct record r;
	c->peers = 0;
	__u8 verdict = f->verdict;
	f->verdict = UNJUDGED;
	if (verdict == UNJUDGED) /* the program has means of its own */
		return;
	new_record(&r, VERIFIED, f->connection, f->target);
	r.flags = verdict == ACCEPTED && !error ? FLAG_VERIFIED : 0; /* X509_V_OK */
	r.ends = c->ends;
	emit(&r);
}

/* int X509_verify_cert(X509_STORE_CTX *): 1 if the program's own rules hold, or if its callback forgives that they do not: the error is still there then.
 * Only what comes after the peer's chain is about that; others complete the own chain. A callback of the program's that calls it has means of its own. */
UPROBE(x509_verify)
{
	struct frame *f = current_window();
	struct connection *c = f ? connection_of(f->connection) : 0;
	if (!c || !c->peers)
		return 0;
	f->store = ARGUMENT1(ctx);
	f->store_stack = STACK(ctx);
	return 0;
}

URETPROBE(x509_verify_return)
{
	__u32 number = target_of(ctx), error = 0;
	struct frame *f = current_window();
	struct connection *c = f && f->store ? connection_of(f->connection) : 0;
	if (!c || !c->peers || f->store_stack != STACK(ctx) - STACK_POPPED)
		return 0;
	__u64 store = f->store;
	f->store = 0;
	f->verdict = (__s32)RESULT(ctx) == 1 ? ACCEPTED : REFUSED;
	struct target *t = bpf_map_lookup_elem(&targets, &number);
	if (!t || !t->error_at || !by_handshake(ctx, f, ADDRESS(ctx))) /* a return is seen where it leads */
		return 0;
	if (bpf_probe_read_user(&error, sizeof error, (void *)(store + t->error_at)))
		lost(FAULT);
	else
		judged(f, c, error);
	return 0;
}

/* int X509_STORE_CTX_get_error(const X509_STORE_CTX *): libssl takes the result by it once the chain is judged, where it is not known where that has it.
 * Callbacks ask for it, too, but from elsewhere. */
URETPROBE(x509_error_return)
{
	struct frame *f = current_window();
	struct connection *c = f ? connection_of(f->connection) : 0;
	if (c && c->peers && by_handshake(ctx, f, ADDRESS(ctx)))
		judged(f, c, RESULT(ctx));
	return 0;
}

/* session_certificate finds the peer's certificate in the encoding of a session, whose other parts are secrets and stay where they are:
 * SEQUENCE { version, protocol, cipher, id, key, [0] OPTIONAL, [1] time, [2] timeout, [3] Certificate OPTIONAL, ... } */
static __always_inline bool session_certificate(__u64 der, __u64 length, __u64 *from, __u64 *bytes)
{
	__u64 at = 0, end = length;
#pragma unroll
	for (int i = 0; i < 10; i++) { /* the sequence, and nine in it */
		__u8 h[6];
		if (at + sizeof h > end)
			return true;
		if (bpf_probe_read_user(h, sizeof h, (void *)(der + at)))
			return false;
		/* Its length: a byte, or as many as that says. Without branches, each of which would double what a verifier walks. */
		__u64 is_long = h[1] >> 7, more = (h[1] & 7) * is_long, n = (__u64)h[2] << 24 | h[3] << 16 | h[4] << 8 | h[5];
		if (more > 4)
			return true;
		barrier_var(is_long);
		barrier_var(more);
		n = (n >> (4 - more) * 8 & -is_long) | (h[1] & (is_long - 1));
		at += 2 + more;
		if (i && h[0] == 0xa3) {
			if (at <= end && n <= end - at) {
				*from = der + at;
				*bytes = n;
			}
			return true;
		}
		if (i && h[0] > 0xa3) /* they come in order */
			return true;
		if (i)
			at += n;
	}
	return true;
}

/* SSL_SESSION *d2i_SSL_SESSION(SSL_SESSION **, const unsigned char **in, long length): a server takes up a session that its client, or a store, kept
 * for it. It decodes the session that it has just made, too, to give its client a ticket; that is later. */
UPROBE(d2i_session)
{
	struct record r;
	__u64 der = 0, from = 0, bytes = 0;
	struct frame *f = current_window();
	struct connection *c = f ? connection_of(f->connection) : 0;
	if (!c || c->done || c->certified)
		return 0;
	c->certified = c->news = 1;
	if (bpf_probe_read_user(&der, sizeof der, (void *)ARGUMENT2(ctx)) || !session_certificate(der, ARGUMENT3(ctx), &from, &bytes)) {
		lost(FAULT);
		return 0;
	}
	new_record(&r, SESSION, f->connection, f->target);
	r.ends = c->ends;
	emit_user(&r, from, bytes);
	return 0;
}

/* int BIO_write(BIO *, const void *, int): the hello that this side sends, in its record. Its random is on the wire, too, which tells the socket of a
 * connection that is not carried by the thread that made it. Hellos without a record's header are written, too, to the transcript: of both sides. */
UPROBE(bio_write)
{
	struct record r;
	__u8 h[16];
	__u64 data = ARGUMENT2(ctx);
	struct frame *f = current_window();
	if (!f || (__u32)ARGUMENT3(ctx) < 43 || bpf_probe_read_user(h, sizeof h, (void *)data))
		return 0;
	__u8 type = h[5];
	if (h[0] != 0x16 || h[1] != 3 || type != 1 && type != 2 || h[9] != 3 || f->hello == type)
		return 0;
	__u64 random = data + 11;
	__u32 begin = 0;
	if (bpf_probe_read_user(&begin, sizeof begin, (void *)random) || begin == bpf_htonl(0xcf21ad74)) /* asks for another hello: always the same */
		return 0;
	f->hello = type;
	new_record(&r, RANDOM, f->connection, f->target);
	r.flags = type == 1 ? FLAG_CLIENT : 0;
	told(&r);
	emit_user(&r, random, 32);
	return 0;
}

/* void SSL_get0_alpn_selected(const SSL *, const unsigned char **data, unsigned *length) */
UPROBE(ssl_alpn)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct call c = {.connection = ARGUMENT1(ctx), .data = ARGUMENT2(ctx), .length = ARGUMENT3(ctx), .stack = STACK(ctx)};
	struct connection *of = connection_of(c.connection);
	if (of && !of->alpn)
		bpf_map_update_elem(&calls, &id, &c, BPF_ANY);
	return 0;
}

URETPROBE(ssl_alpn_return)
{
	struct record r;
	__u32 length = 0;
	__u64 id = bpf_get_current_pid_tgid(), data = 0;
	struct call *c = bpf_map_lookup_elem(&calls, &id);
	if (!c)
		return 0;
	struct call call = *c;
	bpf_map_delete_elem(&calls, &id);
	struct connection *of = connection_of(call.connection);
	if (!of || call.stack != STACK(ctx) - STACK_POPPED)
		return 0;
	if (bpf_probe_read_user(&data, sizeof data, (void *)call.data) || bpf_probe_read_user(&length, sizeof length, (void *)call.length)) {
		lost(FAULT);
		return 0;
	}
	if (!length || length > 255)
		return 0;
	of->alpn = 1;
	new_record(&r, ALPN, call.connection, of->target);
	r.ends = of->ends;
	emit_user(&r, data, length);
	return 0;
}
