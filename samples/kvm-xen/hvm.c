// SPDX-License-Identifier: GPL-2.0
/*
 * hvm_op: parameters of the domain, and the two ways to be told of events.
 *
 * A parameter that nobody has set is 0. Guests take this for "there is none", so they do
 * without xenstore and without a paravirtual console.
 */
#include <errno.h>
#include "vmm.h"

/*
 * How the guest wants to be interrupted: by the same vector on all vCPUs, which KVM injects
 * itself. Or by another way: a vector per vCPU (see below; the value then says nothing),
 * or an interrupt line, which this VMM does not offer.
 *
 * The call also says which layout the guest uses, as it is made before it uses any.
 */
static long set_callback(struct call *c, u64 value)
{
	struct kvm_xen_hvm_attr mode = {
		.type = KVM_XEN_ATTR_TYPE_LONG_MODE,
		.u.long_mode = c->longmode,
	};
	struct kvm_xen_hvm_attr vector = { .type = KVM_XEN_ATTR_TYPE_UPCALL_VECTOR };

	if (value >> 56 == HVM_PARAM_CALLBACK_TYPE_VECTOR)
		vector.u.vector = value & 0xff;
	vm_set_attr(c->v->vm, &mode);
	return vm_set_attr(c->v->vm, &vector);
}

static long set_or_get_param(struct call *c)
{
	u64 *params = c->v->vm->hvm_param;
	struct hvm_param param;

	if (copy_from_guest(c, &param, c->arg[1], sizeof(param)))
		return -EFAULT;
	if (param.domid != XEN_DOMID_SELF && param.domid != XEN_DOMID_GUEST)
		return -ESRCH;
	if (param.index >= HVM_NR_PARAMS)
		return -EINVAL;
	if (c->cmd == HVMOP_GET_PARAM) {
		param.value = params[param.index];
		return copy_to_guest(c, c->arg[1], &param, sizeof(param));
	}
	params[param.index] = param.value;
	return param.index == HVM_PARAM_CALLBACK_IRQ ? set_callback(c, param.value) : 0;
}

/* A vector in the local APIC of one vCPU. Linux uses it if CPUID offers it. */
static long set_upcall_vector(struct call *c)
{
	struct kvm_xen_vcpu_attr attr = { .type = KVM_XEN_VCPU_ATTR_TYPE_UPCALL_VECTOR };
	struct hvm_evtchn_upcall_vector op;
	struct vcpu *v;

	if (copy_from_guest(c, &op, c->arg[1], sizeof(op)))
		return -EFAULT;
	if (op.vector < 0x10)
		return -EINVAL;
	v = vcpu_find(c->v->vm, op.vcpu);
	if (!v)
		return -ENOENT;
	attr.u.vector = op.vector;
	v->upcall_vector = op.vector;
	return vcpu_set_attr(v, &attr);
}

long hvm_op(struct call *c)
{
	switch (c->cmd) {
	case HVMOP_SET_PARAM:
	case HVMOP_GET_PARAM:
		return set_or_get_param(c);
	case HVMOP_SET_EVTCHN_UPCALL_VECTOR:
		return set_upcall_vector(c);
	}
	return NOT_IMPLEMENTED;
}
