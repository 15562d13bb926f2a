// SPDX-License-Identifier: GPL-2.0-only
/*
 * Xen guests: access to guest memory.
 *
 * Owns the way shared pages (shared_info, vcpu_info, the second pvclock) are
 * set, mapped and used, and how hypercall arguments are read.
 *
 * A shared page can be out of reach at any time: its memslot is being replaced,
 * its host page was swapped out, or the address space is gone.  Who may not
 * sleep is told so and has to defer; see evtchn.c.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include "xen_internal.h"
#include "x86.h"

/*
 * A page that is lost this often between mapping and locking counts as gone for
 * now.  Whoever needs it tries again at the next occasion.
 */
#define KVM_XEN_MAX_REFRESH	16

/**
 * kvm_xen_page_lock - get hold of a shared page
 * @gpc: cache of the page
 * @len: number of bytes that will be used, from the start of the structure
 * @flags: for kvm_xen_page_unlock()
 * @can_sleep: whether the page may be faulted in
 *
 * On success gpc->khva points to the structure, and stays valid until
 * kvm_xen_page_unlock().  No other page may be locked meanwhile, as all
 * gpc->locks are of one class.
 *
 * Context: kvm->srcu is held.  With @can_sleep, task context of the VMM's own
 * address space; without, any context but NMI and, on PREEMPT_RT, any that may
 * take a spinlock_t.
 *
 * Return: whether the page is accessible and locked.
 */
bool kvm_xen_page_lock(struct gfn_to_pfn_cache *gpc, unsigned long len, unsigned long *flags,
		       bool can_sleep)
{
	int tries = KVM_XEN_MAX_REFRESH;

	for (;;) {
		read_lock_irqsave(&gpc->lock, *flags);
		if (kvm_gpc_check(gpc, len)) {
			/* Sparse cannot follow a lock that is taken or not. */
			__release(&gpc->lock);
			return true;
		}
		read_unlock_irqrestore(&gpc->lock, *flags);

		if (!can_sleep || !tries--)
			return false;

		/* A refresh maps the memory of whoever calls it. */
		if (WARN_ON_ONCE(current->mm != gpc->kvm->mm))
			return false;

		if (!READ_ONCE(gpc->active) || kvm_gpc_refresh(gpc, len))
			return false;
	}
}

/**
 * kvm_xen_page_unlock - let go of a shared page
 * @gpc: cache of the page
 * @flags: from kvm_xen_page_lock()
 *
 * Context: any; ends what kvm_xen_page_lock() began.
 */
void kvm_xen_page_unlock(struct gfn_to_pfn_cache *gpc, unsigned long flags)
{
	__acquire(&gpc->lock);
	read_unlock_irqrestore(&gpc->lock, flags);
}

/*
 * Can @gpc be pointed to this address?  Activating a cache is sticky: on failure
 * the new address stays and the old one is lost.  So try it with another one.
 */
static int kvm_xen_page_probe(struct kvm *kvm, gpa_t gpa, unsigned long hva, unsigned long len)
{
	struct gfn_to_pfn_cache *probe;
	int r;

	probe = kzalloc(sizeof(*probe), GFP_KERNEL_ACCOUNT);
	if (!probe)
		return -ENOMEM;

	kvm_gpc_init(probe, kvm);
	r = kvm_is_error_gpa(gpa) ? kvm_gpc_activate_hva(probe, hva, len) :
				    kvm_gpc_activate(probe, gpa, len);
	kvm_gpc_deactivate(probe);
	kfree(probe);
	return r;
}

/**
 * kvm_xen_page_set_gpa - choose a shared page by guest physical address
 * @gpc: cache of the page
 * @gpa: address of the structure; INVALID_GPA for none
 * @len: length of the structure
 *
 * Context: an ioctl of the VMM, kvm->srcu held.  May sleep.
 *
 * Return: 0; -EINVAL if the structure crosses a page, -EFAULT if there is no
 * writable memory, -ENOMEM.  On error the previous page stays in force.
 */
int kvm_xen_page_set_gpa(struct gfn_to_pfn_cache *gpc, gpa_t gpa, unsigned long len)
{
	int r;

	if (kvm_is_error_gpa(gpa)) {
		kvm_gpc_deactivate(gpc);
		return 0;
	}

	r = kvm_xen_page_probe(gpc->kvm, gpa, KVM_HVA_ERR_BAD, len);
	return r ?: kvm_gpc_activate(gpc, gpa, len);
}

/**
 * kvm_xen_page_set_hva - choose a shared page by host virtual address
 * @gpc: cache of the page
 * @hva: address of the structure in the VMM; 0 for none
 * @len: length of the structure
 *
 * Context: as kvm_xen_page_set_gpa().
 *
 * Return: as kvm_xen_page_set_gpa(); -EINVAL also if @hva is no user address.
 */
int kvm_xen_page_set_hva(struct gfn_to_pfn_cache *gpc, unsigned long hva, unsigned long len)
{
	int r;

	if (!hva) {
		kvm_gpc_deactivate(gpc);
		return 0;
	}

	r = kvm_xen_page_probe(gpc->kvm, INVALID_GPA, hva, len);
	return r ?: kvm_gpc_activate_hva(gpc, hva, len);
}

/**
 * kvm_xen_page_get_gpa - read back kvm_xen_page_set_gpa()
 * @gpc: cache of the page
 *
 * Return: the address, or INVALID_GPA if there is none or it was set by HVA.
 */
u64 kvm_xen_page_get_gpa(struct gfn_to_pfn_cache *gpc)
{
	return kvm_gpc_is_gpa_active(gpc) ? gpc->gpa : INVALID_GPA;
}

/**
 * kvm_xen_page_get_hva - read back kvm_xen_page_set_hva()
 * @gpc: cache of the page
 *
 * Return: the address, or 0 if there is none or it was set by GPA.
 */
u64 kvm_xen_page_get_hva(struct gfn_to_pfn_cache *gpc)
{
	return kvm_gpc_is_hva_active(gpc) ? gpc->uhva : 0;
}

/**
 * kvm_xen_read_guest_virt - read a hypercall argument
 * @vcpu: the caller
 * @gva: address, as the guest sees it now
 * @data: where to
 * @len: bytes; the argument may be unaligned and cross pages
 *
 * Context: @vcpu's thread, kvm->srcu held.  May sleep.
 *
 * Return: 0, or -EFAULT, which is the guest's answer: Xen injects no #PF.
 */
int kvm_xen_read_guest_virt(struct kvm_vcpu *vcpu, gva_t gva, void *data, unsigned int len)
{
	struct x86_exception e;

	if (kvm_read_guest_virt(vcpu, gva, data, len, &e) != X86EMUL_CONTINUE)
		return -EFAULT;

	return 0;
}
