// SPDX-License-Identifier: GPL-2.0-only
/*
 * Xen guests: VIRQ_TIMER, the per-vCPU singleshot timer.
 *
 * Owns the deadline, which VCPUOP_set_singleshot_timer, set_timer_op and the
 * TIMER attribute set and which is a time of the guest's clock.  The host timer
 * is only an alarm clock: when it rings, the guest's clock decides whether the
 * deadline has come, and if that clock is set, the alarm is set anew.
 *
 * Everything is under timer_lock, so whoever asks finds a deadline that is yet
 * to come (timer_expires), or one that has come and could not be delivered
 * (timer_due as well), or an event in guest memory; never two and never none.
 *
 * The callback raises an event and thereby takes a rwlock_t, so the timer is not
 * a hard one: on PREEMPT_RT it expires in a thread.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kvm_host.h>
#include <xen/interface/xen.h>
#include <xen/interface/vcpu.h>

#include "trace.h"
#include "xen_internal.h"

/* What set_timer_op makes of deadlines that only a confused guest can mean. */
#define KVM_XEN_HUGE_TIMEOUT_NS		((s64)BIT_ULL(50))
#define KVM_XEN_HUGE_TIMEOUT_INSTEAD_NS	(100 * NSEC_PER_MSEC)

/* struct vcpu_set_singleshot_timer of a 64-bit and of a 32-bit caller. */
struct kvm_xen_singleshot {
	u64 timeout_abs_ns;
	u32 flags;
	u32 pad;
};

#define KVM_XEN_COMPAT_SINGLESHOT_SIZE	12

static_assert(sizeof(struct kvm_xen_singleshot) == 16);

/* A port that there is not may be one once the guest's mode is known. */
static bool kvm_xen_timer_undelivered(int r)
{
	return r == KVM_XEN_EVTCHN_UNREACHABLE || r == -EINVAL;
}

/* The deadline has come. */
static void kvm_xen_fire_timer(struct kvm_vcpu *vcpu)
{
	int r;

	lockdep_assert_held(&vcpu->arch.xen.timer_lock);

	r = kvm_xen_raise(vcpu, vcpu->arch.xen.timer_port, vcpu->arch.xen.timer_priority);
	if (kvm_xen_timer_undelivered(r)) {
		vcpu->arch.xen.timer_due = true;
		kvm_xen_defer(vcpu, KVM_XEN_DEFERRED_TIMER);
		return;
	}

	vcpu->arch.xen.timer_expires = 0;
	atomic64_inc(&vcpu->stat.xen_timer_fires);
}

/* Fire if the deadline has come, or else set the alarm, both as of @now. */
static void __kvm_xen_program_timer(struct kvm_vcpu *vcpu, u64 now, s64 host_now)
{
	s64 delta = vcpu->arch.xen.timer_expires - now;

	lockdep_assert_held(&vcpu->arch.xen.timer_lock);

	trace_kvm_xen_timer(vcpu->vcpu_id, vcpu->arch.xen.timer_expires, now);

	/* Deadlines from 2^63 on are negative for Xen, too, hence past. */
	if ((s64)vcpu->arch.xen.timer_expires < 0 || delta <= 0) {
		kvm_xen_fire_timer(vcpu);
		return;
	}

	vcpu->arch.xen.timer_alarm = vcpu->arch.xen.timer_expires;
	vcpu->arch.xen.timer_alarm_set = now;
	vcpu->arch.xen.timer_alarm_jiffies = jiffies;
	hrtimer_start(&vcpu->arch.xen.timer, kvm_xen_host_expiry(host_now, delta),
		      HRTIMER_MODE_ABS);
}

static void kvm_xen_program_timer(struct kvm_vcpu *vcpu)
{
	s64 host_now;
	u64 now = kvm_xen_guest_now(vcpu, &host_now);

	__kvm_xen_program_timer(vcpu, now, host_now);
}

static enum hrtimer_restart kvm_xen_timer_callback(struct hrtimer *timer)
{
	struct kvm_vcpu *vcpu = container_of(timer, struct kvm_vcpu, arch.xen.timer);
	unsigned long flags;

	spin_lock_irqsave(&vcpu->arch.xen.timer_lock, flags);
	/* Unless it has been set again while this waited for the lock. */
	if (!hrtimer_is_queued(timer))
		vcpu->arch.xen.timer_alarm = 0;
	if (vcpu->arch.xen.timer_expires && !vcpu->arch.xen.timer_due)
		kvm_xen_program_timer(vcpu);
	spin_unlock_irqrestore(&vcpu->arch.xen.timer_lock, flags);

	/* Re-armed above, if at all. */
	return HRTIMER_NORESTART;
}

static void kvm_xen_cancel_alarm(struct kvm_vcpu *vcpu)
{
	lockdep_assert_held(&vcpu->arch.xen.timer_lock);

	vcpu->arch.xen.timer_alarm = 0;
	/* A callback that runs already finds nothing to do. */
	hrtimer_try_to_cancel(&vcpu->arch.xen.timer);
}

static void kvm_xen_stop_timer(struct kvm_vcpu *vcpu)
{
	unsigned long flags;

	spin_lock_irqsave(&vcpu->arch.xen.timer_lock, flags);
	vcpu->arch.xen.timer_expires = 0;
	vcpu->arch.xen.timer_due = false;
	kvm_xen_cancel_alarm(vcpu);
	spin_unlock_irqrestore(&vcpu->arch.xen.timer_lock, flags);
}

/*
 * Does the alarm ring in time for @expires as well?  It looks at the deadline then,
 * and is set anew for the rest.  Without the clock being read: so not if the deadline
 * is a negative one, or perhaps too far ahead of when the clock was last read.  Nor if
 * that is long ago, for the host's clock and the guest's drift apart.
 */
static bool kvm_xen_alarm_suffices(struct kvm_vcpu *vcpu, u64 expires)
{
	u64 alarm = vcpu->arch.xen.timer_alarm;

	return alarm && (s64)expires >= (s64)alarm &&
	       expires - vcpu->arch.xen.timer_alarm_set < KVM_XEN_HUGE_TIMEOUT_NS &&
	       time_before(jiffies, vcpu->arch.xen.timer_alarm_jiffies + HZ);
}

/*
 * Replace the deadline, an overdue one included.  0 cannot be a deadline.  If it is
 * @bounded, one that only a confused guest can mean becomes 100 ms from now.
 *
 * Guests mostly postpone their deadline, again and again.  The alarm then stays
 * where it is, until it rings or the vCPU sleeps, see kvm_xen_move_alarm().  If an
 * old alarm rings although the new deadline has passed already, it finds nothing
 * to do.
 */
static void kvm_xen_start_timer(struct kvm_vcpu *vcpu, u64 expires, bool bounded)
{
	unsigned long flags;
	s64 host_now;
	u64 now;

	spin_lock_irqsave(&vcpu->arch.xen.timer_lock, flags);
	vcpu->arch.xen.timer_due = false;
	if (kvm_xen_alarm_suffices(vcpu, expires)) {
		vcpu->arch.xen.timer_expires = expires;
	} else {
		now = kvm_xen_guest_now(vcpu, &host_now);
		if (bounded &&
		    ((s64)expires < 0 || (s64)(expires - now) >= KVM_XEN_HUGE_TIMEOUT_NS))
			expires = now + KVM_XEN_HUGE_TIMEOUT_INSTEAD_NS;

		vcpu->arch.xen.timer_expires = expires ?: 1;
		__kvm_xen_program_timer(vcpu, now, host_now);
	}
	spin_unlock_irqrestore(&vcpu->arch.xen.timer_lock, flags);
}

/* Set the alarm for the deadline that is yet to come, or stop it if there is none. */
static void kvm_xen_set_alarm(struct kvm_vcpu *vcpu)
{
	if (vcpu->arch.xen.timer_expires && !vcpu->arch.xen.timer_due)
		kvm_xen_program_timer(vcpu);
	else if (vcpu->arch.xen.timer_alarm)
		kvm_xen_cancel_alarm(vcpu);
}

/**
 * kvm_xen_reprogram_timer - the guest's clock changed
 * @vcpu: the vCPU
 *
 * An expiry that waits for delivery has happened and stays.
 *
 * Context: any that may take a spinlock_t.
 */
void kvm_xen_reprogram_timer(struct kvm_vcpu *vcpu)
{
	unsigned long flags;

	spin_lock_irqsave(&vcpu->arch.xen.timer_lock, flags);
	kvm_xen_set_alarm(vcpu);
	spin_unlock_irqrestore(&vcpu->arch.xen.timer_lock, flags);
}

/**
 * kvm_xen_move_alarm - the vCPU is about to sleep
 * @vcpu: the vCPU
 *
 * While it runs, an alarm that rings early costs little.  A CPU that sleeps is not
 * to be woken up for nothing.
 *
 * Context: @vcpu's thread.
 */
void kvm_xen_move_alarm(struct kvm_vcpu *vcpu)
{
	unsigned long flags;

	spin_lock_irqsave(&vcpu->arch.xen.timer_lock, flags);
	if (vcpu->arch.xen.timer_alarm != vcpu->arch.xen.timer_expires)
		kvm_xen_set_alarm(vcpu);
	spin_unlock_irqrestore(&vcpu->arch.xen.timer_lock, flags);
}

/**
 * kvm_xen_deliver_due_timer - deliver an expiry that had to wait
 * @vcpu: the vCPU
 *
 * Context: @vcpu's thread or an ioctl on it, which excludes all who change the
 * timer but the callback, and that leaves an overdue one alone.  kvm->srcu is
 * held.  May sleep.
 */
void kvm_xen_deliver_due_timer(struct kvm_vcpu *vcpu)
{
	int r;

	lockdep_assert_held(&vcpu->mutex);

	if (!READ_ONCE(vcpu->arch.xen.timer_due))
		return;

	r = __kvm_xen_raise(vcpu, vcpu->arch.xen.timer_port, vcpu->arch.xen.timer_priority, true);
	if (kvm_xen_timer_undelivered(r)) {
		set_bit(KVM_XEN_DEFERRED_TIMER, &vcpu->arch.xen.deferred);
		return;
	}

	kvm_xen_stop_timer(vcpu);
	atomic64_inc(&vcpu->stat.xen_timer_fires);
}

/**
 * kvm_xen_init_timer - prepare the timer of a new vCPU
 * @vcpu: the vCPU
 *
 * Context: as kvm_xen_init_vcpu().
 */
void kvm_xen_init_timer(struct kvm_vcpu *vcpu)
{
	vcpu->arch.xen.timer_priority = KVM_IRQ_ROUTING_XEN_EVTCHN_PRIO_2LEVEL;
	spin_lock_init(&vcpu->arch.xen.timer_lock);
	hrtimer_init(&vcpu->arch.xen.timer, CLOCK_MONOTONIC, HRTIMER_MODE_ABS);
	vcpu->arch.xen.timer.function = kvm_xen_timer_callback;
}

/**
 * kvm_xen_destroy_timer - a vCPU goes away
 * @vcpu: the vCPU
 *
 * Context: as kvm_xen_destroy_vcpu().
 */
void kvm_xen_destroy_timer(struct kvm_vcpu *vcpu)
{
	/* Or else a running callback might set the alarm once more. */
	kvm_xen_stop_timer(vcpu);
	hrtimer_cancel(&vcpu->arch.xen.timer);
}

/**
 * kvm_xen_set_timer_attr - KVM_XEN_VCPU_ATTR_TYPE_TIMER
 * @vcpu: the vCPU
 * @data: port, priority, deadline; 0 is none
 *
 * Context: vCPU ioctl.
 *
 * Return: 0, -EINVAL for a priority that there is not.
 */
int kvm_xen_set_timer_attr(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data)
{
	if (data->u.timer.port && !kvm_xen_priority_valid(vcpu->kvm, data->u.timer.priority))
		return -EINVAL;

	/* Whatever expired so far was for the old port. */
	kvm_xen_stop_timer(vcpu);
	WRITE_ONCE(vcpu->arch.xen.timer_port, data->u.timer.port);
	if (data->u.timer.port)
		WRITE_ONCE(vcpu->arch.xen.timer_priority, data->u.timer.priority);
	if (data->u.timer.port && data->u.timer.expires_ns)
		kvm_xen_start_timer(vcpu, data->u.timer.expires_ns, false);

	return 0;
}

/**
 * kvm_xen_get_timer_attr - KVM_XEN_VCPU_ATTR_TYPE_TIMER, read
 * @vcpu: the vCPU
 * @data: where to
 *
 * A deadline that has come is delivered first, so that it is either in guest
 * memory, or (if that is out of reach) still reported.
 *
 * Context: vCPU ioctl, kvm->srcu held.  May sleep.
 *
 * Return: 0.
 */
int kvm_xen_get_timer_attr(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data)
{
	/* Do not wait for the alarm. */
	kvm_xen_reprogram_timer(vcpu);
	kvm_xen_deliver_due_timer(vcpu);

	data->u.timer.port = vcpu->arch.xen.timer_port;
	data->u.timer.priority = vcpu->arch.xen.timer_priority;
	spin_lock_irq(&vcpu->arch.xen.timer_lock);
	data->u.timer.expires_ns = vcpu->arch.xen.timer_expires;
	spin_unlock_irq(&vcpu->arch.xen.timer_lock);
	return 0;
}

/**
 * kvm_xen_vcpuop_singleshot - VCPUOP_set_singleshot_timer, VCPUOP_stop_singleshot_timer
 * @vcpu: the caller, whose timer it is
 * @hc: the call
 *
 * Context: as kvm_xen_vcpu_op().
 *
 * Return: whether the call was handled.
 */
enum kvm_xen_hcall_action kvm_xen_vcpuop_singleshot(struct kvm_vcpu *vcpu,
						    struct kvm_xen_hcall *hc)
{
	struct kvm_xen_singleshot oneshot;

	if (kvm_xen_hcall_cmd(hc) == VCPUOP_stop_singleshot_timer) {
		kvm_xen_stop_timer(vcpu);
		return kvm_xen_hcall_done(hc, 0);
	}

	if (kvm_xen_read_guest_virt(vcpu, hc, hc->args[2], &oneshot,
				    hc->longmode ? sizeof(oneshot) :
						   KVM_XEN_COMPAT_SINGLESHOT_SIZE))
		return kvm_xen_hcall_fault(hc);

	/* The flags are ignored; Xen does so since 4.18. */
	kvm_xen_start_timer(vcpu, oneshot.timeout_abs_ns, false);
	return kvm_xen_hcall_done(hc, 0);
}

/**
 * kvm_xen_set_timer_op - the set_timer_op hypercall
 * @vcpu: the caller
 * @hc: the call
 *
 * Deadline 0 stops the timer.  One that is negative or 2^50 ns or more ahead
 * is replaced by 100 ms from now, as in Xen's do_set_timer_op().
 *
 * Context: @vcpu's thread, kvm->srcu held.
 *
 * Return: whether the call was handled.
 */
enum kvm_xen_hcall_action kvm_xen_set_timer_op(struct kvm_vcpu *vcpu, struct kvm_xen_hcall *hc)
{
	u64 expires = hc->args[0];

	if (!vcpu->arch.xen.timer_port)
		return KVM_XEN_HCALL_NOT_MINE;

	if (!hc->longmode)
		expires |= hc->args[1] << 32;

	if (expires)
		kvm_xen_start_timer(vcpu, expires, true);
	else
		kvm_xen_stop_timer(vcpu);

	return kvm_xen_hcall_done(hc, 0);
}
