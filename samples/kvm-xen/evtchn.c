// SPDX-License-Identifier: GPL-2.0
/*
 * event_channel_op: the guest allocates, binds and closes ports.
 *
 * Each operation has one structure, which is read as a whole, and if the operation succeeds
 * and has results, written back. The checks of each come in Xen's order, since
 * guests see which error wins.
 */
#include <errno.h>
#include "vmm.h"

static bool is_self(u16 dom)
{
	return dom == XEN_DOMID_SELF || dom == XEN_DOMID_GUEST;
}

/* Not bound yet; any domain may be named, even if it does not exist. */
static long alloc_unbound(struct vcpu *caller, union evtchn_op *op)
{
	u16 remote = op->alloc_unbound.remote_dom;
	struct port *p;

	if (!is_self(op->alloc_unbound.dom))
		return -ESRCH;
	p = port_alloc(caller->vm);
	if (!p)
		return -ENOSPC;
	p->type = EVTCHNSTAT_UNBOUND;
	p->remote_dom = is_self(remote) ? XEN_DOMID_GUEST : remote;
	port_publish(caller->vm, p);
	op->alloc_unbound.port = port_number(p);
	return 0;
}

/* There are no other domains, so the remote port is one of the guest's own. */
static long bind_interdomain(struct vcpu *caller, union evtchn_op *op)
{
	struct port *local, *remote;

	if (!is_self(op->bind_interdomain.remote_dom))
		return -ESRCH;
	local = port_alloc(caller->vm);
	if (!local)
		return -ENOSPC;
	remote = port_get(op->bind_interdomain.remote_port);
	if (!remote || remote->type != EVTCHNSTAT_UNBOUND || !is_self(remote->remote_dom))
		return -EINVAL;
	local->type = EVTCHNSTAT_INTERDOMAIN;
	local->peer = port_number(remote);
	remote->type = EVTCHNSTAT_INTERDOMAIN;
	remote->peer = port_number(local);
	port_publish(caller->vm, local);
	port_publish(caller->vm, remote);
	/* What was sent while the remote end was unbound is lost; this makes up for it. */
	port_raise(caller->vm, local);
	op->bind_interdomain.local_port = port_number(local);
	return 0;
}

static bool virq_is_per_vcpu(u32 virq)
{
	return virq == VIRQ_TIMER || virq == VIRQ_DEBUG || virq == VIRQ_XENOPROF ||
	       virq == VIRQ_XENPMU;
}

static bool virq_is_bound(u32 virq, u32 vcpu)
{
	struct port *p;
	u32 nr;

	for (nr = 1; (p = port_get(nr)); nr++)
		if (p->type == EVTCHNSTAT_VIRQ && p->virq == virq &&
		    (p->vcpu == vcpu || !virq_is_per_vcpu(virq)))
			return true;
	return false;
}

/* Of all these, only the timer ever raises its port. */
static long bind_virq(struct vcpu *caller, union evtchn_op *op)
{
	u32 virq = op->bind_virq.virq, vcpu = op->bind_virq.vcpu;
	struct port *p;

	if (virq >= XEN_NR_VIRQS || (vcpu && !virq_is_per_vcpu(virq)))
		return -EINVAL;
	if (!vcpu_find(caller->vm, vcpu))
		return -ENOENT;
	if (virq_is_bound(virq, vcpu))
		return -EEXIST;
	p = port_alloc(caller->vm);
	if (!p)
		return -ENOSPC;
	p->type = EVTCHNSTAT_VIRQ;
	p->virq = virq;
	p->vcpu = vcpu;
	port_publish(caller->vm, p);
	op->bind_virq.port = port_number(p);
	return 0;
}

static long bind_ipi(struct vcpu *caller, union evtchn_op *op)
{
	struct port *p;

	if (!vcpu_find(caller->vm, op->bind_ipi.vcpu))
		return -ENOENT;
	p = port_alloc(caller->vm);
	if (!p)
		return -ENOSPC;
	p->type = EVTCHNSTAT_IPI;
	p->vcpu = op->bind_ipi.vcpu;
	port_publish(caller->vm, p);
	op->bind_ipi.port = port_number(p);
	return 0;
}

/* Ports of IPIs, and of VIRQs that each vCPU has, stay where they are. */
static long bind_vcpu(struct vcpu *caller, union evtchn_op *op)
{
	struct port *p = port_get(op->bind_vcpu.port);

	if (!vcpu_find(caller->vm, op->bind_vcpu.vcpu))
		return -ENOENT;
	if (!p || p->type == EVTCHNSTAT_CLOSED || p->type == EVTCHNSTAT_IPI ||
	    (p->type == EVTCHNSTAT_VIRQ && virq_is_per_vcpu(p->virq)))
		return -EINVAL;
	p->vcpu = op->bind_vcpu.vcpu;
	port_changed(caller->vm, p);
	return 0;
}

static long close_port(struct vcpu *caller, union evtchn_op *op)
{
	struct port *p = port_get(op->port);

	if (!p || p->type == EVTCHNSTAT_CLOSED)
		return -EINVAL;
	port_close(caller->vm, p);
	return 0;
}

/* Whom the kernel has told where to, it serves itself: this is for all other ports. */
static long send(struct vcpu *caller, union evtchn_op *op)
{
	struct port *p = port_get(op->port);

	if (!p)
		return -EINVAL;
	switch (p->type) {
	case EVTCHNSTAT_UNBOUND:
		return 0;
	case EVTCHNSTAT_IPI:
		port_raise(caller->vm, p);
		return 0;
	case EVTCHNSTAT_INTERDOMAIN:
		port_raise(caller->vm, port_get(p->peer));
		return 0;
	}
	return -EINVAL;
}

/* With MORE_HCALLS the kernel unmasks all ports that are in use. */
static long unmask(struct vcpu *caller, union evtchn_op *op)
{
	struct port *p = port_get(op->port);

	if (!p)
		return -EINVAL;
	if (p->type != EVTCHNSTAT_CLOSED && !evtchn_fifo_in_force())
		evtchn_2l_unmask(caller->vm, p);
	return 0;
}

static long status(struct vcpu *caller, union evtchn_op *op)
{
	struct port *p = port_get(op->status.port);

	(void)caller;
	if (!is_self(op->status.dom))
		return -ESRCH;
	if (!p)
		return -EINVAL;
	op->status.status = p->type;
	op->status.vcpu = p->vcpu;
	switch (p->type) {
	case EVTCHNSTAT_UNBOUND:
		op->status.u.unbound.dom = p->remote_dom;
		break;
	case EVTCHNSTAT_INTERDOMAIN:
		op->status.u.interdomain.dom = XEN_DOMID_GUEST;
		op->status.u.interdomain.port = p->peer;
		break;
	case EVTCHNSTAT_VIRQ:
		op->status.u.virq = p->virq;
		break;
	}
	return 0;
}

static long reset(struct vcpu *caller, union evtchn_op *op)
{
	if (!is_self(op->reset_dom))
		return -ESRCH;
	ports_reset(caller->vm);
	return 0;
}

static const struct {
	long (*fn)(struct vcpu *caller, union evtchn_op *op);
	size_t size;
	bool results;
} ops[] = {
	[EVTCHNOP_BIND_INTERDOMAIN] = { bind_interdomain, 12, true },
	[EVTCHNOP_BIND_VIRQ] = { bind_virq, 12, true },
	[EVTCHNOP_CLOSE] = { close_port, 4, false },
	[EVTCHNOP_SEND] = { send, 4, false },
	[EVTCHNOP_STATUS] = { status, 24, true },
	[EVTCHNOP_ALLOC_UNBOUND] = { alloc_unbound, 8, true },
	[EVTCHNOP_BIND_IPI] = { bind_ipi, 8, true },
	[EVTCHNOP_BIND_VCPU] = { bind_vcpu, 8, false },
	[EVTCHNOP_UNMASK] = { unmask, 4, false },
	[EVTCHNOP_RESET] = { reset, 2, false },
	[EVTCHNOP_INIT_CONTROL] = { evtchn_fifo_init_control, 24, true },
	[EVTCHNOP_EXPAND_ARRAY] = { evtchn_fifo_expand_array, 8, false },
	[EVTCHNOP_SET_PRIORITY] = { evtchn_fifo_set_priority, 8, false },
};

long event_channel_op(struct call *c)
{
	union evtchn_op op = {};
	long ret;

	if (c->cmd >= ARRAY_SIZE(ops) || !ops[c->cmd].fn)
		return NOT_IMPLEMENTED;
	if (copy_from_guest(c, &op, c->arg[1], ops[c->cmd].size))
		return -EFAULT;
	ret = ops[c->cmd].fn(c->v, &op);
	if (!ret && ops[c->cmd].results)
		ret = copy_to_guest(c, c->arg[1], &op, ops[c->cmd].size);
	return ret;
}
