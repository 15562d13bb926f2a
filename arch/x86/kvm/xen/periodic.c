// SPDX-License-Identifier: GPL-2.0-only
/*
 * Xen guests: the periodic VIRQ_TIMER of a vCPU.
 *
 * Owns the period, which VCPUOP_set_periodic_timer and the PERIODIC_TIMER attribute set,
 * and the guest's time of the next event.
 *
 * As in Xen's vcpu_periodic_timer_work(), a vCPU gets these events only while it runs,
 * which here means in KVM_RUN and neither halted nor preempted.  When it is about to run
 * again, one that became due meanwhile is raised, and the next one comes a period later.
 * So the host timer of a vCPU that does not run finds nothing to do, and is started again
 * by kvm_xen_resume_periodic().
 *
 * Everything is under timer_lock.  Like the one of timer.c, the host timer takes a
 * rwlock_t, so it is not a hard one.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kvm_host.h>

#include <xen/interface/xen.h>
#include <xen/interface/vcpu.h>

#include "xen_internal.h"

/* As of Xen's common/domain.c. */
#define KVM_XEN_MIN_PERIOD_NS	NSEC_PER_MSEC
#define KVM_XEN_MAX_PERIOD_NS	0x3fffffffffffffffULL

static bool kvm_xen_period_valid(u64 period)
{
	return period >= KVM_XEN_MIN_PERIOD_NS && period <= KVM_XEN_MAX_PERIOD_NS;
}

static void kvm_xen_raise_periodic(struct kvm_vcpu *vcpu)
{
	u32 port = READ_ONCE(vcpu->arch.xen.timer_port);
	u32 priority = READ_ONCE(vcpu->arch.xen.timer_priority);
	int idx, r;

	if (!port)
		return;

	idx = srcu_read_lock(&vcpu->kvm->srcu);
	r = kvm_xen_raise(vcpu, port, priority);
	if (r == KVM_XEN_EVTCHN_UNREACHABLE)
		kvm_xen_defer_port(vcpu, port, priority);
	srcu_read_unlock(&vcpu->kvm->srcu, idx);

	if (r >= 0)
		atomic64_inc(&vcpu->stat.xen_timer_fires);
}

/* Raise the event if it is due, and start the host timer for the next one. */
static void kvm_xen_do_periodic(struct kvm_vcpu *vcpu)
{
	s64 host_now, delta;
	u64 now;

	lockdep_assert_held(&vcpu->arch.xen.timer_lock);

	now = kvm_xen_guest_now(vcpu, &host_now);
	delta = vcpu->arch.xen.periodic_next - now;
	/*
	 * Times from 2^63 on are negative, hence past.  Whatever the VMM has set, the host
	 * timer is never started in the past.
	 */
	if ((s64)vcpu->arch.xen.periodic_next < 0 || delta <= 0) {
		delta = vcpu->arch.xen.periodic_ns;
		vcpu->arch.xen.periodic_next = now + delta;
		kvm_xen_raise_periodic(vcpu);
	}

	hrtimer_start(&vcpu->arch.xen.periodic_timer, kvm_xen_host_expiry(host_now, delta),
		      HRTIMER_MODE_ABS);
}

static enum hrtimer_restart kvm_xen_periodic_callback(struct hrtimer *timer)
{
	struct kvm_vcpu *vcpu = container_of(timer, struct kvm_vcpu, arch.xen.periodic_timer);
	unsigned long flags;

	spin_lock_irqsave(&vcpu->arch.xen.timer_lock, flags);
	/*
	 * If it does not run by now, it will call kvm_xen_resume_periodic() after it said
	 * that it does.  That of a VM that is no Xen guest any more says nothing.
	 */
	if (vcpu->arch.xen.periodic_ns && READ_ONCE(vcpu->wants_to_run) &&
	    READ_ONCE(vcpu->arch.xen.runstate) == RUNSTATE_running &&
	    kvm_xen_msr_enabled(vcpu->kvm))
		kvm_xen_do_periodic(vcpu);
	spin_unlock_irqrestore(&vcpu->arch.xen.timer_lock, flags);

	/* Started again above, if at all. */
	return HRTIMER_NORESTART;
}

/**
 * kvm_xen_resume_periodic - the vCPU is about to run
 * @vcpu: the vCPU, in RUNSTATE_running
 *
 * Context: @vcpu's thread, kvm->srcu held.
 */
void kvm_xen_resume_periodic(struct kvm_vcpu *vcpu)
{
	unsigned long flags;

	if (!READ_ONCE(vcpu->arch.xen.periodic_ns))
		return;

	spin_lock_irqsave(&vcpu->arch.xen.timer_lock, flags);
	if (vcpu->arch.xen.periodic_ns)
		kvm_xen_do_periodic(vcpu);
	spin_unlock_irqrestore(&vcpu->arch.xen.timer_lock, flags);
}

/* Have the vCPU call kvm_xen_runstate_set_running() before it enters the guest again. */
static void kvm_xen_request_resume(struct kvm_vcpu *vcpu)
{
	kvm_make_request(KVM_REQ_STEAL_UPDATE, vcpu);
	kvm_vcpu_kick(vcpu);
}

/**
 * kvm_xen_periodic_clock_was_set - the guest's clock changed
 * @vcpu: the vCPU
 *
 * The next event may be due now, and in any case comes within a period.  The last one
 * before the timer was stopped is not in the future.
 *
 * Context: any that may kick a vCPU and take a spinlock_t.
 */
void kvm_xen_periodic_clock_was_set(struct kvm_vcpu *vcpu)
{
	unsigned long flags;
	u64 latest;

	spin_lock_irqsave(&vcpu->arch.xen.timer_lock, flags);
	latest = kvm_xen_guest_now(vcpu, NULL) + vcpu->arch.xen.periodic_ns;
	if ((s64)(vcpu->arch.xen.periodic_next - latest) > 0)
		vcpu->arch.xen.periodic_next = latest;
	spin_unlock_irqrestore(&vcpu->arch.xen.timer_lock, flags);

	if (READ_ONCE(vcpu->arch.xen.periodic_ns))
		kvm_xen_request_resume(vcpu);
}

/*
 * Set the period, 0 to stop.  As in Xen, the time of the last event stays, unless @next
 * says when the next one is due; then, or now if that is past, the vCPU gets it.
 */
static void kvm_xen_set_period(struct kvm_vcpu *vcpu, u64 period, u64 next)
{
	unsigned long flags;

	spin_lock_irqsave(&vcpu->arch.xen.timer_lock, flags);
	vcpu->arch.xen.periodic_next = next ?: vcpu->arch.xen.periodic_next -
					       vcpu->arch.xen.periodic_ns + period;
	WRITE_ONCE(vcpu->arch.xen.periodic_ns, period);
	if (!period)
		hrtimer_try_to_cancel(&vcpu->arch.xen.periodic_timer);
	spin_unlock_irqrestore(&vcpu->arch.xen.timer_lock, flags);

	if (period)
		kvm_xen_request_resume(vcpu);
}

/**
 * kvm_xen_init_periodic - prepare the timer of a new vCPU
 * @vcpu: the vCPU
 *
 * Context: as kvm_xen_init_vcpu().
 */
void kvm_xen_init_periodic(struct kvm_vcpu *vcpu)
{
	hrtimer_init(&vcpu->arch.xen.periodic_timer, CLOCK_MONOTONIC, HRTIMER_MODE_ABS);
	vcpu->arch.xen.periodic_timer.function = kvm_xen_periodic_callback;
}

/**
 * kvm_xen_destroy_periodic - a vCPU goes away
 * @vcpu: the vCPU
 *
 * Context: as kvm_xen_destroy_vcpu().
 */
void kvm_xen_destroy_periodic(struct kvm_vcpu *vcpu)
{
	/* Or else a running callback might start the timer once more. */
	kvm_xen_set_period(vcpu, 0, 0);
	hrtimer_cancel(&vcpu->arch.xen.periodic_timer);
}

/**
 * kvm_xen_set_periodic_attr - KVM_XEN_VCPU_ATTR_TYPE_PERIODIC_TIMER
 * @vcpu: the vCPU
 * @data: the period in ns, 0 for none; and the guest's time of the next event, or 0
 *
 * Context: vCPU ioctl.
 *
 * Return: 0, -EINVAL for a period that Xen does not accept.
 */
int kvm_xen_set_periodic_attr(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data)
{
	u64 period = data->u.periodic_timer.period_ns;

	if (period && !kvm_xen_period_valid(period))
		return -EINVAL;

	kvm_xen_set_period(vcpu, period, data->u.periodic_timer.next_ns);
	return 0;
}

/**
 * kvm_xen_get_periodic_attr - KVM_XEN_VCPU_ATTR_TYPE_PERIODIC_TIMER, read
 * @vcpu: the vCPU
 * @data: where to
 *
 * Context: vCPU ioctl.
 *
 * Return: 0.
 */
int kvm_xen_get_periodic_attr(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data)
{
	spin_lock_irq(&vcpu->arch.xen.timer_lock);
	data->u.periodic_timer.period_ns = vcpu->arch.xen.periodic_ns;
	data->u.periodic_timer.next_ns = vcpu->arch.xen.periodic_next;
	spin_unlock_irq(&vcpu->arch.xen.timer_lock);
	return 0;
}

/**
 * kvm_xen_vcpuop_periodic - VCPUOP_set_periodic_timer, VCPUOP_stop_periodic_timer
 * @vcpu: the caller
 * @target: whose timer it is
 * @hc: the call
 *
 * Context: @vcpu's thread, kvm->srcu held.  May sleep.
 *
 * Return: whether the call was handled.
 */
enum kvm_xen_hcall_action kvm_xen_vcpuop_periodic(struct kvm_vcpu *vcpu, struct kvm_vcpu *target,
						  struct kvm_xen_hcall *hc)
{
	u64 period = 0;

	if (!READ_ONCE(target->arch.xen.timer_port))
		return KVM_XEN_HCALL_NOT_MINE;

	if (kvm_xen_hcall_cmd(hc) == VCPUOP_set_periodic_timer) {
		if (kvm_xen_read_guest_virt(vcpu, hc, hc->args[2], &period, sizeof(period)))
			return kvm_xen_hcall_done(hc, -EFAULT);
		if (!kvm_xen_period_valid(period))
			return kvm_xen_hcall_done(hc, -EINVAL);
	}

	kvm_xen_set_period(target, period, 0);
	return kvm_xen_hcall_done(hc, 0);
}
