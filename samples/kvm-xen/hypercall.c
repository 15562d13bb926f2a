// SPDX-License-Identifier: GPL-2.0
/*
 * Hypercalls that the kernel has left to us: which one goes where, and those that are
 * too short for a file of their own.
 *
 * The kernel answers what is frequent: sends to ports that it has been told of, timers,
 * SCHEDOP_poll, and XENVER_version. What it does not know, it passes on, so nothing here
 * may rely on never being asked.
 */
#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "vmm.h"

static long get_features(struct call *c)
{
	struct xen_feature_info info;

	if (copy_from_guest(c, &info, c->arg[1], sizeof(info)))
		return -EFAULT;
	if (info.submap_idx)
		return -EINVAL;
	/* Without bit 8 Linux uses no event channels, without bit 9 not this clock. */
	info.submap = XENFEAT_WRITABLE_PAGE_TABLES | XENFEAT_AUTO_TRANSLATED_PHYSMAP |
		      XENFEAT_HVM_CALLBACK_VECTOR | XENFEAT_HVM_SAFE_PVCLOCK;
	return copy_to_guest(c, c->arg[1], &info, sizeof(info));
}

/* What Xen says of itself to those who like to read it; the kernel answers the first. */
static long xen_version(struct call *c)
{
	static const char extra[16] = "-kvm", compile[144], changeset[64], handle[16];
	static const char capabilities[1024] = "hvm-3.0-x86_32 hvm-3.0-x86_64";

	switch (c->cmd) {
	case XENVER_VERSION:
		return XEN_VERSION;
	case XENVER_EXTRAVERSION:
		return copy_to_guest(c, c->arg[1], extra, sizeof(extra));
	case XENVER_COMPILE_INFO:
		return copy_to_guest(c, c->arg[1], compile, sizeof(compile));
	case XENVER_CAPABILITIES:
		return copy_to_guest(c, c->arg[1], capabilities, sizeof(capabilities));
	case XENVER_CHANGESET:
		return copy_to_guest(c, c->arg[1], changeset, sizeof(changeset));
	case XENVER_PLATFORM_PARAMETERS:
		return copy_to_guest(c, c->arg[1], handle, c->longmode ? 8 : 4);
	case XENVER_GET_FEATURES:
		return get_features(c);
	case XENVER_PAGESIZE:
		return c->arg[1] ? -EINVAL : (long)PAGE_SIZE;
	case XENVER_GUEST_HANDLE:
		return copy_to_guest(c, c->arg[1], handle, sizeof(handle));
	}
	return NOT_IMPLEMENTED;
}

static long vm_assist(struct call *c)
{
	struct kvm_xen_hvm_attr attr = { .type = KVM_XEN_ATTR_TYPE_RUNSTATE_UPDATE_FLAG };

	if (c->cmd != VMASST_CMD_ENABLE && c->cmd != VMASST_CMD_DISABLE)
		return NOT_IMPLEMENTED;
	if ((u32)c->arg[1] != VMASST_TYPE_RUNSTATE_UPDATE)
		return -EINVAL;
	attr.u.runstate_update_flag = c->cmd == VMASST_CMD_ENABLE;
	return vm_set_attr(c->v->vm, &attr);
}

/*
 * The guest ends, or boots another kernel by itself. Such a soft reset takes away all that
 * the old kernel has set up and lets the guest go on.
 */
static long shutdown(struct call *c)
{
	u32 reason;

	if (copy_from_guest(c, &reason, c->arg[1], sizeof(reason)))
		return -EFAULT;
	switch (reason & 0xff) {
	case SHUTDOWN_POWEROFF:
		exit(0);
	case SHUTDOWN_SOFT_RESET:
		shared_info_reset(c->v->vm);
		return 0;
	}
	errx(1, "the guest has shut down for reason %u", reason);
}

static long sched_op(struct call *c)
{
	return c->cmd == SCHEDOP_SHUTDOWN ? shutdown(c) : NOT_IMPLEMENTED;
}

/* No port for the timer yet: on Xen it would run and nobody would hear of it. */
static long set_timer_op(struct call *c)
{
	(void)c;
	return 0;
}

static long (*const hypercalls[])(struct call *c) = {
	[XEN_MEMORY_OP] = memory_op,
	[XEN_SET_TIMER_OP] = set_timer_op,
	[XEN_VERSION_OP] = xen_version,
	[XEN_VM_ASSIST] = vm_assist,
	[XEN_VCPU_OP] = vcpu_op,
	[XEN_SCHED_OP] = sched_op,
	[XEN_EVENT_CHANNEL_OP] = event_channel_op,
	[XEN_HVM_OP] = hvm_op,
	/* All others: no such hypercall. There are neither grants nor devices to map. */
};

void hypercall(struct vcpu *v)
{
	struct kvm_xen_exit *xen = &v->run->xen;
	u64 nr = xen->u.hcall.input;
	struct call c = {
		.v = v,
		.longmode = xen->u.hcall.longmode,
		.cmd = xen->u.hcall.params[0],
	};
	long ret = NOT_IMPLEMENTED;

	if (xen->type != KVM_EXIT_XEN_HCALL)
		errx(1, "vCPU %u: KVM_EXIT_XEN of type %u", v->id, xen->type);
	memcpy(c.arg, xen->u.hcall.params, sizeof(c.arg));
	if (xen->u.hcall.cpl)
		ret = -EPERM;
	else if (nr < ARRAY_SIZE(hypercalls) && hypercalls[nr])
		ret = hypercalls[nr](&c);
	if (v->vm->trace)
		fprintf(stderr, "vCPU %u: call %llu (%#llx, %#llx, %#llx) = %ld\n", v->id,
			nr, c.arg[0], c.arg[1], c.arg[2], ret);
	xen->u.hcall.result = ret;
}
