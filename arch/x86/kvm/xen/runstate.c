// SPDX-License-Identifier: GPL-2.0-only
/*
 * Xen guests: runstate.
 *
 * Owns the accounting of what a vCPU did with its time, and the area in which
 * the guest reads it.
 *
 * Only the vCPU's own task context changes any of it: the vCPU thread, the
 * scheduler on its behalf, or an ioctl, all with vcpu->mutex held and in the
 * VMM's address space.  So the area is written through the VMM's mapping.  It
 * may have any alignment and cross a page, and from the scheduler, where a page
 * fault cannot be served, the write is simply left to the next time.
 *
 * The scheduler may come at any point of what the thread does here.  So the state
 * is changed with preemption off, and while the thread writes the area, the scheduler
 * does not.  Other vCPUs only read, and again if the state was changed meanwhile.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kvm_host.h>
#include <linux/pagemap.h>
#include <linux/sched/stat.h>

#include <xen/interface/xen.h>
#include <xen/interface/vcpu.h>

#include "x86.h"
#include "xen_internal.h"

#define KVM_XEN_RUNSTATE_MAX_SIZE	0x30
#define KVM_XEN_RUNSTATE_KEEP		((u64)-1)

/* The guest's area: one or two stretches of the VMM's memory. */
struct kvm_xen_runstate_area {
	struct {
		struct kvm_memory_slot *slot;
		gfn_t gfn;
		void __user *hva;
		unsigned int len;
	} part[2];
	unsigned int nr_parts;
	bool atomic;
};

static bool kvm_xen_find_runstate_area(struct kvm_vcpu *vcpu, unsigned int size,
				       struct kvm_xen_runstate_area *area)
{
	gpa_t gpa = vcpu->arch.xen.runstate_gpa;
	unsigned long hva;
	unsigned int len;

	area->nr_parts = 0;
	for (; size; size -= len, gpa += len) {
		typeof(area->part[0]) *part = &area->part[area->nr_parts++];

		len = min_t(unsigned int, size, PAGE_SIZE - offset_in_page(gpa));
		part->gfn = gpa_to_gfn(gpa);
		part->slot = gfn_to_memslot(vcpu->kvm, part->gfn);
		hva = gfn_to_hva_memslot(part->slot, part->gfn);
		if (kvm_is_error_hva(hva))
			return false;

		part->hva = (void __user *)(hva + offset_in_page(gpa));
		part->len = len;
	}
	return true;
}

static bool kvm_xen_copy_to_area(struct kvm_xen_runstate_area *area, unsigned int offset,
				 const void *data, unsigned int len)
{
	unsigned int i, n;

	for (i = 0; i < area->nr_parts && len; i++) {
		void __user *to = area->part[i].hva + offset;

		if (offset >= area->part[i].len) {
			offset -= area->part[i].len;
			continue;
		}

		n = min(len, area->part[i].len - offset);
		if (area->atomic ? copy_to_user_nofault(to, data, n) : copy_to_user(to, data, n))
			return false;

		offset = 0;
		data += n;
		len -= n;
	}
	return true;
}

/* Runstate as of one moment.  Any thread may look at any vCPU. */
struct kvm_xen_runstate {
	u32 state;
	u64 entry_time;
	u64 stolen;
	u64 times[4];
};

/*
 * Note that a guest is told now what the vCPU did until now, before it is read: who
 * changes it has seen the note, or makes this be read again.
 */
static u64 kvm_xen_tell_runstate(struct kvm_vcpu *vcpu)
{
	atomic64_t *told = &vcpu->arch.xen.runstate_told;
	s64 old, now;

	/* The clock is read anew after each look, or else one that was set back may be missed. */
	do {
		old = atomic64_read(told);
		now = max_t(s64, kvm_xen_guest_now(vcpu, NULL), old);
	} while (old != now && !atomic64_try_cmpxchg(told, &old, now));
	/* Pairs with that in kvm_xen_begin_runstate(). */
	smp_mb();
	return now;
}

/* With @told, as of that time, which the guest is going to be told; else as stored. */
static void kvm_xen_read_runstate(struct kvm_vcpu *vcpu, struct kvm_xen_runstate *rs, u64 *told)
{
	unsigned int seq;

	do {
		seq = read_seqcount_begin(&vcpu->arch.xen.runstate_seq);
		if (told)
			*told = kvm_xen_tell_runstate(vcpu);
		rs->entry_time = vcpu->arch.xen.runstate_entry_time;
		/* A vCPU that never ran is offline. */
		rs->state = rs->entry_time ? vcpu->arch.xen.runstate : RUNSTATE_offline;
		rs->stolen = vcpu->arch.xen.runstate_stolen;
		memcpy(rs->times, vcpu->arch.xen.runstate_times, sizeof(rs->times));
	} while (read_seqcount_retry(&vcpu->arch.xen.runstate_seq, seq));
}

/* Put it into the guest's layout, whose state_entry_time is at @entry_offset. */
static void kvm_xen_fill_runstate(const struct kvm_xen_runstate *rs, unsigned int entry_offset,
				  u8 *buf)
{
	memcpy(buf, &rs->state, sizeof(rs->state));
	memcpy(buf + entry_offset, &rs->entry_time, sizeof(rs->entry_time));
	memcpy(buf + entry_offset + sizeof(u64), rs->times, sizeof(rs->times));
}

/*
 * Write the area.  With XEN_RUNSTATE_UPDATE the guest's other vCPUs may read it
 * meanwhile.  The flag is the top bit of state_entry_time, which may straddle a
 * page, so only the byte with the flag is written first and last.
 */
static bool __kvm_xen_write_runstate(struct kvm_vcpu *vcpu, bool atomic)
{
	const struct kvm_xen_abi *abi = kvm_xen_abi(vcpu->kvm);
	const unsigned int flag_byte = abi->runstate_entry + sizeof(u64) - 1;
	bool flag = READ_ONCE(vcpu->kvm->arch.xen.runstate_update_flag);
	u8 buf[KVM_XEN_RUNSTATE_MAX_SIZE] = {};
	struct kvm_xen_runstate_area area = { .atomic = atomic };
	struct kvm_xen_runstate rs;
	unsigned int i;
	bool ok;

	if (!kvm_xen_find_runstate_area(vcpu, abi->runstate_size, &area))
		return false;

	kvm_xen_read_runstate(vcpu, &rs, NULL);
	if (flag)
		rs.entry_time |= XEN_RUNSTATE_UPDATE;
	kvm_xen_fill_runstate(&rs, abi->runstate_entry, buf);

	/* If the second page cannot be written, the first must not be. */
	if (area.nr_parts > 1 &&
	    (atomic || fault_in_safe_writeable(area.part[1].hva, area.part[1].len)))
		return false;

	if (flag) {
		if (!kvm_xen_copy_to_area(&area, flag_byte, buf + flag_byte, 1))
			return false;
		/* Flag before the rest; pairs with the guest's read barriers. */
		smp_wmb();
	}

	ok = kvm_xen_copy_to_area(&area, 0, buf, abi->runstate_size);

	if (flag) {
		/* The rest before the flag goes; pairs likewise. */
		smp_wmb();
		buf[flag_byte] &= ~BIT(7);
		ok &= kvm_xen_copy_to_area(&area, flag_byte, buf + flag_byte, 1);
	}

	for (i = 0; i < area.nr_parts; i++)
		mark_page_dirty_in_slot(vcpu->kvm, area.part[i].slot, area.part[i].gfn);

	return ok;
}

/* A write that is interrupted by the scheduler must not be mixed with another. */
static bool kvm_xen_write_runstate(struct kvm_vcpu *vcpu, bool atomic)
{
	bool ok;

	if (atomic)
		return !vcpu->arch.xen.runstate_writing && __kvm_xen_write_runstate(vcpu, true);

	WRITE_ONCE(vcpu->arch.xen.runstate_writing, true);
	barrier();
	ok = __kvm_xen_write_runstate(vcpu, false);
	barrier();
	WRITE_ONCE(vcpu->arch.xen.runstate_writing, false);
	return ok;
}

/* How long this task waited for a CPU since the last call. */
static s64 kvm_xen_run_delay(struct kvm_vcpu *vcpu)
{
	u64 run_delay = current->sched_info.run_delay;
	s64 delay = 0;

	/* What another thread waited says nothing about this vCPU. */
	if (vcpu->arch.xen.run_delay_task == current)
		delay = run_delay - vcpu->arch.xen.run_delay;

	vcpu->arch.xen.run_delay_task = current;
	vcpu->arch.xen.run_delay = run_delay;
	return delay;
}

/* Add @delta spent in @state, @stolen of it waiting for a CPU. */
static void kvm_xen_add_runstate_time(u64 *times, u32 state, s64 delta, s64 stolen)
{
	stolen = min(stolen, delta);
	times[RUNSTATE_runnable] += stolen;
	times[state] += delta - stolen;
}

/*
 * Begin to change the runstate, as of the time returned: no guest was told about a
 * later one, see kvm_xen_tell_runstate().
 *
 * While the vCPU is supposed to run, or woke up from a sleep in the kernel, its
 * thread may have waited for a CPU without KVM being told: that is stolen time.  But
 * time that a guest was told about remains what it was said to be: what it reads never
 * decreases.
 */
static u64 kvm_xen_begin_runstate(struct kvm_vcpu *vcpu)
{
	struct kvm_vcpu_xen *xen = &vcpu->arch.xen;
	s64 run_delay = kvm_xen_run_delay(vcpu);
	s64 since;
	u64 now;

	lockdep_assert_held(&vcpu->mutex);
	lockdep_assert_preemption_disabled();

	raw_write_seqcount_begin(&xen->runstate_seq);
	/* Pairs with that in kvm_xen_tell_runstate(). */
	smp_mb();
	now = kvm_xen_guest_now(vcpu, NULL);
	if (!xen->runstate_entry_time)
		xen->runstate = RUNSTATE_offline;

	since = max_t(s64, xen->runstate_entry_time, atomic64_read(&xen->runstate_told));
	if (xen->runstate == RUNSTATE_running || xen->runstate_auto_blocked)
		xen->runstate_stolen += clamp(run_delay, 0, max((s64)now - since, 0));
	return now;
}

/* Account the time until now to the current state, and enter @state. */
static void kvm_xen_account_runstate(struct kvm_vcpu *vcpu, u32 state, bool auto_blocked)
{
	struct kvm_vcpu_xen *xen = &vcpu->arch.xen;
	s64 delta;
	u64 now;

	guard(preempt)();

	now = kvm_xen_begin_runstate(vcpu);
	/* If the clock was set back, its time was accounted for before. */
	delta = now - xen->runstate_entry_time;
	if (delta > 0) {
		kvm_xen_add_runstate_time(xen->runstate_times, xen->runstate, delta,
					  xen->runstate_stolen);
		xen->runstate_entry_time = now;
	}

	WRITE_ONCE(xen->runstate, state);
	xen->runstate_auto_blocked = auto_blocked;
	xen->runstate_stolen = 0;
	raw_write_seqcount_end(&xen->runstate_seq);
}

static void kvm_xen_update_runstate(struct kvm_vcpu *vcpu, u32 state, bool atomic)
{
	kvm_xen_account_runstate(vcpu, state, false);
	if (!kvm_is_error_gpa(vcpu->arch.xen.runstate_gpa))
		kvm_xen_write_runstate(vcpu, atomic);
}

/**
 * kvm_xen_runstate_set_running - the vCPU is about to enter the guest
 * @vcpu: the vCPU
 *
 * Context: @vcpu's thread, after it was loaded, kvm->srcu held.  May sleep.
 */
void kvm_xen_runstate_set_running(struct kvm_vcpu *vcpu)
{
	kvm_xen_update_runstate(vcpu, RUNSTATE_running, false);
	kvm_xen_resume_periodic(vcpu);
}

/**
 * kvm_xen_runstate_set_preempted - the vCPU loses its CPU
 * @vcpu: the vCPU
 *
 * Context: the scheduler on behalf of @vcpu's thread, runqueue lock held,
 * kvm->srcu held.
 */
void kvm_xen_runstate_set_preempted(struct kvm_vcpu *vcpu)
{
	/* Asleep, or about to be, or not there yet: it does not want the CPU that it loses. */
	if (vcpu->arch.xen.runstate_auto_blocked ||
	    vcpu->arch.mp_state == KVM_MP_STATE_UNINITIALIZED ||
	    vcpu->arch.mp_state == KVM_MP_STATE_INIT_RECEIVED)
		return;

	kvm_xen_update_runstate(vcpu, RUNSTATE_runnable, true);
}

/**
 * __kvm_xen_runstate_set_blocked - the vCPU is about to sleep
 * @vcpu: the vCPU
 *
 * Context: @vcpu's thread, before it blocks in the kernel, kvm->srcu held.  May
 * sleep.
 */
void __kvm_xen_runstate_set_blocked(struct kvm_vcpu *vcpu)
{
	/* Once per sleep: the run loop may come here again for other reasons. */
	if (vcpu->arch.xen.runstate_auto_blocked)
		return;

	kvm_xen_account_runstate(vcpu, RUNSTATE_blocked, true);
	if (!kvm_is_error_gpa(vcpu->arch.xen.runstate_gpa))
		kvm_xen_write_runstate(vcpu, false);
	kvm_xen_move_alarm(vcpu);

	/* The thread may not lose its CPU, so ask for set_running() here. */
	kvm_make_request(KVM_REQ_STEAL_UPDATE, vcpu);
}

static int kvm_xen_set_runstate_addr(struct kvm_vcpu *vcpu, gpa_t gpa)
{
	vcpu->arch.xen.runstate_gpa = gpa;
	if (kvm_is_error_gpa(gpa) || kvm_xen_write_runstate(vcpu, false))
		return 0;

	vcpu->arch.xen.runstate_gpa = INVALID_GPA;
	return -EFAULT;
}

static int kvm_xen_set_runstate_current(struct kvm_vcpu *vcpu, u64 state)
{
	if (state > RUNSTATE_offline)
		return -EINVAL;

	kvm_xen_update_runstate(vcpu, state, false);
	return 0;
}

/* Do the times add up, and is @entry_time not in the future? */
static bool kvm_xen_runstate_sane(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data,
				  u64 entry_time)
{
	return data->u.runstate.state_entry_time ==
	       data->u.runstate.time_running + data->u.runstate.time_runnable +
	       data->u.runstate.time_blocked + data->u.runstate.time_offline &&
	       entry_time <= kvm_xen_guest_now(vcpu, NULL);
}

static int kvm_xen_set_runstate_data(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data)
{
	struct kvm_vcpu_xen *xen = &vcpu->arch.xen;

	if (data->u.runstate.state > RUNSTATE_offline ||
	    !kvm_xen_runstate_sane(vcpu, data, data->u.runstate.state_entry_time))
		return -EINVAL;

	guard(preempt)();
	raw_write_seqcount_begin(&xen->runstate_seq);
	WRITE_ONCE(xen->runstate, data->u.runstate.state);
	xen->runstate_auto_blocked = false;
	xen->runstate_stolen = 0;
	xen->runstate_entry_time = data->u.runstate.state_entry_time;
	xen->runstate_times[RUNSTATE_running] = data->u.runstate.time_running;
	xen->runstate_times[RUNSTATE_runnable] = data->u.runstate.time_runnable;
	xen->runstate_times[RUNSTATE_blocked] = data->u.runstate.time_blocked;
	xen->runstate_times[RUNSTATE_offline] = data->u.runstate.time_offline;
	raw_write_seqcount_end(&xen->runstate_seq);
	kvm_xen_run_delay(vcpu);
	return 0;
}

static int kvm_xen_adjust_runstate(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data)
{
	struct kvm_vcpu_xen *xen = &vcpu->arch.xen;
	u64 state = data->u.runstate.state;

	if ((state > RUNSTATE_offline && state != KVM_XEN_RUNSTATE_KEEP) ||
	    !kvm_xen_runstate_sane(vcpu, data, xen->runstate_entry_time +
				   data->u.runstate.state_entry_time))
		return -EINVAL;

	preempt_disable();
	raw_write_seqcount_begin(&xen->runstate_seq);
	xen->runstate_entry_time += data->u.runstate.state_entry_time;
	xen->runstate_times[RUNSTATE_running] += data->u.runstate.time_running;
	xen->runstate_times[RUNSTATE_runnable] += data->u.runstate.time_runnable;
	xen->runstate_times[RUNSTATE_blocked] += data->u.runstate.time_blocked;
	xen->runstate_times[RUNSTATE_offline] += data->u.runstate.time_offline;
	raw_write_seqcount_end(&xen->runstate_seq);
	preempt_enable();

	if (state != KVM_XEN_RUNSTATE_KEEP)
		kvm_xen_update_runstate(vcpu, state, false);
	else if (!kvm_is_error_gpa(xen->runstate_gpa))
		kvm_xen_write_runstate(vcpu, false);

	return 0;
}

/**
 * kvm_xen_set_runstate_attr - KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_*
 * @vcpu: the vCPU
 * @data: which, and what
 *
 * Context: vCPU ioctl, kvm->srcu held.  May sleep.
 *
 * Return: 0 or an errno, see Documentation/virt/kvm/api.rst.
 */
int kvm_xen_set_runstate_attr(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data)
{
	switch (data->type) {
	case KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_ADDR:
		return kvm_xen_set_runstate_addr(vcpu, data->u.gpa);
	case KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_CURRENT:
		return kvm_xen_set_runstate_current(vcpu, data->u.runstate.state);
	case KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_DATA:
		return kvm_xen_set_runstate_data(vcpu, data);
	default:
		return kvm_xen_adjust_runstate(vcpu, data);
	}
}

/**
 * kvm_xen_get_runstate_attr - read KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_*
 * @vcpu: the vCPU
 * @data: which, and where to; times are as stored, not as of now
 *
 * Context: vCPU ioctl.
 *
 * Return: 0, -ENOENT if there is no area, -EINVAL if there is nothing to read.
 */
int kvm_xen_get_runstate_attr(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data)
{
	struct kvm_vcpu_xen *xen = &vcpu->arch.xen;

	switch (data->type) {
	case KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_ADDR:
		if (kvm_is_error_gpa(xen->runstate_gpa))
			return -ENOENT;
		data->u.gpa = xen->runstate_gpa;
		return 0;
	case KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_CURRENT:
		data->u.runstate.state = xen->runstate;
		return 0;
	case KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_DATA:
		data->u.runstate.state = xen->runstate;
		data->u.runstate.state_entry_time = xen->runstate_entry_time;
		data->u.runstate.time_running = xen->runstate_times[RUNSTATE_running];
		data->u.runstate.time_runnable = xen->runstate_times[RUNSTATE_runnable];
		data->u.runstate.time_blocked = xen->runstate_times[RUNSTATE_blocked];
		data->u.runstate.time_offline = xen->runstate_times[RUNSTATE_offline];
		return 0;
	default:
		return -EINVAL;
	}
}

/*
 * Read the runstate of @target, with times as of now, as kvm_xen_account_runstate() will
 * account for them.  How long its thread waited for a CPU only itself can say.
 */
static void kvm_xen_extrapolate_runstate(struct kvm_vcpu *target, struct kvm_xen_runstate *rs)
{
	bool own = target == kvm_get_running_vcpu();
	u64 now;

	/* It must not wait again between what it says and what it is told. */
	guard(preempt)();

	if (own) {
		kvm_xen_begin_runstate(target);
		raw_write_seqcount_end(&target->arch.xen.runstate_seq);
	}

	kvm_xen_read_runstate(target, rs, &now);
	kvm_xen_add_runstate_time(rs->times, rs->state, max_t(s64, now - rs->entry_time, 0),
				  rs->stolen);
	/* It may have been preempted on the way here; to itself, a vCPU always runs. */
	if (own)
		rs->state = RUNSTATE_running;
}

/**
 * kvm_xen_vcpuop_runstate - VCPUOP_get_runstate_info
 * @vcpu: the caller
 * @target: of whom
 * @hc: the call
 *
 * As Xen's vcpu_runstate_get(): times are as of now, state_entry_time is the stored one.
 *
 * Context: @vcpu's thread, kvm->srcu held.  May sleep.
 *
 * Return: whether the call was handled.
 */
enum kvm_xen_hcall_action kvm_xen_vcpuop_runstate(struct kvm_vcpu *vcpu, struct kvm_vcpu *target,
						  struct kvm_xen_hcall *hc)
{
	/* The layout is that of the call, not of the guest. */
	const struct kvm_xen_abi *abi = &kvm_xen_abi_2l[hc->longmode];
	u8 buf[KVM_XEN_RUNSTATE_MAX_SIZE] = {};
	struct kvm_xen_runstate rs;

	if (!sched_info_on())
		return KVM_XEN_HCALL_NOT_MINE;

	kvm_xen_extrapolate_runstate(target, &rs);
	kvm_xen_fill_runstate(&rs, abi->runstate_entry, buf);
	return kvm_xen_hcall_done(hc, kvm_xen_write_guest_virt(vcpu, hc->args[2], buf,
								abi->runstate_size));
}
