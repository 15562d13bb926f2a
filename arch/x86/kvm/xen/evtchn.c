// SPDX-License-Identifier: GPL-2.0-only
/*
 * Xen guests: event channels.
 *
 * Owns how events are raised, the routes of irqfds, the send ioctl, and the events
 * that cannot be delivered yet.
 *
 * Raising an event is legal in any context but NMI (on PREEMPT_RT, in any that
 * may take a spinlock_t): irqfds raise from the waker of an eventfd, timers from
 * their callback.  What such a context finds out of reach it leaves to the vCPU
 * that the event is for:
 *
 *   deferred_ports  shared_info was out of reach, nothing is done yet
 *   deferred_sel    the pending bit is set, vcpu_info was out of reach
 *
 * and those of the FIFO ABI in a list of the VM's, see evtchn_fifo.c.
 *
 * The vCPU thread, which can fault pages in, delivers them in the run loop.  If
 * it cannot either, they stay until it can (it is told when a page is set again
 * or memslots change), and userspace can save and restore them.  So no event is
 * lost.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kvm_host.h>

#include "trace.h"
#include "xen_internal.h"

/* An event was raised: count it, wake who waits for it. */
static __always_inline void kvm_xen_raised(struct kvm_vcpu *vcpu, u32 port, int r)
{
	switch (r) {
	case KVM_XEN_EVTCHN_DELIVERED:
		atomic64_inc(&vcpu->stat.xen_events_delivered);
		kvm_xen_wake_pollers(vcpu->kvm, port);
		break;
	case KVM_XEN_EVTCHN_MASKED:
		atomic64_inc(&vcpu->stat.xen_events_masked);
		kvm_xen_wake_pollers(vcpu->kvm, port);
		break;
	case KVM_XEN_EVTCHN_MERGED:
		atomic64_inc(&vcpu->stat.xen_events_merged);
		break;
	case KVM_XEN_EVTCHN_KEPT:
		atomic64_inc(&vcpu->stat.xen_events_deferred);
		break;
	case KVM_XEN_EVTCHN_DROPPED:
		atomic64_inc(&vcpu->stat.xen_events_dropped);
		break;
	}

	trace_kvm_xen_evtchn(vcpu->vcpu_id, port, r);
}

/**
 * kvm_xen_event_raised - an event was raised otherwise than by __kvm_xen_raise()
 * @vcpu: whom it is bound to
 * @port: the port
 * @r: the outcome, KVM_XEN_EVTCHN_*
 *
 * Context: as __kvm_xen_raise().
 */
void kvm_xen_event_raised(struct kvm_vcpu *vcpu, u32 port, int r)
{
	kvm_xen_raised(vcpu, port, r);
}

/* Inlined, as calls within it would be a good part of what a send costs. */
static __always_inline int kvm_xen_do_raise(struct kvm_vcpu *vcpu, u32 port, u32 priority,
					    bool can_sleep)
{
	const struct kvm_xen_abi *abi = kvm_xen_abi(vcpu->kvm);
	int r = -EINVAL;

	if (likely(port && port < abi->nr_ports))
		r = abi->raise(vcpu, abi, port, priority, can_sleep);

	kvm_xen_raised(vcpu, port, r);
	return r;
}

/**
 * __kvm_xen_raise - raise an event that is counted elsewhere
 * @vcpu: whom it is bound to
 * @port: the port
 * @priority: 0 to 15, or anything else for the default; nothing to the 2-level ABI
 * @can_sleep: whether guest pages may be faulted in
 *
 * Context: see the head of this file; kvm->srcu is held.  With @can_sleep, that
 * of kvm_xen_page_lock().
 *
 * Return: KVM_XEN_EVTCHN_*, or -EINVAL if the guest has no such port.  After
 * KVM_XEN_EVTCHN_UNREACHABLE, nothing has been changed.
 */
int __kvm_xen_raise(struct kvm_vcpu *vcpu, u32 port, u32 priority, bool can_sleep)
{
	return kvm_xen_do_raise(vcpu, port, priority, can_sleep);
}

static __always_inline int kvm_xen_count_and_raise(struct kvm_vcpu *vcpu, u32 port,
						   u32 priority, bool can_sleep)
{
	int idx, r;

	atomic64_inc(&vcpu->stat.xen_events_sent);
	idx = srcu_read_lock(&vcpu->kvm->srcu);
	r = kvm_xen_do_raise(vcpu, port, priority, can_sleep);
	srcu_read_unlock(&vcpu->kvm->srcu, idx);
	return r;
}

/**
 * kvm_xen_raise - raise an event
 * @vcpu: whom it is bound to
 * @port: the port
 * @priority: as of __kvm_xen_raise()
 *
 * Context: as __kvm_xen_raise() that may not sleep, but kvm->srcu need not be held.
 *
 * Return: as __kvm_xen_raise().
 */
int kvm_xen_raise(struct kvm_vcpu *vcpu, u32 port, u32 priority)
{
	return kvm_xen_count_and_raise(vcpu, port, priority, false);
}

/**
 * kvm_xen_defer_port - keep an event for a vCPU to deliver
 * @vcpu: whom it is bound to
 * @port: the port
 * @priority: as of __kvm_xen_raise()
 *
 * Context: as kvm_xen_raise(), kvm->srcu held.
 */
void kvm_xen_defer_port(struct kvm_vcpu *vcpu, u32 port, u32 priority)
{
	atomic64_inc(&vcpu->stat.xen_events_deferred);
	kvm_xen_abi(vcpu->kvm)->defer(vcpu, port, priority);
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
	int idx, r;

	vcpu = kvm_xen_find_vcpu(kvm, xe->vcpu_id);
	if (!vcpu)
		return -EINVAL;

	idx = srcu_read_lock(&kvm->srcu);
	atomic64_inc(&vcpu->stat.xen_events_sent);
	r = kvm_xen_do_raise(vcpu, xe->port, xe->priority, false);
	if (r == KVM_XEN_EVTCHN_UNREACHABLE)
		kvm_xen_defer_port(vcpu, xe->port, xe->priority);
	srcu_read_unlock(&kvm->srcu, idx);

	switch (r) {
	case KVM_XEN_EVTCHN_UNREACHABLE:
		return 1;
	case KVM_XEN_EVTCHN_MASKED:
	case KVM_XEN_EVTCHN_DROPPED:
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
 * Return: 0, or -EINVAL for a priority that there is not.
 */
int kvm_xen_setup_evtchn(struct kvm *kvm, struct kvm_kernel_irq_routing_entry *e,
			 const struct kvm_irq_routing_entry *ue)
{
	if (!kvm_xen_priority_valid(kvm, ue->u.xen_evtchn.priority))
		return -EINVAL;

	e->xen_evtchn.port = ue->u.xen_evtchn.port;
	e->xen_evtchn.vcpu_id = ue->u.xen_evtchn.vcpu;
	e->xen_evtchn.vcpu_idx = -1;	/* not used */
	e->xen_evtchn.priority = ue->u.xen_evtchn.priority;
	e->set = kvm_xen_set_evtchn;
	return 0;
}

/* Is there anything that events could be delivered to? */
static bool kvm_xen_has_evtchns(struct kvm *kvm)
{
	return READ_ONCE(kvm->arch.xen.shinfo_cache.active) ||
	       READ_ONCE(kvm->arch.xen.evtchn_fifo);
}

/**
 * kvm_xen_hvm_evtchn_send - KVM_XEN_HVM_EVTCHN_SEND
 * @kvm: the VM
 * @uevt: port, vCPU and priority, in the VMM's memory
 *
 * Context: VM ioctl, may sleep.
 *
 * Return: 0 if delivered, masked or already pending; -EINVAL for a port,
 * priority or vCPU that there is not, or without shared_info; -EFAULT if the
 * memory of @uevt or of shared_info is gone.
 */
int kvm_xen_hvm_evtchn_send(struct kvm *kvm, struct kvm_irq_routing_xen_evtchn __user *uevt)
{
	u32 port, vcpu_id, priority;
	struct kvm_vcpu *vcpu;
	int r;

	/* Three words: copy_from_user() would take as long as all the rest. */
	if (!user_read_access_begin(uevt, sizeof(*uevt)))
		return -EFAULT;
	unsafe_get_user(port, &uevt->port, fault);
	unsafe_get_user(vcpu_id, &uevt->vcpu, fault);
	unsafe_get_user(priority, &uevt->priority, fault);
	user_read_access_end();

	if (!kvm_xen_priority_valid(kvm, priority))
		return -EINVAL;

	vcpu = kvm_xen_find_vcpu(kvm, vcpu_id);
	if (!vcpu || !kvm_xen_has_evtchns(kvm))
		return -EINVAL;

	r = kvm_xen_count_and_raise(vcpu, port, priority, true);
	/* Or it was taken away meanwhile. */
	if (r == KVM_XEN_EVTCHN_UNREACHABLE)
		return kvm_xen_has_evtchns(kvm) ? -EFAULT : -EINVAL;

	return min(r, 0);
fault:
	user_read_access_end();
	return -EFAULT;
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
 * __kvm_xen_defer - leave something to the vCPU thread that is counted elsewhere
 * @vcpu: the vCPU
 * @reason: what; its details are in place already
 *
 * Context: as kvm_xen_raise().
 */
void __kvm_xen_defer(struct kvm_vcpu *vcpu, enum kvm_xen_deferred reason)
{
	set_bit(reason, &vcpu->arch.xen.deferred);
	kvm_xen_make_service(vcpu);
}

/**
 * kvm_xen_defer - leave an event, or the rest of one, to the vCPU thread
 * @vcpu: the vCPU
 * @reason: what; its details are in place already
 *
 * Context: as kvm_xen_raise().
 */
void kvm_xen_defer(struct kvm_vcpu *vcpu, enum kvm_xen_deferred reason)
{
	atomic64_inc(&vcpu->stat.xen_events_deferred);
	__kvm_xen_defer(vcpu, reason);
}

/**
 * kvm_xen_retry_deferred - try again to deliver what was deferred
 * @kvm: the VM, one of whose shared pages may be back
 *
 * Context: any that may kick vCPUs.
 */
void kvm_xen_retry_deferred(struct kvm *kvm)
{
	bool stale = READ_ONCE(kvm->arch.xen.wallclock_stale);
	bool kept = kvm_xen_fifo_keeps_events(kvm);
	struct kvm_vcpu *vcpu;
	unsigned long i;

	kvm_for_each_vcpu(i, vcpu, kvm) {
		/* Whichever runs first delivers all of those, and writes that. */
		if (kept)
			set_bit(KVM_XEN_DEFERRED_PORTS, &vcpu->arch.xen.deferred);
		if (stale)
			set_bit(KVM_XEN_DEFERRED_WALLCLOCK, &vcpu->arch.xen.deferred);
		/* Also if nothing is: it may be trying just now, and fail. */
		kvm_xen_make_service(vcpu);
	}
}

/**
 * kvm_xen_memslots_updated - guest memory may have come back
 * @kvm: the VM
 *
 * The vCPUs are told.  No page is touched here: with slots_lock held, whoever serves
 * a fault might not be able to.
 *
 * Context: after new memslots are in force; slots_lock held.
 */
void kvm_xen_memslots_updated(struct kvm *kvm)
{
	lockdep_assert_held(&kvm->slots_lock);

	if (kvm_xen_in_use())
		kvm_xen_retry_deferred(kvm);
}

static void kvm_xen_service_ports(struct kvm_vcpu *vcpu)
{
	const u32 priority = KVM_IRQ_ROUTING_XEN_EVTCHN_PRIO_2LEVEL;
	unsigned long *ports = vcpu->arch.xen.deferred_ports;
	unsigned int port;
	int r;

	for_each_set_bit(port, ports, KVM_XEN_2L_NR_PORTS) {
		/*
		 * Clear first: an event that comes in between is deferred
		 * again, or finds the page and is merged.
		 */
		clear_bit(port, ports);
		r = KVM_XEN_EVTCHN_DROPPED;
		if (!READ_ONCE(vcpu->kvm->arch.xen.evtchn_fifo))
			r = __kvm_xen_raise(vcpu, port, priority, true);
		/* FIFO came into force: keep it with those that were carried over. */
		if (r == KVM_XEN_EVTCHN_DROPPED)
			kvm_xen_abi(vcpu->kvm)->defer(vcpu, port, priority);
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
	 * one; only FIFO does not care.  And let set_selector() not defer again,
	 * and count, each bit.
	 */
	if (!kvm_xen_has_evtchns(vcpu->kvm) ||
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

	/*
	 * The mode changed meanwhile; see kvm_xen_set_long_mode(), which wakes the vCPU.  If it
	 * was the ABI, the upcall finds no event.
	 */
	if (kvm_xen_abi(vcpu->kvm) != abi) {
		bitmap_fill(sels, 64);
		set_bit(KVM_XEN_DEFERRED_SEL, &vcpu->arch.xen.deferred);
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
	if (test_and_clear_bit(KVM_XEN_DEFERRED_PORTS, deferred)) {
		kvm_xen_service_ports(vcpu);
		kvm_xen_fifo_deliver_kept(vcpu->kvm);
	}
	if (test_and_clear_bit(KVM_XEN_DEFERRED_SEL, deferred))
		kvm_xen_service_sel(vcpu);
	if (test_and_clear_bit(KVM_XEN_DEFERRED_TIMER, deferred))
		kvm_xen_deliver_due_timer(vcpu);
	if (test_and_clear_bit(KVM_XEN_DEFERRED_CLOCK, deferred))
		kvm_make_request(KVM_REQ_CLOCK_UPDATE, vcpu);
	if (test_and_clear_bit(KVM_XEN_DEFERRED_WALLCLOCK, deferred))
		kvm_xen_service_wallclock(vcpu);
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
 * @data: in: the port to start from; out: the next deferred one, its priority, and
 *	  the deferred selector bits
 *
 * Context: vCPU ioctl, kvm->srcu held.  May sleep.
 *
 * Return: 0.
 */
int kvm_xen_get_deferred_attr(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data)
{
	u32 priority = KVM_IRQ_ROUTING_XEN_EVTCHN_PRIO_2LEVEL, kept_priority;
	u32 start = data->u.deferred.port, port, kept;

	/*
	 * Before FIFO came into force, or after: there may be of both.  For a port that is
	 * among both, tell of the one that waits for whatever ABI is in force.
	 */
	port = find_next_bit(vcpu->arch.xen.deferred_ports, KVM_XEN_2L_NR_PORTS,
			     min(start, KVM_XEN_2L_NR_PORTS));
	if (port >= KVM_XEN_2L_NR_PORTS)
		port = 0;

	kept = kvm_xen_fifo_next_kept(vcpu, start, &kept_priority);
	if (kept && (!port || kept < port)) {
		port = kept;
		priority = kept_priority;
	}

	data->u.deferred.port = port;
	data->u.deferred.priority = priority;
	bitmap_to_arr64(&data->u.deferred.pending_sel, vcpu->arch.xen.deferred_sel, 64);
	return 0;
}

/* Userspace adds a deferred event; in which ABI, is decided by what it says of it. */
static int kvm_xen_add_deferred_port(struct kvm_vcpu *vcpu, u32 port, u32 priority)
{
	if (!kvm_xen_opted_in(vcpu->kvm, KVM_XEN_HVM_CONFIG_EVTCHN_FIFO)) {
		priority = KVM_IRQ_ROUTING_XEN_EVTCHN_PRIO_2LEVEL;
		if (port >= KVM_XEN_2L_NR_PORTS)
			return -EINVAL;
	} else if (port >= KVM_XEN_FIFO_NR_PORTS || !kvm_xen_priority_valid(vcpu->kvm, priority)) {
		return -EINVAL;
	}

	if (!port)
		return 0;

	if (port >= KVM_XEN_2L_NR_PORTS || priority != KVM_IRQ_ROUTING_XEN_EVTCHN_PRIO_2LEVEL)
		return kvm_xen_fifo_keep(vcpu, port, priority);

	kvm_xen_defer_port(vcpu, port, priority);
	return 0;
}

/**
 * kvm_xen_set_deferred_attr - KVM_XEN_VCPU_ATTR_TYPE_EVTCHN_DEFERRED, add
 * @vcpu: the vCPU
 * @data: a port to be raised, unless it is 0, and selector bits to be set
 *
 * Context: vCPU ioctl, kvm->srcu held.  May sleep.
 *
 * Return: 0, -EINVAL if no guest has such a port or priority, -ENOMEM.
 */
int kvm_xen_set_deferred_attr(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data)
{
	DECLARE_BITMAP(sels, 64);
	unsigned int sel;
	int r;

	r = kvm_xen_add_deferred_port(vcpu, data->u.deferred.port, data->u.deferred.priority);
	if (r)
		return r;

	if (data->u.deferred.pending_sel) {
		bitmap_from_u64(sels, data->u.deferred.pending_sel);
		for_each_set_bit(sel, sels, 64)
			set_bit(sel, vcpu->arch.xen.deferred_sel);
		kvm_xen_defer(vcpu, KVM_XEN_DEFERRED_SEL);
	}
	return 0;
}
