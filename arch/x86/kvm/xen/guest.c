// SPDX-License-Identifier: GPL-2.0-only
/*
 * Xen guests: access to guest memory.
 *
 * Owns the way shared pages (shared_info, vcpu_info, the second pvclock) are
 * set, mapped and used, and how hypercall arguments are read and written.
 *
 * A shared page can be out of reach at any time: its memslot is being replaced,
 * its host page was swapped out, or the address space is gone.  Who may not
 * sleep is told so and has to defer; see evtchn.c.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/uaccess.h>

#include "mmu.h"
#include "x86.h"
#include "xen_internal.h"

/*
 * A page that is lost this often between mapping and locking counts as gone for
 * now.  Whoever needs it tries again at the next occasion.
 */
#define KVM_XEN_MAX_REFRESH	16

/**
 * kvm_xen_page_refresh - map a shared page again
 * @gpc: cache of the page
 * @len: number of bytes that will be used, from the start of the structure
 *
 * Context: task context of the VMM's own address space, whose memory it maps;
 * kvm->srcu is held.  May sleep.
 *
 * Return: whether the page is, or just was, accessible.
 */
bool kvm_xen_page_refresh(struct gfn_to_pfn_cache *gpc, unsigned long len)
{
	return !WARN_ON_ONCE(current->mm != gpc->kvm->mm) && READ_ONCE(gpc->active) &&
	       !kvm_gpc_refresh(gpc, len);
}

/**
 * __kvm_xen_page_lock - get hold of a shared page that is not mapped
 * @gpc: cache of the page
 * @len: number of bytes that will be used, from the start of the structure
 * @flags: for kvm_xen_page_unlock()
 * @can_sleep: whether the page may be faulted in
 *
 * The rare half of kvm_xen_page_lock().
 *
 * Context: as kvm_xen_page_lock().
 *
 * Return: whether the page is accessible and locked.
 */
bool __kvm_xen_page_lock(struct gfn_to_pfn_cache *gpc, unsigned long len, unsigned long *flags,
			 bool can_sleep)
{
	int tries = KVM_XEN_MAX_REFRESH;

	if (!can_sleep)
		return false;

	while (tries--) {
		if (!kvm_xen_page_refresh(gpc, len))
			return false;

		if (kvm_xen_try_lock_page(gpc, len, flags))
			return true;
	}
	return false;
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
 * Context: an ioctl of the VMM; nobody sets the page meanwhile.
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
 * Context: as kvm_xen_page_get_gpa().
 *
 * Return: the address, or 0 if there is none or it was set by GPA.
 */
u64 kvm_xen_page_get_hva(struct gfn_to_pfn_cache *gpc)
{
	return kvm_gpc_is_hva_active(gpc) ? gpc->uhva : 0;
}

#ifdef CONFIG_X86_64
/*
 * Where has the VMM the frame that @pte names?  0 if nowhere.  The last answer for
 * each @level is remembered: as long as the memslots are the same, so is the answer
 * to the same question, whatever the guest does to its page tables.
 */
static unsigned long kvm_xen_frame_hva(struct kvm_vcpu *vcpu, struct kvm_memslots *slots,
				       int level, u64 pte)
{
	struct kvm_xen_frame *frame = &vcpu->arch.xen.frames[level];
	gfn_t gfn = (pte & GENMASK_ULL(51, PAGE_SHIFT)) >> PAGE_SHIFT;
	struct kvm_memory_slot *slot;

	if (likely(frame->pte == pte))
		return frame->hva;

	slot = __gfn_to_memslot(slots, gfn);
	if (!slot || (slot->flags & KVM_MEMSLOT_INVALID))
		return 0;

	frame->pte = pte;
	frame->hva = __gfn_to_hva_memslot(slot, gfn);
	return frame->hva;
}

/*
 * Where has the VMM what 64-bit code of the guest's kernel finds at @gva?
 *
 * This walks page tables as they usually are: supervisor pages of 4 KiB or 2 MiB
 * which have been accessed before, in present memory.  Whatever is different, a
 * fault above all, is left to KVM's own walk, which takes ten times as long.
 */
static const void __user *kvm_xen_gva_to_hva(struct kvm_vcpu *vcpu, gva_t gva)
{
	struct kvm_memslots *slots = kvm_vcpu_memslots(vcpu);
	int level = vcpu->arch.walk_mmu->cpu_role.base.level;
	u64 pte = kvm_read_cr3(vcpu), all = _PAGE_USER, any = 0;
	u64 generation = READ_ONCE(slots->generation);
	unsigned long hva;
	int shift;

	if (unlikely(vcpu->arch.xen.frames_generation != generation)) {
		memset(vcpu->arch.xen.frames, 0, sizeof(vcpu->arch.xen.frames));
		vcpu->arch.xen.frames_generation = generation;
	}

	while ((hva = kvm_xen_frame_hva(vcpu, slots, level, pte)) && level--) {
		shift = PAGE_SHIFT + 9 * level;
		if (__get_user(pte, (u64 __user *)hva + (gva >> shift & 511)) ||
		    (~pte & (_PAGE_PRESENT | _PAGE_ACCESSED)))
			return NULL;

		all &= pte;
		any |= pte;
		if (level && (pte & _PAGE_PSE)) {
			if (level != 1 || (pte & GENMASK_ULL(PMD_SHIFT - 1, PAGE_SHIFT)))
				return NULL;
			pte |= gva & GENMASK_ULL(PMD_SHIFT - 1, PAGE_SHIFT);
			level = 0;
		}
	}

	/* User pages are subject to SMAP and keys, and NX may be reserved. */
	if (!hva || all || ((any & _PAGE_NX) && !(vcpu->arch.efer & EFER_NX)))
		return NULL;

	return (void __user *)(hva + offset_in_page(gva));
}

static bool kvm_xen_read_guest_virt_64(struct kvm_vcpu *vcpu, gva_t gva, void *data,
				       unsigned int len)
{
	const void __user *hva;

	if (offset_in_page(gva) + len > PAGE_SIZE)
		return false;

	hva = kvm_xen_gva_to_hva(vcpu, gva);
	return hva && !__copy_from_user_inatomic(data, hva, len);
}
#else
static bool kvm_xen_read_guest_virt_64(struct kvm_vcpu *vcpu, gva_t gva, void *data,
				       unsigned int len)
{
	return false;
}
#endif

/**
 * kvm_xen_read_guest_virt - read a hypercall argument
 * @vcpu: the caller
 * @hc: the call
 * @gva: address, as the guest sees it now
 * @data: where to
 * @len: bytes; the argument may be unaligned and cross pages
 *
 * Context: @vcpu's thread, kvm->srcu held.  May sleep unless @hc is atomic.
 *
 * Return: 0, or -EFAULT, which is the guest's answer, as Xen injects no #PF;
 * unless @hc is atomic, see kvm_xen_hcall_fault().
 */
int kvm_xen_read_guest_virt(struct kvm_vcpu *vcpu, const struct kvm_xen_hcall *hc, gva_t gva,
			    void *data, unsigned int len)
{
	struct x86_exception e;
	bool ok;

	/* With PAE paging, KVM's own walk may have to load the PDPTRs, and sleep. */
	pagefault_disable();
	ok = (hc->longmode && kvm_xen_read_guest_virt_64(vcpu, gva, data, len)) ||
	     (hc->atomic && !is_pae_paging(vcpu) &&
	      kvm_read_guest_virt(vcpu, gva, data, len, &e) == X86EMUL_CONTINUE);
	pagefault_enable();

	if (!ok && !hc->atomic)
		ok = kvm_read_guest_virt(vcpu, gva, data, len, &e) == X86EMUL_CONTINUE;

	return ok ? 0 : -EFAULT;
}

/**
 * kvm_xen_write_guest_virt - write what a hypercall puts out
 * @vcpu: the caller
 * @gva: address, as the guest sees it now
 * @data: what
 * @len: bytes; they may be unaligned and cross pages
 *
 * Context: @vcpu's thread, kvm->srcu held.  May sleep.
 *
 * Return: 0, or -EFAULT, which is the guest's answer; part may have been written.
 */
int kvm_xen_write_guest_virt(struct kvm_vcpu *vcpu, gva_t gva, void *data, unsigned int len)
{
	struct x86_exception e;

	return kvm_write_guest_virt_system(vcpu, gva, data, len, &e) == X86EMUL_CONTINUE ?
	       0 : -EFAULT;
}
