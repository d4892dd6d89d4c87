/* Arguments and results of functions in user space, by the calling convention of C. What a probe gets begins with these registers on every kernel. */
#pragma once

#if defined(__TARGET_ARCH_x86)

struct pt_regs {
	__u64 r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
};

#define ARGUMENT1(ctx) ((ctx)->di)
#define ARGUMENT2(ctx) ((ctx)->si)
#define ARGUMENT3(ctx) ((ctx)->dx)
#define RESULT(ctx) ((ctx)->ax)
#define STACK(ctx) ((ctx)->sp)
#define ADDRESS(ctx) ((ctx)->ip)
#define STACK_POPPED 8 /* by the return: the address stood there */

#elif defined(__TARGET_ARCH_arm64)

struct pt_regs {
	__u64 regs[31], sp, pc, pstate;
};

#define ARGUMENT1(ctx) ((ctx)->regs[0])
#define ARGUMENT2(ctx) ((ctx)->regs[1])
#define ARGUMENT3(ctx) ((ctx)->regs[2])
#define RESULT(ctx) ((ctx)->regs[0])
#define STACK(ctx) ((ctx)->sp)
#define ADDRESS(ctx) ((ctx)->pc)
#define STACK_POPPED 0

#else
#error "the registers of this architecture are not known here"
#endif

/* caller is where a function will return to, at its entry. 0 if that cannot be read. */
static __always_inline __u64 caller(struct pt_regs *ctx)
{
#if defined(__TARGET_ARCH_x86)
	__u64 address = 0;
	bpf_probe_read_user(&address, sizeof address, (void *)ctx->sp);
	return address;
#else
	return ctx->regs[30];
#endif
}

enum bpf_func_id___attach {
	BPF_FUNC_get_attach_cookie___attach = 174,
};

/* attached is the number of the target that a probe was attached to, above the file offset it stands at. */
static __always_inline __u64 attached(struct pt_regs *ctx)
{
	if (attached_as)
		return attached_as;
	if (bpf_core_enum_value_exists(enum bpf_func_id___attach, BPF_FUNC_get_attach_cookie___attach))
		return bpf_get_attach_cookie(ctx);
	return 0;
}

static __always_inline __u32 target_of(struct pt_regs *ctx)
{
	return attached(ctx) >> 32;
}
