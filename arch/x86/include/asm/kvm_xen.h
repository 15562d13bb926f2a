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
#include <linux/xarray.h>

#include <asm/pvclock-abi.h>

/* The largest port number of any 2-level guest, plus one. */
#define KVM_XEN_2L_NR_PORTS	4096

struct kvm_xen {
	/* Serializes configuration and the VM attributes; see xen.c. */
	struct mutex lock;

	/* Written under @lock, read anywhere. */
	u32 xen_version;
	bool long_mode;
	bool runstate_update_flag;
	u8 upcall_vector;

	/* The guest's shared_info page. */
	struct gfn_to_pfn_cache shinfo_cache;

	/*
	 * The 32-bit wallclock overlaps the 64-bit pending bitmap.  What was
	 * there before, and what replaced it, until the mode is settled.
	 */
	struct {
		bool valid;
		u32 before[4];
		u32 written[4];
	} compat_wc;

	/* Ports of EVTCHNOP_send: changed under @lock, read in kvm->srcu. */
	struct xarray evtchn_ports;

	/* vCPUs in SCHEDOP_poll, by vcpu_idx; nr_pollers is its weight. */
	atomic_t nr_pollers;
	unsigned long poll_mask[BITS_TO_LONGS(KVM_MAX_VCPUS)];
};

/* Reasons for kvm_xen_service_deferred(), bits of kvm_vcpu_xen.deferred. */
enum kvm_xen_deferred {
	KVM_XEN_DEFERRED_PORTS,		/* deferred_ports is not empty */
	KVM_XEN_DEFERRED_SEL,		/* deferred_sel is not empty */
	KVM_XEN_DEFERRED_TIMER,		/* the timer expired undelivered */
	KVM_XEN_DEFERRED_VCPU_INFO,	/* vcpu_info was needed and not mapped */
	KVM_XEN_DEFERRED_VECTOR,	/* whether to raise the local APIC vector */
};

enum kvm_xen_poll_state {
	KVM_XEN_POLL_NONE,
	KVM_XEN_POLL_WAITING,
	KVM_XEN_POLL_DONE,
};

struct kvm_vcpu_xen {
	/* The Xen CPUID leaves, written by KVM_SET_CPUID2. */
	struct kvm_hypervisor_cpuid cpuid;

	/* Linear RIP of the hypercall that userspace is completing. */
	u64 hypercall_rip;

	/* The guest's number for this vCPU, U32_MAX while unknown. */
	u32 vcpu_id;

	/* Local APIC vector of upcalls, 0 if there is none. */
	u8 upcall_vector;

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
	u32 timer_port;		/* changed under vcpu->mutex, with the timer stopped */
	spinlock_t timer_lock;	/* for what follows */
	bool timer_due;
	u64 timer_expires;	/* guest clock, 0 if not armed */
	struct hrtimer timer;

	/*
	 * The clock that this vCPU's guest reads, written by the vCPU thread
	 * with interrupts off; see clock.c.
	 */
	seqcount_t clock_seq;
	bool clock_valid;
	struct pvclock_vcpu_time_info clock;
	u64 clock_tsc_offset;
	u64 clock_tsc_ratio;

	/* Runstate, owned by whoever holds vcpu->mutex; see runstate.c. */
	gpa_t runstate_gpa;
	u32 runstate;
	bool runstate_auto_blocked;
	bool runstate_writing;
	u64 runstate_entry_time;
	u64 runstate_times[4];
	struct task_struct *run_delay_task;	/* compared, never followed */
	u64 run_delay;
};

#endif /* _ASM_X86_KVM_XEN_H */
