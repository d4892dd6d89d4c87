/* A cgroup that is made below another is the same workload until user space says otherwise: nobody escapes by making one.
 * Hook: tp_btf/cgroup_mkdir, before anyone can move in. */
#pragma once

SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(deny_mkdir, struct cgroup *cgrp, const char *path)
{
	if (!deny_armed() || cgrp->root->hierarchy_id != 0) /* a v1 hierarchy: no socket belongs to it */
		return 0;
	__u64 id = cgrp->kn->id;
	struct cgroup_subsys_state *parent = cgrp->self.parent;
	if (parent) {
		__u32 subject;
		if (deny_named(parent->cgroup->kn->id, &subject))
			bpf_map_update_elem(&deny_cgroups, &id, &subject, BPF_NOEXIST);
	}
	bpf_ringbuf_output(&deny_made, &id, sizeof id, BPF_RB_NO_WAKEUP); /* if it is full, user space looks through them all now and then */
	return 0;
}
