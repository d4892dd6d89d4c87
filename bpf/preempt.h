/* Programs that keep their CPU while they run. From 6.13 on the stack of a user probe's program may be one for each CPU, though the kernel may give the
 * CPU to another thread meanwhile: its run of the same program would write into the same stack, and one connection's certificates were told as another's.
 * Kernels before 6.10 have no such stacks, and not these functions either.
 * It does not help programs of tracepoints, of which the kernel skips a run below another: the CPU goes elsewhere at the latest when it is left, and
 * that is before the kernel takes the run for ended. */
#pragma once

extern void bpf_preempt_disable(void) __weak __ksym;
extern void bpf_preempt_enable(void) __weak __ksym;

static __always_inline void keep_cpu(void)
{
	if (bpf_preempt_disable)
		bpf_preempt_disable();
}

static __always_inline void leave_cpu(void)
{
	if (bpf_preempt_enable)
		bpf_preempt_enable();
}

/* A program of a user probe. Nothing may be on its stack before or after it has its CPU for itself: a test looks at that. */
#define USER_PROGRAM(section, name) \
	static __always_inline int name##_body(struct pt_regs *ctx); \
	SEC(section) \
	int name(struct pt_regs *ctx) \
	{ \
		keep_cpu(); \
		int result = name##_body(ctx); \
		leave_cpu(); \
		return result; \
	} \
	static __always_inline int name##_body(struct pt_regs *ctx)

#define UPROBE(name) USER_PROGRAM("uprobe", name)
#define URETPROBE(name) USER_PROGRAM("uretprobe", name)
