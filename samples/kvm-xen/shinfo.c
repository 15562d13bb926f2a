// SPDX-License-Identifier: GPL-2.0
/*
 * The shared_info page and the vcpu_info structures.
 *
 * The guest chooses a frame for the page. The first 32 vCPUs have their vcpu_info in
 * it, until they register another place. KVM does not take that for granted, so
 * it is told of each.
 */
#include <errno.h>
#include <string.h>
#include "vmm.h"

/* At its default place, in the page. */
static int vcpu_info_default(struct vcpu *v)
{
	u64 gfn = v->vm->shared_info_gfn;
	u64 gpa = gfn == NO_GFN ? KVM_XEN_INVALID_GPA : gfn * PAGE_SIZE + v->id * VCPU_INFO_SIZE;

	return vcpu_set_gpa(v, KVM_XEN_VCPU_ATTR_TYPE_VCPU_INFO, gpa);
}

static int shared_info_set(struct vm *vm, u64 gfn)
{
	struct kvm_xen_hvm_attr attr = {
		.type = KVM_XEN_ATTR_TYPE_SHARED_INFO,
		.u.shared_info.gfn = gfn,
	};
	int ret;
	u32 i;

	shared_info_map(vm, gfn);
	ret = vm_set_attr(vm, &attr);
	for (i = 0; i < vm->nr_vcpus && !ret; i++)
		if (!vm->vcpu[i].has_vcpu_info)
			ret = vcpu_info_default(&vm->vcpu[i]);
	return ret;
}

/* The structure: u16 domain, u16 size, u32 space, long index, long frame */
static long add_to_physmap(struct call *c)
{
	struct vm *vm = c->v->vm;
	u64 gfn;
	struct {
		u16 domid;
		u16 size;
		u32 space;
	} head;

	if (copy_from_guest(c, &head, c->arg[1], sizeof(head)) ||
	    copy_pointer_from_guest(c, &gfn, c->arg[1] + (c->longmode ? 16 : 12)))
		return -EFAULT;
	if (head.domid != XEN_DOMID_SELF && head.domid != XEN_DOMID_GUEST)
		return -ESRCH;
	/* The other spaces are the grant table, and frames of other guests. */
	if (head.space != XENMAPSPACE_SHARED_INFO)
		return NOT_IMPLEMENTED;
	if (gfn >= vm->mem_size / PAGE_SIZE)
		return -EINVAL;
	return shared_info_set(vm, gfn);
}

long memory_op(struct call *c)
{
	return c->cmd == XENMEM_ADD_TO_PHYSMAP ? add_to_physmap(c) : NOT_IMPLEMENTED;
}

static int upcall_vector_set(struct vcpu *v)
{
	struct kvm_xen_vcpu_attr attr = {
		.type = KVM_XEN_VCPU_ATTR_TYPE_UPCALL_VECTOR,
		.u.vector = v->upcall_vector,
	};

	return vcpu_set_attr(v, &attr);
}

/*
 * Move a vcpu_info. Events may be raised meanwhile, in the old place or in the new one.
 * So the new one begins with "look everywhere", as on Xen.
 */
long vcpu_info_register(struct vcpu *v, u64 gpa)
{
	struct vm *vm = v->vm;
	u8 *to = gpa_to_hva(vm, gpa, VCPU_INFO_SIZE);
	bool longmode = vm_long_mode(vm);

	if (v->has_vcpu_info)
		return -EBUSY;
	if (gpa % PAGE_SIZE > PAGE_SIZE - VCPU_INFO_SIZE || gpa % (longmode ? 8 : 4))
		return -ENXIO;
	if (!to)
		return -EINVAL;
	memcpy(to, vm->shared_info + v->id * VCPU_INFO_SIZE, VCPU_INFO_SIZE);
	if (longmode)
		memset(to + VCPU_INFO_PENDING_SEL_64, 0xff, 8);
	else
		memset(to + VCPU_INFO_PENDING_SEL_32, 0xff, 4);
	to[VCPU_INFO_UPCALL_PENDING] = 1;
	if (vcpu_set_gpa(v, KVM_XEN_VCPU_ATTR_TYPE_VCPU_INFO, gpa))
		return -EINVAL;
	v->has_vcpu_info = true;
	/* KVM did not see the flag being set; setting the vector makes it look. */
	return v->upcall_vector ? upcall_vector_set(v) : 0;
}

static void vcpu_reset(struct vcpu *v)
{
	struct kvm_xen_vcpu_attr periodic = { .type = KVM_XEN_VCPU_ATTR_TYPE_PERIODIC_TIMER };
	struct kvm_xen_vcpu_attr kept = { .type = KVM_XEN_VCPU_ATTR_TYPE_EVTCHN_DEFERRED };

	/* Kernels that have the one flag have both of these. */
	if (v->vm->xen_caps & KVM_XEN_HVM_CONFIG_MORE_HCALLS) {
		vcpu_set_attr(v, &periodic);
		/* Lets go to the old pages what has not been delivered yet. */
		vcpu_get_attr(v, &kept);
	}
	v->upcall_vector = 0;
	upcall_vector_set(v);
	v->has_vcpu_info = false;
	vcpu_set_gpa(v, KVM_XEN_VCPU_ATTR_TYPE_VCPU_INFO, KVM_XEN_INVALID_GPA);
	vcpu_set_gpa(v, KVM_XEN_VCPU_ATTR_TYPE_VCPU_TIME_INFO, KVM_XEN_INVALID_GPA);
	vcpu_set_gpa(v, KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_ADDR, KVM_XEN_INVALID_GPA);
}

/* Undo all that a kernel of the guest has set up, for the sake of the next one. */
void shared_info_reset(struct vm *vm)
{
	struct kvm_xen_hvm_attr vector = { .type = KVM_XEN_ATTR_TYPE_UPCALL_VECTOR };
	struct kvm_xen_hvm_attr flag = { .type = KVM_XEN_ATTR_TYPE_RUNSTATE_UPDATE_FLAG };
	u32 i;

	ports_reset(vm);
	vm_set_attr(vm, &vector);
	for (i = 0; i < vm->nr_vcpus; i++)
		vcpu_reset(&vm->vcpu[i]);
	shared_info_set(vm, NO_GFN);
	vm_set_attr(vm, &flag);
}
