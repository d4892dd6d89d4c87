/* Who runs: executables and users of tasks, names of executables at exec, names of cgroups at mkdir.
 * Hooks: tp_btf/sched_process_exec, tp_btf/cgroup_mkdir, iter/task (once, at start).
 * Not seen: what was executed before the start and ended before the agent looked. */
#pragma once

static __always_inline __u64 mix(__u64 a, __u64 b)
{
	a = (a ^ (b + 0x9E3779B97F4A7C15ULL + (a << 6) + (a >> 2))) * 0xff51afd7ed558ccdULL;
	return a ^ a >> 33;
}

/* file_number: inode numbers are used again after a file is gone; its generation tells the two apart where the file system has one. */
static __always_inline __u64 file_number(__u64 inode, __u32 device, __u32 generation)
{
	return mix(inode, (__u64)device << 32 | generation) | 1;
}

/* task_process fills in all but the user: a task that is not current may be changing it. */
static __always_inline void task_process(struct task_struct *t, struct process *p)
{
	p->tgid = t->tgid;
	p->interactive = t->signal->tty != 0;
	struct mm_struct *mm = t->mm;
	struct file *f = mm ? mm->exe_file : 0;
	if (!f)
		return;
	struct inode *i = f->f_inode;
	p->inode = i->i_ino;
	p->device = i->i_sb->s_dev;
	p->file = file_number(p->inode, p->device, i->i_generation);
}

static __always_inline void current_process(struct process *p)
{
	__builtin_memset(p, 0, sizeof *p);
	if (bpf_core_enum_value_exists(enum bpf_func_id___wanted, BPF_FUNC_get_current_task_btf___wanted)) {
		struct task_struct *t = bpf_get_current_task_btf();
		task_process(t, p);
		p->uid = t->cred->uid.val;
	} else { /* before 5.11 */
		struct task_struct *t = (void *)bpf_get_current_task();
		p->uid = BPF_CORE_READ(t, cred, uid.val);
		struct inode *i = BPF_CORE_READ(t, mm, exe_file, f_inode);
		p->tgid = BPF_CORE_READ(t, tgid);
		p->interactive = BPF_CORE_READ(t, signal, tty) != 0;
		if (i) {
			p->inode = BPF_CORE_READ(i, i_ino);
			p->device = BPF_CORE_READ(i, i_sb, s_dev);
			p->file = file_number(p->inode, p->device, BPF_CORE_READ(i, i_generation));
		}
	}
}

/* current_cgroup is what the helper says, which not every program may call. */
static __always_inline __u64 current_cgroup(void)
{
	struct task_struct *t = (void *)bpf_get_current_task();
	return BPF_CORE_READ(t, cgroups, dfl_cgrp, kn, id);
}

static __always_inline __u64 executable_number(const struct process *p)
{
	return p->file ? mix(p->file, (__u64)p->uid << 1 | p->interactive) : 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(exec_name, struct task_struct *t, int old_pid, struct linux_binprm *b)
{
	struct process p = {};
	task_process(t, &p);
	if (!p.file || bpf_map_lookup_elem(&executables, &p.file))
		return 0;
	__u32 zero = 0;
	struct executable *e = bpf_map_lookup_elem(&executable_scratch, &zero);
	if (!e)
		return 0;
	__builtin_memset(e->path, 0, sizeof e->path);
	e->inode = p.inode;
	e->device = p.device;
	bpf_probe_read_kernel_str(e->path, sizeof e->path, b->interp);
	bpf_map_update_elem(&executables, &p.file, e, BPF_ANY);
	return 0;
}

/* running_tasks tells the numbers of executables that run already, so that both sides compute them alike. */
SEC("iter/task")
int running_tasks(struct bpf_iter__task *c)
{
	struct task_struct *t = c->task;
	if (!t || t->tgid != t->pid)
		return 0;
	struct process p = {};
	task_process(t, &p);
	struct running r = {p.file, p.inode, p.device, p.tgid};
	if (r.file)
		bpf_seq_write(c->meta->seq, &r, sizeof r);
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(cgroup_mkdir_name, struct cgroup *cgrp, const char *path)
{
	if (cgrp->root->hierarchy_id != 0) /* a v1 hierarchy: no socket belongs to it */
		return 0;
	__u32 zero = 0;
	__u64 id = cgrp->kn->id;
	struct cgroup_name *n = bpf_map_lookup_elem(&cgroup_scratch, &zero);
	if (!n)
		return 0;
	__builtin_memset(n->path, 0, sizeof n->path);
	bpf_probe_read_kernel_str(n->path, sizeof n->path, path);
	bpf_map_update_elem(&cgroups, &id, n, BPF_ANY);
	return 0;
}
