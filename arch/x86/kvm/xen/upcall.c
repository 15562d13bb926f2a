// SPDX-License-Identifier: GPL-2.0-only
/*
 * Xen guests: upcalls.
 *
 * Owns the way from evtchn_upcall_pending to an interrupt of the guest, which is one
 * of two: a vector of the vCPU's local APIC, raised when the flag is set; or one vector
 * for all vCPUs, which is asserted as long as the flag is, past the APIC.  Of that one
 * there is no state but the flag, so whoever injects interrupts asks for it here.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kvm_host.h>

#include "lapic.h"
#include "x86.h"
#include "xen_internal.h"

static void kvm_xen_inject_vector(struct kvm_vcpu *vcpu, u8 vector)
{
	struct kvm_lapic_irq irq = {
		.vector = vector,
		.delivery_mode = APIC_DM_FIXED,
		.dest_mode = APIC_DEST_PHYSICAL,
		.shorthand = APIC_DEST_NOSHORT,
		.level = 1,
		.dest_id = vcpu->vcpu_id,
	};

	/*
	 * Straight to this vCPU's APIC: the guest chooses APIC ids, which may
	 * be somebody else's or ambiguous.  A disabled APIC drops the vector;
	 * kvm_xen_sw_enable_lapic() makes up for it.
	 */
	if (lapic_in_kernel(vcpu))
		kvm_apic_set_irq(vcpu, &irq, NULL);
}

/**
 * kvm_xen_notify - evtchn_upcall_pending went from 0 to 1
 * @vcpu: whose
 *
 * Context: as kvm_xen_raise().
 */
void kvm_xen_notify(struct kvm_vcpu *vcpu)
{
	u8 vector = READ_ONCE(vcpu->arch.xen.upcall_vector);

	/* By itself, in the exit fastpath: awake, and about to look. */
	if (!vector && vcpu == kvm_get_running_vcpu() && vcpu->arch.xen.hcall.atomic) {
		vcpu->arch.xen.upcall_found = true;
		return;
	}

	if (vector) {
		kvm_xen_inject_vector(vcpu, vector);
	} else {
		kvm_make_request(KVM_REQ_EVENT, vcpu);
		kvm_vcpu_kick(vcpu);
	}

	/* An upcall ends a poll even while interrupts are off. */
	kvm_xen_wake_poller(vcpu);
}

/**
 * __kvm_xen_upcall_pending - does the guest want an upcall?
 * @vcpu: the vCPU
 *
 * Context: any in which an interrupt may be looked for, among them with
 * interrupts off and in TASK_INTERRUPTIBLE.  Does not sleep.  If vcpu_info is
 * not mapped, the answer is no, and the vCPU is made to map it and ask again
 * before it enters the guest or sleeps.
 *
 * Return: whether vcpu_info.evtchn_upcall_pending is set.
 */
bool __kvm_xen_upcall_pending(struct kvm_vcpu *vcpu)
{
	struct gfn_to_pfn_cache *gpc = &vcpu->arch.xen.vcpu_info_cache;
	unsigned long flags;
	bool pending = false;
	int idx;

	idx = srcu_read_lock(&vcpu->kvm->srcu);
	if (kvm_xen_page_lock(gpc, KVM_XEN_VCPU_INFO_SIZE, &flags, false)) {
		pending = READ_ONCE(*(u8 *)gpc->khva);
		kvm_xen_page_unlock(gpc, flags);
	} else if (!test_bit(KVM_XEN_DEFERRED_VCPU_INFO, &vcpu->arch.xen.deferred)) {
		__kvm_xen_defer(vcpu, KVM_XEN_DEFERRED_VCPU_INFO);
	}
	srcu_read_unlock(&vcpu->kvm->srcu, idx);

	return pending;
}

/* Has the vCPU something to inject that comes before an upcall, or forbids it? */
static bool kvm_xen_upcall_has_to_wait(struct kvm_vcpu *vcpu)
{
	return kvm_event_needs_reinjection(vcpu) || kvm_is_exception_pending(vcpu) ||
	       vcpu->arch.nmi_pending || vcpu->arch.smi_pending ||
	       (vcpu->guest_debug & KVM_GUESTDBG_BLOCKIRQ);
}

/* May windows be opened here?  AVIC has to be inhibited for that, which may sleep. */
static bool kvm_xen_windows_sleep(void)
{
	return enable_apicv &&
	       kvm_x86_ops.required_apicv_inhibits & BIT(APICV_INHIBIT_REASON_IRQWIN);
}

/**
 * __kvm_xen_inject_upcall - deliver an upcall right before the reentry
 * @vcpu: the vCPU, which is about to be entered again right after an exit
 *
 * The exit fastpath has found that the guest wants an upcall.  Do what the run loop
 * would do: inject the vector if the guest takes interrupts, and have it exit when it
 * does, for the vector stays asserted until the guest clears its flag.
 *
 * Context: @vcpu's thread between exit and entry, interrupts off, kvm->srcu not
 * held.  No request was pending that would prevent the entry.
 *
 * Return: false if that has to be left to the run loop, which sees the flag, too.
 */
bool __kvm_xen_inject_upcall(struct kvm_vcpu *vcpu)
{
	int vector, allowed;

	vcpu->arch.xen.upcall_found = false;

	/* In real mode an injection may have to be emulated. */
	if (!lapic_in_kernel(vcpu) || !is_protmode(vcpu) || is_guest_mode(vcpu) ||
	    kvm_xen_upcall_has_to_wait(vcpu) || kvm_xen_windows_sleep())
		return false;

	allowed = kvm_x86_call(interrupt_allowed)(vcpu, true);
	if (allowed < 0)
		return false;

	/* If none, vcpu_info may have to be faulted in, which has been requested now. */
	vector = kvm_xen_get_interrupt(vcpu);
	if (vector < 0) {
		kvm_make_request(KVM_REQ_EVENT, vcpu);
		return false;
	}

	if (allowed) {
		kvm_queue_interrupt(vcpu, vector, false);
		kvm_x86_call(inject_irq)(vcpu, false);
	}
	kvm_x86_call(enable_irq_window)(vcpu);
	return true;
}

/**
 * kvm_xen_irq_window_fastpath - deal with an interrupt window right after the exit
 * @vcpu: the vCPU, not in a nested guest, which can take interrupts now
 *
 * While an upcall is delivered, the VM-wide vector stays asserted, so there is a
 * window each time, and when it opens, the guest has usually taken the upcall back.
 *
 * Context: @vcpu's thread between exit and entry, interrupts off, kvm->srcu not
 * held.  Does not sleep.
 *
 * Return: what is to be done: leave it to the run loop; or reenter the guest, having
 * closed the window or, if there is another upcall, with the window as it is.
 */
enum kvm_xen_irq_window kvm_xen_irq_window_fastpath(struct kvm_vcpu *vcpu)
{
	/* A VMM may want to know of the window. */
	if (!READ_ONCE(vcpu->kvm->arch.xen.hcall_fastpath) || !lapic_in_kernel(vcpu) ||
	    READ_ONCE(vcpu->run->request_interrupt_window) ||
	    kvm_xen_upcall_has_to_wait(vcpu) || kvm_xen_windows_sleep())
		return KVM_XEN_IRQ_WINDOW_LEAVE;

	if (kvm_xen_has_interrupt(vcpu)) {
		vcpu->arch.xen.upcall_found = true;
		++vcpu->stat.irq_window_exits;
		return KVM_XEN_IRQ_WINDOW_KEEP;
	}

	if (kvm_cpu_has_injectable_intr(vcpu))
		return KVM_XEN_IRQ_WINDOW_LEAVE;

	++vcpu->stat.irq_window_exits;
	return KVM_XEN_IRQ_WINDOW_CLOSE;
}
EXPORT_SYMBOL_GPL(kvm_xen_irq_window_fastpath);

/**
 * __kvm_xen_raise_vcpu_vector - repeat an upcall through the local APIC
 * @vcpu: the vCPU
 *
 * For when the APIC or the vector came later than the event.  Xen does so on
 * every write to SPIV that enables the APIC (arch/x86/hvm/vlapic.c), because
 * vectors are dropped, not kept, by a disabled one.
 *
 * Context: as __kvm_xen_upcall_pending().
 */
void __kvm_xen_raise_vcpu_vector(struct kvm_vcpu *vcpu)
{
	u8 vector = READ_ONCE(vcpu->arch.xen.upcall_vector);

	if (!vector || !vcpu->arch.xen.vcpu_info_cache.active)
		return;

	if (__kvm_xen_upcall_pending(vcpu))
		kvm_xen_inject_vector(vcpu, vector);
	else if (test_bit(KVM_XEN_DEFERRED_VCPU_INFO, &vcpu->arch.xen.deferred))
		set_bit(KVM_XEN_DEFERRED_VECTOR, &vcpu->arch.xen.deferred);
}

/**
 * kvm_xen_unmask_upcalls - the vCPU blocks
 * @vcpu: the vCPU
 * @can_sleep: whether vcpu_info may be faulted in
 *
 * Xen clears the mask then (vcpu_block_enable_events()); HVM guests do not
 * otherwise use it.
 *
 * Context: @vcpu's thread, possibly with interrupts off unless @can_sleep.
 */
void kvm_xen_unmask_upcalls(struct kvm_vcpu *vcpu, bool can_sleep)
{
	struct gfn_to_pfn_cache *gpc = &vcpu->arch.xen.vcpu_info_cache;
	unsigned long flags;
	int idx;

	idx = srcu_read_lock(&vcpu->kvm->srcu);
	if (kvm_xen_page_lock(gpc, KVM_XEN_VCPU_INFO_SIZE, &flags, can_sleep)) {
		WRITE_ONCE(((u8 *)gpc->khva)[1], 0);
		kvm_xen_page_unlock(gpc, flags);
	}
	srcu_read_unlock(&vcpu->kvm->srcu, idx);
}

/**
 * __kvm_xen_emulate_halt - the guest executes HLT
 * @vcpu: the vCPU
 *
 * Context: @vcpu's thread, possibly with interrupts off.
 */
void __kvm_xen_emulate_halt(struct kvm_vcpu *vcpu)
{
	if (kvm_get_rflags(vcpu) & X86_EFLAGS_IF)
		kvm_xen_unmask_upcalls(vcpu, false);
}
