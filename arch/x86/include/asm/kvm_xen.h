/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * State of a Xen guest: what <asm/kvm_host.h> embeds in a VM and in a vCPU.
 *
 * Fields that another CPU may read while their owner writes them are accessed
 * with READ_ONCE() and WRITE_ONCE(); each group names its owner.
 */
#ifndef _ASM_X86_KVM_XEN_H
#define _ASM_X86_KVM_XEN_H

#include <linux/atomic.h>
#include <linux/hrtimer.h>
#include <linux/kvm_types.h>
#include <linux/mutex.h>
#include <linux/seqlock.h>
#include <linux/spinlock.h>

#include <asm/pvclock-abi.h>

/* The largest port number of a guest with either ABI, plus one. */
#define KVM_XEN_2L_NR_PORTS	4096
#define KVM_XEN_FIFO_NR_PORTS	131072U

/* How many targets of events are remembered for each VM. */
#define KVM_XEN_NR_TARGETS	16

/* Ports of EVTCHNOP_send by number, a page of pointers at a time. */
#define KVM_XEN_PORTS_PER_PAGE	(PAGE_SIZE / sizeof(void *))

/* What the VMM has said of ports, likewise. */
#define KVM_XEN_BINDINGS_PER_PAGE	1024

struct kvm_xen_port_page {
	struct kvm_xen_port __rcu *ports[KVM_XEN_PORTS_PER_PAGE];
};

struct kvm_xen_abi;
struct kvm_xen_binding_page;
struct kvm_xen_fifo;
struct kvm_xen_port;

struct kvm_xen {
	/* Serializes configuration and the VM attributes; see xen.c. */
	struct mutex lock;

	/* Written under @lock, read anywhere; @abi follows from the next two. */
	const struct kvm_xen_abi *abi;
	bool long_mode;
	bool evtchn_fifo;
	u32 xen_version;
	bool hcall_fastpath;	/* hypercalls may be tried in the exit fastpath */
	bool runstate_update_flag;
	bool was_enabled;	/* the VM counts in kvm_xen_enabled, to its end */
	u8 upcall_vector;

	/* The guest's shared_info page, and whether its wallclock could not be written. */
	struct gfn_to_pfn_cache shinfo_cache;
	bool wallclock_stale;

	/*
	 * The 32-bit wallclock overlaps the 64-bit pending bitmap.  What was
	 * there before, and what replaced it, until the mode is settled.
	 */
	struct {
		bool valid;
		bool moved;	/* shared_info, since */
		u32 before[4];
		u32 written[4];
	} compat_wc;

	/* How often the guest's clock was set. */
	atomic64_t clock_changes;

	/* Changed under @lock, read in kvm->srcu; pages stay until the end. */
	struct kvm_xen_port_page *port_pages[KVM_XEN_FIFO_NR_PORTS / KVM_XEN_PORTS_PER_PAGE];

	/* Filled in under @lock; pages stay until the end; see bindings.c. */
	struct kvm_xen_binding_page *binding_pages[KVM_XEN_FIFO_NR_PORTS /
						   KVM_XEN_BINDINGS_PER_PAGE];

	/* Replaced under @lock, read in kvm->srcu; see evtchn_fifo.c. */
	struct kvm_xen_fifo __rcu *fifo;

	/* vCPUs that events were for, by the low bits of vcpu_id. */
	struct kvm_vcpu *targets[KVM_XEN_NR_TARGETS];

	/* vCPUs in SCHEDOP_poll, by vcpu_idx; nr_pollers is its weight. */
	atomic_t nr_pollers;
	unsigned long poll_mask[BITS_TO_LONGS(KVM_MAX_VCPUS)];
};

/* Reasons for kvm_xen_service_deferred(), bits of kvm_vcpu_xen.deferred. */
enum kvm_xen_deferred {
	KVM_XEN_DEFERRED_PORTS,		/* deferred_ports, or FIFO events are kept */
	KVM_XEN_DEFERRED_SEL,		/* deferred_sel is not empty */
	KVM_XEN_DEFERRED_TIMER,		/* the timer expired undelivered */
	KVM_XEN_DEFERRED_VCPU_INFO,	/* vcpu_info was needed and not mapped */
	KVM_XEN_DEFERRED_VECTOR,	/* whether to raise the local APIC vector */
	KVM_XEN_DEFERRED_CLOCK,		/* a copy of the clock could not be written */
	KVM_XEN_DEFERRED_WALLCLOCK,	/* the VM's wallclock was stale */
};

enum kvm_xen_poll_state {
	KVM_XEN_POLL_NONE,
	KVM_XEN_POLL_WAITING,
	KVM_XEN_POLL_DONE,
};

/**
 * struct kvm_xen_hcall - a hypercall, decoded once
 * @nr: hypercall number
 * @args: arguments, zero-extended if the call is a 32-bit one
 * @result: what the guest finds in RAX
 * @cpl: privilege of the caller
 * @longmode: whether the call was made from 64-bit code
 * @atomic: whether interrupts are off, so that nothing may sleep or fault
 *
 * Of a vCPU, and used by its thread only.
 */
struct kvm_xen_hcall {
	u64 nr;
	u64 args[6];
	u64 result;
	u8 cpl;
	bool longmode;
	bool atomic;
};

/* Where the VMM has the frame that an entry of the guest's page tables names. */
struct kvm_xen_frame {
	u64 pte;
	unsigned long hva;
};

struct kvm_vcpu_xen {
	/* The Xen CPUID leaves, written by KVM_SET_CPUID2. */
	struct kvm_hypervisor_cpuid cpuid;

	/* The hypercall at hand, and its linear RIP while userspace completes it. */
	struct kvm_xen_hcall hcall;
	u64 hypercall_rip;

	/* The last frames of page walks, by level from the page up to CR3's; see guest.c. */
	struct kvm_xen_frame frames[6];
	u64 frames_generation;

	/* The guest's number for this vCPU, U32_MAX while unknown. */
	u32 vcpu_id;

	/* Local APIC vector of upcalls, 0 if there is none. */
	u8 upcall_vector;

	/* The exit fastpath found an upcall; for the vCPU thread only. */
	bool upcall_found;

	struct gfn_to_pfn_cache vcpu_info_cache;
	struct gfn_to_pfn_cache vcpu_time_info_cache;

	/* Events kept while a page of the guest is out of reach; see evtchn.c. */
	unsigned long deferred;
	unsigned long deferred_sel[BITS_TO_LONGS(64)];
	unsigned long deferred_ports[BITS_TO_LONGS(KVM_XEN_2L_NR_PORTS)];

	/* SCHEDOP_poll; see poll.c. */
	atomic_t poll_state;
	u32 poll_port;
	struct hrtimer poll_timer;

	/* VIRQ_TIMER; see timer.c. */
	u32 timer_port;		/* changed under vcpu->mutex, with @timer stopped */
	u32 timer_priority;	/* likewise */
	spinlock_t timer_lock;	/* for what follows */
	bool timer_due;
	u64 timer_expires;	/* guest clock, 0 if not armed */
	u64 timer_alarm;	/* when the host timer rings; 0 if it does not */
	u64 timer_alarm_set;	/* when it was set ... */
	unsigned long timer_alarm_jiffies;	/* ... by both clocks */
	struct hrtimer timer;

	/* VIRQ_TIMER again, every period; see periodic.c.  Under timer_lock. */
	u64 periodic_ns;	/* 0 if stopped */
	u64 periodic_next;	/* guest clock; if stopped, at the last event */
	struct hrtimer periodic_timer;

	/*
	 * The clock that this vCPU's guest reads, written by the vCPU thread
	 * with interrupts off; see clock.c.
	 */
	seqcount_t clock_seq;
	bool clock_valid;
	struct pvclock_vcpu_time_info clock;
	u64 clock_tsc_offset;
	u64 clock_tsc_ratio;

	/*
	 * Runstate, changed by whoever holds vcpu->mutex; other vCPUs read in
	 * runstate_seq.  See runstate.c.
	 */
	gpa_t runstate_gpa;
	seqcount_t runstate_seq;
	atomic64_t runstate_told;	/* until when guests were told what it did; or < 0 */
	u32 runstate;
	bool runstate_auto_blocked;
	bool runstate_writing;
	u64 runstate_entry_time;
	u64 runstate_times[4];
	u64 runstate_stolen;		/* since runstate_entry_time, known so far */
	struct task_struct *run_delay_task;	/* compared, never followed */
	u64 run_delay;
};

#endif /* _ASM_X86_KVM_XEN_H */
