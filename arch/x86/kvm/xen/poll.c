// SPDX-License-Identifier: GPL-2.0-only
/*
 * Xen guests: SCHEDOP_poll, SCHEDOP_block and SCHEDOP_yield.
 *
 * A vCPU that polls is a halted vCPU with one more reason to wake up.  The
 * hypercall completes at once, its result is 0 however the poll ends; the run
 * loop then blocks the vCPU as it does after HLT, in particular without holding
 * kvm->srcu.  Userspace never sees a polling vCPU: on the way out of KVM_RUN the
 * poll ends, which the guest takes for a spurious wakeup.
 *
 * poll_state goes NONE -> WAITING -> DONE -> NONE.  Only the vCPU thread leaves
 * NONE and returns to it, anyone may turn WAITING into DONE.
 *
 * No wakeup is lost: the poller announces itself (poll_mask, nr_pollers), then
 * looks at the pending bits; who raises an event sets the pending bit, then looks
 * for pollers.  Both are fully ordered.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kvm_host.h>
#include <xen/interface/xen.h>
#include <xen/interface/sched.h>

#include "lapic.h"
#include "x86.h"
#include "xen_internal.h"

#define KVM_XEN_POLL_MAX_PORTS	128
#define KVM_XEN_POLL_ANY_PORT	U32_MAX
#define KVM_XEN_POLL_NO_PORT	0

/* struct sched_poll, of a 64-bit and of a 32-bit caller. */
struct kvm_xen_sched_poll {
	u64 ports;
	u32 nr_ports;
	u32 pad;
	u64 timeout;
};

struct kvm_xen_compat_sched_poll {
	u32 ports;
	u32 nr_ports;
	u64 timeout;
};

static_assert(sizeof(struct kvm_xen_sched_poll) == 24);
static_assert(sizeof(struct kvm_xen_compat_sched_poll) == 16);

/**
 * kvm_xen_wake_poller - end the poll of a vCPU, if it polls
 * @vcpu: the vCPU
 *
 * Context: any but NMI.
 */
void kvm_xen_wake_poller(struct kvm_vcpu *vcpu)
{
	if (atomic_read(&vcpu->arch.xen.poll_state) == KVM_XEN_POLL_WAITING &&
	    atomic_cmpxchg(&vcpu->arch.xen.poll_state, KVM_XEN_POLL_WAITING,
			   KVM_XEN_POLL_DONE) == KVM_XEN_POLL_WAITING)
		kvm_vcpu_wake_up(vcpu);
}

/**
 * __kvm_xen_wake_pollers - a port became pending, and some vCPUs poll
 * @kvm: the VM
 * @port: the port
 *
 * Context: as kvm_xen_wake_pollers(), of which it is the rare half.
 */
void __kvm_xen_wake_pollers(struct kvm *kvm, u32 port)
{
	struct kvm_vcpu *vcpu;
	unsigned long i;
	u32 wanted;

	for_each_set_bit(i, kvm->arch.xen.poll_mask, atomic_read(&kvm->online_vcpus)) {
		vcpu = kvm_get_vcpu(kvm, i);
		if (!vcpu)
			continue;

		wanted = READ_ONCE(vcpu->arch.xen.poll_port);
		if (wanted == port || wanted == KVM_XEN_POLL_ANY_PORT)
			kvm_xen_wake_poller(vcpu);
	}
}

static enum hrtimer_restart kvm_xen_poll_timeout(struct hrtimer *timer)
{
	struct kvm_vcpu *vcpu = container_of(timer, struct kvm_vcpu, arch.xen.poll_timer);

	kvm_xen_wake_poller(vcpu);
	return HRTIMER_NORESTART;
}

/**
 * kvm_xen_init_poll - prepare a new vCPU for polling
 * @vcpu: the vCPU
 *
 * Context: as kvm_xen_init_vcpu().
 */
void kvm_xen_init_poll(struct kvm_vcpu *vcpu)
{
	/* The callback takes no lock but those of a wakeup: hard on RT, too. */
	hrtimer_init(&vcpu->arch.xen.poll_timer, CLOCK_MONOTONIC, HRTIMER_MODE_ABS_HARD);
	vcpu->arch.xen.poll_timer.function = kvm_xen_poll_timeout;
}

/**
 * kvm_xen_destroy_poll - a vCPU goes away
 * @vcpu: the vCPU
 *
 * Context: as kvm_xen_destroy_vcpu().
 */
void kvm_xen_destroy_poll(struct kvm_vcpu *vcpu)
{
	hrtimer_cancel(&vcpu->arch.xen.poll_timer);
}

static void kvm_xen_begin_poll(struct kvm_vcpu *vcpu)
{
	struct kvm_xen *xen = &vcpu->kvm->arch.xen;

	/* Until the pending bits have been looked at, any event counts. */
	WRITE_ONCE(vcpu->arch.xen.poll_port, KVM_XEN_POLL_ANY_PORT);
	atomic_set(&vcpu->arch.xen.poll_state, KVM_XEN_POLL_WAITING);
	set_bit(vcpu->vcpu_idx, xen->poll_mask);
	atomic_inc(&xen->nr_pollers);

	/*
	 * Announce, then look: pairs with setting the pending bit before
	 * looking for pollers in kvm_xen_wake_pollers(), and with
	 * kvm_xen_hvm_config().
	 */
	smp_mb__after_atomic();
}

/**
 * kvm_xen_end_poll - a vCPU polls no longer
 * @vcpu: the vCPU
 *
 * Context: @vcpu's thread, task context.
 */
void kvm_xen_end_poll(struct kvm_vcpu *vcpu)
{
	struct kvm_xen *xen = &vcpu->kvm->arch.xen;

	if (atomic_read(&vcpu->arch.xen.poll_state) == KVM_XEN_POLL_NONE)
		return;

	hrtimer_cancel(&vcpu->arch.xen.poll_timer);
	atomic_set(&vcpu->arch.xen.poll_state, KVM_XEN_POLL_NONE);
	clear_bit(vcpu->vcpu_idx, xen->poll_mask);
	atomic_dec(&xen->nr_pollers);
}

/**
 * __kvm_xen_cancel_poll - a polling vCPU returns to userspace
 * @vcpu: the vCPU
 *
 * Context: @vcpu's thread, at the end of KVM_RUN.
 */
void __kvm_xen_cancel_poll(struct kvm_vcpu *vcpu)
{
	if (vcpu->arch.mp_state == KVM_MP_STATE_HALTED)
		vcpu->arch.mp_state = KVM_MP_STATE_RUNNABLE;
	kvm_xen_end_poll(vcpu);
}

/*
 * Is there a reason not to sleep: an interrupt that the vCPU would take right after the
 * hypercall (an NMI wakes it anyway), or that the VM is no Xen guest any more?
 */
static bool kvm_xen_has_to_run(struct kvm_vcpu *vcpu)
{
	return !kvm_xen_msr_enabled(vcpu->kvm) ||
	       (kvm_x86_call(interrupt_allowed)(vcpu, false) && kvm_cpu_has_interrupt(vcpu));
}

/*
 * Is one of the ports pending?  In order, and no further than necessary: a bad
 * element after a pending one is never looked at.
 */
static int kvm_xen_poll_ports(struct kvm_vcpu *vcpu, const struct kvm_xen_hcall *hc,
			      const struct kvm_xen_sched_poll *poll)
{
	const struct kvm_xen_abi *abi = kvm_xen_abi(vcpu->kvm);
	u32 i, port = KVM_XEN_POLL_ANY_PORT;
	int r;

	for (i = 0; i < poll->nr_ports; i++) {
		r = kvm_xen_read_guest_virt(vcpu, hc, poll->ports + i * sizeof(port), &port,
					    sizeof(port));
		if (r)
			return r;

		if (!port || port >= abi->nr_ports)
			return -EINVAL;

		/* Who cannot look must not sleep. */
		if (abi->test_pending(vcpu->kvm, abi, port))
			return 1;
	}

	/* Of any port, an event could not be seen either. */
	if (!poll->nr_ports && abi->test_pending(vcpu->kvm, abi, 1) < 0)
		return 1;

	if (poll->nr_ports == 1)
		WRITE_ONCE(vcpu->arch.xen.poll_port, port);

	return 0;
}

/* Arm the timeout, an absolute time of the guest's clock.  False if it is past. */
static bool kvm_xen_arm_poll_timeout(struct kvm_vcpu *vcpu, u64 timeout)
{
	s64 host_now, delta;

	/* 2^63 and above count as negative, as in Xen. */
	delta = timeout - kvm_xen_guest_now(vcpu, &host_now);
	if ((s64)timeout < 0 || delta <= 0)
		return false;

	hrtimer_start(&vcpu->arch.xen.poll_timer, kvm_xen_host_expiry(host_now, delta),
		      HRTIMER_MODE_ABS_HARD);
	return true;
}

static int kvm_xen_read_sched_poll(struct kvm_vcpu *vcpu, const struct kvm_xen_hcall *hc,
				   struct kvm_xen_sched_poll *poll)
{
	struct kvm_xen_compat_sched_poll compat;
	int r;

	if (hc->longmode)
		return kvm_xen_read_guest_virt(vcpu, hc, hc->args[1], poll, sizeof(*poll));

	r = kvm_xen_read_guest_virt(vcpu, hc, hc->args[1], &compat, sizeof(compat));
	if (!r) {
		poll->ports = compat.ports;
		poll->nr_ports = compat.nr_ports;
		poll->timeout = compat.timeout;
	}
	return r;
}

static enum kvm_xen_hcall_action kvm_xen_schedop_poll(struct kvm_vcpu *vcpu,
						      struct kvm_xen_hcall *hc)
{
	struct kvm_xen_sched_poll poll;
	int r;

	r = kvm_xen_read_sched_poll(vcpu, hc, &poll);
	if (!r && poll.nr_ports > KVM_XEN_POLL_MAX_PORTS)
		r = -EINVAL;
	if (r)
		return kvm_xen_hcall_done(hc, r);

	++vcpu->stat.xen_polls;
	kvm_xen_begin_poll(vcpu);

	if (kvm_xen_has_to_run(vcpu) ||
	    !kvm_xen_opted_in(vcpu->kvm, KVM_XEN_HVM_CONFIG_EVTCHN_SEND))
		goto out;

	r = kvm_xen_poll_ports(vcpu, hc, &poll);
	if (r || (poll.timeout && !kvm_xen_arm_poll_timeout(vcpu, poll.timeout)))
		goto out;

	/* Blocks in the run loop; see kvm_xen_has_pending_events(). */
	vcpu->arch.mp_state = KVM_MP_STATE_HALTED;
	return kvm_xen_hcall_done(hc, 0);
out:
	kvm_xen_end_poll(vcpu);
	return kvm_xen_hcall_done(hc, min(r, 0));
}

/*
 * SCHEDOP_block: a poll of nothing.  An upcall ends it even while interrupts are off, but
 * it does not look at those that are pending already, as Xen's vcpu_block() does not.  A
 * signal ends it like a poll.
 */
static enum kvm_xen_hcall_action kvm_xen_schedop_block(struct kvm_vcpu *vcpu,
						       struct kvm_xen_hcall *hc)
{
	kvm_xen_unmask_upcalls(vcpu, true);

	kvm_xen_begin_poll(vcpu);
	WRITE_ONCE(vcpu->arch.xen.poll_port, KVM_XEN_POLL_NO_PORT);
	if (kvm_xen_has_to_run(vcpu))
		kvm_xen_end_poll(vcpu);
	else
		vcpu->arch.mp_state = KVM_MP_STATE_HALTED;

	return kvm_xen_hcall_done(hc, 0);
}

/**
 * kvm_xen_sched_op - the sched_op hypercall
 * @vcpu: the caller
 * @hc: the call
 *
 * SCHEDOP_poll needs to know of all events and to block in the kernel.  If the
 * VMM does not promise the one or keeps the local APIC from the other, it is a
 * yield, which the guest takes for a poll that ended early.  SCHEDOP_block needs
 * the local APIC only, and is left to a VMM that did not ask for it.
 *
 * Context: @vcpu's thread, kvm->srcu held.  May sleep, so no atomic calls.
 *
 * Return: whether the call was handled.
 */
enum kvm_xen_hcall_action kvm_xen_sched_op(struct kvm_vcpu *vcpu, struct kvm_xen_hcall *hc)
{
	if (hc->atomic)
		return KVM_XEN_HCALL_NOT_MINE;

	switch (kvm_xen_hcall_cmd(hc)) {
	case SCHEDOP_block:
		if (lapic_in_kernel(vcpu) &&
		    kvm_xen_opted_in(vcpu->kvm, KVM_XEN_HVM_CONFIG_MORE_HCALLS))
			return kvm_xen_schedop_block(vcpu, hc);
		return KVM_XEN_HCALL_NOT_MINE;
	case SCHEDOP_poll:
		if (lapic_in_kernel(vcpu) &&
		    kvm_xen_opted_in(vcpu->kvm, KVM_XEN_HVM_CONFIG_EVTCHN_SEND))
			return kvm_xen_schedop_poll(vcpu, hc);
		fallthrough;
	case SCHEDOP_yield:
		kvm_vcpu_on_spin(vcpu, true);
		return kvm_xen_hcall_done(hc, 0);
	default:
		return KVM_XEN_HCALL_NOT_MINE;
	}
}
