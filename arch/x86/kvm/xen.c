// SPDX-License-Identifier: GPL-2.0-only
/*
 * Xen guests: life cycle, configuration and attributes.
 *
 * KVM hosts Xen HVM and PVH guests: it intercepts their hypercalls, delivers
 * event channels and timers, and leaves the rest to the VMM.  See
 * Documentation/virt/kvm/x86/xen.rst; xen/xen_internal.h has the list of files
 * and the lock order.
 *
 * xen.lock serializes KVM_XEN_HVM_CONFIG and the VM attributes, some of which a
 * vCPU changes too, by writing the hypercall MSR inside kvm->srcu.  It may be
 * held while memory of the VMM is faulted in; a thread that serves such faults
 * must not use these ioctls.  vCPU attributes are serialized by vcpu->mutex.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/sched/stat.h>

#include "x86.h"
#include "xen.h"
#include "xen/xen_internal.h"

/* Vectors below are exceptions; 0 is "none". */
#define KVM_XEN_MIN_VECTOR	0x10

DEFINE_STATIC_KEY_DEFERRED_FALSE(kvm_xen_enabled, HZ);
EXPORT_SYMBOL_GPL(kvm_xen_enabled);

/**
 * kvm_xen_init_vm - prepare a new VM
 * @kvm: the VM, zeroed
 *
 * Context: kvm_arch_init_vm(), nobody else has the VM yet.
 */
void kvm_xen_init_vm(struct kvm *kvm)
{
	mutex_init(&kvm->arch.xen.lock);
	kvm->arch.xen.abi = &kvm_xen_abi_2l[false];
	kvm_gpc_init(&kvm->arch.xen.shinfo_cache, kvm);
}

/**
 * kvm_xen_destroy_vm - a VM goes away
 * @kvm: the VM, whose vCPUs are gone
 *
 * Context: kvm_arch_destroy_vm(), in whatever address space.  May sleep.
 */
void kvm_xen_destroy_vm(struct kvm *kvm)
{
	kvm_gpc_deactivate(&kvm->arch.xen.shinfo_cache);
	kvm_xen_destroy_ports(kvm);
	kvm_xen_destroy_bindings(kvm);
	kvm_xen_destroy_fifo(kvm);

	if (kvm->arch.xen.was_enabled)
		static_branch_slow_dec_deferred(&kvm_xen_enabled);
}

/**
 * kvm_xen_init_vcpu - prepare a new vCPU
 * @vcpu: the vCPU, zeroed; its vcpu_idx is not valid yet
 *
 * Context: kvm_arch_vcpu_create(), nobody else has the vCPU yet.
 */
void kvm_xen_init_vcpu(struct kvm_vcpu *vcpu)
{
	vcpu->arch.xen.vcpu_id = U32_MAX;
	vcpu->arch.xen.runstate_gpa = INVALID_GPA;
	/* The wallclock may have become stale when there was no vCPU yet. */
	vcpu->arch.xen.deferred = BIT(KVM_XEN_DEFERRED_WALLCLOCK);
	seqcount_init(&vcpu->arch.xen.clock_seq);
	seqcount_init(&vcpu->arch.xen.runstate_seq);
	kvm_gpc_init(&vcpu->arch.xen.vcpu_info_cache, vcpu->kvm);
	kvm_gpc_init(&vcpu->arch.xen.vcpu_time_info_cache, vcpu->kvm);
	kvm_xen_init_poll(vcpu);
	kvm_xen_init_timer(vcpu);
	kvm_xen_init_periodic(vcpu);
}

/**
 * kvm_xen_destroy_vcpu - a vCPU goes away
 * @vcpu: the vCPU
 *
 * Context: kvm_arch_vcpu_destroy(), in whatever address space.  May sleep.
 */
void kvm_xen_destroy_vcpu(struct kvm_vcpu *vcpu)
{
	/* The timers use the pages. */
	kvm_xen_destroy_timer(vcpu);
	kvm_xen_destroy_periodic(vcpu);
	kvm_xen_destroy_poll(vcpu);
	kvm_gpc_deactivate(&vcpu->arch.xen.vcpu_info_cache);
	kvm_gpc_deactivate(&vcpu->arch.xen.vcpu_time_info_cache);
}

static bool kvm_xen_hvm_config_valid(const struct kvm_xen_hvm_config *xhc)
{
	const u32 flags = KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL |
			  KVM_XEN_HVM_CONFIG_EVTCHN_SEND |
			  KVM_XEN_HVM_CONFIG_PVCLOCK_TSC_UNSTABLE |
			  KVM_XEN_HVM_CONFIG_EVTCHN_FIFO |
			  KVM_XEN_HVM_CONFIG_MORE_HCALLS;

	if (xhc->flags & ~flags)
		return false;

	/* The kernel generates the page, or the VMM supplies it. */
	if ((xhc->flags & KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL) &&
	    (xhc->blob_addr_32 || xhc->blob_addr_64 || xhc->blob_size_32 || xhc->blob_size_64))
		return false;

	return !xhc->msr || (xhc->msr >= KVM_XEN_MSR_MIN_INDEX &&
			     xhc->msr <= KVM_XEN_MSR_MAX_INDEX);
}

/**
 * kvm_xen_hvm_config - KVM_XEN_HVM_CONFIG
 * @kvm: the VM
 * @xhc: the configuration, which replaces the previous one
 *
 * Context: VM ioctl.  May sleep; vCPUs may be running.
 *
 * Return: 0; or -EINVAL, or -EBUSY if it gives up FIFO event channels that are set up,
 * and nothing has changed.
 */
int kvm_xen_hvm_config(struct kvm *kvm, struct kvm_xen_hvm_config *xhc)
{
	struct kvm_xen_hvm_config *config = &kvm->arch.xen_hvm_config;
	struct kvm_vcpu *vcpu;
	unsigned long i;
	u32 old_flags, old_msr;

	if (!kvm_xen_hvm_config_valid(xhc))
		return -EINVAL;

	mutex_lock(&kvm->arch.xen.lock);

	/* Neither in force nor prepared: it could not be undone any more. */
	if (!(xhc->flags & KVM_XEN_HVM_CONFIG_EVTCHN_FIFO) && kvm_xen_fifo_in_use(kvm)) {
		mutex_unlock(&kvm->arch.xen.lock);
		return -EBUSY;
	}

	/* Also when msr is 0 again: a vCPU may have to end a poll, or deliver something. */
	if (xhc->msr && !kvm->arch.xen.was_enabled) {
		static_branch_inc(&kvm_xen_enabled.key);
		kvm->arch.xen.was_enabled = true;
	}

	config->blob_addr_32 = xhc->blob_addr_32;
	config->blob_addr_64 = xhc->blob_addr_64;
	config->blob_size_32 = xhc->blob_size_32;
	config->blob_size_64 = xhc->blob_size_64;
	/* Read without the lock, each for itself. */
	old_flags = config->flags;
	old_msr = config->msr;
	WRITE_ONCE(config->flags, xhc->flags);
	WRITE_ONCE(config->msr, xhc->msr);
	/* On PREEMPT_RT gpc->lock sleeps. */
	WRITE_ONCE(kvm->arch.xen.hcall_fastpath,
		   !IS_ENABLED(CONFIG_PREEMPT_RT) && xhc->msr &&
		   (xhc->flags & KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL));

	mutex_unlock(&kvm->arch.xen.lock);

	/*
	 * Nothing ends the polls of a VM that is no Xen guest any more, or whose VMM does not
	 * promise to send by KVM.
	 */
	if (!xhc->msr || !(xhc->flags & KVM_XEN_HVM_CONFIG_EVTCHN_SEND)) {
		/* Switch off, then look for them: pairs with that in kvm_xen_begin_poll(). */
		smp_mb();
		kvm_for_each_vcpu(i, vcpu, kvm)
			kvm_xen_wake_poller(vcpu);
	}

	/* The VM's vector is level-triggered: it may be due right now.  So may periodic timers. */
	if (xhc->msr && !old_msr) {
		kvm_make_all_cpus_request(kvm, KVM_REQ_STEAL_UPDATE);
		kvm_make_all_cpus_request(kvm, KVM_REQ_EVENT);
	}
	if ((old_flags ^ xhc->flags) & KVM_XEN_HVM_CONFIG_PVCLOCK_TSC_UNSTABLE)
		kvm_make_all_cpus_request(kvm, KVM_REQ_CLOCK_UPDATE);

	return 0;
}

static bool kvm_xen_vector_valid(u8 vector)
{
	return !vector || vector >= KVM_XEN_MIN_VECTOR;
}

/* ---- VM attributes ------------------------------------------------------ */

static int kvm_xen_get_long_mode(struct kvm *kvm, struct kvm_xen_hvm_attr *data)
{
	data->u.long_mode = READ_ONCE(kvm->arch.xen.long_mode);
	return 0;
}

static int kvm_xen_set_long_mode_attr(struct kvm *kvm, struct kvm_xen_hvm_attr *data)
{
	if (!IS_ENABLED(CONFIG_64BIT) && data->u.long_mode)
		return -EINVAL;

	return kvm_xen_set_long_mode(kvm, data->u.long_mode);
}

static int kvm_xen_get_shared_info(struct kvm *kvm, struct kvm_xen_hvm_attr *data)
{
	u64 gpa = kvm_xen_page_get_gpa(&kvm->arch.xen.shinfo_cache);

	data->u.shared_info.gfn = gpa == INVALID_GPA ? KVM_XEN_INVALID_GFN : gpa_to_gfn(gpa);
	return 0;
}

static int kvm_xen_get_shared_info_hva(struct kvm *kvm, struct kvm_xen_hvm_attr *data)
{
	data->u.shared_info.hva = kvm_xen_page_get_hva(&kvm->arch.xen.shinfo_cache);
	return 0;
}

/* Exactly one of @gpa and @hva is meant, or none to disable the page. */
static int __kvm_xen_set_shared_info(struct kvm *kvm, gpa_t gpa, unsigned long hva)
{
	struct gfn_to_pfn_cache *gpc = &kvm->arch.xen.shinfo_cache;
	bool same;
	int r;

	same = kvm_xen_page_get_gpa(gpc) == gpa && kvm_xen_page_get_hva(gpc) == hva;
	r = hva ? kvm_xen_page_set_hva(gpc, hva, PAGE_SIZE) :
		  kvm_xen_page_set_gpa(gpc, gpa, PAGE_SIZE);
	if (r)
		return r;

	if (!same)
		kvm->arch.xen.compat_wc.moved = true;
	kvm_xen_retry_deferred(kvm);
	return kvm_xen_update_wallclock(kvm);
}

static int kvm_xen_set_shared_info(struct kvm *kvm, struct kvm_xen_hvm_attr *data)
{
	u64 gfn = data->u.shared_info.gfn;
	gpa_t gpa = gfn_to_gpa(gfn);

	if (gfn == KVM_XEN_INVALID_GFN)
		gpa = INVALID_GPA;
	else if (gpa_to_gfn(gpa) != gfn)
		return -EINVAL;

	return __kvm_xen_set_shared_info(kvm, gpa, 0);
}

static int kvm_xen_set_shared_info_hva(struct kvm *kvm, struct kvm_xen_hvm_attr *data)
{
	u64 hva = data->u.shared_info.hva;

	if (!PAGE_ALIGNED(hva) || hva != (unsigned long)hva)
		return -EINVAL;

	return __kvm_xen_set_shared_info(kvm, INVALID_GPA, hva);
}

static int kvm_xen_get_upcall_vector(struct kvm *kvm, struct kvm_xen_hvm_attr *data)
{
	data->u.vector = READ_ONCE(kvm->arch.xen.upcall_vector);
	return 0;
}

static int kvm_xen_set_upcall_vector(struct kvm *kvm, struct kvm_xen_hvm_attr *data)
{
	if (!kvm_xen_vector_valid(data->u.vector))
		return -EINVAL;

	WRITE_ONCE(kvm->arch.xen.upcall_vector, data->u.vector);
	/* The upcall is level-triggered: it may be due right now. */
	kvm_make_all_cpus_request(kvm, KVM_REQ_EVENT);
	return 0;
}

static int kvm_xen_get_xen_version(struct kvm *kvm, struct kvm_xen_hvm_attr *data)
{
	data->u.xen_version = READ_ONCE(kvm->arch.xen.xen_version);
	return 0;
}

static int kvm_xen_set_xen_version(struct kvm *kvm, struct kvm_xen_hvm_attr *data)
{
	WRITE_ONCE(kvm->arch.xen.xen_version, data->u.xen_version);
	return 0;
}

static int kvm_xen_get_update_flag(struct kvm *kvm, struct kvm_xen_hvm_attr *data)
{
	data->u.runstate_update_flag = READ_ONCE(kvm->arch.xen.runstate_update_flag);
	return 0;
}

static int kvm_xen_set_update_flag(struct kvm *kvm, struct kvm_xen_hvm_attr *data)
{
	WRITE_ONCE(kvm->arch.xen.runstate_update_flag, data->u.runstate_update_flag);
	return 0;
}

/**
 * struct kvm_xen_hvm_attr_ops - a VM attribute
 * @get: read it
 * @set: change it; called with xen.lock and kvm->srcu held
 * @set_unlocked: change it, instead of @set, where neither may be held
 * @flag: the bit of KVM_CAP_XEN_HVM that announces it
 * @opt_in: flags of KVM_XEN_HVM_CONFIG, without any of which it cannot be changed
 */
struct kvm_xen_hvm_attr_ops {
	int (*get)(struct kvm *kvm, struct kvm_xen_hvm_attr *data);
	int (*set)(struct kvm *kvm, struct kvm_xen_hvm_attr *data);
	int (*set_unlocked)(struct kvm *kvm, struct kvm_xen_hvm_attr *data);
	u32 flag;
	u32 opt_in;
};

static const struct kvm_xen_hvm_attr_ops kvm_xen_hvm_attrs[] = {
	[KVM_XEN_ATTR_TYPE_LONG_MODE] = {
		.flag = KVM_XEN_HVM_CONFIG_SHARED_INFO,
		.get = kvm_xen_get_long_mode,
		.set = kvm_xen_set_long_mode_attr,
	},
	[KVM_XEN_ATTR_TYPE_SHARED_INFO] = {
		.flag = KVM_XEN_HVM_CONFIG_SHARED_INFO,
		.get = kvm_xen_get_shared_info,
		.set = kvm_xen_set_shared_info,
	},
	[KVM_XEN_ATTR_TYPE_UPCALL_VECTOR] = {
		.flag = KVM_XEN_HVM_CONFIG_SHARED_INFO,
		.get = kvm_xen_get_upcall_vector,
		.set = kvm_xen_set_upcall_vector,
	},
	[KVM_XEN_ATTR_TYPE_EVTCHN] = {
		.flag = KVM_XEN_HVM_CONFIG_EVTCHN_SEND,
		.set_unlocked = kvm_xen_set_evtchn_attr,
	},
	[KVM_XEN_ATTR_TYPE_XEN_VERSION] = {
		.flag = KVM_XEN_HVM_CONFIG_EVTCHN_SEND,
		.get = kvm_xen_get_xen_version,
		.set = kvm_xen_set_xen_version,
	},
	[KVM_XEN_ATTR_TYPE_RUNSTATE_UPDATE_FLAG] = {
		.flag = KVM_XEN_HVM_CONFIG_RUNSTATE_UPDATE_FLAG,
		.get = kvm_xen_get_update_flag,
		.set = kvm_xen_set_update_flag,
	},
	[KVM_XEN_ATTR_TYPE_SHARED_INFO_HVA] = {
		.flag = KVM_XEN_HVM_CONFIG_SHARED_INFO_HVA,
		.get = kvm_xen_get_shared_info_hva,
		.set = kvm_xen_set_shared_info_hva,
	},
	[KVM_XEN_ATTR_TYPE_EVTCHN_ABI] = {
		.flag = KVM_XEN_HVM_CONFIG_EVTCHN_FIFO,
		.opt_in = KVM_XEN_HVM_CONFIG_EVTCHN_FIFO,
		.get = kvm_xen_get_evtchn_abi,
		.set_unlocked = kvm_xen_set_evtchn_abi,
	},
	[KVM_XEN_ATTR_TYPE_EVTCHN_ARRAY] = {
		.flag = KVM_XEN_HVM_CONFIG_EVTCHN_FIFO,
		.opt_in = KVM_XEN_HVM_CONFIG_EVTCHN_FIFO,
		.get = kvm_xen_get_evtchn_array,
		.set = kvm_xen_set_evtchn_array,
	},
	[KVM_XEN_ATTR_TYPE_EVTCHN_PORT] = {
		.flag = KVM_XEN_HVM_CONFIG_MORE_HCALLS,
		.opt_in = KVM_XEN_HVM_CONFIG_MORE_HCALLS | KVM_XEN_HVM_CONFIG_EVTCHN_FIFO,
		.get = kvm_xen_get_evtchn_port,
		.set = kvm_xen_set_evtchn_port,
	},
};

/* Runstate needs to know how long a thread waited for a CPU. */
static bool kvm_xen_attr_supported(u32 flag)
{
	return sched_info_on() || !(flag & (KVM_XEN_HVM_CONFIG_RUNSTATE |
					    KVM_XEN_HVM_CONFIG_RUNSTATE_UPDATE_FLAG));
}

/**
 * kvm_xen_hvm_set_attr - KVM_XEN_HVM_SET_ATTR
 * @kvm: the VM
 * @data: attribute and value
 *
 * Context: VM ioctl.  May sleep; vCPUs may be running.
 *
 * Return: 0 or an errno, see Documentation/virt/kvm/api.rst.
 */
int kvm_xen_hvm_set_attr(struct kvm *kvm, struct kvm_xen_hvm_attr *data)
{
	const struct kvm_xen_hvm_attr_ops *ops;
	int idx, r;

	if (data->type >= ARRAY_SIZE(kvm_xen_hvm_attrs))
		return -ENOENT;

	ops = &kvm_xen_hvm_attrs[array_index_nospec(data->type, ARRAY_SIZE(kvm_xen_hvm_attrs))];
	if (!ops->flag)
		return -ENOENT;
	if (!kvm_xen_attr_supported(ops->flag) ||
	    (ops->opt_in && !kvm_xen_opted_in(kvm, ops->opt_in)))
		return -EOPNOTSUPP;

	if (ops->set_unlocked)
		return ops->set_unlocked(kvm, data);

	mutex_lock(&kvm->arch.xen.lock);
	idx = srcu_read_lock(&kvm->srcu);
	r = ops->set(kvm, data);
	srcu_read_unlock(&kvm->srcu, idx);
	mutex_unlock(&kvm->arch.xen.lock);
	return r;
}

/**
 * kvm_xen_hvm_get_attr - KVM_XEN_HVM_GET_ATTR
 * @kvm: the VM
 * @data: attribute, and where to put its value
 *
 * Context: VM ioctl.  May sleep; vCPUs may be running.
 *
 * Return: 0; -ENOENT if there is none such, or none to be read.
 */
int kvm_xen_hvm_get_attr(struct kvm *kvm, struct kvm_xen_hvm_attr *data)
{
	const struct kvm_xen_hvm_attr_ops *ops;
	int r;

	if (data->type >= ARRAY_SIZE(kvm_xen_hvm_attrs))
		return -ENOENT;

	ops = &kvm_xen_hvm_attrs[array_index_nospec(data->type, ARRAY_SIZE(kvm_xen_hvm_attrs))];
	if (!ops->flag)
		return -ENOENT;
	if (!kvm_xen_attr_supported(ops->flag))
		return -EOPNOTSUPP;
	if (!ops->get)
		return -ENOENT;

	mutex_lock(&kvm->arch.xen.lock);
	r = ops->get(kvm, data);
	mutex_unlock(&kvm->arch.xen.lock);
	return r;
}

/* ---- vCPU attributes ---------------------------------------------------- */

static int kvm_xen_get_vcpu_info(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data)
{
	data->u.gpa = kvm_xen_page_get_gpa(&vcpu->arch.xen.vcpu_info_cache);
	return 0;
}

static int kvm_xen_get_vcpu_info_hva(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data)
{
	data->u.hva = kvm_xen_page_get_hva(&vcpu->arch.xen.vcpu_info_cache);
	return 0;
}

/* The clock moves along, and so do the events that waited for the page. */
static int kvm_xen_vcpu_info_was_set(struct kvm_vcpu *vcpu, int r)
{
	kvm_make_request(KVM_REQ_CLOCK_UPDATE, vcpu);
	kvm_make_request(KVM_REQ_EVENT, vcpu);
	kvm_xen_service_deferred(vcpu);
	return r;
}

static int kvm_xen_set_vcpu_info(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data)
{
	gpa_t gpa = data->u.gpa;

	/* Locked instructions on words that are split over pages would be fatal. */
	if (gpa != KVM_XEN_INVALID_GPA && !IS_ALIGNED(gpa, 4))
		return -ENXIO;

	return kvm_xen_vcpu_info_was_set(vcpu,
					 kvm_xen_page_set_gpa(&vcpu->arch.xen.vcpu_info_cache,
							      gpa, KVM_XEN_VCPU_INFO_SIZE));
}

static int kvm_xen_set_vcpu_info_hva(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data)
{
	u64 hva = data->u.hva;

	if (!IS_ALIGNED(hva, 4))
		return -ENXIO;
	if (hva != (unsigned long)hva)
		return -EINVAL;

	return kvm_xen_vcpu_info_was_set(vcpu,
					 kvm_xen_page_set_hva(&vcpu->arch.xen.vcpu_info_cache,
							      hva, KVM_XEN_VCPU_INFO_SIZE));
}

static int kvm_xen_get_time_info(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data)
{
	data->u.gpa = kvm_xen_page_get_gpa(&vcpu->arch.xen.vcpu_time_info_cache);
	return 0;
}

static int kvm_xen_set_time_info(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data)
{
	int r = kvm_xen_page_set_gpa(&vcpu->arch.xen.vcpu_time_info_cache, data->u.gpa,
				     KVM_XEN_TIME_INFO_SIZE);

	kvm_make_request(KVM_REQ_CLOCK_UPDATE, vcpu);
	return r;
}

static int kvm_xen_get_vcpu_id(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data)
{
	data->u.vcpu_id = vcpu->arch.xen.vcpu_id;
	return 0;
}

static int kvm_xen_set_vcpu_id(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data)
{
	if (data->u.vcpu_id >= KVM_MAX_VCPUS)
		return -EINVAL;

	WRITE_ONCE(vcpu->arch.xen.vcpu_id, data->u.vcpu_id);
	return 0;
}

static int kvm_xen_get_vcpu_vector(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data)
{
	data->u.vector = vcpu->arch.xen.upcall_vector;
	return 0;
}

static int kvm_xen_set_vcpu_vector(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data)
{
	if (!kvm_xen_vector_valid(data->u.vector))
		return -EINVAL;

	WRITE_ONCE(vcpu->arch.xen.upcall_vector, data->u.vector);
	/* An upcall that is pending already would otherwise never come. */
	__kvm_xen_raise_vcpu_vector(vcpu);
	return 0;
}

/**
 * struct kvm_xen_vcpu_attr_ops - a vCPU attribute
 * @get: read it
 * @set: change it
 * @flag: the bit of KVM_CAP_XEN_HVM that announces it
 * @opt_in: as of struct kvm_xen_hvm_attr_ops
 *
 * Both are called with vcpu->mutex and kvm->srcu held, and may sleep.
 */
struct kvm_xen_vcpu_attr_ops {
	int (*get)(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data);
	int (*set)(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data);
	u32 flag;
	u32 opt_in;
};

#define KVM_XEN_RUNSTATE_ATTR_OPS {			\
		.flag = KVM_XEN_HVM_CONFIG_RUNSTATE,	\
		.get = kvm_xen_get_runstate_attr,	\
		.set = kvm_xen_set_runstate_attr,	\
	}

static const struct kvm_xen_vcpu_attr_ops kvm_xen_vcpu_attrs[] = {
	[KVM_XEN_VCPU_ATTR_TYPE_VCPU_INFO] = {
		.flag = KVM_XEN_HVM_CONFIG_SHARED_INFO,
		.get = kvm_xen_get_vcpu_info,
		.set = kvm_xen_set_vcpu_info,
	},
	[KVM_XEN_VCPU_ATTR_TYPE_VCPU_TIME_INFO] = {
		.flag = KVM_XEN_HVM_CONFIG_SHARED_INFO,
		.get = kvm_xen_get_time_info,
		.set = kvm_xen_set_time_info,
	},
	[KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_ADDR] = KVM_XEN_RUNSTATE_ATTR_OPS,
	[KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_CURRENT] = KVM_XEN_RUNSTATE_ATTR_OPS,
	[KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_DATA] = KVM_XEN_RUNSTATE_ATTR_OPS,
	[KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_ADJUST] = KVM_XEN_RUNSTATE_ATTR_OPS,
	[KVM_XEN_VCPU_ATTR_TYPE_VCPU_ID] = {
		.flag = KVM_XEN_HVM_CONFIG_EVTCHN_SEND,
		.get = kvm_xen_get_vcpu_id,
		.set = kvm_xen_set_vcpu_id,
	},
	[KVM_XEN_VCPU_ATTR_TYPE_TIMER] = {
		.flag = KVM_XEN_HVM_CONFIG_EVTCHN_SEND,
		.get = kvm_xen_get_timer_attr,
		.set = kvm_xen_set_timer_attr,
	},
	[KVM_XEN_VCPU_ATTR_TYPE_UPCALL_VECTOR] = {
		.flag = KVM_XEN_HVM_CONFIG_EVTCHN_SEND,
		.get = kvm_xen_get_vcpu_vector,
		.set = kvm_xen_set_vcpu_vector,
	},
	[KVM_XEN_VCPU_ATTR_TYPE_VCPU_INFO_HVA] = {
		.flag = KVM_XEN_HVM_CONFIG_SHARED_INFO_HVA,
		.get = kvm_xen_get_vcpu_info_hva,
		.set = kvm_xen_set_vcpu_info_hva,
	},
	[KVM_XEN_VCPU_ATTR_TYPE_EVTCHN_DEFERRED] = {
		.flag = KVM_XEN_HVM_CONFIG_EVTCHN_SEND,
		.get = kvm_xen_get_deferred_attr,
		.set = kvm_xen_set_deferred_attr,
	},
	[KVM_XEN_VCPU_ATTR_TYPE_EVTCHN_CONTROL] = {
		.flag = KVM_XEN_HVM_CONFIG_EVTCHN_FIFO,
		.opt_in = KVM_XEN_HVM_CONFIG_EVTCHN_FIFO,
		.get = kvm_xen_get_evtchn_control,
		.set = kvm_xen_set_evtchn_control,
	},
	[KVM_XEN_VCPU_ATTR_TYPE_EVTCHN_TAILS] = {
		.flag = KVM_XEN_HVM_CONFIG_EVTCHN_FIFO,
		.opt_in = KVM_XEN_HVM_CONFIG_EVTCHN_FIFO,
		.get = kvm_xen_get_evtchn_tails,
		.set = kvm_xen_set_evtchn_tails,
	},
	[KVM_XEN_VCPU_ATTR_TYPE_PERIODIC_TIMER] = {
		.flag = KVM_XEN_HVM_CONFIG_MORE_HCALLS,
		.opt_in = KVM_XEN_HVM_CONFIG_MORE_HCALLS,
		.get = kvm_xen_get_periodic_attr,
		.set = kvm_xen_set_periodic_attr,
	},
	[KVM_XEN_VCPU_ATTR_TYPE_HYPERCALL_PAGE] = {
		.flag = KVM_XEN_HVM_CONFIG_HYPERCALL_PAGE,
		.set = kvm_xen_set_hypercall_page_attr,
	},
};

static int kvm_xen_vcpu_attr(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data, bool set)
{
	const struct kvm_xen_vcpu_attr_ops *ops;
	int idx, r;

	if (data->type >= ARRAY_SIZE(kvm_xen_vcpu_attrs))
		return -ENOENT;

	ops = &kvm_xen_vcpu_attrs[array_index_nospec(data->type, ARRAY_SIZE(kvm_xen_vcpu_attrs))];
	if (!(set ? ops->set : ops->get))
		return -ENOENT;
	if (!kvm_xen_attr_supported(ops->flag) ||
	    (set && ops->opt_in && !kvm_xen_opted_in(vcpu->kvm, ops->opt_in)))
		return -EOPNOTSUPP;

	idx = srcu_read_lock(&vcpu->kvm->srcu);
	/* What can be delivered now, a VMM that saves the VM finds in guest memory. */
	if (!set && READ_ONCE(vcpu->arch.xen.deferred))
		kvm_xen_service_deferred(vcpu);
	r = set ? ops->set(vcpu, data) : ops->get(vcpu, data);
	srcu_read_unlock(&vcpu->kvm->srcu, idx);
	return r;
}

/**
 * kvm_xen_vcpu_set_attr - KVM_XEN_VCPU_SET_ATTR
 * @vcpu: the vCPU
 * @data: attribute and value
 *
 * Context: vCPU ioctl.  May sleep.
 *
 * Return: 0 or an errno, see Documentation/virt/kvm/api.rst.
 */
int kvm_xen_vcpu_set_attr(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data)
{
	return kvm_xen_vcpu_attr(vcpu, data, true);
}

/**
 * kvm_xen_vcpu_get_attr - KVM_XEN_VCPU_GET_ATTR
 * @vcpu: the vCPU
 * @data: attribute, and where to put its value
 *
 * Context: vCPU ioctl.  May sleep.
 *
 * Return: 0 or an errno, see Documentation/virt/kvm/api.rst.
 */
int kvm_xen_vcpu_get_attr(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data)
{
	return kvm_xen_vcpu_attr(vcpu, data, false);
}
