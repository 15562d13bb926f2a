// SPDX-License-Identifier: GPL-2.0-only
/*
 * Xen guests: hypercalls.
 *
 * Owns the hypercall page, the decoding of a call, its dispatch, and the exit to
 * userspace with what the kernel does not handle.  A call is decoded once; the
 * handlers, each in the file of its noun, see only struct kvm_xen_hcall.
 *
 * A call comes here twice if need be: first right after the exit, where it can be
 * answered at once or not at all, then on the ordinary path.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kvm_host.h>
#include <linux/nospec.h>

#include <xen/interface/xen.h>
#include <xen/interface/vcpu.h>
#include <xen/interface/version.h>

#include "hyperv.h"
#include "pmu.h"
#include "trace.h"
#include "x86.h"
#include "xen_internal.h"

#define KVM_XEN_HCALL_STUB_SIZE		32
#define KVM_XEN_INSN_UD2		"\x0f\x0b"

typedef enum kvm_xen_hcall_action (*kvm_xen_hcall_fn)(struct kvm_vcpu *vcpu,
						      struct kvm_xen_hcall *hc);

static enum kvm_xen_hcall_action kvm_xen_version_op(struct kvm_vcpu *vcpu,
						    struct kvm_xen_hcall *hc)
{
	u32 version = READ_ONCE(vcpu->kvm->arch.xen.xen_version);

	if (kvm_xen_hcall_cmd(hc) != XENVER_version || !version)
		return KVM_XEN_HCALL_NOT_MINE;

	return kvm_xen_hcall_done(hc, version);
}

/* The vCPU that the guest knows by @xen_vcpu_id; NULL if there is none, or it is not known. */
static struct kvm_vcpu *kvm_xen_find_xen_vcpu(struct kvm *kvm, u32 xen_vcpu_id)
{
	struct kvm_vcpu *vcpu;
	unsigned long i;

	if (xen_vcpu_id == U32_MAX)
		return NULL;

	kvm_for_each_vcpu(i, vcpu, kvm) {
		if (READ_ONCE(vcpu->arch.xen.vcpu_id) == xen_vcpu_id)
			return vcpu;
	}
	return NULL;
}

/*
 * What can be asked of any vCPU.  One that the kernel does not know of is left to
 * userspace, which knows best (Xen: -ENOENT).
 */
static enum kvm_xen_hcall_action kvm_xen_vcpu_op_any(struct kvm_vcpu *vcpu,
						     struct kvm_xen_hcall *hc)
{
	struct kvm_vcpu *target;

	if (hc->atomic || !kvm_xen_opted_in(vcpu->kvm, KVM_XEN_HVM_CONFIG_MORE_HCALLS))
		return KVM_XEN_HCALL_NOT_MINE;

	target = kvm_xen_find_xen_vcpu(vcpu->kvm, hc->args[1]);
	if (!target)
		return KVM_XEN_HCALL_NOT_MINE;

	if (kvm_xen_hcall_cmd(hc) == VCPUOP_get_runstate_info)
		return kvm_xen_vcpuop_runstate(vcpu, target, hc);

	return kvm_xen_vcpuop_periodic(vcpu, target, hc);
}

/* The singleshot timer is a vCPU's own: -EINVAL for another one. */
static enum kvm_xen_hcall_action kvm_xen_vcpu_op_own(struct kvm_vcpu *vcpu,
						     struct kvm_xen_hcall *hc)
{
	u32 xen_vcpu_id = hc->args[1];

	if (!vcpu->arch.xen.timer_port || vcpu->arch.xen.vcpu_id == U32_MAX)
		return KVM_XEN_HCALL_NOT_MINE;

	if (xen_vcpu_id == vcpu->arch.xen.vcpu_id)
		return kvm_xen_vcpuop_singleshot(vcpu, hc);

	return kvm_xen_find_xen_vcpu(vcpu->kvm, xen_vcpu_id) ? kvm_xen_hcall_done(hc, -EINVAL) :
							       KVM_XEN_HCALL_NOT_MINE;
}

/*
 * The vcpu_op hypercall.  In @vcpu's thread, kvm->srcu held.  May sleep unless @hc is
 * atomic.
 */
static enum kvm_xen_hcall_action kvm_xen_vcpu_op(struct kvm_vcpu *vcpu, struct kvm_xen_hcall *hc)
{
	switch (kvm_xen_hcall_cmd(hc)) {
	case VCPUOP_set_singleshot_timer:
	case VCPUOP_stop_singleshot_timer:
		return kvm_xen_vcpu_op_own(vcpu, hc);
	case VCPUOP_get_runstate_info:
	case VCPUOP_set_periodic_timer:
	case VCPUOP_stop_periodic_timer:
		return kvm_xen_vcpu_op_any(vcpu, hc);
	default:
		return KVM_XEN_HCALL_NOT_MINE;
	}
}

/* By hypercall number.  A handler decides by command what is its own. */
static const kvm_xen_hcall_fn kvm_xen_hcalls[] = {
	[__HYPERVISOR_set_timer_op]		= kvm_xen_set_timer_op,
	[__HYPERVISOR_xen_version]		= kvm_xen_version_op,
	[__HYPERVISOR_vcpu_op]			= kvm_xen_vcpu_op,
	[__HYPERVISOR_sched_op]			= kvm_xen_sched_op,
	[__HYPERVISOR_event_channel_op]		= kvm_xen_event_channel_op,
};

/*
 * Mode and privilege level of the caller are known already.  No call that the
 * kernel handles has more than three arguments; the others are decoded by those
 * who pass them on.
 */
static void kvm_xen_decode_hcall(struct kvm_vcpu *vcpu, struct kvm_xen_hcall *hc)
{
	if (hc->longmode) {
		hc->nr = kvm_rax_read(vcpu);
		hc->args[0] = kvm_rdi_read(vcpu);
		hc->args[1] = kvm_rsi_read(vcpu);
		hc->args[2] = kvm_rdx_read(vcpu);
	} else {
		hc->nr = (u32)kvm_rax_read(vcpu);
		hc->args[0] = (u32)kvm_rbx_read(vcpu);
		hc->args[1] = (u32)kvm_rcx_read(vcpu);
		hc->args[2] = (u32)kvm_rdx_read(vcpu);
	}
}

static void kvm_xen_decode_more_args(struct kvm_vcpu *vcpu, struct kvm_xen_hcall *hc)
{
#ifdef CONFIG_X86_64
	if (hc->longmode) {
		hc->args[3] = kvm_r10_read(vcpu);
		hc->args[4] = kvm_r8_read(vcpu);
		hc->args[5] = kvm_r9_read(vcpu);
		return;
	}
#endif
	hc->args[3] = (u32)kvm_rsi_read(vcpu);
	hc->args[4] = (u32)kvm_rdi_read(vcpu);
	hc->args[5] = (u32)kvm_rbp_read(vcpu);
}

/* Who handles calls with this number, if the kernel does so at all? */
static __always_inline kvm_xen_hcall_fn kvm_xen_hcall_handler(u64 nr)
{
	if (nr >= ARRAY_SIZE(kvm_xen_hcalls))
		return NULL;

	return kvm_xen_hcalls[array_index_nospec((unsigned long)nr, ARRAY_SIZE(kvm_xen_hcalls))];
}

static enum kvm_xen_hcall_action kvm_xen_dispatch(struct kvm_vcpu *vcpu, struct kvm_xen_hcall *hc)
{
	kvm_xen_hcall_fn fn = kvm_xen_hcall_handler(hc->nr);

	/* Xen refuses all calls of less privileged code; userspace does so. */
	return fn && !hc->cpl ? fn(vcpu, hc) : KVM_XEN_HCALL_NOT_MINE;
}

/* The kernel has an answer.  The result is that of kvm_skip_emulated_instruction(). */
static int kvm_xen_answer_hcall(struct kvm_vcpu *vcpu, const struct kvm_xen_hcall *hc)
{
	++vcpu->stat.xen_hypercalls;
	kvm_rax_write(vcpu, hc->result);
	return kvm_skip_emulated_instruction(vcpu);
}

static void kvm_xen_trace_hcall(struct kvm_vcpu *vcpu, struct kvm_xen_hcall *hc)
{
	if (trace_kvm_xen_hypercall_enabled()) {
		kvm_xen_decode_more_args(vcpu, hc);
		trace_kvm_xen_hypercall(hc->cpl, hc->nr, hc->args[0], hc->args[1], hc->args[2],
					hc->args[3], hc->args[4], hc->args[5]);
	}
}

static int kvm_xen_complete_hcall(struct kvm_vcpu *vcpu)
{
	/* Userspace may have reset the vCPU meanwhile, or loaded a snapshot. */
	if (!kvm_is_linear_rip(vcpu, vcpu->arch.xen.hypercall_rip))
		return 1;

	kvm_rax_write(vcpu, READ_ONCE(vcpu->run->xen.u.hcall.result));
	return kvm_skip_emulated_instruction(vcpu);
}

static int kvm_xen_exit_to_userspace(struct kvm_vcpu *vcpu, struct kvm_xen_hcall *hc)
{
	struct kvm_xen_exit *exit = &vcpu->run->xen;

	++vcpu->stat.xen_hypercalls_user;
	kvm_xen_decode_more_args(vcpu, hc);

	vcpu->run->exit_reason = KVM_EXIT_XEN;
	exit->type = KVM_EXIT_XEN_HCALL;
	exit->u.hcall.longmode = hc->longmode;
	exit->u.hcall.cpl = hc->cpl;
	exit->u.hcall.input = hc->nr;
	BUILD_BUG_ON(sizeof(exit->u.hcall.params) != sizeof(hc->args));
	memcpy(exit->u.hcall.params, hc->args, sizeof(hc->args));

	vcpu->arch.xen.hypercall_rip = kvm_get_linear_rip(vcpu);
	vcpu->arch.complete_userspace_io = kvm_xen_complete_hcall;
	return 0;
}

/**
 * kvm_xen_hypercall - the guest executed VMCALL or VMMCALL
 * @vcpu: the caller
 *
 * Context: @vcpu's thread, kvm->srcu held.  May sleep.
 *
 * Return: 1 to go on, 0 to exit to userspace, or an errno for KVM_RUN.
 */
int kvm_xen_hypercall(struct kvm_vcpu *vcpu)
{
	struct kvm_xen_hcall *hc = &vcpu->arch.xen.hcall;

	/*
	 * Hyper-V's hypercall page sets bit 31 when it has to share the
	 * instruction.  From a nested guest only its TLB flushes arrive here,
	 * and those are not marked.
	 */
	if (is_guest_mode(vcpu) ||
	    (kvm_hv_hypercall_enabled(vcpu) && (kvm_rax_read(vcpu) & BIT(31))))
		return kvm_hv_hypercall(vcpu);

	hc->longmode = is_64_bit_hypercall(vcpu);
	hc->cpl = kvm_x86_call(get_cpl)(vcpu);
	kvm_xen_decode_hcall(vcpu, hc);
	kvm_xen_trace_hcall(vcpu, hc);

	if (kvm_xen_dispatch(vcpu, hc) == KVM_XEN_HCALL_NOT_MINE)
		return kvm_xen_exit_to_userspace(vcpu, hc);

	return kvm_xen_answer_hcall(vcpu, hc);
}

/* Only what a virtual PMU may count needs kvm->srcu. */
static __always_inline int kvm_xen_skip_instruction(struct kvm_vcpu *vcpu)
{
	int r;

	if (bitmap_empty(vcpu_to_pmu(vcpu)->all_valid_pmc_idx, X86_PMC_IDX_MAX))
		return kvm_skip_emulated_instruction(vcpu);

	kvm_vcpu_srcu_read_lock(vcpu);
	r = kvm_skip_emulated_instruction(vcpu);
	kvm_vcpu_srcu_read_unlock(vcpu);
	return r;
}

/* XENVER_version, the call that guests make to do nothing: only registers to read. */
static __always_inline fastpath_t kvm_xen_version_fastpath(struct kvm_vcpu *vcpu, u32 version)
{
	++vcpu->stat.xen_hypercalls;
	++vcpu->stat.xen_hypercalls_fast;
	kvm_rax_write(vcpu, version);

	return likely(kvm_xen_skip_instruction(vcpu)) ? EXIT_FASTPATH_REENTER_GUEST :
							EXIT_FASTPATH_EXIT_USERSPACE;
}

/* Not inlined, for what would have to be saved on the stack for it. */
static noinline fastpath_t kvm_xen_call_fastpath(struct kvm_vcpu *vcpu, kvm_xen_hcall_fn fn,
						 bool longmode)
{
	struct kvm_xen_hcall *hc = &vcpu->arch.xen.hcall;
	fastpath_t ret = EXIT_FASTPATH_NONE;

	hc->cpl = 0;
	hc->longmode = longmode;
	hc->atomic = true;
	kvm_xen_decode_hcall(vcpu, hc);

	kvm_vcpu_srcu_read_lock(vcpu);
	if (fn(vcpu, hc) == KVM_XEN_HCALL_DONE) {
		kvm_xen_trace_hcall(vcpu, hc);
		++vcpu->stat.xen_hypercalls_fast;
		ret = kvm_xen_answer_hcall(vcpu, hc) ? EXIT_FASTPATH_REENTER_GUEST :
						       EXIT_FASTPATH_EXIT_USERSPACE;
	}
	kvm_vcpu_srcu_read_unlock(vcpu);

	hc->atomic = false;
	return ret;
}

/**
 * kvm_xen_hypercall_fastpath - try to answer a hypercall right after the exit
 * @vcpu: the caller, not in a nested guest
 * @cpl: its privilege level
 * @longmode: whether it executes 64-bit code
 *
 * Either the call is answered here, or kvm_xen_hypercall() finds everything as
 * if it had not been tried.
 *
 * Context: @vcpu's thread between exit and entry: interrupts off, kvm->srcu not
 * held.  Its next RIP is known, so that skipping the instruction does not sleep.
 *
 * Return: EXIT_FASTPATH_NONE to go the ordinary path.
 */
fastpath_t kvm_xen_hypercall_fastpath(struct kvm_vcpu *vcpu, u8 cpl, bool longmode)
{
	u64 nr = kvm_rax_read(vcpu);
	fastpath_t ret;
	u32 version;

	/* What is Hyper-V's is told apart later. */
	if (cpl || !READ_ONCE(vcpu->kvm->arch.xen.hcall_fastpath) ||
	    kvm_hv_hypercall_enabled(vcpu) || vcpu->arch.guest_state_protected)
		return EXIT_FASTPATH_NONE;

	version = READ_ONCE(vcpu->kvm->arch.xen.xen_version);
	if (nr == __HYPERVISOR_xen_version && version &&
	    (u32)(longmode ? kvm_rdi_read(vcpu) : kvm_rbx_read(vcpu)) == XENVER_version &&
	    !trace_kvm_xen_hypercall_enabled()) {
		ret = kvm_xen_version_fastpath(vcpu, version);
	} else {
		kvm_xen_hcall_fn fn = kvm_xen_hcall_handler(nr);

		/* Do not make what goes to the VMM slower. */
		if (!fn)
			return EXIT_FASTPATH_NONE;
		ret = kvm_xen_call_fastpath(vcpu, fn, longmode);
	}

	/* Xen looks at the flag before each entry, whoever has set it. */
	if (ret == EXIT_FASTPATH_REENTER_GUEST && unlikely(kvm_xen_upcall_likely(vcpu)))
		vcpu->arch.xen.upcall_found = true;

	return ret;
}
EXPORT_SYMBOL_GPL(kvm_xen_hypercall_fastpath);

/* One stub per hypercall number: mov $nr,%eax; vmcall; ret. */
static void kvm_xen_fill_hypercall_page(struct kvm_vcpu *vcpu, u8 *page)
{
	u8 insn[3];
	u32 nr;

	kvm_x86_call(patch_hypercall)(vcpu, insn);
	memset(page, 0xcc, PAGE_SIZE);

	for (nr = 0; nr < PAGE_SIZE / KVM_XEN_HCALL_STUB_SIZE; nr++) {
		u8 *stub = page + nr * KVM_XEN_HCALL_STUB_SIZE;

		/* There is no iret for HVM guests. */
		if (nr == __HYPERVISOR_iret) {
			memcpy(stub, KVM_XEN_INSN_UD2, 2);
			continue;
		}

		stub[0] = 0xb8;
		memcpy(stub + 1, &nr, sizeof(nr));
		memcpy(stub + 5, insn, sizeof(insn));
		stub[8] = 0xc3;
	}
}

/* Page @index of the VMM's own hypercall pages. */
static void *kvm_xen_copy_hypercall_blob(struct kvm *kvm, bool long_mode, u32 index)
{
	u64 addr;
	u8 size;

	mutex_lock(&kvm->arch.xen.lock);
	addr = long_mode ? kvm->arch.xen_hvm_config.blob_addr_64 :
			   kvm->arch.xen_hvm_config.blob_addr_32;
	size = long_mode ? kvm->arch.xen_hvm_config.blob_size_64 :
			   kvm->arch.xen_hvm_config.blob_size_32;
	mutex_unlock(&kvm->arch.xen.lock);

	if (index >= size)
		return NULL;

	return memdup_user(u64_to_user_ptr(addr) + (u64)index * PAGE_SIZE, PAGE_SIZE);
}

/* Does the vCPU execute 64-bit code?  That is what latches the guest's mode. */
static bool kvm_xen_in_64_bit_mode(struct kvm_vcpu *vcpu)
{
	return IS_ENABLED(CONFIG_X86_64) && is_64_bit_hypercall(vcpu);
}

/*
 * Fill the hypercall page that @data names, then latch the guest's mode, or do neither.
 * Returns 0, -EINVAL for a page that there is not, -ENXIO if the guest has no memory
 * for it; -EFAULT or -ENOMEM if the VMM's page cannot be read.
 */
static int kvm_xen_make_hypercall_page(struct kvm_vcpu *vcpu, u64 data)
{
	bool long_mode = kvm_xen_in_64_bit_mode(vcpu);
	struct kvm *kvm = vcpu->kvm;
	u32 index = data & ~PAGE_MASK;
	void *page;
	int r;

	if (READ_ONCE(kvm->arch.xen_hvm_config.flags) & KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL) {
		if (index)
			return -EINVAL;

		page = kmalloc(PAGE_SIZE, GFP_KERNEL_ACCOUNT);
		if (!page)
			return -ENOMEM;
		kvm_xen_fill_hypercall_page(vcpu, page);
	} else {
		page = kvm_xen_copy_hypercall_blob(kvm, long_mode, index);
		if (IS_ERR_OR_NULL(page))
			return page ? PTR_ERR(page) : -EINVAL;
	}

	r = kvm_vcpu_write_guest(vcpu, data & PAGE_MASK, page, PAGE_SIZE);
	kfree(page);
	if (r)
		return -ENXIO;

	/* The page is there, so this succeeds even if the wallclock cannot be written. */
	mutex_lock(&kvm->arch.xen.lock);
	kvm_xen_set_long_mode(kvm, long_mode);
	mutex_unlock(&kvm->arch.xen.lock);
	return 0;
}

/**
 * kvm_xen_write_hypercall_page - the guest wrote the hypercall MSR
 * @vcpu: the vCPU
 * @data: the value: address of the page, and in bits 11:0 an index
 *
 * Fills the page, then latches the guest's mode; a write that fails does neither.
 *
 * Context: @vcpu's thread, kvm->srcu held.  May sleep.
 *
 * Return: 0; 1 for #GP; -EFAULT or -ENOMEM, for KVM_RUN, if the VMM's page
 * cannot be read.
 */
int kvm_xen_write_hypercall_page(struct kvm_vcpu *vcpu, u64 data)
{
	int r = kvm_xen_make_hypercall_page(vcpu, data);

	return r == -EINVAL || r == -ENXIO ? 1 : r;
}

/**
 * kvm_xen_set_hypercall_page_attr - KVM_XEN_VCPU_ATTR_TYPE_HYPERCALL_PAGE
 * @vcpu: the vCPU, in whose mode the page is to be used
 * @data: what the guest would write to the hypercall MSR
 *
 * Context: vCPU ioctl, kvm->srcu held.  May sleep.
 *
 * Return: 0; -EINVAL for a page that there is not, or without a hypercall MSR; -ENXIO if
 * the guest has no writable memory there, -EFAULT if the VMM's page cannot be read,
 * -ENOMEM.
 */
int kvm_xen_set_hypercall_page_attr(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data)
{
	if (!kvm_xen_msr_enabled(vcpu->kvm))
		return -EINVAL;

	return kvm_xen_make_hypercall_page(vcpu, data->u.gpa);
}
