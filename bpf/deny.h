/* Whether somebody may reach something. Whom no decision names pays for one look at a flag, and one lookup while there are decisions. */
#pragma once

/* What is reached, or who reaches. */
struct deny_ask {
	__u64 address[2];
	__u16 port;
	__u8 protocol;
	__u8 inbound;
	__u32 subject;
};

static __always_inline struct deny_control *deny_armed(void)
{
	__u32 zero = 0;
	struct deny_control *c = bpf_map_lookup_elem(&deny_control, &zero);
	return c && c->armed ? c : 0;
}

static __always_inline bool deny_named(__u64 cgroup, __u32 *subject)
{
	__u32 *s = bpf_map_lookup_elem(&deny_cgroups, &cgroup);
	if (s)
		*subject = *s;
	return s != 0;
}

static __always_inline void deny_address4(struct deny_ask *a, __be32 address)
{
	a->address[0] = 0;
	a->address[1] = (__u64)address << 32 | 0xffff0000u;
}

static __always_inline void deny_address6(struct deny_ask *a, const __u32 *words)
{
	a->address[0] = words[0] | (__u64)words[1] << 32;
	a->address[1] = words[2] | (__u64)words[3] << 32;
}

/* deny_loopback: this machine itself, which nobody is cut off from. The unspecified address means it. */
static __always_inline bool deny_loopback(const struct deny_ask *a)
{
	if (a->address[0])
		return false;
	__u32 high = a->address[1], low = a->address[1] >> 32;
	if (high == 0xffff0000u)
		return !low || (low & 0xff) == 127;
	return !high && (!low || low == bpf_htonl(1));
}

/* deny_find looks for the rules of a subject that fit. It gives 1 + the index of the decision's count, of each mode. */
static __noinline int deny_find(const struct deny_ask *a, __u32 subject, __u32 *found)
{
	struct deny_subject *s = bpf_map_lookup_elem(&deny_subjects, &subject);
	__u64 now = 0;
	__u32 inbound = a->inbound != 0;
	found[DENY_ENFORCE] = found[DENY_DRY_RUN] = 0;
	if (!s)
		return 0;
	for (int i = 0; i < DENY_SORTS; i++) {
		const struct deny_sort *sort = &s->sorts[inbound][i];
		if (!sort->used)
			continue;
		struct deny_rule_key k = {
			.address = {a->address[0] & sort->mask[0], a->address[1] & sort->mask[1]},
			.subject = subject, .port = a->port & sort->port, .protocol = a->protocol & sort->protocol, .inbound = inbound,
		};
		struct deny_rule *r = bpf_map_lookup_elem(&deny_rules, &k);
		if (!r)
			continue;
		if (!now)
			now = bpf_ktime_get_boot_ns();
		if (r->until[DENY_ENFORCE] > now)
			found[DENY_ENFORCE] = 1 + r->decision[DENY_ENFORCE];
		if (r->until[DENY_DRY_RUN] > now)
			found[DENY_DRY_RUN] = 1 + r->decision[DENY_DRY_RUN];
	}
	return 0;
}

/* deny_cuts_off says the same of a connection that is established. It counts nothing: a connection has many packets. */
static __always_inline bool deny_cuts_off(struct deny_ask *a)
{
	__u32 found[DENY_MODES], spared[DENY_MODES];
	if (deny_loopback(a))
		return false;
	deny_find(a, a->subject, found);
	if (!found[DENY_ENFORCE])
		return false;
	deny_find(a, 0, spared);
	return !spared[DENY_ENFORCE];
}

static __always_inline struct deny_count *deny_count_of(__u32 found)
{
	__u32 i = found - 1;
	return found ? bpf_map_lookup_elem(&deny_counts, &i) : 0;
}

static __always_inline void deny_note(struct deny_count *c)
{
	__u64 now = bpf_ktime_get_boot_ns();
	if (!c->first)
		c->first = now;
	c->last = now;
}

/* deny_refuses says whether a rule of the subject is in force against it, and counts. */
static __always_inline bool deny_refuses(struct deny_ask *a)
{
	__u32 found[DENY_MODES], spared[DENY_MODES];
	if (deny_loopback(a))
		return false;
	deny_find(a, a->subject, found);
	if (!found[DENY_ENFORCE] && !found[DENY_DRY_RUN])
		return false;
	deny_find(a, 0, spared);
	struct deny_count *enforced = deny_count_of(found[DENY_ENFORCE]), *dry = deny_count_of(found[DENY_DRY_RUN]);
	if (spared[DENY_ENFORCE]) {
		if (enforced)
			__sync_fetch_and_add(&enforced->spared, 1);
		else if (dry)
			__sync_fetch_and_add(&dry->spared, 1);
		return false;
	}
	if (dry) {
		__sync_fetch_and_add(&dry->would, 1);
		deny_note(dry);
	}
	if (enforced) {
		__sync_fetch_and_add(&enforced->denied, 1);
		deny_note(enforced);
	}
	return found[DENY_ENFORCE] != 0;
}
