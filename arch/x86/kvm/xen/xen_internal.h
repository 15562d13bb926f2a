/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Xen guest support: what its own files share.
 *
 *   xen.c            life cycle, configuration, attributes
 *   xen/hypercall.c  hypercall page, decoding, dispatch, KVM_EXIT_XEN
 *   xen/guest.c      access to the guest's shared pages and arguments
 *   xen/evtchn.c     raising events, routing, deferred delivery
 *   xen/ports.c      ports of EVTCHNOP_send
 *   xen/bindings.c   what the VMM says of ports, EVTCHNOP_unmask and _status
 *   xen/upcall.c     upcalls
 *   xen/evtchn_2l.c  the 2-level event channel ABI
 *   xen/evtchn_fifo.c  the FIFO event channel ABI
 *   xen/poll.c       SCHEDOP_poll, SCHEDOP_block and SCHEDOP_yield
 *   xen/timer.c      VIRQ_TIMER, once
 *   xen/periodic.c   VIRQ_TIMER, periodically
 *   xen/runstate.c   runstate accounting
 *   xen/clock.c      the guest's clock, its copies, the wallclock
 *
 * Lock order (each is optional):
 *
 *   vcpu->mutex, kvm->slots_lock (after its synchronize_srcu())
 *     kvm->arch.xen.lock      never across synchronize_srcu()
 *       kvm->srcu (read)      may also be entered first
 *         fifo->deliver_lock
 *           gpc->refresh_lock inside kvm_gpc_refresh() and friends
 *           xen.timer_lock    irq-safe
 *             fifo queue      irq-safe; of two, the one at the lower address first
 *               gpc->lock     irq-safe; a second and third only by trylock
 *             fifo->kept_lock irq-safe
 *
 * No page of the guest is used without gpc->lock and a successful
 * kvm_gpc_check(), so none is used after the memory behind it has gone: the
 * MMU notifier, its release included, invalidates the cache first.  (One byte is
 * read without, for a hint; see kvm_xen_upcall_likely().)
 *
 * The guest's mode and ABI are latched once per operation, by kvm_xen_abi().
 */
#ifndef __ARCH_X86_KVM_XEN_INTERNAL_H__
#define __ARCH_X86_KVM_XEN_INTERNAL_H__

#include <linux/kvm_host.h>
#include <linux/uaccess.h>

#include <asm/rmwcc.h>
#include <xen/interface/xen.h>
#include <xen/interface/event_channel.h>

#include "xen.h"

#define KVM_XEN_VCPU_INFO_SIZE	64
#define KVM_XEN_TIME_INFO_OFFSET 32	/* in vcpu_info, of both layouts */
#define KVM_XEN_TIME_INFO_SIZE	32

/**
 * struct kvm_xen_abi - how one kind of guest lays out what it shares
 * @nr_ports: ports are numbered from 1 to @nr_ports - 1
 * @word_bits: width of an event word, i.e. ports per selector bit
 * @pending: offset in shared_info of the pending bitmap
 * @mask: offset in shared_info of the mask bitmap
 * @wc: offset in shared_info of wc_version, wc_sec and wc_nsec
 * @wc_sec_hi: offset in shared_info of wc_sec_hi
 * @sel: offset in vcpu_info of evtchn_pending_sel
 * @runstate_size: size of vcpu_runstate_info
 * @runstate_entry: offset in vcpu_runstate_info of state_entry_time
 * @raise: latch an event and tell the vCPU where to look; KVM_XEN_EVTCHN_*
 * @unmask: unmask a port and raise what is pending, as EVTCHNOP_unmask does;
 *	    KVM_XEN_EVTCHN_UNREACHABLE or anything else
 * @defer: keep an event that was KVM_XEN_EVTCHN_UNREACHABLE for later
 * @set_selector: set what a vCPU looks at first; whether it has to be notified
 * @test_pending: is an event latched?  0, 1, or -EFAULT
 *
 * Offsets are those of Xen's public headers (public/arch-x86/xen-x86_32.h,
 * xen-x86_64.h, public/vcpu.h).
 */
struct kvm_xen_abi {
	u32 nr_ports;
	u16 word_bits;
	u16 pending;
	u16 mask;
	u16 wc;
	u16 wc_sec_hi;
	u16 sel;
	u16 runstate_size;
	u16 runstate_entry;
	int (*raise)(struct kvm_vcpu *vcpu, const struct kvm_xen_abi *abi, u32 port,
		     u32 priority, bool can_sleep);
	int (*unmask)(struct kvm_vcpu *vcpu, const struct kvm_xen_abi *abi, u32 port,
		      u32 priority, bool can_sleep);
	void (*defer)(struct kvm_vcpu *vcpu, u32 port, u32 priority);
	bool (*set_selector)(struct kvm_vcpu *vcpu, const struct kvm_xen_abi *abi, u32 port,
			     bool can_sleep);
	int (*test_pending)(struct kvm *kvm, const struct kvm_xen_abi *abi, u32 port);
};

/* What both event channel ABIs have in common, of a 32-bit and of a 64-bit guest. */
#define KVM_XEN_LAYOUT_32			\
	.word_bits	= 32,			\
	.pending	= 0x800,		\
	.mask		= 0x880,		\
	.wc		= 0x900,		\
	.wc_sec_hi	= 0x924,		\
	.sel		= 0x04,			\
	.runstate_size	= 0x2c,			\
	.runstate_entry	= 0x04

#define KVM_XEN_LAYOUT_64			\
	.word_bits	= 64,			\
	.pending	= 0x800,		\
	.mask		= 0xa00,		\
	.wc		= 0xc00,		\
	.wc_sec_hi	= 0xc0c,		\
	.sel		= 0x08,			\
	.runstate_size	= 0x30,			\
	.runstate_entry	= 0x08

/* Indexed by kvm->arch.xen.long_mode. */
extern const struct kvm_xen_abi kvm_xen_abi_2l[2];
extern const struct kvm_xen_abi kvm_xen_abi_fifo[2];

/* Latch the guest's layout and event channel ABI for one operation. */
static inline const struct kvm_xen_abi *kvm_xen_abi(struct kvm *kvm)
{
	/* Pairs with kvm_xen_choose_abi(): the structures of the ABI are there. */
	return smp_load_acquire(&kvm->arch.xen.abi);
}

/* The mode or the event channel ABI has changed; xen.lock is held. */
static inline void kvm_xen_choose_abi(struct kvm *kvm)
{
	const struct kvm_xen_abi *abis = kvm->arch.xen.evtchn_fifo ? kvm_xen_abi_fifo :
								     kvm_xen_abi_2l;

	/* Pairs with kvm_xen_abi(). */
	smp_store_release(&kvm->arch.xen.abi, &abis[kvm->arch.xen.long_mode]);
}

/* What the VMM has asked for in KVM_XEN_HVM_CONFIG. */
static inline bool kvm_xen_opted_in(struct kvm *kvm, u32 flag)
{
	return READ_ONCE(kvm->arch.xen_hvm_config.flags) & flag;
}

/*
 * Which ports may be configured.  With FIFO event channels, that does not depend on
 * the ABI in force, so that a VM can be restored in any order.
 */
static inline u32 kvm_xen_nr_ports(struct kvm *kvm)
{
	return kvm_xen_opted_in(kvm, KVM_XEN_HVM_CONFIG_EVTCHN_FIFO) ?
	       KVM_XEN_FIFO_NR_PORTS : kvm_xen_abi(kvm)->nr_ports;
}

static inline bool kvm_xen_priority_valid(struct kvm *kvm, u32 priority)
{
	return priority == KVM_IRQ_ROUTING_XEN_EVTCHN_PRIO_2LEVEL ||
	       (priority <= EVTCHN_FIFO_PRIORITY_MIN &&
		kvm_xen_opted_in(kvm, KVM_XEN_HVM_CONFIG_EVTCHN_FIFO));
}

/* Outcomes of raising an event, besides errnos. */
#define KVM_XEN_EVTCHN_MERGED		0
#define KVM_XEN_EVTCHN_DELIVERED	1
#define KVM_XEN_EVTCHN_MASKED		2
/* The page is out of reach and nothing has been changed. */
#define KVM_XEN_EVTCHN_UNREACHABLE	3
/* FIFO: kept until there is a place for it; or lost: no control block, or a reset. */
#define KVM_XEN_EVTCHN_KEPT		4
#define KVM_XEN_EVTCHN_DROPPED		5

/*
 * What a hypercall handler says.  "Not mine" is no errno: an errno is what the
 * guest sees, and such a call goes to userspace with nothing changed.  Of an
 * atomic call, which may simply be out of reach, it says that the handler has
 * to be asked again where it can sleep.
 */
enum kvm_xen_hcall_action {
	KVM_XEN_HCALL_DONE,
	KVM_XEN_HCALL_NOT_MINE,
};

/* Commands are C ints in Xen: the upper half of the register is ignored. */
static inline u32 kvm_xen_hcall_cmd(const struct kvm_xen_hcall *hc)
{
	return hc->args[0];
}

static inline enum kvm_xen_hcall_action kvm_xen_hcall_done(struct kvm_xen_hcall *hc, long result)
{
	hc->result = result;
	return KVM_XEN_HCALL_DONE;
}

/* An argument cannot be read.  In an atomic call it may only be swapped out. */
static inline enum kvm_xen_hcall_action kvm_xen_hcall_fault(struct kvm_xen_hcall *hc)
{
	return hc->atomic ? KVM_XEN_HCALL_NOT_MINE : kvm_xen_hcall_done(hc, -EFAULT);
}

/* hypercall.c */
int kvm_xen_set_hypercall_page_attr(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data);

/* guest.c */
bool kvm_xen_page_refresh(struct gfn_to_pfn_cache *gpc, unsigned long len);
bool __kvm_xen_page_lock(struct gfn_to_pfn_cache *gpc, unsigned long len, unsigned long *flags,
			 bool can_sleep);
int kvm_xen_page_set_gpa(struct gfn_to_pfn_cache *gpc, gpa_t gpa, unsigned long len);
int kvm_xen_page_set_hva(struct gfn_to_pfn_cache *gpc, unsigned long hva, unsigned long len);
u64 kvm_xen_page_get_gpa(struct gfn_to_pfn_cache *gpc);
u64 kvm_xen_page_get_hva(struct gfn_to_pfn_cache *gpc);
int kvm_xen_read_guest_virt(struct kvm_vcpu *vcpu, const struct kvm_xen_hcall *hc, gva_t gva,
			    void *data, unsigned int len);
int kvm_xen_write_guest_virt(struct kvm_vcpu *vcpu, gva_t gva, void *data, unsigned int len);

/**
 * kvm_xen_page_lock - get hold of a shared page
 * @gpc: cache of the page
 * @len: number of bytes that will be used, from the start of the structure
 * @flags: for kvm_xen_page_unlock()
 * @can_sleep: whether the page may be faulted in
 *
 * On success gpc->khva points to the structure, and stays valid until
 * kvm_xen_page_unlock().  No other page may be locked meanwhile but by trylock,
 * see the lock order.
 *
 * Context: kvm->srcu is held.  With @can_sleep, task context of the VMM's own
 * address space; without, any context but NMI and, on PREEMPT_RT, any that may
 * take a spinlock_t.
 *
 * Return: whether the page is accessible and locked.
 */
#define kvm_xen_page_lock(gpc, len, flags, can_sleep)			\
	__cond_lock(&(gpc)->lock, kvm_xen_try_lock_page(gpc, len, flags) ||	\
		    __kvm_xen_page_lock(gpc, len, flags, can_sleep))

/* Sparse knows of the lock from those who ask, not from here. */
static inline bool kvm_xen_try_lock_page(struct gfn_to_pfn_cache *gpc, unsigned long len,
					 unsigned long *flags)
{
	read_lock_irqsave(&gpc->lock, *flags);
	if (likely(kvm_gpc_check(gpc, len))) {
		__release(&gpc->lock);
		return true;
	}
	read_unlock_irqrestore(&gpc->lock, *flags);
	return false;
}

/**
 * kvm_xen_page_unlock - let go of a shared page
 * @gpc: cache of the page
 * @flags: from kvm_xen_page_lock()
 *
 * Context: any; ends what kvm_xen_page_lock() began.
 */
static inline void kvm_xen_page_unlock(struct gfn_to_pfn_cache *gpc, unsigned long flags)
{
	read_unlock_irqrestore(&gpc->lock, flags);
}

/*
 * Bits of 32-bit words in memory that the guest changes at the same time.
 * Never wider: the word next to it is another field, and two words may lie on
 * either side of a cache line.  Fully ordered, and without a loop that the
 * guest could prolong.
 */
static __always_inline bool kvm_xen_test_and_set_bit(u32 nr, void *base)
{
	u32 *word = (u32 *)base + nr / 32;

	instrument_atomic_read_write(word, sizeof(*word));
	return GEN_BINARY_RMWcc(LOCK_PREFIX "btsl", *word, c, "Ir", nr % 32);
}

static __always_inline bool kvm_xen_test_and_clear_bit(u32 nr, void *base)
{
	u32 *word = (u32 *)base + nr / 32;

	instrument_atomic_read_write(word, sizeof(*word));
	return GEN_BINARY_RMWcc(LOCK_PREFIX "btrl", *word, c, "Ir", nr % 32);
}

static __always_inline bool kvm_xen_test_bit(u32 nr, const void *base)
{
	return READ_ONCE(((const u32 *)base)[nr / 32]) & BIT(nr % 32);
}

/*
 * Does @vcpu's guest seem to want an upcall by the VM-wide vector?
 *
 * To be found out in a few instructions, without a lock.  So the page may be about
 * to go away: the read may fault, though only on an address of the kernel, and the
 * answer is only a hint to look again.  That address is not used for anything else
 * meanwhile, as interrupts are off and all CPUs have to answer before it is.
 */
static inline bool kvm_xen_upcall_likely(struct kvm_vcpu *vcpu)
{
	struct gfn_to_pfn_cache *gpc = &vcpu->arch.xen.vcpu_info_cache;
	u8 *flag = READ_ONCE(gpc->khva);
	u8 pending;

	lockdep_assert_irqs_disabled();

	if (!flag || !READ_ONCE(gpc->valid))
		return false;

	__get_kernel_nofault(&pending, flag, u8, fault);
	return unlikely(pending) && READ_ONCE(vcpu->kvm->arch.xen.upcall_vector);
fault:
	return false;
}

/* evtchn_fifo.c */
int kvm_xen_get_evtchn_abi(struct kvm *kvm, struct kvm_xen_hvm_attr *data);
int kvm_xen_set_evtchn_abi(struct kvm *kvm, struct kvm_xen_hvm_attr *data);
int kvm_xen_get_evtchn_array(struct kvm *kvm, struct kvm_xen_hvm_attr *data);
int kvm_xen_set_evtchn_array(struct kvm *kvm, struct kvm_xen_hvm_attr *data);
int kvm_xen_get_evtchn_control(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data);
int kvm_xen_set_evtchn_control(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data);
int kvm_xen_get_evtchn_tails(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data);
int kvm_xen_set_evtchn_tails(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data);
void kvm_xen_destroy_fifo(struct kvm *kvm);
int kvm_xen_fifo_keep(struct kvm_vcpu *vcpu, u32 port, u32 priority);
u32 kvm_xen_fifo_next_kept(struct kvm_vcpu *vcpu, u32 port, u32 *priority);
bool kvm_xen_fifo_in_use(struct kvm *kvm);
bool kvm_xen_fifo_keeps_events(struct kvm *kvm);
void kvm_xen_fifo_deliver_kept(struct kvm *kvm);

/* evtchn.c */
int __kvm_xen_raise(struct kvm_vcpu *vcpu, u32 port, u32 priority, bool can_sleep);
int kvm_xen_raise(struct kvm_vcpu *vcpu, u32 port, u32 priority);
void kvm_xen_event_raised(struct kvm_vcpu *vcpu, u32 port, int r);
void __kvm_xen_defer(struct kvm_vcpu *vcpu, enum kvm_xen_deferred reason);
void kvm_xen_defer(struct kvm_vcpu *vcpu, enum kvm_xen_deferred reason);
void kvm_xen_retry_deferred(struct kvm *kvm);
void kvm_xen_service_deferred(struct kvm_vcpu *vcpu);
int kvm_xen_get_deferred_attr(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data);
int kvm_xen_set_deferred_attr(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data);
void kvm_xen_defer_port(struct kvm_vcpu *vcpu, u32 port, u32 priority);

/*
 * kvm_get_vcpu_by_id() for those who do it all the time.  A vCPU that was found once
 * is there as long as its VM, and so is what has been remembered of it.
 */
static inline struct kvm_vcpu *kvm_xen_find_vcpu(struct kvm *kvm, u32 vcpu_id)
{
	struct kvm_vcpu **target = &kvm->arch.xen.targets[vcpu_id % KVM_XEN_NR_TARGETS];
	struct kvm_vcpu *vcpu = READ_ONCE(*target);

	if (likely(vcpu && vcpu->vcpu_id == vcpu_id))
		return vcpu;

	vcpu = kvm_get_vcpu_by_id(kvm, vcpu_id);
	if (vcpu)
		smp_store_release(target, vcpu);	/* pairs with READ_ONCE() above */
	return vcpu;
}

/* ports.c */
int kvm_xen_set_evtchn_attr(struct kvm *kvm, struct kvm_xen_hvm_attr *data);
void kvm_xen_destroy_ports(struct kvm *kvm);
enum kvm_xen_hcall_action kvm_xen_event_channel_op(struct kvm_vcpu *vcpu,
						   struct kvm_xen_hcall *hc);

/* bindings.c */
int kvm_xen_set_evtchn_port(struct kvm *kvm, struct kvm_xen_hvm_attr *data);
int kvm_xen_get_evtchn_port(struct kvm *kvm, struct kvm_xen_hvm_attr *data);
struct kvm_vcpu *kvm_xen_port_vcpu(struct kvm *kvm, u32 port, u32 *priority);
void kvm_xen_destroy_bindings(struct kvm *kvm);
enum kvm_xen_hcall_action kvm_xen_evtchnop_unmask(struct kvm_vcpu *vcpu,
						  struct kvm_xen_hcall *hc);
enum kvm_xen_hcall_action kvm_xen_evtchnop_status(struct kvm_vcpu *vcpu,
						  struct kvm_xen_hcall *hc);

/* upcall.c */
void kvm_xen_notify(struct kvm_vcpu *vcpu);
void kvm_xen_unmask_upcalls(struct kvm_vcpu *vcpu, bool can_sleep);

/* poll.c */
void __kvm_xen_wake_pollers(struct kvm *kvm, u32 port);
void kvm_xen_wake_poller(struct kvm_vcpu *vcpu);
void kvm_xen_init_poll(struct kvm_vcpu *vcpu);
void kvm_xen_destroy_poll(struct kvm_vcpu *vcpu);
void kvm_xen_end_poll(struct kvm_vcpu *vcpu);
enum kvm_xen_hcall_action kvm_xen_sched_op(struct kvm_vcpu *vcpu, struct kvm_xen_hcall *hc);

/**
 * kvm_xen_wake_pollers - a port became pending
 * @kvm: the VM
 * @port: the port
 *
 * Wakes all vCPUs that wait for @port or for any, whomever it is bound to, as
 * Xen's evtchn_check_pollers().  The caller has set the pending bit by a fully
 * ordered operation.
 *
 * Context: any but NMI.
 */
static inline void kvm_xen_wake_pollers(struct kvm *kvm, u32 port)
{
	/* Pairs with the barrier in kvm_xen_begin_poll(). */
	if (unlikely(atomic_read(&kvm->arch.xen.nr_pollers)))
		__kvm_xen_wake_pollers(kvm, port);
}

/* timer.c */
void kvm_xen_init_timer(struct kvm_vcpu *vcpu);
void kvm_xen_destroy_timer(struct kvm_vcpu *vcpu);
void kvm_xen_reprogram_timer(struct kvm_vcpu *vcpu);
void kvm_xen_move_alarm(struct kvm_vcpu *vcpu);
void kvm_xen_deliver_due_timer(struct kvm_vcpu *vcpu);
int kvm_xen_get_timer_attr(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data);
int kvm_xen_set_timer_attr(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data);
enum kvm_xen_hcall_action kvm_xen_vcpuop_singleshot(struct kvm_vcpu *vcpu,
						    struct kvm_xen_hcall *hc);
enum kvm_xen_hcall_action kvm_xen_set_timer_op(struct kvm_vcpu *vcpu, struct kvm_xen_hcall *hc);

/* periodic.c */
void kvm_xen_init_periodic(struct kvm_vcpu *vcpu);
void kvm_xen_destroy_periodic(struct kvm_vcpu *vcpu);
void kvm_xen_resume_periodic(struct kvm_vcpu *vcpu);
void kvm_xen_periodic_clock_was_set(struct kvm_vcpu *vcpu);
int kvm_xen_get_periodic_attr(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data);
int kvm_xen_set_periodic_attr(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data);
enum kvm_xen_hcall_action kvm_xen_vcpuop_periodic(struct kvm_vcpu *vcpu, struct kvm_vcpu *target,
						  struct kvm_xen_hcall *hc);

/* runstate.c */
enum kvm_xen_hcall_action kvm_xen_vcpuop_runstate(struct kvm_vcpu *vcpu, struct kvm_vcpu *target,
						  struct kvm_xen_hcall *hc);
int kvm_xen_get_runstate_attr(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data);
int kvm_xen_set_runstate_attr(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data);

/* clock.c */
u64 kvm_xen_guest_now(struct kvm_vcpu *vcpu, s64 *host_now);
ktime_t kvm_xen_host_expiry(s64 host_now, s64 delta);
int kvm_xen_update_wallclock(struct kvm *kvm);
void kvm_xen_service_wallclock(struct kvm_vcpu *vcpu);
int kvm_xen_set_long_mode(struct kvm *kvm, bool long_mode);

#endif /* __ARCH_X86_KVM_XEN_INTERNAL_H__ */
