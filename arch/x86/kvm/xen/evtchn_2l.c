// SPDX-License-Identifier: GPL-2.0-only
/*
 * Xen guests: the 2-level event channel ABI.
 *
 * Owns the bits in shared_info and in vcpu_info.  A port has a pending and a
 * mask bit in shared_info; a selector bit in vcpu_info stands for the ports of
 * one word, and evtchn_upcall_pending for the selector.
 *
 * A bit has the same place whether its bitmap is read in words of 32 or of 64
 * bits, x86 being little-endian.  So all bitmaps are accessed in 32-bit words
 * here, and the width counts only for which selector bit is whose.
 *
 * Ordering: pending before mask, pending before selector, selector before
 * upcall flag, and all of it before the vCPU or its poller is woken.  The locked
 * instructions give that.  They pair with the guest's, which clears the flag,
 * exchanges the selector, and then looks at the pending bits.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/nospec.h>

#include "xen_internal.h"

#ifdef CONFIG_X86_64
static_assert(offsetof(struct shared_info, evtchn_pending) == 0x800);
static_assert(offsetof(struct shared_info, evtchn_mask) == 0xa00);
static_assert(offsetof(struct shared_info, wc) == 0xc00);
static_assert(offsetof(struct vcpu_info, evtchn_pending_sel) == 0x08);
#endif
static_assert(offsetof(struct vcpu_info, evtchn_upcall_pending) == 0);
static_assert(offsetof(struct vcpu_info, time) == KVM_XEN_TIME_INFO_OFFSET);
static_assert(sizeof(struct vcpu_info) == KVM_XEN_VCPU_INFO_SIZE);

/**
 * kvm_xen_2l_set_pending - latch an event in shared_info
 * @kvm: the VM
 * @abi: the latched ABI
 * @port: 1 to abi->nr_ports - 1
 * @can_sleep: see kvm_xen_page_lock()
 *
 * Implements "set pending" of Xen's common/event_2l.c up to the selector.
 *
 * Context: as __kvm_xen_raise().
 *
 * Return: KVM_XEN_EVTCHN_MERGED if the event was pending already, _MASKED,
 * _UNREACHABLE, or _DELIVERED if the selector is to be set next.
 */
static int kvm_xen_2l_set_pending(struct kvm *kvm, const struct kvm_xen_abi *abi, u32 port,
				  bool can_sleep)
{
	struct gfn_to_pfn_cache *gpc = &kvm->arch.xen.shinfo_cache;
	unsigned long flags;
	void *shinfo;
	int r;

	port = array_index_nospec(port, abi->nr_ports);

	if (!kvm_xen_page_lock(gpc, PAGE_SIZE, &flags, can_sleep))
		return KVM_XEN_EVTCHN_UNREACHABLE;

	shinfo = gpc->khva;
	if (kvm_xen_test_and_set_bit(port, shinfo + abi->pending))
		r = KVM_XEN_EVTCHN_MERGED;
	else if (kvm_xen_test_bit(port, shinfo + abi->mask))
		r = KVM_XEN_EVTCHN_MASKED;
	else
		r = KVM_XEN_EVTCHN_DELIVERED;

	kvm_xen_page_unlock(gpc, flags);
	return r;
}

static bool kvm_xen_2l_defer_selector(struct kvm_vcpu *vcpu, u32 sel)
{
	set_bit(sel, vcpu->arch.xen.deferred_sel);
	kvm_xen_defer(vcpu, KVM_XEN_DEFERRED_SEL);
	return false;
}

/**
 * kvm_xen_2l_set_selector - tell a vCPU which word has a new event
 * @vcpu: the vCPU
 * @abi: the ABI latched for the event
 * @port: the event's port
 * @can_sleep: see kvm_xen_page_lock()
 *
 * If the page is out of reach, the selector bit is kept and set later.
 *
 * Context: as __kvm_xen_raise().
 *
 * Return: whether evtchn_upcall_pending went from 0 to 1, i.e. the vCPU has to
 * be notified.
 */
static bool kvm_xen_2l_set_selector(struct kvm_vcpu *vcpu, const struct kvm_xen_abi *abi,
				    u32 port, bool can_sleep)
{
	struct gfn_to_pfn_cache *gpc = &vcpu->arch.xen.vcpu_info_cache;
	u32 sel = port / abi->word_bits;
	unsigned long flags;
	bool notify;

	if (!kvm_xen_page_lock(gpc, KVM_XEN_VCPU_INFO_SIZE, &flags, can_sleep))
		return kvm_xen_2l_defer_selector(vcpu, sel);

	/* Bit 0 of the first word is bit 0 of evtchn_upcall_pending. */
	notify = !kvm_xen_test_and_set_bit(sel, gpc->khva + abi->sel) &&
		 !kvm_xen_test_and_set_bit(0, gpc->khva);

	kvm_xen_page_unlock(gpc, flags);
	return notify;
}

/**
 * kvm_xen_2l_test_pending - is an event latched?
 * @kvm: the VM
 * @abi: the latched ABI
 * @port: less than abi->nr_ports
 *
 * Context: task context, kvm->srcu held.  May sleep.
 *
 * Return: 0 or 1, -EFAULT if shared_info is out of reach.
 */
static int kvm_xen_2l_test_pending(struct kvm *kvm, const struct kvm_xen_abi *abi, u32 port)
{
	struct gfn_to_pfn_cache *gpc = &kvm->arch.xen.shinfo_cache;
	unsigned long flags;
	int r;

	port = array_index_nospec(port, abi->nr_ports);

	if (!kvm_xen_page_lock(gpc, PAGE_SIZE, &flags, true))
		return -EFAULT;

	r = kvm_xen_test_bit(port, gpc->khva + abi->pending);
	kvm_xen_page_unlock(gpc, flags);
	return r;
}

static int kvm_xen_2l_raise(struct kvm_vcpu *vcpu, const struct kvm_xen_abi *abi, u32 port,
			    u32 priority, bool can_sleep)
{
	int r = kvm_xen_2l_set_pending(vcpu->kvm, abi, port, can_sleep);

	if (r == KVM_XEN_EVTCHN_DELIVERED && kvm_xen_2l_set_selector(vcpu, abi, port, can_sleep))
		kvm_xen_notify(vcpu);

	return r;
}

/* A port that was not masked is not raised again, be it pending or not. */
static bool kvm_xen_2l_clear_mask(void *shinfo, const struct kvm_xen_abi *abi, u32 port)
{
	return kvm_xen_test_and_clear_bit(port, shinfo + abi->mask) &&
	       kvm_xen_test_bit(port, shinfo + abi->pending);
}

static int kvm_xen_2l_unmask(struct kvm_vcpu *vcpu, const struct kvm_xen_abi *abi, u32 port,
			     u32 priority, bool can_sleep)
{
	struct gfn_to_pfn_cache *gpc = &vcpu->kvm->arch.xen.shinfo_cache;
	unsigned long flags;
	bool raise;

	port = array_index_nospec(port, abi->nr_ports);

	if (!kvm_xen_page_lock(gpc, PAGE_SIZE, &flags, can_sleep))
		return KVM_XEN_EVTCHN_UNREACHABLE;

	raise = kvm_xen_2l_clear_mask(gpc->khva, abi, port);
	kvm_xen_page_unlock(gpc, flags);

	if (raise && kvm_xen_2l_set_selector(vcpu, abi, port, can_sleep))
		kvm_xen_notify(vcpu);

	return KVM_XEN_EVTCHN_DELIVERED;
}

static void kvm_xen_2l_defer(struct kvm_vcpu *vcpu, u32 port, u32 priority)
{
	/* A FIFO port, if a reset came in between: its events go, too. */
	if (port >= KVM_XEN_2L_NR_PORTS)
		return;

	set_bit(port, vcpu->arch.xen.deferred_ports);
	__kvm_xen_defer(vcpu, KVM_XEN_DEFERRED_PORTS);
}

#define KVM_XEN_2L_OPS					\
	.raise		= kvm_xen_2l_raise,		\
	.unmask		= kvm_xen_2l_unmask,		\
	.defer		= kvm_xen_2l_defer,		\
	.set_selector	= kvm_xen_2l_set_selector,	\
	.test_pending	= kvm_xen_2l_test_pending

const struct kvm_xen_abi kvm_xen_abi_2l[2] = {
	{
		.nr_ports = 1024,
		KVM_XEN_LAYOUT_32,
		KVM_XEN_2L_OPS,
	}, {
		.nr_ports = KVM_XEN_2L_NR_PORTS,
		KVM_XEN_LAYOUT_64,
		KVM_XEN_2L_OPS,
	},
};
