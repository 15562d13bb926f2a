// SPDX-License-Identifier: GPL-2.0
/*
 * The table of event channel ports, which is ours, and what the kernel is told about them.
 *
 * The kernel raises events, and it must know where those that do not come from us go to:
 *
 *   the guest sends to a port      KVM_XEN_ATTR_TYPE_EVTCHN
 *   a vCPU's timer expires         KVM_XEN_VCPU_ATTR_TYPE_TIMER
 *   the guest unmasks a port       KVM_XEN_ATTR_TYPE_EVTCHN_PORT, if there is MORE_HCALLS
 *
 * A backend's eventfd and an irqfd with a route of the type
 * KVM_IRQ_ROUTING_XEN_EVTCHN would be of the same kind, but there are no backends here.
 */
#include <err.h>
#include <sys/ioctl.h>
#include "vmm.h"

#define PORTS_STEP	64

static struct port ports[EVTCHN_FIFO_NR_CHANNELS];
/* Those below exist, even if closed: to them, other errors apply than to those beyond. */
static u32 nr_valid = PORTS_STEP;

struct port *port_get(u32 nr)
{
	return nr < nr_valid ? &ports[nr] : NULL;
}

u32 port_number(const struct port *p)
{
	return p - ports;
}

/* The lowest port that is free, not to be in use before port_publish(). */
struct port *port_alloc(struct vm *vm)
{
	u32 nr, limit = evtchn_fifo_in_force() ? EVTCHN_FIFO_NR_CHANNELS : evtchn_2l_limit(vm);

	for (nr = 1; nr < limit; nr++) {
		if (ports[nr].type != EVTCHNSTAT_CLOSED || evtchn_fifo_linked(vm, nr))
			continue;
		if (nr >= nr_valid)
			nr_valid = (nr / PORTS_STEP + 1) * PORTS_STEP;
		ports[nr] = (struct port){ .priority = EVTCHN_FIFO_PRIORITY_DEFAULT };
		return &ports[nr];
	}
	return NULL;
}

/* Priorities do not exist in the 2-level ABI. */
static u32 kvm_priority(const struct port *p)
{
	return evtchn_fifo_in_force() ? p->priority : KVM_IRQ_ROUTING_XEN_EVTCHN_PRIO_2LEVEL;
}

static bool is_timer(const struct port *p)
{
	return p->type == EVTCHNSTAT_VIRQ && p->virq == VIRQ_TIMER;
}

/* What a send to this port does: raise it, or the other end. */
static void tell_send(struct vm *vm, const struct port *p, u32 flags)
{
	const struct port *to = p->type == EVTCHNSTAT_INTERDOMAIN ? &ports[p->peer] : p;
	struct kvm_xen_hvm_attr attr = {
		.type = KVM_XEN_ATTR_TYPE_EVTCHN,
		.u.evtchn = {
			.send_port = port_number(p),
			.type = p->type,
			.flags = flags,
			.deliver.port = {
				.port = port_number(to),
				.vcpu = to->vcpu,
				.priority = kvm_priority(to),
			},
		},
	};

	vm_set_attr(vm, &attr);
}

/* Which port a vCPU's timer raises, 0 for none. The deadline, if there is one, stays. */
static void tell_timer(struct vm *vm, const struct port *p, u32 nr)
{
	struct kvm_xen_vcpu_attr attr = { .type = KVM_XEN_VCPU_ATTR_TYPE_TIMER };
	struct vcpu *v = &vm->vcpu[p->vcpu];

	if (nr)
		vcpu_get_attr(v, &attr);
	attr.u.timer.port = nr;
	attr.u.timer.priority = kvm_priority(p);
	vcpu_set_attr(v, &attr);
}

/* What the port is. */
static void tell_port(struct vm *vm, const struct port *p)
{
	struct kvm_xen_hvm_attr attr = {
		.type = KVM_XEN_ATTR_TYPE_EVTCHN_PORT,
		.u.evtchn_port = {
			.port = port_number(p),
			.type = p->type,
			.vcpu = p->vcpu,
			.priority = kvm_priority(p),
		},
	};

	if (!(vm->xen_caps & KVM_XEN_HVM_CONFIG_MORE_HCALLS))
		return;
	if (p->type == EVTCHNSTAT_VIRQ)
		attr.u.evtchn_port.data[0] = p->virq;
	if (p->type == EVTCHNSTAT_UNBOUND)
		attr.u.evtchn_port.data[0] = p->remote_dom;
	if (p->type == EVTCHNSTAT_INTERDOMAIN) {
		attr.u.evtchn_port.data[0] = XEN_DOMID_GUEST;
		attr.u.evtchn_port.data[1] = p->peer;
	}
	vm_set_attr(vm, &attr);
}

/* The port has its type and all that belongs to it. */
void port_publish(struct vm *vm, struct port *p)
{
	tell_port(vm, p);
	if (p->type == EVTCHNSTAT_IPI || p->type == EVTCHNSTAT_INTERDOMAIN)
		tell_send(vm, p, 0);
	if (is_timer(p))
		tell_timer(vm, p, port_number(p));
}

/* The vCPU or the priority is another one now. */
void port_changed(struct vm *vm, struct port *p)
{
	tell_port(vm, p);
	if (p->type == EVTCHNSTAT_IPI)
		tell_send(vm, p, KVM_XEN_EVTCHN_UPDATE);
	if (p->type == EVTCHNSTAT_INTERDOMAIN)
		tell_send(vm, &ports[p->peer], KVM_XEN_EVTCHN_UPDATE);
	if (is_timer(p))
		tell_timer(vm, p, port_number(p));
}

/* The other end waits for somebody else to bind to it. */
static void disconnect(struct vm *vm, struct port *peer)
{
	tell_send(vm, peer, KVM_XEN_EVTCHN_DEASSIGN);
	peer->type = EVTCHNSTAT_UNBOUND;
	peer->remote_dom = XEN_DOMID_GUEST;
	tell_port(vm, peer);
}

void port_close(struct vm *vm, struct port *p)
{
	if (p->type == EVTCHNSTAT_IPI || p->type == EVTCHNSTAT_INTERDOMAIN)
		tell_send(vm, p, KVM_XEN_EVTCHN_DEASSIGN);
	if (p->type == EVTCHNSTAT_INTERDOMAIN)
		disconnect(vm, &ports[p->peer]);
	if (is_timer(p))
		tell_timer(vm, p, 0);
	/* Nothing raises it any more. */
	if (evtchn_fifo_in_force())
		evtchn_fifo_clear_pending(vm, port_number(p));
	else
		evtchn_2l_clear_pending(vm, port_number(p));
	*p = (struct port){ .type = EVTCHNSTAT_CLOSED };
	tell_port(vm, p);
}

/* An event of our own. On failure, which is reported, nobody could do anything about it. */
void port_raise(struct vm *vm, struct port *p)
{
	struct kvm_irq_routing_xen_evtchn event = {
		.port = port_number(p),
		.vcpu = p->vcpu,
		.priority = kvm_priority(p),
	};

	if (ioctl(vm->fd, KVM_XEN_HVM_EVTCHN_SEND, &event) < 0)
		warn("KVM_XEN_HVM_EVTCHN_SEND to port %u", event.port);
}

/* Close all, and go back to the ABI that guests start with. */
void ports_reset(struct vm *vm)
{
	u32 nr;

	for (nr = 1; nr < nr_valid; nr++)
		if (ports[nr].type != EVTCHNSTAT_CLOSED)
			port_close(vm, &ports[nr]);
	evtchn_fifo_leave(vm);
}
