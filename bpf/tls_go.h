/* Go's crypto/tls. A goroutine is at work on a connection from the entry of its handshake to any of its returns, whichever threads run it meanwhile.
 * Its functions are watched at their instructions alone: the kernel's return probes write onto stacks that Go moves.
 * Not seen: the socket of a wrapped connection that is older than the agent; what a program's own implementation of TLS does. */
#pragma once

/* Arguments, results and the goroutine, by Go's own calling convention. At a return the first result is where the first argument was. */
#if defined(__TARGET_ARCH_x86)
#define GO_FIRST(ctx) ((ctx)->ax)
#define GO_SECOND(ctx) ((ctx)->bx)
#define GO_THIRD(ctx) ((ctx)->cx)
#define GOROUTINE(ctx) ((ctx)->r14)
#else
#define GO_FIRST(ctx) ((ctx)->regs[0])
#define GO_SECOND(ctx) ((ctx)->regs[1])
#define GO_THIRD(ctx) ((ctx)->regs[2])
#define GOROUTINE(ctx) ((ctx)->regs[28])
#endif
#define GO_STACKED(ctx) ((void *)(STACK(ctx) + 8)) /* the first argument that is too large for registers: behind the return's address or its room */

#define STACK_TOP 16384 /* of a thread in the kernel, before 5.15 */
#define GO_STRING 256   /* room for a protocol or a server's name */

struct goroutine_key {
	__u64 tgid;
	__u64 goroutine; /* address of its g */
};

/* A handshake, until it returns. */
struct handshake {
	__u64 connection;
	__u64 born; /* start of the process */
	__u64 settled; /* as in struct frame */
	__u32 target;
	bool client;
	bool peers; /* the peer's certificates were told */
	__u16 unused;
};

struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 16384); __type(key, struct goroutine_key); __type(value, struct handshake); } handshakes SEC(".maps");

/* Connections that were open before the agent came and have been told. It does not forget, so that none is told twice: it is watched for minutes only. */
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(map_flags, BPF_F_NO_PREALLOC); __uint(max_entries, 32768); __type(key, struct connection_key); __type(value, __u64); } found_open SEC(".maps");

/* The beginning of a slice or string, and of an interface. */
struct slice {
	__u64 data, length;
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct task_struct___stack {
	void *stack;
};

#pragma clang attribute pop

enum bpf_func_id___task {
	BPF_FUNC_get_current_task_btf___task = 158,
	BPF_FUNC_task_pt_regs___task = 175,
};

/* system_caller is the goroutine that made the system call which the current thread is in. */
static __always_inline __u64 system_caller(void)
{
	struct pt_regs *r;
	__u64 goroutine = 0;
	if (bpf_core_enum_value_exists(enum bpf_func_id___task, BPF_FUNC_task_pt_regs___task)) {
		r = (void *)bpf_task_pt_regs(bpf_get_current_task_btf());
	} else {
		struct task_struct___stack *t = (void *)bpf_get_current_task();
		r = BPF_CORE_READ(t, stack) + STACK_TOP;
#if defined(__TARGET_ARCH_arm64)
		r = (void *)r - 16 * 21; /* struct pt_regs as the kernel has it, with what follows the registers */
#else
		r--;
#endif
	}
	bpf_probe_read_kernel(&goroutine, sizeof goroutine, &GOROUTINE(r));
	return goroutine;
}

static __always_inline struct handshake *handshake_of(__u64 goroutine)
{
	struct goroutine_key k = {.tgid = bpf_get_current_pid_tgid() >> 32, .goroutine = goroutine};
	struct handshake *h = bpf_map_lookup_elem(&handshakes, &k);
	return h && h->born == process_born() ? h : 0;
}

/* go_socket finds a connection's socket by its structures: tls.Conn -> net.TCPConn -> netFD. What lies behind another kind of net.Conn is not taken for
 * a netFD: that knows itself to be a stream of the network "tcp". */
static __always_inline __u64 go_socket(__u64 connection, const struct go_layout *l)
{
	const __u32 family = 40, kind = 48, network = 64; /* from Sysfd */
	struct slice conn = {}, name = {};
	__u64 fd = 0, number = 0, f = 0, k = 0;
	char tcp[3] = {};
	if (bpf_probe_read_user(&conn, sizeof conn, (void *)(connection + l->conn)) || !conn.length)
		return 0;
	if (bpf_probe_read_user(&fd, sizeof fd, (void *)conn.length) || !fd) /* the interface's second word is the data */
		return 0;
	fd += l->sysfd;
	bpf_probe_read_user(&f, sizeof f, (void *)(fd + family));
	bpf_probe_read_user(&k, sizeof k, (void *)(fd + kind));
	bpf_probe_read_user(&name, sizeof name, (void *)(fd + network));
	if (f != AF_INET && f != AF_INET6 || k != 1 || name.length < sizeof tcp || name.length > 4)
		return 0;
	bpf_probe_read_user(tcp, sizeof tcp, (void *)name.data);
	if (tcp[0] != 't' || tcp[1] != 'c' || tcp[2] != 'p' || bpf_probe_read_user(&number, sizeof number, (void *)fd))
		return 0;
	return number >> 31 ? 0 : socket_of_fd(number);
}

/* go_certificate tells a certificate. */
static __noinline int go_certificate(struct record *r, __u64 from, __u64 length)
{
	if (!r)
		return 0;
	if (from && length)
		emit_user(r, from, length);
	return 0;
}

/* go_chain tells the peer's certificates, which are [][]byte or, where raw is not negative, []*x509.Certificate. It says whether there were any. */
static __always_inline bool go_chain(struct record *r, const struct slice *chain, __s64 raw)
{
	for (__u32 i = 0; i < PEER_CERTIFICATES; i++) {
		struct slice one = {};
		__u64 at = chain->data + 24 * i;
		if (i >= chain->length)
			break;
		if (raw >= 0) {
			__u64 certificate = 0;
			if (bpf_probe_read_user(&certificate, sizeof certificate, (void *)(chain->data + 8 * i)) || !certificate) {
				lost(FAULT);
				break;
			}
			at = certificate + raw;
		}
		if (bpf_probe_read_user(&one, sizeof one, (void *)at)) {
			lost(FAULT);
			break;
		}
		r->index = i;
		go_certificate(r, one.data, one.length);
	}
	return chain->length != 0;
}

static __always_inline struct go_layout *layout_of(__u32 target)
{
	return bpf_map_lookup_elem(&go_layouts, &target);
}

/* emit_go_done ends what is told of a handshake: the protocol, a 0, the server's name. */
static __always_inline void emit_go_done(struct record *r, const struct go_layout *l)
{
	struct slice protocol = {}, server = {};
	__u64 n, m;
	bpf_probe_read_user(&protocol, sizeof protocol, (void *)(r->connection + l->client_protocol));
	bpf_probe_read_user(&server, sizeof server, (void *)(r->connection + l->server_name));
	n = protocol.length < GO_STRING ? protocol.length : 0;
	m = server.length < GO_STRING ? server.length : 0;
	r->kind = GO_DONE;
	r->index = 0;
	r->length = n + 1 + m;
	struct record *to = bpf_ringbuf_reserve(&records, sizeof *r + 2 * GO_STRING, 0);
	if (!to) {
		lost(RING_FULL);
		return;
	}
	*to = *r;
	char *text = (char *)(to + 1);
	barrier_var(n);
	n &= GO_STRING - 1;
	if (n && bpf_probe_read_user(text, n, (void *)protocol.data))
		goto fault;
	text[n] = 0;
	barrier_var(m);
	m &= GO_STRING - 1;
	if (m && bpf_probe_read_user(text + n + 1, m, (void *)server.data))
		goto fault;
	bpf_ringbuf_submit(to, BPF_RB_NO_WAKEUP);
	return;
fault:
	lost(FAULT);
	bpf_ringbuf_discard(to, BPF_RB_NO_WAKEUP);
}

/* go_state tells what a tls.Conn says of its own handshake: the peer's certificates unless they were told, then the rest. */
static __always_inline void go_state(__u64 connection, struct connection *c, const struct go_layout *l, bool certificates, __u8 flags)
{
	struct record r;
	struct slice peers = {}, chains = {};
	__u8 resumed = 0;
	__u64 socket = c->socket ? 0 : go_socket(connection, l);
	if (socket)
		bind_socket(connection, c, socket, 0);
	new_record(&r, PEER_CERTIFICATE, connection, c->target);
	r.ends = c->ends;
	bpf_probe_read_user(&peers, sizeof peers, (void *)(connection + l->peer_certificates));
	bpf_probe_read_user(&chains, sizeof chains, (void *)(connection + l->verified_chains));
	if (certificates)
		go_chain(&r, &peers, l->raw);
	bpf_probe_read_user(&r.version, sizeof r.version, (void *)(connection + l->version));
	bpf_probe_read_user(&resumed, sizeof resumed, (void *)(connection + l->did_resume));
	r.flags = flags | (resumed ? FLAG_RESUMED : 0) | (chains.length && flags & FLAG_OK ? FLAG_VERIFIED : 0);
	emit_go_done(&r, l);
}

static __always_inline void go_handshake(struct pt_regs *ctx, bool client)
{
	__u64 tgid = bpf_get_current_pid_tgid() >> 32;
	struct goroutine_key k = {.tgid = tgid, .goroutine = GOROUTINE(ctx)};
	struct handshake fresh = {.connection = GO_FIRST(ctx), .born = process_born(), .target = target_of(ctx), .client = client}, *h;
	struct connection *c = remember_connection(fresh.connection, fresh.target);
	if (!c)
		return;
	if (c->done || c->socket) { /* the collector of garbage gives no word */
		struct record r;
		new_record(&r, FREED, fresh.connection, c->target);
		r.ends = c->ends;
		emit(&r);
		__builtin_memset(c, 0, sizeof *c);
		c->born = fresh.born;
		c->target = fresh.target;
	}
	h = bpf_map_lookup_elem(&handshakes, &k);
	if (!h || h->born != fresh.born) /* else one that ended by a panic */
		window_opens(tgid);
	bpf_map_update_elem(&handshakes, &k, &fresh, BPF_ANY);
}

/* func (c *Conn) clientHandshake(ctx context.Context) (err error) */
UPROBE(go_client_handshake)
{
	go_handshake(ctx, true);
	return 0;
}

/* func (c *Conn) serverHandshake(ctx context.Context) error */
UPROBE(go_server_handshake)
{
	go_handshake(ctx, false);
	return 0;
}

/* Any return of both. */
UPROBE(go_handshake_return)
{
	__u64 tgid = bpf_get_current_pid_tgid() >> 32;
	struct goroutine_key k = {.tgid = tgid, .goroutine = GOROUTINE(ctx)};
	struct handshake *found = handshake_of(k.goroutine), h;
	if (!found) { /* it began before the probe was there, or too many are under way */
		lost(WINDOW_LOST);
		return 0;
	}
	h = *found;
	bpf_map_delete_elem(&handshakes, &k);
	window_closes(tgid);
	struct go_layout *l = layout_of(h.target);
	struct connection *c = remember_connection(h.connection, h.target);
	if (!l || !c)
		return 0;
	c->done = 1;
	bool ok = !GO_FIRST(ctx); /* no error */
	go_state(h.connection, c, l, ok && !h.peers, (h.client ? FLAG_CLIENT : 0) | (ok ? FLAG_OK : 0));
	return 0;
}

/* go_own tells the leaf of a *tls.Certificate, whose first field is the chain. */
static __always_inline void go_own(struct pt_regs *ctx)
{
	struct record r;
	struct slice chain = {}, leaf = {};
	struct handshake *h = handshake_of(GOROUTINE(ctx));
	struct connection *c = h ? connection_of(h->connection) : 0;
	if (!c || !GO_FIRST(ctx))
		return;
	if (bpf_probe_read_user(&chain, sizeof chain, (void *)GO_FIRST(ctx)) || chain.length && bpf_probe_read_user(&leaf, sizeof leaf, (void *)chain.data)) {
		lost(FAULT);
		return;
	}
	new_record(&r, OWN_CERTIFICATE, h->connection, h->target);
	r.flags = h->client ? FLAG_CLIENT : 0;
	r.ends = c->ends;
	go_certificate(&r, leaf.data, leaf.length);
}

/* Any return of func (c *Config) getCertificate(clientHello *ClientHelloInfo) (*Certificate, error) */
UPROBE(go_get_certificate_return)
{
	go_own(ctx);
	return 0;
}

/* Any return of func (c *Conn) getClientCertificate(cri *CertificateRequestInfo) (*Certificate, error) */
UPROBE(go_get_client_certificate_return)
{
	go_own(ctx);
	return 0;
}

/* go_peer tells the certificates that came, before they are verified. */
static __always_inline void go_peer(struct pt_regs *ctx, const struct slice *chain)
{
	struct record r;
	struct handshake *h = handshake_of(GOROUTINE(ctx));
	struct connection *c = h ? connection_of(h->connection) : 0;
	if (!c)
		return;
	new_record(&r, PEER_CERTIFICATE, h->connection, h->target);
	r.flags = h->client ? FLAG_CLIENT : 0;
	r.ends = c->ends;
	h->peers = go_chain(&r, chain, -1);
}

/* func (c *Conn) verifyServerCertificate(certificates [][]byte) error */
UPROBE(go_verify_server_certificate)
{
	struct slice chain = {GO_SECOND(ctx), GO_THIRD(ctx)};
	go_peer(ctx, &chain);
	return 0;
}

/* func (c *Conn) processCertsFromClient(certificate Certificate) error */
UPROBE(go_process_client_certificates)
{
	struct slice chain = {};
	if (bpf_probe_read_user(&chain, sizeof chain, GO_STACKED(ctx)))
		lost(FAULT);
	else
		go_peer(ctx, &chain);
	return 0;
}

/* func (c *Conn) Write(b []byte) (int, error): connections that were open before the agent came, each once. */
UPROBE(go_write)
{
	__u64 connection = GO_FIRST(ctx), born = process_born();
	struct connection_key k = {.tgid = bpf_get_current_pid_tgid() >> 32, .connection = connection};
	struct connection *c = bpf_map_lookup_elem(&connections, &k);
	if (c && c->born == born && c->done)
		return 0;
	__u64 *found = bpf_map_lookup_elem(&found_open, &k);
	if (found && *found == born)
		return 0;
	__u32 target = target_of(ctx), complete = 0;
	__u8 client = 0;
	struct go_layout *l = layout_of(target);
	if (!l || bpf_probe_read_user(&complete, sizeof complete, (void *)(connection + l->handshake_complete)) || complete != 1)
		return 0; /* the write itself will begin with the handshake */
	if (bpf_map_update_elem(&found_open, &k, &born, BPF_ANY) || !(c = remember_connection(connection, target))) {
		lost(CONNECTION_LOST);
		return 0;
	}
	c->done = 1;
	bpf_probe_read_user(&client, sizeof client, (void *)(connection + l->is_client));
	go_state(connection, c, l, true, (client ? FLAG_CLIENT : 0) | FLAG_OK);
	return 0;
}
