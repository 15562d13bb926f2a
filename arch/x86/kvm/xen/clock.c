// SPDX-License-Identifier: GPL-2.0-only
/*
 * Xen guests: clocks.
 *
 * Owns the pvclock copies that a Xen guest reads, the wallclock in shared_info,
 * the guest's mode (which moves the wallclock), the TSC leaves of CPUID, and the
 * one computation of the guest's "now".
 *
 * That computation is the guest's own: the parameters that were last published
 * to it, applied to its TSC.  Any other, even of the same clock, drifts apart
 * from it, by rounding alone some 20 us a day, and shows as timers that are
 * early or late and as runstate times from the future.
 *
 * Only the vCPU thread publishes.  It keeps interrupts off while it changes the
 * parameters, so that a reader on the same CPU, be it an interrupt or the
 * scheduler, never waits for it.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kvm_host.h>

#include <asm/pvclock.h>
#include <asm/xen/cpuid.h>

#include "x86.h"
#include "xen_internal.h"

/* Host time and host TSC of the same instant. */
static bool kvm_xen_sample_host_clock(s64 *host_now, u64 *host_tsc)
{
#ifdef CONFIG_X86_64
	return kvm_get_monotonic_and_clockread(host_now, host_tsc);
#else
	return false;
#endif
}

/**
 * kvm_xen_guest_now - the time on the guest's clock
 * @vcpu: the vCPU whose clock it is
 * @host_now: where to put CLOCK_MONOTONIC at that time, or NULL
 *
 * Context: any but NMI, the scheduler included.
 *
 * Return: nanoseconds.  Before the clock has been published to the guest, or if
 * the TSC is no base for it, KVM's clock of the VM.
 */
u64 kvm_xen_guest_now(struct kvm_vcpu *vcpu, s64 *host_now)
{
	struct kvm_vcpu_xen *xen = &vcpu->arch.xen;
	struct pvclock_vcpu_time_info clock;
	u64 host_tsc, offset, ratio;
	unsigned int seq;
	s64 mono;
	bool valid;

	do {
		seq = read_seqcount_begin(&xen->clock_seq);
		valid = READ_ONCE(xen->clock_valid);
		clock = xen->clock;
		offset = xen->clock_tsc_offset;
		ratio = xen->clock_tsc_ratio;
	} while (read_seqcount_retry(&xen->clock_seq, seq));

	if (!valid || !kvm_xen_sample_host_clock(&mono, &host_tsc)) {
		if (host_now)
			*host_now = ktime_get_ns();
		return get_kvmclock_ns(vcpu->kvm);
	}

	if (host_now)
		*host_now = mono;
	/* The offset that belongs to the parameters, not the current one. */
	return __pvclock_read_cycles(&clock, kvm_scale_tsc(host_tsc, ratio) + offset);
}

/**
 * kvm_xen_host_expiry - when to wake up for a time of the guest
 * @host_now: from kvm_xen_guest_now()
 * @delta: nanoseconds from then, positive
 *
 * Context: any.
 *
 * Return: CLOCK_MONOTONIC, the end of time if it is beyond.
 */
ktime_t kvm_xen_host_expiry(s64 host_now, s64 delta)
{
	return delta > KTIME_MAX - host_now ? KTIME_MAX : host_now + delta;
}

/*
 * Write one copy.  The guest may read it at any time, on any vCPU.  Returns false if it
 * is out of reach.
 */
static bool kvm_xen_write_pvclock(struct gfn_to_pfn_cache *gpc, unsigned int offset,
				  const struct pvclock_vcpu_time_info *clock)
{
	struct pvclock_vcpu_time_info *guest, copy = *clock;
	unsigned long flags;

	if (!gpc->active)
		return true;
	if (!kvm_xen_page_lock(gpc, offset + sizeof(*guest), &flags, true))
		return false;

	guest = gpc->khva + offset;
	copy.version = (READ_ONCE(guest->version) + 1) | 1;

	WRITE_ONCE(guest->version, copy.version);
	/* Odd before the rest changes; pairs with the guest's read barriers. */
	smp_wmb();

	*guest = copy;

	/* The rest before even; pairs likewise. */
	smp_wmb();
	WRITE_ONCE(guest->version, copy.version + 1);

	kvm_gpc_mark_dirty_in_slot(gpc);
	kvm_xen_page_unlock(gpc, flags);
	return true;
}

/**
 * kvm_xen_publish_clock - give a Xen guest the current clock parameters
 * @vcpu: the vCPU, whose hv_clock has just been computed
 *
 * If a copy is out of reach, this is called once more at the run loop's next turn.
 *
 * Context: @vcpu's thread in kvm_guest_time_update(), kvm->srcu held.  May sleep.
 */
void kvm_xen_publish_clock(struct kvm_vcpu *vcpu)
{
	struct kvm_vcpu_xen *xen = &vcpu->arch.xen;
	struct pvclock_vcpu_time_info clock = {
		.tsc_timestamp = vcpu->arch.hv_clock.tsc_timestamp,
		.system_time = vcpu->arch.hv_clock.system_time,
		.tsc_to_system_mul = vcpu->arch.hv_clock.tsc_to_system_mul,
		.tsc_shift = vcpu->arch.hv_clock.tsc_shift,
		.flags = vcpu->arch.hv_clock.flags & PVCLOCK_TSC_STABLE_BIT,
	};
	bool stable = clock.flags;
	unsigned long flags;
	bool written;

	/* Xen never tells of a stopped guest, and of a stable TSC only if asked. */
	if (READ_ONCE(vcpu->kvm->arch.xen_hvm_config.flags) &
	    KVM_XEN_HVM_CONFIG_PVCLOCK_TSC_UNSTABLE)
		clock.flags = 0;

	local_irq_save(flags);
	write_seqcount_begin(&xen->clock_seq);
	xen->clock = clock;
	xen->clock_tsc_offset = vcpu->arch.l1_tsc_offset;
	xen->clock_tsc_ratio = vcpu->arch.l1_tsc_scaling_ratio;
	WRITE_ONCE(xen->clock_valid, stable);
	write_seqcount_end(&xen->clock_seq);
	local_irq_restore(flags);

	written = kvm_xen_write_pvclock(&xen->vcpu_info_cache, KVM_XEN_TIME_INFO_OFFSET, &clock);
	written &= kvm_xen_write_pvclock(&xen->vcpu_time_info_cache, 0, &clock);
	if (!written)
		set_bit(KVM_XEN_DEFERRED_CLOCK, &xen->deferred);

	kvm_xen_reprogram_timer(vcpu);
}

/* Everything that waits for a time of the guest follows. */
static void kvm_xen_follow_clock(struct kvm *kvm)
{
	/* Each time another one, for kvm_xen_tell_runstate() to notice. */
	s64 untold = -atomic64_inc_return(&kvm->arch.xen.clock_changes);
	struct kvm_vcpu *vcpu;
	unsigned long i;

	kvm_for_each_vcpu(i, vcpu, kvm) {
		/*
		 * Until the vCPU publishes, which it does before it enters the
		 * guest again, the VM's clock is right and this one is not.
		 */
		WRITE_ONCE(vcpu->arch.xen.clock_valid, false);
		/* Once more, in case it has published the new one meanwhile. */
		kvm_make_request(KVM_REQ_CLOCK_UPDATE, vcpu);
		kvm_xen_reprogram_timer(vcpu);
		kvm_xen_periodic_clock_was_set(vcpu);
		atomic64_set(&vcpu->arch.xen.runstate_told, untold);
		/* A poll may end early, and the guest then polls again. */
		kvm_xen_wake_poller(vcpu);
	}
}

/**
 * kvm_xen_clock_was_set - KVM_SET_CLOCK moved the guest's clock
 * @kvm: the VM
 *
 * The wallclock and everything that waits for a time of the guest follow.
 *
 * Context: VM ioctl, after the change.  May sleep.
 */
void kvm_xen_clock_was_set(struct kvm *kvm)
{
	int idx;

	kvm_xen_follow_clock(kvm);

	mutex_lock(&kvm->arch.xen.lock);
	idx = srcu_read_lock(&kvm->srcu);
	kvm_xen_update_wallclock(kvm);
	srcu_read_unlock(&kvm->srcu, idx);
	mutex_unlock(&kvm->arch.xen.lock);
}

/**
 * __kvm_xen_host_resumed - the host slept
 * @kvm: the VM
 *
 * The same, but guest memory is not this task's, and nobody may wait for xen.lock
 * here: a vCPU writes the wallclock in a turn of its run loop.
 *
 * Context: PM notifier, any address space.
 */
void __kvm_xen_host_resumed(struct kvm *kvm)
{
	kvm_xen_follow_clock(kvm);

	WRITE_ONCE(kvm->arch.xen.wallclock_stale, true);
	kvm_xen_retry_deferred(kvm);
}

/**
 * kvm_xen_service_wallclock - write the wallclock if it is stale
 * @vcpu: any vCPU of the VM
 *
 * xen.lock is only tried: who has it may be waiting for a page, and the guest has not
 * asked for anything.
 *
 * Context: as kvm_xen_service_deferred().
 */
void kvm_xen_service_wallclock(struct kvm_vcpu *vcpu)
{
	struct kvm *kvm = vcpu->kvm;
	int r = -EAGAIN;

	if (!READ_ONCE(kvm->arch.xen.wallclock_stale))
		return;

	if (mutex_trylock(&kvm->arch.xen.lock)) {
		r = kvm_xen_update_wallclock(kvm);
		mutex_unlock(&kvm->arch.xen.lock);
	}
	if (r)
		set_bit(KVM_XEN_DEFERRED_WALLCLOCK, &vcpu->arch.xen.deferred);
}

/*
 * The 32-bit wallclock lies where a 64-bit guest has pending bits.  VMMs set
 * shared_info before they know the guest's mode, so note what is overwritten.
 */
static u32 *kvm_xen_compat_wc_word(void *shinfo, unsigned int i)
{
	const struct kvm_xen_abi *abi = &kvm_xen_abi_2l[false];

	return i < 3 ? (u32 *)(shinfo + abi->wc) + i : shinfo + abi->wc_sec_hi;
}

static void kvm_xen_read_compat_wc(void *shinfo, u32 *words)
{
	unsigned int i;

	for (i = 0; i < 4; i++)
		words[i] = READ_ONCE(*kvm_xen_compat_wc_word(shinfo, i));
}

static bool kvm_xen_compat_wc_is_ours(struct kvm *kvm, void *shinfo)
{
	u32 words[4];

	kvm_xen_read_compat_wc(shinfo, words);
	return kvm->arch.xen.compat_wc.valid &&
	       !memcmp(words, kvm->arch.xen.compat_wc.written, sizeof(words));
}

/*
 * The first time, and of each page, unless it is the one before again.  Of pages that take
 * turns, what is found is an old wallclock, and is taken for the guest's.
 */
static void kvm_xen_save_compat_wc(struct kvm *kvm, void *shinfo)
{
	if (!kvm->arch.xen.compat_wc.valid ||
	    (kvm->arch.xen.compat_wc.moved && !kvm_xen_compat_wc_is_ours(kvm, shinfo)))
		kvm_xen_read_compat_wc(shinfo, kvm->arch.xen.compat_wc.before);

	kvm->arch.xen.compat_wc.valid = true;
	kvm->arch.xen.compat_wc.moved = false;
}

/* The mode is 64-bit after all: put back what was there, if it is still ours. */
static void kvm_xen_restore_compat_wc(struct kvm *kvm, void *shinfo)
{
	bool ours = kvm_xen_compat_wc_is_ours(kvm, shinfo);
	unsigned int i;

	kvm->arch.xen.compat_wc.valid = false;
	if (!ours)
		return;

	for (i = 0; i < 4; i++)
		WRITE_ONCE(*kvm_xen_compat_wc_word(shinfo, i), kvm->arch.xen.compat_wc.before[i]);
}

/**
 * kvm_xen_update_wallclock - write the wallclock to shared_info
 * @kvm: the VM
 *
 * The wallclock is UTC at the guest's time 0.  shared_info is exempt from dirty
 * logging, and has to be: there is no vCPU to charge for it here.  If it is out of
 * reach, a vCPU tries again when memslots have changed.
 *
 * Context: task context of the VMM, xen.lock and kvm->srcu held.  May sleep.
 *
 * Return: 0, also if there is no shared_info; -EFAULT if it is out of reach.
 */
int kvm_xen_update_wallclock(struct kvm *kvm)
{
	const struct kvm_xen_abi *abi = kvm_xen_abi(kvm);
	struct gfn_to_pfn_cache *gpc = &kvm->arch.xen.shinfo_cache;
	struct pvclock_wall_clock *wc;
	unsigned long flags;
	u64 sec, epoch;
	u32 version, nsec;

	lockdep_assert_held(&kvm->arch.xen.lock);

	if (!gpc->active)
		return 0;

	/* Before the clocks are read: the host may sleep from here on, and set it again. */
	smp_store_mb(kvm->arch.xen.wallclock_stale, false);
	epoch = kvm_get_wall_clock_epoch(kvm);
	sec = div_u64_rem(epoch, NSEC_PER_SEC, &nsec);

	if (!kvm_xen_page_lock(gpc, PAGE_SIZE, &flags, true)) {
		WRITE_ONCE(kvm->arch.xen.wallclock_stale, true);
		return -EFAULT;
	}

	if (!kvm->arch.xen.long_mode)
		kvm_xen_save_compat_wc(kvm, gpc->khva);

	wc = gpc->khva + abi->wc;
	version = (READ_ONCE(wc->version) + 1) | 1;

	WRITE_ONCE(wc->version, version);
	/* Odd before the rest changes; pairs with the guest's read barriers. */
	smp_wmb();

	WRITE_ONCE(wc->sec, lower_32_bits(sec));
	WRITE_ONCE(wc->nsec, nsec);
	WRITE_ONCE(*(u32 *)(gpc->khva + abi->wc_sec_hi), upper_32_bits(sec));

	/* The rest before even; pairs likewise. */
	smp_wmb();
	WRITE_ONCE(wc->version, version + 1);

	if (!kvm->arch.xen.long_mode)
		kvm_xen_read_compat_wc(gpc->khva, kvm->arch.xen.compat_wc.written);
	else if (kvm->arch.xen.compat_wc.valid)
		kvm_xen_restore_compat_wc(kvm, gpc->khva);

	kvm_xen_page_unlock(gpc, flags);
	return 0;
}

/**
 * kvm_xen_set_long_mode - latch the guest's mode
 * @kvm: the VM
 * @long_mode: whether its shared structures have the 64-bit layout
 *
 * Nothing in guest memory is converted; the wallclock is written at its new
 * place, also if the mode is not a new one.
 *
 * Context: as kvm_xen_update_wallclock().
 *
 * Return: that of kvm_xen_update_wallclock(); the mode has changed even so.
 */
int kvm_xen_set_long_mode(struct kvm *kvm, bool long_mode)
{
	struct gfn_to_pfn_cache *gpc = &kvm->arch.xen.shinfo_cache;
	unsigned long i, flags;
	struct kvm_vcpu *vcpu;

	lockdep_assert_held(&kvm->arch.xen.lock);

	if (long_mode != kvm->arch.xen.long_mode) {
		/* As long as nobody sets bits there. */
		if (long_mode && kvm->arch.xen.compat_wc.valid &&
		    kvm_xen_page_lock(gpc, PAGE_SIZE, &flags, true)) {
			kvm_xen_restore_compat_wc(kvm, gpc->khva);
			kvm_xen_page_unlock(gpc, flags);
		}

		WRITE_ONCE(kvm->arch.xen.long_mode, long_mode);
		kvm_xen_choose_abi(kvm);

		/*
		 * Selector bits stand for other ports now.  All of them are
		 * right: a selector bit without an event is nothing to a guest.
		 */
		kvm_for_each_vcpu(i, vcpu, kvm) {
			if (!bitmap_empty(vcpu->arch.xen.deferred_sel, 64))
				bitmap_fill(vcpu->arch.xen.deferred_sel, 64);
		}
		kvm_xen_retry_deferred(kvm);
	}

	return kvm_xen_update_wallclock(kvm);
}

/**
 * __kvm_xen_cpuid - the TSC leaves, as of now
 * @vcpu: the vCPU that executes CPUID
 * @entry: what userspace has set for this leaf
 * @eax: answer
 * @ecx: answer
 * @edx: answer
 *
 * Only if userspace has told sub-leaves apart (an entry without the flag answers
 * for sub-leaf 0, too).  The stored entry is userspace's and stays as it is.
 * Sub-leaf 2 has the frequency of the guest's TSC.
 *
 * Context: @vcpu's thread or an ioctl on it.
 */
void __kvm_xen_cpuid(struct kvm_vcpu *vcpu, const struct kvm_cpuid_entry2 *entry,
		     u32 *eax, u32 *ecx, u32 *edx)
{
	if (entry->function > vcpu->arch.xen.cpuid.limit ||
	    !(entry->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX))
		return;

	if (entry->index == 1) {
		*ecx = vcpu->arch.hv_clock.tsc_to_system_mul;
		*edx = vcpu->arch.hv_clock.tsc_shift;
	} else if (entry->index == 2) {
		*eax = vcpu->arch.hw_tsc_khz;
	}
}
