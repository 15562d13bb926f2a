// SPDX-License-Identifier: GPL-2.0-only
/*
 * Xen guests: the ports that EVTCHNOP_send may use.
 *
 * Owns the table that the EVTCHN attribute fills and the hypercall looks ports up in.
 * It is changed under xen.lock and read in kvm->srcu, and what is taken out of it is
 * freed when no reader can have it any more.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/eventfd.h>
#include <linux/kvm_host.h>
#include <linux/nospec.h>

#include <xen/interface/xen.h>
#include <xen/interface/event_channel.h>

#include "xen_internal.h"

/**
 * struct kvm_xen_port - a port for EVTCHNOP_send
 * @send_port: its number
 * @type: EVTCHNSTAT_ipi or EVTCHNSTAT_interdomain
 * @eventfd: what a send signals, or NULL
 * @port: otherwise, the port that a send raises
 * @vcpu_id: and the vCPU, by KVM's number, that is notified
 * @priority: and the queue that it waits in, see __kvm_xen_raise()
 * @vcpu: the same vCPU, once it has been looked up
 * @list: for those that are about to be freed
 *
 * Only @vcpu changes after the object has been published, and only once: an
 * update replaces the whole object.  So no sender can mix old and new targets,
 * and none keeps an old one in use.
 */
struct kvm_xen_port {
	u32 send_port;
	u32 type;
	struct eventfd_ctx *eventfd;
	u32 port;
	u32 vcpu_id;
	u32 priority;
	struct kvm_vcpu *vcpu;
	struct list_head list;
};

/* Where the table has port @send_port; NULL if there is no such page (yet). */
static struct kvm_xen_port __rcu **kvm_xen_port_slot(struct kvm *kvm, u32 send_port)
{
	struct kvm_xen_port_page *page;

	if (send_port >= KVM_XEN_FIFO_NR_PORTS)
		return NULL;

	send_port = array_index_nospec(send_port, KVM_XEN_FIFO_NR_PORTS);
	/* Pairs with smp_store_release() in kvm_xen_insert_port(). */
	page = READ_ONCE(kvm->arch.xen.port_pages[send_port / KVM_XEN_PORTS_PER_PAGE]);
	return page ? &page->ports[send_port % KVM_XEN_PORTS_PER_PAGE] : NULL;
}

/* Change what the table has; @p may be NULL.  Returns what it had before. */
static struct kvm_xen_port *kvm_xen_replace_port(struct kvm *kvm,
						 struct kvm_xen_port __rcu **slot,
						 struct kvm_xen_port *p)
{
	return rcu_replace_pointer(*slot, p, lockdep_is_held(&kvm->arch.xen.lock));
}

static void kvm_xen_free_port(struct kvm_xen_port *p)
{
	if (p && p->eventfd)
		eventfd_ctx_put(p->eventfd);
	kfree(p);
}

/*
 * Wait until no hypercall uses what has been unpublished, then free it.  Not
 * under xen.lock: writes to the hypercall MSR take that lock inside kvm->srcu.
 */
static void kvm_xen_retire_ports(struct kvm *kvm, struct list_head *ports)
{
	struct kvm_xen_port *p, *next;

	lockdep_assert_not_held(&kvm->arch.xen.lock);

	if (list_empty(ports))
		return;

	synchronize_srcu(&kvm->srcu);
	list_for_each_entry_safe(p, next, ports, list) {
		kvm_xen_free_port(p);
		cond_resched();
	}
}

/* Take all ports out of a page of the table. */
static void kvm_xen_empty_port_page(struct kvm *kvm, struct kvm_xen_port_page *page,
				    struct list_head *old)
{
	struct kvm_xen_port *p;
	unsigned int i;

	for (i = 0; i < KVM_XEN_PORTS_PER_PAGE; i++) {
		p = kvm_xen_replace_port(kvm, &page->ports[i], NULL);
		if (p)
			list_add_tail(&p->list, old);
	}
}

static int kvm_xen_reset_ports(struct kvm *kvm)
{
	LIST_HEAD(old);
	unsigned int i;

	mutex_lock(&kvm->arch.xen.lock);
	for (i = 0; i < ARRAY_SIZE(kvm->arch.xen.port_pages); i++) {
		if (kvm->arch.xen.port_pages[i])
			kvm_xen_empty_port_page(kvm, kvm->arch.xen.port_pages[i], &old);
		cond_resched();
	}
	mutex_unlock(&kvm->arch.xen.lock);

	kvm_xen_retire_ports(kvm, &old);
	return 0;
}

static int kvm_xen_deassign_port(struct kvm *kvm, u32 send_port)
{
	struct kvm_xen_port __rcu **slot = kvm_xen_port_slot(kvm, send_port);
	struct kvm_xen_port *p = NULL;
	LIST_HEAD(old);

	if (slot) {
		mutex_lock(&kvm->arch.xen.lock);
		p = kvm_xen_replace_port(kvm, slot, NULL);
		mutex_unlock(&kvm->arch.xen.lock);
	}
	if (!p)
		return -ENOENT;

	list_add(&p->list, &old);
	kvm_xen_retire_ports(kvm, &old);
	return 0;
}

/* Only the vCPU and the priority of a port may change. */
static int kvm_xen_update_port(struct kvm *kvm, struct kvm_xen_hvm_attr *data)
{
	struct kvm_xen_port __rcu **slot = kvm_xen_port_slot(kvm, data->u.evtchn.send_port);
	struct kvm_xen_port *p, *new;
	LIST_HEAD(old);
	int r = 0;

	if (!slot)
		return -ENOENT;

	new = kzalloc(sizeof(*new), GFP_KERNEL_ACCOUNT);
	if (!new)
		return -ENOMEM;

	mutex_lock(&kvm->arch.xen.lock);
	p = rcu_dereference_protected(*slot, lockdep_is_held(&kvm->arch.xen.lock));
	if (!p) {
		r = -ENOENT;
	} else if (p->type != data->u.evtchn.type || p->eventfd ||
		   !data->u.evtchn.deliver.port.port ||
		   p->port != data->u.evtchn.deliver.port.port ||
		   !kvm_xen_priority_valid(kvm, data->u.evtchn.deliver.port.priority)) {
		r = -EINVAL;
	} else {
		*new = *p;
		new->vcpu_id = data->u.evtchn.deliver.port.vcpu;
		new->priority = data->u.evtchn.deliver.port.priority;
		new->vcpu = NULL;
		kvm_xen_replace_port(kvm, slot, new);
		list_add(&p->list, &old);
		new = NULL;
	}
	mutex_unlock(&kvm->arch.xen.lock);

	kfree(new);
	kvm_xen_retire_ports(kvm, &old);
	return r;
}

/* Fill in where a send goes to.  On error there is nothing to be put. */
static int kvm_xen_set_target(struct kvm *kvm, struct kvm_xen_port *p,
			      struct kvm_xen_hvm_attr *data)
{
	struct eventfd_ctx *eventfd;

	switch (p->type) {
	case EVTCHNSTAT_ipi:
		if (data->u.evtchn.deliver.port.port != p->send_port)
			return -EINVAL;
		break;
	case EVTCHNSTAT_interdomain:
		if (data->u.evtchn.deliver.port.port)
			break;

		eventfd = eventfd_ctx_fdget(data->u.evtchn.deliver.eventfd.fd);
		if (IS_ERR(eventfd))
			return PTR_ERR(eventfd);
		p->eventfd = eventfd;
		return 0;
	default:
		return -EINVAL;
	}

	if (data->u.evtchn.deliver.port.port >= kvm_xen_nr_ports(kvm) ||
	    !kvm_xen_priority_valid(kvm, data->u.evtchn.deliver.port.priority))
		return -EINVAL;

	p->port = data->u.evtchn.deliver.port.port;
	p->vcpu_id = data->u.evtchn.deliver.port.vcpu;
	p->priority = data->u.evtchn.deliver.port.priority;
	return 0;
}

/* Put a new port in the table, in a new page if need be. */
static int kvm_xen_insert_port(struct kvm *kvm, struct kvm_xen_port *p)
{
	u32 nr = p->send_port / KVM_XEN_PORTS_PER_PAGE;
	struct kvm_xen_port __rcu **slot;
	struct kvm_xen_port_page *page;

	lockdep_assert_held(&kvm->arch.xen.lock);

	if (!kvm->arch.xen.port_pages[nr]) {
		page = kzalloc(sizeof(*page), GFP_KERNEL_ACCOUNT);
		if (!page)
			return -ENOMEM;
		/* Empty before it can be found; pairs with kvm_xen_port_slot(). */
		smp_store_release(&kvm->arch.xen.port_pages[nr], page);
	}

	slot = kvm_xen_port_slot(kvm, p->send_port);
	if (rcu_access_pointer(*slot))
		return -EEXIST;

	kvm_xen_replace_port(kvm, slot, p);
	return 0;
}

static int kvm_xen_assign_port(struct kvm *kvm, struct kvm_xen_hvm_attr *data)
{
	struct kvm_xen_port *p;
	int r;

	p = kzalloc(sizeof(*p), GFP_KERNEL_ACCOUNT);
	if (!p)
		return -ENOMEM;

	p->send_port = data->u.evtchn.send_port;
	p->type = data->u.evtchn.type;
	r = kvm_xen_set_target(kvm, p, data);
	if (!r) {
		mutex_lock(&kvm->arch.xen.lock);
		r = kvm_xen_insert_port(kvm, p);
		mutex_unlock(&kvm->arch.xen.lock);
	}
	if (r)
		kvm_xen_free_port(p);

	return r;
}

/**
 * kvm_xen_set_evtchn_attr - KVM_XEN_ATTR_TYPE_EVTCHN
 * @kvm: the VM
 * @data: the port and what to do with it
 *
 * Context: VM ioctl, neither kvm->srcu nor xen.lock held.  May sleep.  After a
 * port was changed or removed, no send to its old target is under way.
 *
 * Return: 0 or an errno, see Documentation/virt/kvm/api.rst.
 */
int kvm_xen_set_evtchn_attr(struct kvm *kvm, struct kvm_xen_hvm_attr *data)
{
	u32 port = data->u.evtchn.send_port;

	if (data->u.evtchn.flags == KVM_XEN_EVTCHN_RESET)
		return kvm_xen_reset_ports(kvm);

	if (!port || port >= kvm_xen_nr_ports(kvm))
		return -EINVAL;

	switch (data->u.evtchn.flags) {
	case 0:
		return kvm_xen_assign_port(kvm, data);
	case KVM_XEN_EVTCHN_UPDATE:
		return kvm_xen_update_port(kvm, data);
	case KVM_XEN_EVTCHN_DEASSIGN:
		return kvm_xen_deassign_port(kvm, port);
	default:
		return -EINVAL;
	}
}

/**
 * kvm_xen_destroy_ports - free all ports
 * @kvm: the VM, without vCPUs
 *
 * Context: as kvm_xen_destroy_vm().
 */
void kvm_xen_destroy_ports(struct kvm *kvm)
{
	unsigned int i, j;

	for (i = 0; i < ARRAY_SIZE(kvm->arch.xen.port_pages); i++) {
		struct kvm_xen_port_page *page = kvm->arch.xen.port_pages[i];

		for (j = 0; page && j < KVM_XEN_PORTS_PER_PAGE; j++)
			kvm_xen_free_port(rcu_dereference_protected(page->ports[j], true));
		kfree(page);
	}
}

static enum kvm_xen_hcall_action kvm_xen_evtchnop_send(struct kvm_vcpu *vcpu,
						       struct kvm_xen_hcall *hc)
{
	struct kvm *kvm = vcpu->kvm;
	struct kvm_xen_port __rcu **slot;
	struct kvm_vcpu *target;
	struct evtchn_send send;
	struct kvm_xen_port *p;
	int r;

	if (kvm_xen_read_guest_virt(vcpu, hc, hc->args[1], &send, sizeof(send)))
		return kvm_xen_hcall_fault(hc);

	/* Stays valid, as kvm->srcu is held. */
	slot = kvm_xen_port_slot(kvm, send.port);
	p = slot ? srcu_dereference(*slot, &kvm->srcu) : NULL;
	if (!p)
		return KVM_XEN_HCALL_NOT_MINE;

	if (p->eventfd) {
		eventfd_signal(p->eventfd);
		return kvm_xen_hcall_done(hc, 0);
	}

	target = READ_ONCE(p->vcpu);
	if (!target) {
		target = kvm_xen_find_vcpu(kvm, p->vcpu_id);
		if (!target)
			return KVM_XEN_HCALL_NOT_MINE;
		WRITE_ONCE(p->vcpu, target);
	}

	r = __kvm_xen_raise(target, p->port, p->priority, !hc->atomic);
	if (r == KVM_XEN_EVTCHN_UNREACHABLE) {
		if (hc->atomic || !READ_ONCE(kvm->arch.xen.shinfo_cache.active))
			return KVM_XEN_HCALL_NOT_MINE;
		kvm_xen_defer_port(target, p->port, p->priority);
	} else if (r < 0) {
		return KVM_XEN_HCALL_NOT_MINE;
	}

	/* To the sender, all outcomes are success. */
	atomic64_inc(&target->stat.xen_events_sent);
	return kvm_xen_hcall_done(hc, 0);
}

/**
 * kvm_xen_event_channel_op - the event_channel_op hypercall
 * @vcpu: the caller
 * @hc: the call
 *
 * Context: @vcpu's thread, kvm->srcu held.  May sleep unless @hc is atomic.
 *
 * Return: whether the call was handled.
 */
enum kvm_xen_hcall_action kvm_xen_event_channel_op(struct kvm_vcpu *vcpu,
						   struct kvm_xen_hcall *hc)
{
	switch (kvm_xen_hcall_cmd(hc)) {
	case EVTCHNOP_send:
		return kvm_xen_evtchnop_send(vcpu, hc);
	case EVTCHNOP_status:
		return kvm_xen_evtchnop_status(vcpu, hc);
	case EVTCHNOP_unmask:
		return kvm_xen_evtchnop_unmask(vcpu, hc);
	default:
		return KVM_XEN_HCALL_NOT_MINE;
	}
}
