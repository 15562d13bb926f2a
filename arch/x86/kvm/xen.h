/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Xen guest support: what the rest of KVM calls.
 *
 * Every predicate on a hot path is an inline that starts with the static key,
 * so that a host without Xen guests pays a NOP, and a VM that is not a Xen
 * guest one load, or with that load.
 */
#ifndef __ARCH_X86_KVM_XEN_H__
#define __ARCH_X86_KVM_XEN_H__

#include <linux/kvm_host.h>

#include <asm/xen/cpuid.h>
#include <asm/xen/hypervisor.h>

/* What to do when an interrupt window has opened; see kvm_xen_irq_window_fastpath(). */
enum kvm_xen_irq_window {
	KVM_XEN_IRQ_WINDOW_LEAVE,
	KVM_XEN_IRQ_WINDOW_KEEP,
	KVM_XEN_IRQ_WINDOW_CLOSE,
};

int kvm_xen_hvm_evtchn_send(struct kvm *kvm, struct kvm_irq_routing_xen_evtchn __user *uevt);

#ifdef CONFIG_KVM_XEN
#include <linux/jump_label_ratelimit.h>

/* Enabled as long as there are VMs that have, or once had, a hypercall MSR configured. */
extern struct static_key_false_deferred kvm_xen_enabled;

void kvm_xen_init_vcpu(struct kvm_vcpu *vcpu);
void kvm_xen_destroy_vcpu(struct kvm_vcpu *vcpu);
void kvm_xen_init_vm(struct kvm *kvm);
void kvm_xen_destroy_vm(struct kvm *kvm);
void kvm_xen_memslots_updated(struct kvm *kvm);

/* ioctls */
int kvm_xen_vcpu_get_attr(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data);
int kvm_xen_hvm_get_attr(struct kvm *kvm, struct kvm_xen_hvm_attr *data);
int kvm_xen_vcpu_set_attr(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data);
int kvm_xen_hvm_set_attr(struct kvm *kvm, struct kvm_xen_hvm_attr *data);
int kvm_xen_hvm_config(struct kvm *kvm, struct kvm_xen_hvm_config *xhc);

/* interrupt routing */
int kvm_xen_setup_evtchn(struct kvm *kvm, struct kvm_kernel_irq_routing_entry *e,
			 const struct kvm_irq_routing_entry *ue);
int kvm_xen_set_evtchn_fast(struct kvm_xen_evtchn *xe, struct kvm *kvm);

/* exits */
int kvm_xen_write_hypercall_page(struct kvm_vcpu *vcpu, u64 data);
int kvm_xen_hypercall(struct kvm_vcpu *vcpu);
fastpath_t kvm_xen_hypercall_fastpath(struct kvm_vcpu *vcpu, u8 cpl, bool longmode);
enum kvm_xen_irq_window kvm_xen_irq_window_fastpath(struct kvm_vcpu *vcpu);
void __kvm_xen_cpuid(struct kvm_vcpu *vcpu, const struct kvm_cpuid_entry2 *entry,
		     u32 *eax, u32 *ecx, u32 *edx);

/* clock and scheduling */
void kvm_xen_publish_clock(struct kvm_vcpu *vcpu);
void kvm_xen_clock_was_set(struct kvm *kvm);
void kvm_xen_runstate_set_preempted(struct kvm_vcpu *vcpu);
void kvm_xen_runstate_set_running(struct kvm_vcpu *vcpu);

/* slow halves of what follows */
void __kvm_xen_host_resumed(struct kvm *kvm);
bool __kvm_xen_upcall_pending(struct kvm_vcpu *vcpu);
bool __kvm_xen_inject_upcall(struct kvm_vcpu *vcpu);
void __kvm_xen_raise_vcpu_vector(struct kvm_vcpu *vcpu);
void __kvm_xen_service_vcpu(struct kvm_vcpu *vcpu);
void __kvm_xen_cancel_poll(struct kvm_vcpu *vcpu);
void __kvm_xen_runstate_set_blocked(struct kvm_vcpu *vcpu);
void __kvm_xen_emulate_halt(struct kvm_vcpu *vcpu);

/* Is there a Xen guest on this host? */
static inline bool kvm_xen_in_use(void)
{
	return static_branch_unlikely(&kvm_xen_enabled.key);
}

/* Is @kvm a Xen guest, that is, has its VMM configured a hypercall MSR? */
static inline bool kvm_xen_msr_enabled(struct kvm *kvm)
{
	return static_branch_unlikely(&kvm_xen_enabled.key) &&
	       READ_ONCE(kvm->arch.xen_hvm_config.msr);
}

/* Are VMCALL and VMMCALL of @kvm's guest Xen hypercalls? */
static inline bool kvm_xen_hypercall_enabled(struct kvm *kvm)
{
	return kvm_xen_msr_enabled(kvm) &&
	       (READ_ONCE(kvm->arch.xen_hvm_config.flags) &
		KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL);
}

/* Does @msr belong to the hypercall page of @vcpu's guest? */
static inline bool kvm_xen_is_hypercall_msr(struct kvm_vcpu *vcpu, u32 msr)
{
	return kvm_xen_msr_enabled(vcpu->kvm) &&
	       msr == READ_ONCE(vcpu->kvm->arch.xen_hvm_config.msr);
}

/* The TSC leaves of CPUID, as of now. */
static inline void kvm_xen_cpuid(struct kvm_vcpu *vcpu, const struct kvm_cpuid_entry2 *entry,
				 u32 *eax, u32 *ecx, u32 *edx)
{
	u32 base = vcpu->arch.xen.cpuid.base;

	if (unlikely(base && entry->function == (base | XEN_CPUID_LEAF(3))))
		__kvm_xen_cpuid(vcpu, entry, eax, ecx, edx);
}

/*
 * The VM-wide upcall vector if the guest wants an upcall on @vcpu now, else -1.
 * The answer follows guest memory and may differ from one call to the next.
 */
static inline int kvm_xen_get_interrupt(struct kvm_vcpu *vcpu)
{
	u8 vector;

	/* What is least likely to hold comes first, for those that are no guests. */
	if (!static_branch_unlikely(&kvm_xen_enabled.key) ||
	    !vcpu->arch.xen.vcpu_info_cache.active ||
	    !READ_ONCE(vcpu->kvm->arch.xen_hvm_config.msr))
		return -1;

	vector = READ_ONCE(vcpu->kvm->arch.xen.upcall_vector);
	if (!vector || !__kvm_xen_upcall_pending(vcpu))
		return -1;

	return vector;
}

/* Does the guest want an upcall by the VM-wide vector on @vcpu now?  As the former. */
static inline bool kvm_xen_has_interrupt(struct kvm_vcpu *vcpu)
{
	return kvm_xen_get_interrupt(vcpu) >= 0;
}

/*
 * May @vcpu be entered again right after an exit?  An upcall that was found there is
 * injected, unless that has to be left to the run loop.
 */
static inline bool kvm_xen_may_reenter(struct kvm_vcpu *vcpu)
{
	return likely(!vcpu->arch.xen.upcall_found) || __kvm_xen_inject_upcall(vcpu);
}

/* Must a halted @vcpu run, because its poll is over? */
static inline bool kvm_xen_has_pending_events(struct kvm_vcpu *vcpu)
{
	return static_branch_unlikely(&kvm_xen_enabled.key) &&
	       atomic_read(&vcpu->arch.xen.poll_state) == KVM_XEN_POLL_DONE;
}

/* Once per turn of the run loop: deliver what was deferred, end a poll. */
static inline void kvm_xen_service_vcpu(struct kvm_vcpu *vcpu)
{
	if (static_branch_unlikely(&kvm_xen_enabled.key) &&
	    (READ_ONCE(vcpu->arch.xen.deferred) ||
	     atomic_read(&vcpu->arch.xen.poll_state) != KVM_XEN_POLL_NONE))
		__kvm_xen_service_vcpu(vcpu);
}

/* On the way out of KVM_RUN: userspace never sees a vCPU that polls. */
static inline void kvm_xen_cancel_poll(struct kvm_vcpu *vcpu)
{
	if (static_branch_unlikely(&kvm_xen_enabled.key) &&
	    atomic_read(&vcpu->arch.xen.poll_state) != KVM_XEN_POLL_NONE)
		__kvm_xen_cancel_poll(vcpu);
}

/*
 * The host slept.  Its TSC, and with it the guest's clock, went on meanwhile, but
 * not the clock of the timers that wait for a time of the guest.
 */
static inline void kvm_xen_host_resumed(struct kvm *kvm)
{
	if (kvm_xen_msr_enabled(kvm))
		__kvm_xen_host_resumed(kvm);
}

/* The local APIC was (again) software-enabled: Xen repeats the upcall. */
static inline void kvm_xen_sw_enable_lapic(struct kvm_vcpu *vcpu)
{
	if (static_branch_unlikely(&kvm_xen_enabled.key) &&
	    READ_ONCE(vcpu->arch.xen.upcall_vector))
		__kvm_xen_raise_vcpu_vector(vcpu);
}

/* The guest executes HLT. */
static inline void kvm_xen_emulate_halt(struct kvm_vcpu *vcpu)
{
	if (kvm_xen_msr_enabled(vcpu->kvm) && vcpu->arch.xen.vcpu_info_cache.active)
		__kvm_xen_emulate_halt(vcpu);
}

/* The vCPU thread is about to sleep in the kernel, in HLT or SCHEDOP_poll. */
static inline void kvm_xen_runstate_set_blocked(struct kvm_vcpu *vcpu)
{
	if (kvm_xen_msr_enabled(vcpu->kvm))
		__kvm_xen_runstate_set_blocked(vcpu);
}

#else /* !CONFIG_KVM_XEN */

static inline void kvm_xen_cancel_poll(struct kvm_vcpu *vcpu) { }
static inline void kvm_xen_clock_was_set(struct kvm *kvm) { }
static inline void kvm_xen_cpuid(struct kvm_vcpu *vcpu, const struct kvm_cpuid_entry2 *entry,
				 u32 *eax, u32 *ecx, u32 *edx) { }
static inline void kvm_xen_destroy_vcpu(struct kvm_vcpu *vcpu) { }
static inline void kvm_xen_destroy_vm(struct kvm *kvm) { }
static inline void kvm_xen_emulate_halt(struct kvm_vcpu *vcpu) { }
static inline int kvm_xen_get_interrupt(struct kvm_vcpu *vcpu) { return -1; }
static inline bool kvm_xen_has_interrupt(struct kvm_vcpu *vcpu) { return false; }
static inline bool kvm_xen_has_pending_events(struct kvm_vcpu *vcpu) { return false; }
static inline void kvm_xen_host_resumed(struct kvm *kvm) { }
static inline int kvm_xen_hypercall(struct kvm_vcpu *vcpu) { return 1; }
static inline bool kvm_xen_hypercall_enabled(struct kvm *kvm) { return false; }
static inline fastpath_t kvm_xen_hypercall_fastpath(struct kvm_vcpu *vcpu, u8 cpl, bool longmode)
{
	return EXIT_FASTPATH_NONE;
}

static inline bool kvm_xen_in_use(void) { return false; }
static inline void kvm_xen_init_vcpu(struct kvm_vcpu *vcpu) { }
static inline void kvm_xen_init_vm(struct kvm *kvm) { }
static inline enum kvm_xen_irq_window kvm_xen_irq_window_fastpath(struct kvm_vcpu *vcpu)
{
	return KVM_XEN_IRQ_WINDOW_LEAVE;
}

static inline bool kvm_xen_is_hypercall_msr(struct kvm_vcpu *vcpu, u32 msr) { return false; }
static inline bool kvm_xen_may_reenter(struct kvm_vcpu *vcpu) { return true; }
static inline void kvm_xen_memslots_updated(struct kvm *kvm) { }
static inline bool kvm_xen_msr_enabled(struct kvm *kvm) { return false; }
static inline void kvm_xen_publish_clock(struct kvm_vcpu *vcpu) { }
static inline void kvm_xen_runstate_set_blocked(struct kvm_vcpu *vcpu) { }
static inline void kvm_xen_runstate_set_preempted(struct kvm_vcpu *vcpu) { }
static inline void kvm_xen_runstate_set_running(struct kvm_vcpu *vcpu) { }
static inline void kvm_xen_service_vcpu(struct kvm_vcpu *vcpu) { }
static inline void kvm_xen_sw_enable_lapic(struct kvm_vcpu *vcpu) { }
static inline int kvm_xen_write_hypercall_page(struct kvm_vcpu *vcpu, u64 data) { return 1; }

#endif /* CONFIG_KVM_XEN */
#endif /* __ARCH_X86_KVM_XEN_H__ */
