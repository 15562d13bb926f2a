// SPDX-License-Identifier: GPL-2.0
/*
 * vcpu_op: where a vCPU's structures are, and its timers, unless the kernel serves them.
 */
#include <errno.h>
#include "vmm.h"

static long register_vcpu_info(struct call *c, struct vcpu *v)
{
	struct vcpu_register_vcpu_info info;

	if (copy_from_guest(c, &info, c->arg[2], sizeof(info)))
		return -EFAULT;
	if (info.offset >= PAGE_SIZE || info.mfn > NO_GFN / PAGE_SIZE)
		return -EINVAL;
	return vcpu_info_register(v, info.mfn * PAGE_SIZE + info.offset);
}

/*
 * The guest gives a virtual address, KVM takes a physical one. It is translated for the
 * caller: the vCPU that it is for may not have page tables yet.
 */
static long register_area(struct call *c, struct vcpu *v, u16 type)
{
	u64 gva, gpa;

	if (copy_pointer_from_guest(c, &gva, c->arg[2]))
		return -EFAULT;
	if (!gva)
		return vcpu_set_gpa(v, type, KVM_XEN_INVALID_GPA);
	if (gva_to_gpa(c->v, gva, &gpa))
		return -EFAULT;
	return vcpu_set_gpa(v, type, gpa) ? -EFAULT : 0;
}

long vcpu_op(struct call *c)
{
	struct vcpu *v = vcpu_find(c->v->vm, c->arg[1]);

	if (!v)
		return -ENOENT;
	switch (c->cmd) {
	case VCPUOP_IS_UP:
		return 1;
	case VCPUOP_REGISTER_VCPU_INFO:
		return register_vcpu_info(c, v);
	case VCPUOP_REGISTER_RUNSTATE_AREA:
		return register_area(c, v, KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_ADDR);
	case VCPUOP_REGISTER_TIME_AREA:
		return register_area(c, v, KVM_XEN_VCPU_ATTR_TYPE_VCPU_TIME_INFO);
	case VCPUOP_STOP_PERIODIC_TIMER:
		/* There never is one; that this succeeds makes Linux use the next two. */
		return 0;
	case VCPUOP_SET_SINGLESHOT_TIMER:
	case VCPUOP_STOP_SINGLESHOT_TIMER:
		/* Only for the own timer; and before it has a port, nobody would hear it. */
		return v == c->v ? 0 : -EINVAL;
	}
	return NOT_IMPLEMENTED;
}
