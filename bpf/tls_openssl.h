/* OpenSSL and what has its functions: no structure of it is read. Certificates are seen on their way in and out of their encoding.
 * Not seen: handshakes of connections that are driven by other functions (BIO_f_ssl, DTLS); who the peer of a resumed connection is, on the client's
 * side. */
#pragma once

/* told notes that something of a connection's handshake was told. */
static __always_inline void told(__u64 connection)
{
	struct connection *c = connection_of(connection);
	if (!c)
		return;
	c->news = 1;
	c->done = 0;
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
	told(f->connection);
	ends_in(&r);
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
SEC("uprobe")
int ssl_handshake(struct pt_regs *ctx)
{
	enter(ctx, ARGUMENT1(ctx));
	return 0;
}

SEC("uretprobe")
int ssl_handshake_return(struct pt_regs *ctx)
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
SEC("uprobe")
int ssl_io(struct pt_regs *ctx)
{
	enter(ctx, ARGUMENT1(ctx));
	return 0;
}

SEC("uretprobe")
int ssl_io_return(struct pt_regs *ctx)
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

/* void SSL_free(SSL *): the address may be given again. */
SEC("uprobe")
int ssl_free(struct pt_regs *ctx)
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
SEC("uprobe")
int d2i_x509(struct pt_regs *ctx)
{
	__u64 from = 0;
	struct frame *f = current_window();
	if (!f || f->peers >= PEER_CERTIFICATES || !by_handshake(ctx, f))
		return 0;
	if (bpf_probe_read_user(&from, sizeof from, (void *)ARGUMENT2(ctx))) {
		lost(FAULT);
		return 0;
	}
	emit_certificate(PEER_CERTIFICATE, f, f->peers++, from, ARGUMENT3(ctx));
	return 0;
}

/* int i2d_X509(const X509 *, unsigned char **out): the own chain is encoded, leaf first. Without out only its length is asked for. */
SEC("uprobe")
int i2d_x509(struct pt_regs *ctx)
{
	__u64 out = 0;
	struct frame *f = current_window();
	if (!f || f->owns || !ARGUMENT2(ctx) || !by_handshake(ctx, f))
		return 0;
	if (bpf_probe_read_user(&out, sizeof out, (void *)ARGUMENT2(ctx))) {
		lost(FAULT);
		return 0;
	}
	f->out = out;
	f->out_stack = STACK(ctx);
	return 0;
}

SEC("uretprobe")
int i2d_x509_return(struct pt_regs *ctx)
{
	struct frame *f = current_window();
	__s32 length = RESULT(ctx);
	if (!f || !f->out || f->out_stack != STACK(ctx) - STACK_POPPED)
		return 0;
	if (length > 0)
		emit_certificate(OWN_CERTIFICATE, f, f->owns++, f->out, length);
	f->out = 0;
	return 0;
}

/* int X509_verify_cert(X509_STORE_CTX *): 1 if the program's own rules hold. What its callback forgives is forgiven here, too. */
SEC("uretprobe")
int x509_verify_return(struct pt_regs *ctx)
{
	struct record r;
	struct frame *f = current_window();
	if (!f)
		return 0;
	new_record(&r, VERIFIED, f->connection, f->target);
	r.flags = (__s32)RESULT(ctx) == 1 ? FLAG_VERIFIED : 0;
	told(f->connection);
	ends_in(&r);
	emit(&r);
	return 0;
}
