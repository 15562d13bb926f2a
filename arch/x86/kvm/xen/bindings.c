// SPDX-License-Identifier: GPL-2.0-only
/*
 * Xen guests: what the VMM says of the ports that the guest has bound.
 *
 * Owns the EVTCHN_PORT attribute, and the operations that can do without the VMM if
 * they know what it says: EVTCHNOP_unmask and EVTCHNOP_status.  Ports that it has not
 * said anything of stay the VMM's own.
 *
 * A binding is one word, so that it is read without a lock; what only EVTCHNOP_status
 * wants to know is beside it, under xen.lock.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bitfield.h>
#include <linux/kvm_host.h>
#include <linux/nospec.h>

#include "xen_internal.h"

/* A binding: 0 if nothing is known, else these. */
#define KVM_XEN_BINDING_VCPU_ID		GENMASK(15, 0)
#define KVM_XEN_BINDING_PRIORITY	GENMASK(20, 16)
#define KVM_XEN_BINDING_TYPE		GENMASK(26, 24)

/* In a binding, the priority that stands for the default one. */
#define KVM_XEN_BINDING_2LEVEL		(EVTCHN_FIFO_PRIORITY_MIN + 1)

static_assert(KVM_XEN_BINDING_VCPU_ID + 1 >= KVM_MAX_VCPU_IDS);

struct kvm_xen_binding_page {
	u32 binding[KVM_XEN_BINDINGS_PER_PAGE];
	u32 data[KVM_XEN_BINDINGS_PER_PAGE][2];
};

/* The page for @port, NULL if there is none. */
static struct kvm_xen_binding_page *kvm_xen_binding_page(struct kvm *kvm, u32 port)
{
	u32 nr = port / KVM_XEN_BINDINGS_PER_PAGE;

	nr = array_index_nospec(nr, ARRAY_SIZE(kvm->arch.xen.binding_pages));
	/* Pairs with smp_store_release() in kvm_xen_set_evtchn_port(). */
	return smp_load_acquire(&kvm->arch.xen.binding_pages[nr]);
}

static u32 kvm_xen_binding(struct kvm *kvm, u32 port)
{
	struct kvm_xen_binding_page *page;

	if (port >= KVM_XEN_FIFO_NR_PORTS)
		return 0;

	page = kvm_xen_binding_page(kvm, port);
	return page ? READ_ONCE(page->binding[port % KVM_XEN_BINDINGS_PER_PAGE]) : 0;
}

static u32 kvm_xen_binding_priority(u32 binding)
{
	u32 priority = FIELD_GET(KVM_XEN_BINDING_PRIORITY, binding);

	return priority == KVM_XEN_BINDING_2LEVEL ? KVM_IRQ_ROUTING_XEN_EVTCHN_PRIO_2LEVEL :
						    priority;
}

/**
 * kvm_xen_port_vcpu - whom is a port bound to?
 * @kvm: the VM
 * @port: the port
 * @priority: set to its priority if that is known
 *
 * Context: any.
 *
 * Return: the vCPU; NULL if the VMM has not told, or there is none.
 */
struct kvm_vcpu *kvm_xen_port_vcpu(struct kvm *kvm, u32 port, u32 *priority)
{
	u32 binding = kvm_xen_binding(kvm, port);

	if (!binding)
		return NULL;

	*priority = kvm_xen_binding_priority(binding);
	return kvm_xen_find_vcpu(kvm, FIELD_GET(KVM_XEN_BINDING_VCPU_ID, binding));
}

static struct kvm_xen_binding_page *kvm_xen_make_binding_page(struct kvm *kvm, u32 port)
{
	struct kvm_xen_binding_page *page = kvm_xen_binding_page(kvm, port);

	if (page)
		return page;

	page = kvzalloc(sizeof(*page), GFP_KERNEL_ACCOUNT);
	if (page) {
		port /= KVM_XEN_BINDINGS_PER_PAGE;
		/* Empty before it can be found; pairs with kvm_xen_binding_page(). */
		smp_store_release(&kvm->arch.xen.binding_pages[port], page);
	}
	return page;
}

/**
 * kvm_xen_set_evtchn_port - KVM_XEN_ATTR_TYPE_EVTCHN_PORT
 * @kvm: the VM
 * @data: port, type, vCPU, priority, and what EVTCHNOP_status says of it
 *
 * The vCPU need not exist yet.  Nothing is raised or moved.
 *
 * Context: VM ioctl, xen.lock held.  May sleep.
 *
 * Return: 0, -EINVAL for a port, type, vCPU or priority that there is not, -ENOMEM.
 */
int kvm_xen_set_evtchn_port(struct kvm *kvm, struct kvm_xen_hvm_attr *data)
{
	u32 port = data->u.evtchn_port.port, priority = data->u.evtchn_port.priority;
	struct kvm_xen_binding_page *page;
	u32 binding = 0;

	if (!port || port >= KVM_XEN_FIFO_NR_PORTS || data->u.evtchn_port.type > EVTCHNSTAT_ipi)
		return -EINVAL;

	if (data->u.evtchn_port.type != EVTCHNSTAT_closed) {
		if (data->u.evtchn_port.vcpu >= KVM_MAX_VCPU_IDS ||
		    (priority != KVM_IRQ_ROUTING_XEN_EVTCHN_PRIO_2LEVEL &&
		     priority > EVTCHN_FIFO_PRIORITY_MIN))
			return -EINVAL;

		binding = FIELD_PREP(KVM_XEN_BINDING_TYPE, data->u.evtchn_port.type) |
			  FIELD_PREP(KVM_XEN_BINDING_PRIORITY,
				     min_t(u32, priority, KVM_XEN_BINDING_2LEVEL)) |
			  data->u.evtchn_port.vcpu;
	}

	port = array_index_nospec(port, KVM_XEN_FIFO_NR_PORTS);
	if (!binding && !kvm_xen_binding_page(kvm, port))
		return 0;

	page = kvm_xen_make_binding_page(kvm, port);
	if (!page)
		return -ENOMEM;

	port %= KVM_XEN_BINDINGS_PER_PAGE;
	memcpy(page->data[port], data->u.evtchn_port.data, sizeof(page->data[port]));
	WRITE_ONCE(page->binding[port], binding);
	return 0;
}

/**
 * kvm_xen_get_evtchn_port - KVM_XEN_ATTR_TYPE_EVTCHN_PORT, read
 * @kvm: the VM
 * @data: which port, and where to; EVTCHNSTAT_closed if nothing is known
 *
 * Context: VM ioctl, xen.lock held.
 *
 * Return: 0, -EINVAL for a port that there is not.
 */
int kvm_xen_get_evtchn_port(struct kvm *kvm, struct kvm_xen_hvm_attr *data)
{
	u32 port = data->u.evtchn_port.port;
	struct kvm_xen_binding_page *page;
	u32 binding;

	if (!port || port >= KVM_XEN_FIFO_NR_PORTS)
		return -EINVAL;

	memset(&data->u.evtchn_port, 0, sizeof(data->u.evtchn_port));
	data->u.evtchn_port.port = port;

	binding = kvm_xen_binding(kvm, port);
	if (!binding)
		return 0;

	page = kvm_xen_binding_page(kvm, port);
	data->u.evtchn_port.type = FIELD_GET(KVM_XEN_BINDING_TYPE, binding);
	data->u.evtchn_port.vcpu = FIELD_GET(KVM_XEN_BINDING_VCPU_ID, binding);
	data->u.evtchn_port.priority = kvm_xen_binding_priority(binding);
	memcpy(data->u.evtchn_port.data, page->data[port % KVM_XEN_BINDINGS_PER_PAGE],
	       sizeof(data->u.evtchn_port.data));
	return 0;
}

/**
 * kvm_xen_destroy_bindings - forget all ports
 * @kvm: the VM, without vCPUs
 *
 * Context: as kvm_xen_destroy_vm().
 */
void kvm_xen_destroy_bindings(struct kvm *kvm)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(kvm->arch.xen.binding_pages); i++)
		kvfree(kvm->arch.xen.binding_pages[i]);
}

/**
 * kvm_xen_evtchnop_unmask - EVTCHNOP_unmask
 * @vcpu: the caller
 * @hc: the call
 *
 * Implements evtchn_unmask() of Xen's common/event_channel.c for ports of any type, all
 * of which may be unmasked.
 *
 * Context: as kvm_xen_event_channel_op().
 *
 * Return: whether the call was handled.
 */
enum kvm_xen_hcall_action kvm_xen_evtchnop_unmask(struct kvm_vcpu *vcpu,
						  struct kvm_xen_hcall *hc)
{
	const struct kvm_xen_abi *abi = kvm_xen_abi(vcpu->kvm);
	struct evtchn_unmask unmask;
	struct kvm_vcpu *target;
	u32 priority;

	if (!kvm_xen_opted_in(vcpu->kvm, KVM_XEN_HVM_CONFIG_MORE_HCALLS))
		return KVM_XEN_HCALL_NOT_MINE;

	if (kvm_xen_read_guest_virt(vcpu, hc, hc->args[1], &unmask, sizeof(unmask)))
		return kvm_xen_hcall_fault(hc);

	target = kvm_xen_port_vcpu(vcpu->kvm, unmask.port, &priority);
	if (!target || unmask.port >= abi->nr_ports)
		return KVM_XEN_HCALL_NOT_MINE;

	if (abi->unmask(target, abi, unmask.port, priority, !hc->atomic) ==
	    KVM_XEN_EVTCHN_UNREACHABLE)
		return KVM_XEN_HCALL_NOT_MINE;

	return kvm_xen_hcall_done(hc, 0);
}

/* What is known of a port, as Xen says it.  False if that is not enough. */
static bool kvm_xen_fill_status(struct kvm *kvm, struct evtchn_status *status)
{
	struct kvm_xen_hvm_attr attr = { .u.evtchn_port.port = status->port };
	struct kvm_vcpu *target;

	mutex_lock(&kvm->arch.xen.lock);
	if (kvm_xen_get_evtchn_port(kvm, &attr))
		attr.u.evtchn_port.type = EVTCHNSTAT_closed;
	mutex_unlock(&kvm->arch.xen.lock);

	if (attr.u.evtchn_port.type == EVTCHNSTAT_closed)
		return false;

	target = kvm_xen_find_vcpu(kvm, attr.u.evtchn_port.vcpu);
	if (!target || READ_ONCE(target->arch.xen.vcpu_id) == U32_MAX)
		return false;

	status->status = attr.u.evtchn_port.type;
	status->vcpu = READ_ONCE(target->arch.xen.vcpu_id);
	switch (status->status) {
	case EVTCHNSTAT_unbound:
		status->u.unbound.dom = attr.u.evtchn_port.data[0];
		break;
	case EVTCHNSTAT_interdomain:
		status->u.interdomain.dom = attr.u.evtchn_port.data[0];
		status->u.interdomain.port = attr.u.evtchn_port.data[1];
		break;
	case EVTCHNSTAT_pirq:
		status->u.pirq = attr.u.evtchn_port.data[0];
		break;
	case EVTCHNSTAT_virq:
		status->u.virq = attr.u.evtchn_port.data[0];
		break;
	}
	return true;
}

/**
 * kvm_xen_evtchnop_status - EVTCHNOP_status
 * @vcpu: the caller
 * @hc: the call
 *
 * Implements evtchn_status() of Xen's common/event_channel.c for the guest's own ports.
 *
 * Context: as kvm_xen_event_channel_op().
 *
 * Return: whether the call was handled.
 */
enum kvm_xen_hcall_action kvm_xen_evtchnop_status(struct kvm_vcpu *vcpu,
						  struct kvm_xen_hcall *hc)
{
	struct evtchn_status status;

	if (hc->atomic || !kvm_xen_opted_in(vcpu->kvm, KVM_XEN_HVM_CONFIG_MORE_HCALLS))
		return KVM_XEN_HCALL_NOT_MINE;

	if (kvm_xen_read_guest_virt(vcpu, hc, hc->args[1], &status, sizeof(status)))
		return kvm_xen_hcall_fault(hc);

	/* The guest's own number is the VMM's secret. */
	if (status.dom != DOMID_SELF || !kvm_xen_fill_status(vcpu->kvm, &status))
		return KVM_XEN_HCALL_NOT_MINE;

	return kvm_xen_hcall_done(hc, kvm_xen_write_guest_virt(vcpu, hc->args[1], &status,
								sizeof(status)));
}
