// SPDX-License-Identifier: GPL-2.0-only
/*
 * Xen guests: event channels.
 *
 * Owns the ports that EVTCHNOP_send may use, the routes of irqfds, the send
 * ioctl, the notification of vCPUs, and the events that cannot be delivered yet.
 *
 * Raising an event is legal in any context but NMI (on PREEMPT_RT, in any that
 * may take a spinlock_t): irqfds raise from the waker of an eventfd, timers from
 * their callback.  What such a context finds out of reach it leaves to the vCPU
 * that the event is for:
 *
 *   deferred_ports  shared_info was out of reach, nothing is done yet
 *   deferred_sel    the pending bit is set, vcpu_info was out of reach
 *
 * The vCPU thread, which can fault pages in, delivers them in the run loop.  If
 * it cannot either, they stay until it can (it is told when a page is set again
 * or memslots change), and userspace can save and restore them.  So no event is
 * lost.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/eventfd.h>
#include <linux/kvm_host.h>

#include <xen/interface/xen.h>
#include <xen/interface/event_channel.h>

#include "lapic.h"
#include "trace.h"
#include "xen_internal.h"

/**
 * struct kvm_xen_port - a port for EVTCHNOP_send
 * @send_port: its number
 * @type: EVTCHNSTAT_ipi or EVTCHNSTAT_interdomain
 * @eventfd: what a send signals, or NULL
 * @port: otherwise, the port that a send raises
 * @vcpu_id: and the vCPU, by KVM's number, that is notified
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
	struct kvm_vcpu *vcpu;
	struct list_head list;
};

/* ---- notification ------------------------------------------------------- */

static void kvm_xen_inject_vector(struct kvm_vcpu *vcpu, u8 vector)
{
	struct kvm_lapic_irq irq = {
		.vector = vector,
		.delivery_mode = APIC_DM_FIXED,
		.dest_mode = APIC_DEST_PHYSICAL,
		.shorthand = APIC_DEST_NOSHORT,
		.level = 1,
		.dest_id = vcpu->vcpu_id,
	};

	/*
	 * Straight to this vCPU's APIC: the guest chooses APIC ids, which may
	 * be somebody else's or ambiguous.  A disabled APIC drops the vector;
	 * kvm_xen_sw_enable_lapic() makes up for it.
	 */
	if (lapic_in_kernel(vcpu))
		kvm_apic_set_irq(vcpu, &irq, NULL);
}

/* evtchn_upcall_pending of @vcpu went from 0 to 1. */
static void kvm_xen_notify(struct kvm_vcpu *vcpu)
{
	u8 vector = READ_ONCE(vcpu->arch.xen.upcall_vector);

	if (vector) {
		kvm_xen_inject_vector(vcpu, vector);
	} else {
		kvm_make_request(KVM_REQ_EVENT, vcpu);
		kvm_vcpu_kick(vcpu);
	}

	/* An upcall ends a poll even while interrupts are off. */
	kvm_xen_wake_poller(vcpu);
}

/**
 * __kvm_xen_upcall_pending - does the guest want an upcall?
 * @vcpu: the vCPU
 *
 * Context: any in which an interrupt may be looked for, among them with
 * interrupts off and in TASK_INTERRUPTIBLE.  Does not sleep.  If vcpu_info is
 * not mapped, the answer is no, and the vCPU is made to map it and ask again
 * before it enters the guest or sleeps.
 *
 * Return: whether vcpu_info.evtchn_upcall_pending is set.
 */
bool __kvm_xen_upcall_pending(struct kvm_vcpu *vcpu)
{
	struct gfn_to_pfn_cache *gpc = &vcpu->arch.xen.vcpu_info_cache;
	unsigned long flags;
	bool pending = false;
	int idx;

	idx = srcu_read_lock(&vcpu->kvm->srcu);
	if (kvm_xen_page_lock(gpc, KVM_XEN_VCPU_INFO_SIZE, &flags, false)) {
		pending = READ_ONCE(*(u8 *)gpc->khva);
		kvm_xen_page_unlock(gpc, flags);
	} else if (!test_bit(KVM_XEN_DEFERRED_VCPU_INFO, &vcpu->arch.xen.deferred)) {
		kvm_xen_defer(vcpu, KVM_XEN_DEFERRED_VCPU_INFO);
	}
	srcu_read_unlock(&vcpu->kvm->srcu, idx);

	return pending;
}

/**
 * __kvm_xen_raise_vcpu_vector - repeat an upcall through the local APIC
 * @vcpu: the vCPU
 *
 * For when the APIC or the vector came later than the event.  Xen does so on
 * every write to SPIV that enables the APIC (arch/x86/hvm/vlapic.c), because
 * vectors are dropped, not kept, by a disabled one.
 *
 * Context: as __kvm_xen_upcall_pending().
 */
void __kvm_xen_raise_vcpu_vector(struct kvm_vcpu *vcpu)
{
	u8 vector = READ_ONCE(vcpu->arch.xen.upcall_vector);

	if (!vector || !vcpu->arch.xen.vcpu_info_cache.active)
		return;

	if (__kvm_xen_upcall_pending(vcpu))
		kvm_xen_inject_vector(vcpu, vector);
	else if (test_bit(KVM_XEN_DEFERRED_VCPU_INFO, &vcpu->arch.xen.deferred))
		set_bit(KVM_XEN_DEFERRED_VECTOR, &vcpu->arch.xen.deferred);
}

/**
 * __kvm_xen_emulate_halt - the guest executes HLT
 * @vcpu: the vCPU
 *
 * Xen unmasks upcalls when a vCPU blocks with interrupts on
 * (vcpu_block_enable_events()); HVM guests do not otherwise use the mask.
 *
 * Context: @vcpu's thread, possibly with interrupts off.  Does not sleep.
 */
void __kvm_xen_emulate_halt(struct kvm_vcpu *vcpu)
{
	struct gfn_to_pfn_cache *gpc = &vcpu->arch.xen.vcpu_info_cache;
	unsigned long flags;
	int idx;

	if (!(kvm_get_rflags(vcpu) & X86_EFLAGS_IF))
		return;

	idx = srcu_read_lock(&vcpu->kvm->srcu);
	if (kvm_xen_page_lock(gpc, KVM_XEN_VCPU_INFO_SIZE, &flags, false)) {
		WRITE_ONCE(((u8 *)gpc->khva)[1], 0);
		kvm_xen_page_unlock(gpc, flags);
	}
	srcu_read_unlock(&vcpu->kvm->srcu, idx);
}

/* ---- raising events ----------------------------------------------------- */

/**
 * __kvm_xen_raise - raise an event that was counted before
 * @vcpu: whom it is bound to
 * @port: the port
 * @can_sleep: whether guest pages may be faulted in
 *
 * Context and return value are those of kvm_xen_raise().
 */
int __kvm_xen_raise(struct kvm_vcpu *vcpu, u32 port, bool can_sleep)
{
	struct kvm *kvm = vcpu->kvm;
	const struct kvm_xen_abi *abi = kvm_xen_abi(kvm);
	int idx, r;

	if (!port || port >= abi->nr_ports)
		return -EINVAL;

	idx = srcu_read_lock(&kvm->srcu);
	r = abi->set_pending(kvm, abi, port, can_sleep);
	switch (r) {
	case KVM_XEN_EVTCHN_DELIVERED:
		atomic64_inc(&vcpu->stat.xen_events_delivered);
		if (abi->set_selector(vcpu, abi, port, can_sleep))
			kvm_xen_notify(vcpu);
		kvm_xen_wake_pollers(kvm, port);
		break;
	case KVM_XEN_EVTCHN_MASKED:
		atomic64_inc(&vcpu->stat.xen_events_masked);
		kvm_xen_wake_pollers(kvm, port);
		break;
	case KVM_XEN_EVTCHN_MERGED:
		atomic64_inc(&vcpu->stat.xen_events_merged);
		break;
	}
	srcu_read_unlock(&kvm->srcu, idx);

	trace_kvm_xen_evtchn(vcpu->vcpu_id, port, r);
	return r;
}

/**
 * kvm_xen_raise - raise an event
 * @vcpu: whom it is bound to
 * @port: the port
 * @can_sleep: whether guest pages may be faulted in
 *
 * Context: see the head of this file; with @can_sleep, that of
 * kvm_xen_page_lock().
 *
 * Return: KVM_XEN_EVTCHN_*, or -EINVAL if the guest has no such port.  After
 * KVM_XEN_EVTCHN_UNREACHABLE, nothing has been changed.
 */
int kvm_xen_raise(struct kvm_vcpu *vcpu, u32 port, bool can_sleep)
{
	atomic64_inc(&vcpu->stat.xen_events_sent);
	return __kvm_xen_raise(vcpu, port, can_sleep);
}

/* Keep an event for @vcpu to deliver. */
static void kvm_xen_defer_port(struct kvm_vcpu *vcpu, u32 port)
{
	set_bit(port, vcpu->arch.xen.deferred_ports);
	kvm_xen_defer(vcpu, KVM_XEN_DEFERRED_PORTS);
}

/**
 * kvm_xen_set_evtchn_fast - raise an event on behalf of an irqfd
 * @xe: a copy of the route
 * @kvm: the VM
 *
 * Context: see the head of this file; interrupts may be off.  Does not sleep.
 *
 * Return: as kvm_set_irq(): positive if delivered or kept for delivery, 0 if
 * the event was pending already, negative if it was masked or went nowhere.
 * Never -EWOULDBLOCK, there is nothing left for a worker to do.
 */
int kvm_xen_set_evtchn_fast(struct kvm_xen_evtchn *xe, struct kvm *kvm)
{
	struct kvm_vcpu *vcpu;
	int r;

	vcpu = xe->vcpu_idx >= 0 ? kvm_get_vcpu(kvm, xe->vcpu_idx) :
				   kvm_get_vcpu_by_id(kvm, xe->vcpu_id);
	if (!vcpu)
		return -EINVAL;

	r = kvm_xen_raise(vcpu, xe->port, false);
	switch (r) {
	case KVM_XEN_EVTCHN_UNREACHABLE:
		kvm_xen_defer_port(vcpu, xe->port);
		return 1;
	case KVM_XEN_EVTCHN_MASKED:
		return -ENOTCONN;
	default:
		return r;
	}
}

static int kvm_xen_set_evtchn(struct kvm_kernel_irq_routing_entry *e, struct kvm *kvm,
			      int irq_source_id, int level, bool line_status)
{
	/* Events are edges; an irqfd lowers the line after it raised it. */
	if (!level)
		return -1;

	return kvm_xen_set_evtchn_fast(&e->xen_evtchn, kvm);
}

/**
 * kvm_xen_setup_evtchn - accept a KVM_IRQ_ROUTING_XEN_EVTCHN route
 * @kvm: the VM
 * @e: the entry to fill
 * @ue: what userspace asks for
 *
 * Neither the port's range nor the vCPU is checked: routes may be restored
 * before the guest's mode, and before its vCPUs.
 *
 * Context: ioctl, may sleep, takes no references.
 *
 * Return: 0, or -EINVAL for a priority other than 2-level.
 */
int kvm_xen_setup_evtchn(struct kvm *kvm, struct kvm_kernel_irq_routing_entry *e,
			 const struct kvm_irq_routing_entry *ue)
{
	struct kvm_vcpu *vcpu = kvm_get_vcpu_by_id(kvm, ue->u.xen_evtchn.vcpu);

	if (ue->u.xen_evtchn.priority != KVM_IRQ_ROUTING_XEN_EVTCHN_PRIO_2LEVEL)
		return -EINVAL;

	e->xen_evtchn.port = ue->u.xen_evtchn.port;
	e->xen_evtchn.vcpu_id = ue->u.xen_evtchn.vcpu;
	/* For ever the same, if there is such a vCPU already. */
	e->xen_evtchn.vcpu_idx = vcpu ? vcpu->vcpu_idx : -1;
	e->xen_evtchn.priority = ue->u.xen_evtchn.priority;
	e->set = kvm_xen_set_evtchn;
	return 0;
}

/**
 * kvm_xen_hvm_evtchn_send - KVM_XEN_HVM_EVTCHN_SEND
 * @kvm: the VM
 * @evt: port, vCPU and priority
 *
 * Context: VM ioctl, may sleep.
 *
 * Return: 0 if delivered, masked or already pending; -EINVAL for a port,
 * priority or vCPU that there is not, or without shared_info; -EFAULT if the
 * memory of shared_info is gone.
 */
int kvm_xen_hvm_evtchn_send(struct kvm *kvm, struct kvm_irq_routing_xen_evtchn *evt)
{
	struct kvm_vcpu *vcpu;
	int idx, r;

	if (evt->priority != KVM_IRQ_ROUTING_XEN_EVTCHN_PRIO_2LEVEL)
		return -EINVAL;

	vcpu = kvm_get_vcpu_by_id(kvm, evt->vcpu);
	if (!vcpu || !kvm->arch.xen.shinfo_cache.active)
		return -EINVAL;

	idx = srcu_read_lock(&kvm->srcu);
	r = kvm_xen_raise(vcpu, evt->port, true);
	srcu_read_unlock(&kvm->srcu, idx);

	if (r == KVM_XEN_EVTCHN_UNREACHABLE)
		return -EFAULT;

	return min(r, 0);
}

/* ---- deferred delivery -------------------------------------------------- */

/*
 * Make @vcpu go once through its run loop, be it running or blocked.  The loop
 * drops the request before it looks at what is deferred, so none is missed, and
 * a blocked vCPU then goes on sleeping.
 */
static void kvm_xen_make_service(struct kvm_vcpu *vcpu)
{
	kvm_make_request(KVM_REQ_UNBLOCK, vcpu);
	kvm_vcpu_kick(vcpu);
}

/**
 * kvm_xen_defer - leave something to the vCPU thread
 * @vcpu: the vCPU
 * @reason: what; its details are in place already
 *
 * Context: as kvm_xen_raise().
 */
void kvm_xen_defer(struct kvm_vcpu *vcpu, enum kvm_xen_deferred reason)
{
	if (reason != KVM_XEN_DEFERRED_VCPU_INFO)
		atomic64_inc(&vcpu->stat.xen_events_deferred);
	set_bit(reason, &vcpu->arch.xen.deferred);
	kvm_xen_make_service(vcpu);
}

/**
 * kvm_xen_retry_deferred - try again to deliver what was deferred
 * @kvm: the VM, one of whose shared pages may be back
 *
 * Context: any that may kick vCPUs.
 */
void kvm_xen_retry_deferred(struct kvm *kvm)
{
	struct kvm_vcpu *vcpu;
	unsigned long i;

	kvm_for_each_vcpu(i, vcpu, kvm) {
		if (READ_ONCE(vcpu->arch.xen.deferred))
			kvm_xen_make_service(vcpu);
	}
}

/**
 * kvm_xen_memslots_updated - guest memory may have come back
 * @kvm: the VM
 *
 * Context: after new memslots are in force; slots_lock held.
 */
void kvm_xen_memslots_updated(struct kvm *kvm)
{
	kvm_xen_retry_deferred(kvm);
}

static void kvm_xen_service_ports(struct kvm_vcpu *vcpu)
{
	unsigned long *ports = vcpu->arch.xen.deferred_ports;
	unsigned int port;
	int r;

	for_each_set_bit(port, ports, KVM_XEN_2L_NR_PORTS) {
		/*
		 * Clear first: an event that comes in between is deferred
		 * again, or finds the page and is merged.
		 */
		clear_bit(port, ports);
		r = __kvm_xen_raise(vcpu, port, true);
		/* A port that there is not may be one in the other mode. */
		if (r == KVM_XEN_EVTCHN_UNREACHABLE || r == -EINVAL) {
			set_bit(port, ports);
			set_bit(KVM_XEN_DEFERRED_PORTS, &vcpu->arch.xen.deferred);
		}
		if (r == KVM_XEN_EVTCHN_UNREACHABLE)
			return;
	}
}

static void kvm_xen_service_sel(struct kvm_vcpu *vcpu)
{
	const struct kvm_xen_abi *abi = kvm_xen_abi(vcpu->kvm);
	struct gfn_to_pfn_cache *gpc = &vcpu->arch.xen.vcpu_info_cache;
	unsigned long *sels = vcpu->arch.xen.deferred_sel;
	unsigned long flags;
	unsigned int sel;

	/*
	 * Until there is a shared_info, the guest's mode may not be the final
	 * one.  And let set_selector() not defer again, and count, each bit.
	 */
	if (!vcpu->kvm->arch.xen.shinfo_cache.active ||
	    !kvm_xen_page_lock(gpc, KVM_XEN_VCPU_INFO_SIZE, &flags, true)) {
		set_bit(KVM_XEN_DEFERRED_SEL, &vcpu->arch.xen.deferred);
		return;
	}
	kvm_xen_page_unlock(gpc, flags);

	for_each_set_bit(sel, sels, 64) {
		clear_bit(sel, sels);
		/* A bit of the other mode has been replaced by all of this one. */
		if (sel < abi->word_bits &&
		    abi->set_selector(vcpu, abi, sel * abi->word_bits, true))
			kvm_xen_notify(vcpu);
	}
}

static void kvm_xen_service_vcpu_info(struct kvm_vcpu *vcpu)
{
	struct gfn_to_pfn_cache *gpc = &vcpu->arch.xen.vcpu_info_cache;
	unsigned long flags;

	if (kvm_xen_page_lock(gpc, KVM_XEN_VCPU_INFO_SIZE, &flags, true))
		kvm_xen_page_unlock(gpc, flags);
	else if (gpc->active)
		return;

	clear_bit(KVM_XEN_DEFERRED_VCPU_INFO, &vcpu->arch.xen.deferred);
	kvm_make_request(KVM_REQ_EVENT, vcpu);
	if (test_and_clear_bit(KVM_XEN_DEFERRED_VECTOR, &vcpu->arch.xen.deferred))
		__kvm_xen_raise_vcpu_vector(vcpu);
}

/**
 * kvm_xen_service_deferred - deliver what was deferred
 * @vcpu: the vCPU
 *
 * What still cannot be delivered stays deferred until the run loop's next turn;
 * that does not keep the vCPU awake.
 *
 * Context: @vcpu's thread or an ioctl on it, kvm->srcu held.  May sleep.
 */
void kvm_xen_service_deferred(struct kvm_vcpu *vcpu)
{
	unsigned long *deferred = &vcpu->arch.xen.deferred;

	might_sleep();

	if (test_bit(KVM_XEN_DEFERRED_VCPU_INFO, deferred))
		kvm_xen_service_vcpu_info(vcpu);
	if (test_and_clear_bit(KVM_XEN_DEFERRED_PORTS, deferred))
		kvm_xen_service_ports(vcpu);
	if (test_and_clear_bit(KVM_XEN_DEFERRED_SEL, deferred))
		kvm_xen_service_sel(vcpu);
	if (test_and_clear_bit(KVM_XEN_DEFERRED_TIMER, deferred))
		kvm_xen_deliver_due_timer(vcpu);
}

/**
 * __kvm_xen_service_vcpu - Xen's part of a turn of the run loop
 * @vcpu: the vCPU
 *
 * Context: @vcpu's thread in vcpu_run(), kvm->srcu held.  May sleep.
 */
void __kvm_xen_service_vcpu(struct kvm_vcpu *vcpu)
{
	if (READ_ONCE(vcpu->arch.xen.deferred))
		kvm_xen_service_deferred(vcpu);

	if (vcpu->arch.mp_state != KVM_MP_STATE_HALTED)
		kvm_xen_end_poll(vcpu);
}

/**
 * kvm_xen_get_deferred_attr - KVM_XEN_VCPU_ATTR_TYPE_EVTCHN_DEFERRED, read
 * @vcpu: the vCPU
 * @data: in: the port to start from; out: the next deferred one, and the
 *	  deferred selector bits
 *
 * Context: vCPU ioctl, kvm->srcu held.  May sleep.
 *
 * Return: 0.
 */
int kvm_xen_get_deferred_attr(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data)
{
	unsigned long port;

	kvm_xen_service_deferred(vcpu);

	port = find_next_bit(vcpu->arch.xen.deferred_ports, KVM_XEN_2L_NR_PORTS,
			     min_t(u32, data->u.deferred.port, KVM_XEN_2L_NR_PORTS));
	data->u.deferred.port = port < KVM_XEN_2L_NR_PORTS ? port : 0;
	bitmap_to_arr64(&data->u.deferred.pending_sel, vcpu->arch.xen.deferred_sel, 64);
	return 0;
}

/**
 * kvm_xen_set_deferred_attr - KVM_XEN_VCPU_ATTR_TYPE_EVTCHN_DEFERRED, add
 * @vcpu: the vCPU
 * @data: a port to be raised, unless it is 0, and selector bits to be set
 *
 * Context: vCPU ioctl.
 *
 * Return: 0, -EINVAL if no guest has such a port.
 */
int kvm_xen_set_deferred_attr(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data)
{
	DECLARE_BITMAP(sels, 64);
	unsigned int sel;

	if (data->u.deferred.port >= KVM_XEN_2L_NR_PORTS)
		return -EINVAL;

	if (data->u.deferred.port)
		kvm_xen_defer_port(vcpu, data->u.deferred.port);

	if (data->u.deferred.pending_sel) {
		bitmap_from_u64(sels, data->u.deferred.pending_sel);
		for_each_set_bit(sel, sels, 64)
			set_bit(sel, vcpu->arch.xen.deferred_sel);
		kvm_xen_defer(vcpu, KVM_XEN_DEFERRED_SEL);
	}
	return 0;
}

/* ---- ports that the guest may send to ----------------------------------- */

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

static int kvm_xen_reset_ports(struct kvm *kvm)
{
	struct kvm_xen_port *p;
	LIST_HEAD(old);
	unsigned long i;

	mutex_lock(&kvm->arch.xen.lock);
	xa_for_each(&kvm->arch.xen.evtchn_ports, i, p) {
		xa_erase(&kvm->arch.xen.evtchn_ports, i);
		list_add_tail(&p->list, &old);
		cond_resched();
	}
	mutex_unlock(&kvm->arch.xen.lock);

	kvm_xen_retire_ports(kvm, &old);
	return 0;
}

static int kvm_xen_deassign_port(struct kvm *kvm, u32 send_port)
{
	struct kvm_xen_port *p;
	LIST_HEAD(old);

	mutex_lock(&kvm->arch.xen.lock);
	p = xa_erase(&kvm->arch.xen.evtchn_ports, send_port);
	if (p)
		list_add(&p->list, &old);
	mutex_unlock(&kvm->arch.xen.lock);

	if (!p)
		return -ENOENT;

	kvm_xen_retire_ports(kvm, &old);
	return 0;
}

/* Only the vCPU (and one day the priority) of a port may change. */
static int kvm_xen_update_port(struct kvm *kvm, struct kvm_xen_hvm_attr *data)
{
	u32 send_port = data->u.evtchn.send_port;
	struct kvm_xen_port *p, *new;
	LIST_HEAD(old);
	int r = 0;

	new = kzalloc(sizeof(*new), GFP_KERNEL_ACCOUNT);
	if (!new)
		return -ENOMEM;

	mutex_lock(&kvm->arch.xen.lock);
	p = xa_load(&kvm->arch.xen.evtchn_ports, send_port);
	if (!p) {
		r = -ENOENT;
	} else if (p->type != data->u.evtchn.type || p->eventfd ||
		   !data->u.evtchn.deliver.port.port ||
		   p->port != data->u.evtchn.deliver.port.port ||
		   data->u.evtchn.deliver.port.priority !=
		   KVM_IRQ_ROUTING_XEN_EVTCHN_PRIO_2LEVEL) {
		r = -EINVAL;
	} else {
		*new = *p;
		new->vcpu_id = data->u.evtchn.deliver.port.vcpu;
		new->vcpu = NULL;
		/* Replacing an entry allocates nothing. */
		xa_store(&kvm->arch.xen.evtchn_ports, send_port, new, GFP_KERNEL_ACCOUNT);
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

	if (data->u.evtchn.deliver.port.port >= kvm_xen_abi(kvm)->nr_ports ||
	    data->u.evtchn.deliver.port.priority != KVM_IRQ_ROUTING_XEN_EVTCHN_PRIO_2LEVEL)
		return -EINVAL;

	p->port = data->u.evtchn.deliver.port.port;
	p->vcpu_id = data->u.evtchn.deliver.port.vcpu;
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
		r = xa_insert(&kvm->arch.xen.evtchn_ports, p->send_port, p, GFP_KERNEL_ACCOUNT);
		mutex_unlock(&kvm->arch.xen.lock);
	}
	if (r)
		kvm_xen_free_port(p);

	return r == -EBUSY ? -EEXIST : r;
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

	if (!port || port >= kvm_xen_abi(kvm)->nr_ports)
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
 */
void kvm_xen_destroy_ports(struct kvm *kvm)
{
	struct kvm_xen_port *p;
	unsigned long i;

	xa_for_each(&kvm->arch.xen.evtchn_ports, i, p)
		kvm_xen_free_port(p);
	xa_destroy(&kvm->arch.xen.evtchn_ports);
}

static enum kvm_xen_hcall_action kvm_xen_evtchnop_send(struct kvm_vcpu *vcpu,
						       struct kvm_xen_hcall *hc)
{
	struct kvm *kvm = vcpu->kvm;
	struct kvm_vcpu *target;
	struct evtchn_send send;
	struct kvm_xen_port *p;
	int r;

	r = kvm_xen_read_guest_virt(vcpu, hc->args[1], &send, sizeof(send));
	if (r)
		return kvm_xen_hcall_done(hc, r);

	/* Stays valid, as kvm->srcu is held. */
	p = xa_load(&kvm->arch.xen.evtchn_ports, send.port);
	if (!p)
		return KVM_XEN_HCALL_NOT_MINE;

	if (p->eventfd) {
		eventfd_signal(p->eventfd);
		return kvm_xen_hcall_done(hc, 0);
	}

	target = READ_ONCE(p->vcpu);
	if (!target) {
		target = kvm_get_vcpu_by_id(kvm, p->vcpu_id);
		if (!target)
			return KVM_XEN_HCALL_NOT_MINE;
		WRITE_ONCE(p->vcpu, target);
	}

	r = kvm_xen_raise(target, p->port, true);
	if (r == KVM_XEN_EVTCHN_UNREACHABLE && kvm->arch.xen.shinfo_cache.active) {
		kvm_xen_defer_port(target, p->port);
		return kvm_xen_hcall_done(hc, 0);
	}
	if (r < 0 || r == KVM_XEN_EVTCHN_UNREACHABLE)
		return KVM_XEN_HCALL_NOT_MINE;

	/* To the sender, all outcomes are success. */
	return kvm_xen_hcall_done(hc, 0);
}

/**
 * kvm_xen_event_channel_op - the event_channel_op hypercall
 * @vcpu: the caller
 * @hc: the call
 *
 * Context: @vcpu's thread, kvm->srcu held.  May sleep.
 *
 * Return: whether the call was handled.
 */
enum kvm_xen_hcall_action kvm_xen_event_channel_op(struct kvm_vcpu *vcpu,
						   struct kvm_xen_hcall *hc)
{
	switch (kvm_xen_hcall_cmd(hc)) {
	case EVTCHNOP_send:
		return kvm_xen_evtchnop_send(vcpu, hc);
	default:
		return KVM_XEN_HCALL_NOT_MINE;
	}
}
