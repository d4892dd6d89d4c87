/* Which connection a thread is at work on: what happens between the entry and the return of a function belongs to its connection. Windows may be
 * within one another, where a program makes a connection to judge another. Returns that never come (a jump, a thread's end) are told by the stack. */
#pragma once

/* top is the innermost window of the current thread, 0 if there is none. */
static __always_inline struct frame *top(struct window *w)
{
	__u64 i = w->depth;
	if (!i)
		return 0;
	i--;
	barrier_var(i); /* or the compiler scales it first, and the verifier does not see the bound */
	i &= WINDOWS - 1;
	barrier_var(i);
	return &w->frames[i & (WINDOWS - 1)];
}

static __always_inline struct window *window_of(__u64 id)
{
	if (!window_open(id))
		return 0;
	struct window *w = bpf_map_lookup_elem(&windows, &id);
	return w && w->depth && w->born == thread_born() ? w : 0;
}

static __always_inline struct frame *current_window(void)
{
	struct window *w = window_of(bpf_get_current_pid_tgid());
	return w ? top(w) : 0;
}

/* enter opens a window at the entry of a function that works on a connection. */
static __always_inline void enter(struct pt_regs *ctx, __u64 connection)
{
	__u64 id = bpf_get_current_pid_tgid(), born = thread_born(), as = attached(ctx);
	struct frame *f;
	struct window *w = bpf_map_lookup_elem(&windows, &id);
	if (!w) {
		struct window fresh = {};
		bpf_map_update_elem(&windows, &id, &fresh, BPF_ANY);
		w = bpf_map_lookup_elem(&windows, &id);
		if (!w) {
			lost(WINDOW_LOST);
			return;
		}
	}
	bool was = w->depth != 0;
	if (w->born != born) {
		w->born = born;
		w->depth = 0;
	}
#pragma unroll
	for (int i = 0; i < WINDOWS; i++) { /* what is not around us has ended */
		f = top(w);
		if (f && f->stack <= STACK(ctx))
			w->depth--;
	}
	if (w->depth >= WINDOWS) {
		lost(WINDOW_LOST);
		return;
	}
	struct connection *c = remember_connection(connection, as >> 32);
	if (!was)
		window_opens(id);
	w->depth++;
	f = top(w);
	if (!f || !c)
		return;
	__builtin_memset(f, 0, sizeof *f);
	f->connection = connection;
	f->stack = STACK(ctx);
	f->target = as >> 32;
	f->base = ADDRESS(ctx) - (__u32)as;
}

/* leave closes the window of the function that returns, and those within it. It gives the connection, 0 if there was no window. */
static __always_inline __u64 leave(struct pt_regs *ctx, __u32 *target)
{
	__u64 id = bpf_get_current_pid_tgid(), connection = 0, entered = STACK(ctx) - STACK_POPPED;
	struct window *w = window_of(id);
	if (!w)
		return 0;
#pragma unroll
	for (int i = 0; i < WINDOWS; i++) {
		struct frame *f = top(w);
		if (!f || f->stack > entered)
			break;
		w->depth--;
		if (f->stack == entered) {
			connection = f->connection;
			*target = f->target;
		}
	}
	if (!w->depth)
		window_closes(id);
	return connection;
}

/* by_handshake says whether a function that will return to an address, or just has, was called by the window's own code, and not for instance to load
 * a list of authorities meanwhile. */
static __always_inline bool by_handshake(struct pt_regs *ctx, const struct frame *f, __u64 address)
{
	__u32 number = target_of(ctx);
	struct target *t = bpf_map_lookup_elem(&targets, &number);
	if (!t || !t->callers[0].to) {
		number = f->target;
		t = bpf_map_lookup_elem(&targets, &number);
	}
	if (!t || !t->callers[0].to)
		return true;
	__u64 at = address - f->base;
#pragma unroll
	for (int i = 0; i < CALLERS; i++)
		if (at >= t->callers[i].from && at < t->callers[i].to)
			return true;
	return false;
}
