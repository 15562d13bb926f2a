/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Building blocks for tests of Xen guest support (KVM_CAP_XEN_HVM).
 *
 * A test drives its guest from the host, one small step at a time: put
 * arguments in registers, run a few bytes of guest code, look at the result.
 * The code bytes mean the same in every processor mode, so a step works in
 * 64-bit mode, in its 32-bit compatibility sub-mode and in real 32-bit protected
 * mode.  C functions of the test can be called in the guest too (64-bit only).
 *
 * Each test case runs in a process of its own with a time limit, see
 * xen_run_cases(): a failing assertion or a hang is one "not ok" line and the
 * other cases go on.
 */
#ifndef SELFTEST_KVM_XEN_H
#define SELFTEST_KVM_XEN_H

#include <pthread.h>
#include <stddef.h>

#include "kvm_util.h"
#include "processor.h"

/* Hypercalls and their sub-operations. */
#define HCALL_SET_TIMER	15
#define HCALL_VERSION		17
#define HCALL_VCPU		24
#define HCALL_SCHED		29
#define HCALL_EVTCHN		32

#define XENVER_VERSION		0
#define EVTCHNOP_SEND		4
#define EVTCHNOP_STATUS		5
#define EVTCHNOP_UNMASK		9
#define SCHEDOP_YIELD		0
#define SCHEDOP_BLOCK		1
#define SCHEDOP_POLL		3
#define VCPUOP_GET_RUNSTATE	4
#define VCPUOP_SET_PERIODIC	6
#define VCPUOP_STOP_PERIODIC	7
#define VCPUOP_SET_SINGLESHOT	8
#define VCPUOP_STOP_SINGLESHOT	9

#define EVTCHN_INTERDOMAIN	2
#define EVTCHN_IPI		5

/* Types of EVTCHN_PORT and EVTCHNOP_status. */
enum { STATUS_CLOSED, STATUS_UNBOUND, STATUS_INTERDOMAIN, STATUS_PIRQ, STATUS_VIRQ, STATUS_IPI };

#define XEN_2LEVEL		KVM_IRQ_ROUTING_XEN_EVTCHN_PRIO_2LEVEL
#define XEN_HCALL_MSR		0x40000000

#define NSEC_PER_MSEC		1000000ULL

/* struct vcpu_time_info: the Xen name of the pvclock ABI. */
struct xen_time_info {
	u32 version;
	u32 pad0;
	u64 tsc_timestamp;
	u64 system_time;
	u32 mul;
	s8 shift;
	u8 flags;
	u8 pad1[2];
};

#define XEN_TIME_TSC_STABLE	BIT(0)
#define XEN_TIME_GUEST_STOPPED	BIT(1)

struct xen_vcpu_info64 {
	u8 upcall_pending;
	u8 upcall_mask;
	u8 pad[6];
	u64 pending_sel;
	u64 cr2;
	u64 arch_pad;
	struct xen_time_info time;
};

struct xen_vcpu_info32 {
	u8 upcall_pending;
	u8 upcall_mask;
	u8 pad[2];
	u32 pending_sel;
	u32 cr2;
	u32 arch_pad[5];
	struct xen_time_info time;
};

struct xen_wallclock {
	u32 version;
	u32 sec;
	u32 nsec;
};

struct xen_shared_info64 {
	struct xen_vcpu_info64 vcpu_info[32];
	u64 pending[64];
	u64 mask[64];
	struct xen_wallclock wc;
	u32 wc_sec_hi;
	u64 arch[6];
};

struct xen_shared_info32 {
	struct xen_vcpu_info32 vcpu_info[32];
	u32 pending[32];
	u32 mask[32];
	struct xen_wallclock wc;
	u32 arch[6];
	u32 wc_sec_hi;
};

#define XEN_RUNSTATE_UPDATE	BIT_ULL(63)

enum { XEN_RUNNING, XEN_RUNNABLE, XEN_BLOCKED, XEN_OFFLINE };

struct xen_runstate64 {
	s32 state;
	u32 pad;
	u64 entry_time;
	u64 time[4];
};

struct xen_runstate32 {
	s32 state;
	u64 entry_time;
	u64 time[4];
} __packed;

struct xen_poll64 {
	u64 ports;
	u32 nr_ports;
	u32 pad;
	u64 timeout;
};

struct xen_poll32 {
	u32 ports;
	u32 nr_ports;
	u64 timeout;
};

/* 16 bytes for a 64-bit caller, 12 for a 32-bit one. */
struct xen_singleshot {
	u64 timeout;
	u32 flags;
	u32 pad;
};

#define XEN_CHECK_OFFSET(type, member, offset) \
	kvm_static_assert(offsetof(type, member) == (offset))

kvm_static_assert(sizeof(struct xen_time_info) == 32);
XEN_CHECK_OFFSET(struct xen_time_info, mul, 24);
XEN_CHECK_OFFSET(struct xen_time_info, flags, 29);
kvm_static_assert(sizeof(struct xen_vcpu_info64) == 64);
XEN_CHECK_OFFSET(struct xen_vcpu_info64, pending_sel, 8);
XEN_CHECK_OFFSET(struct xen_vcpu_info64, time, 32);
kvm_static_assert(sizeof(struct xen_vcpu_info32) == 64);
XEN_CHECK_OFFSET(struct xen_vcpu_info32, pending_sel, 4);
XEN_CHECK_OFFSET(struct xen_vcpu_info32, cr2, 8);
XEN_CHECK_OFFSET(struct xen_vcpu_info32, time, 32);
XEN_CHECK_OFFSET(struct xen_shared_info64, pending, 0x800);
XEN_CHECK_OFFSET(struct xen_shared_info64, mask, 0xa00);
XEN_CHECK_OFFSET(struct xen_shared_info64, wc, 0xc00);
XEN_CHECK_OFFSET(struct xen_shared_info64, wc_sec_hi, 0xc0c);
kvm_static_assert(sizeof(struct xen_shared_info64) == 0xc40);
XEN_CHECK_OFFSET(struct xen_shared_info32, pending, 0x800);
XEN_CHECK_OFFSET(struct xen_shared_info32, mask, 0x880);
XEN_CHECK_OFFSET(struct xen_shared_info32, wc, 0x900);
XEN_CHECK_OFFSET(struct xen_shared_info32, wc_sec_hi, 0x924);
kvm_static_assert(sizeof(struct xen_shared_info32) == 0x928);
kvm_static_assert(sizeof(struct xen_runstate64) == 0x30);
XEN_CHECK_OFFSET(struct xen_runstate64, entry_time, 8);
kvm_static_assert(sizeof(struct xen_runstate32) == 0x2c);
XEN_CHECK_OFFSET(struct xen_runstate32, entry_time, 4);
kvm_static_assert(sizeof(struct xen_poll64) == 24);
XEN_CHECK_OFFSET(struct xen_poll64, timeout, 16);
kvm_static_assert(sizeof(struct xen_poll32) == 16);
XEN_CHECK_OFFSET(struct xen_poll32, timeout, 8);
kvm_static_assert(sizeof(struct xen_singleshot) == 16);

/*
 * Guest memory for all that concerns Xen: one memslot, mapped at the same
 * virtual address, so that code without paging finds it at the same place.
 * XEN_HOLE is backed by nothing, neither physically nor virtually.
 */
#define XEN_MAX_VCPUS		4
#define XEN_SLOT		10
#define XEN_BASE		0x20000000UL
#define XEN_PAGE(n)		(XEN_BASE + (n) * 0x1000UL)
#define XEN_SHINFO		XEN_PAGE(0)
#define XEN_VINFO		XEN_PAGE(1)	/* a place outside shared_info */
#define XEN_TIME		XEN_PAGE(2)
#define XEN_RUNSTATE		XEN_PAGE(3)	/* two pages */
#define XEN_HCALL_PAGE		XEN_PAGE(5)
#define XEN_SPARE		XEN_PAGE(6)	/* two pages, any use */
#define XEN_CODE		XEN_PAGE(8)	/* steps; 32-bit handlers behind it */
#define XEN_TABLES32		XEN_PAGE(12)	/* IDT and GDT of 32-bit guests */
#define XEN_PGTABLES		XEN_PAGE(13)	/* three pages */
#define XEN_CPU(n)		XEN_PAGE(16 + (n))
#define XEN_STACK(n)		XEN_PAGE(20 + 2 * (n))	/* two pages each */
#define XEN_ARG(n)		XEN_PAGE(28 + (n))	/* hypercall arguments */
#define XEN_NR_PAGES		32
#define XEN_HOLE		XEN_PAGE(XEN_NR_PAGES)

/*
 * FIFO event channels: control blocks and the event array, in a memslot of their own that
 * is mapped likewise.  All of the array has memory, be it in use or not.
 */
#define XEN_FIFO_PENDING	BIT(31)
#define XEN_FIFO_MASKED		BIT(30)
#define XEN_FIFO_LINKED		BIT(29)
#define XEN_FIFO_BUSY		BIT(28)
#define XEN_FIFO_LINK		GENMASK(16, 0)

#define XEN_FIFO_NR_QUEUES	16
#define XEN_FIFO_NR_PAGES	128
#define XEN_FIFO_PER_PAGE	1024
#define XEN_FIFO_NR_PORTS	(XEN_FIFO_NR_PAGES * XEN_FIFO_PER_PAGE)

struct xen_fifo_control {
	u32 ready;
	u32 reserved;
	u32 head[XEN_FIFO_NR_QUEUES];
};

XEN_CHECK_OFFSET(struct xen_fifo_control, head, 8);
kvm_static_assert(sizeof(struct xen_fifo_control) == 72);

#define XEN_FIFO_SLOT		(XEN_SLOT + 1)
#define XEN_FIFO_BASE		(XEN_BASE + 0x100000UL)
#define XEN_FIFO_SLOT_PAGES	(XEN_MAX_VCPUS + XEN_FIFO_NR_PAGES)
#define XEN_FIFO_CONTROL(n)	(XEN_FIFO_BASE + (n) * 0x1000UL + 0x40)
#define XEN_FIFO_ARRAY(i)	(XEN_FIFO_BASE + (XEN_MAX_VCPUS + (i)) * 0x1000UL)

/* What a vCPU's interrupt handler counts and how it behaves; GS points to it. */
struct xen_cpu {
	u64 self;
	u32 vcpu_info;		/* where the handler clears upcall_pending */
	u32 flags;
	u32 fault;		/* RIP of the last exception */
	u32 nr;			/* interrupts so far ... */
	u32 log[64];		/* ... and the first vectors */
	u32 count[256];		/* interrupts by vector */
	u32 twice;		/* interrupts that came once more, not counted */
};

#define XEN_CPU_KEEP		BIT(0)	/* leave upcall_pending set */
#define XEN_CPU_EOI		BIT(1)	/* EOI the local APIC */

XEN_CHECK_OFFSET(struct xen_cpu, vcpu_info, 8);
XEN_CHECK_OFFSET(struct xen_cpu, flags, 12);
XEN_CHECK_OFFSET(struct xen_cpu, fault, 16);
XEN_CHECK_OFFSET(struct xen_cpu, nr, 20);
XEN_CHECK_OFFSET(struct xen_cpu, log, 24);
XEN_CHECK_OFFSET(struct xen_cpu, count, 280);
XEN_CHECK_OFFSET(struct xen_cpu, twice, 1304);

/* Addresses of the handlers of 64-bit guests, in handlers.S. */
extern const u64 idt_handlers[];

/* The handlers of 32-bit guests, in xen_handlers.S, which knows struct xen_cpu too. */
extern const u8 xen_handlers32[], xen_handlers32_end[];

enum xen_mode { XEN_64, XEN_32, XEN_COMPAT, XEN_REAL, XEN_USER64, XEN_USER32, XEN_VM86 };

/* Ready-made guest code.  All but SPIN end with an exit that xen_run() knows. */
enum xen_step {
	STEP_HCALL,		/* the processor's own hypercall instruction */
	STEP_HCALL_OTHER,	/* the other vendor's */
	STEP_HCALL_TF,		/* the same with the trap flag set just before */
	STEP_PAGE,		/* call the hypercall page at RBP */
	STEP_WRMSR,
	STEP_RDMSR,
	STEP_CPUID,
	STEP_WINDOW,		/* enable interrupts for an instant */
	STEP_HLT,		/* halt with interrupts enabled */
	STEP_SPIN,		/* for ever, interrupts as RFLAGS says */
	STEP_RETURN,		/* the end of a C function */
};

/* Where the guest is after the instruction of STEP_HCALL_TF. */
#define STEP_HCALL_TF_RIP	(XEN_CODE + STEP_HCALL_TF * 32 + 12)

enum xen_stop {
	XEN_RETURNED,		/* the step was completed */
	XEN_EXITED,		/* KVM_EXIT_XEN */
	XEN_FAULTED,		/* the guest took an exception */
	XEN_SIGNALLED,		/* KVM_RUN was interrupted */
	XEN_OTHER,		/* anything else, see kvm_run */
	XEN_RUNNING_YET,
};

struct xen_vm {
	struct kvm_vm *vm;
	int nr_vcpus;
	bool long_mode;		/* layout of shared_info, for the helpers below */
	void *shinfo;
	struct kvm_vcpu *vcpu[XEN_MAX_VCPUS];
	struct xen_vcpu {
		enum xen_mode mode;	/* in which steps are run */
		/*
		 * RFLAGS.IF at the start of a step or call.  Set it for loops without
		 * exits, or with hypercalls that are answered at once: emulators are
		 * known to lose the host's interrupts otherwise.
		 */
		bool irqs;
		struct xen_vcpu_info64 *info;
		pthread_t thread;
		bool started;
		int stats_fd;		/* while started; its ioctl waits for the vCPU to stop */
		enum xen_stop stop;
	} state[XEN_MAX_VCPUS];
};

/* What xen_vm_new() configures; the names are those of the test plan. */
#define XEN_CFG		BIT(0)		/* intercept hypercalls, send events */
#define XEN_SI		BIT(1)		/* LONG_MODE as the mode says, shared_info */
#define XEN_VI		BIT(2)		/* vcpu_info, the slot in shared_info */
#define XEN_UV		BIT(3)		/* one upcall vector for the VM */
#define XEN_LV		BIT(4)		/* upcall vectors for each vCPU's APIC */
#define XEN_ID		BIT(5)		/* Xen vCPU ids */
#define XEN_TM		BIT(6)		/* timer ports */
#define XEN_S		(XEN_CFG | XEN_SI | XEN_VI | XEN_UV)
#define XEN_SL		(XEN_CFG | XEN_SI | XEN_VI | XEN_LV)

#define XEN_VECTOR		0x30
#define XEN_LAPIC_VECTOR(n)	(0x50 + (n))
#define XEN_TIMER_PORT(n)	(13 + (n))
#define XEN_VCPU_ID(n)		(7 + (n))	/* not the KVM id, to tell them apart */

struct xen_vm *xen_vm_new(int nr_vcpus, enum xen_mode mode, u32 what);
void xen_vm_free(struct xen_vm *x);
void xen_setup(struct xen_vm *x, u32 what);
void xen_config(struct xen_vm *x, u32 flags, u32 msr);
void xen_set_mode(struct xen_vm *x, int n, enum xen_mode mode);

static inline void *xen_hva(struct xen_vm *x, u64 gpa)
{
	return addr_gpa2hva(x->vm, gpa);
}

static inline bool xen_is_64(struct xen_vm *x, int n)
{
	return x->state[n].mode == XEN_64 || x->state[n].mode == XEN_USER64;
}

/*
 * Attributes.  The try_ forms return 0 or an errno, the others assert success:
 *
 *	xen_set(x, LONG_MODE, long_mode, 1);
 *	err = xen_vcpu_try_set(x, 0, VCPU_INFO, gpa, XEN_SHINFO);
 *	gfn = xen_get(x, SHARED_INFO, shared_info.gfn);
 */
int xen_errno(int ret);

#define xen_try_set(x, t, field, val)						\
({										\
	struct kvm_xen_hvm_attr __a = { .type = KVM_XEN_ATTR_TYPE_##t };	\
										\
	__a.u.field = (val);							\
	xen_errno(__vm_ioctl((x)->vm, KVM_XEN_HVM_SET_ATTR, &__a));		\
})
#define xen_try_get(x, t)							\
({										\
	struct kvm_xen_hvm_attr __a = { .type = KVM_XEN_ATTR_TYPE_##t };	\
										\
	xen_errno(__vm_ioctl((x)->vm, KVM_XEN_HVM_GET_ATTR, &__a));		\
})
#define xen_get(x, t, field)							\
({										\
	struct kvm_xen_hvm_attr __a = { .type = KVM_XEN_ATTR_TYPE_##t };	\
										\
	vm_ioctl((x)->vm, KVM_XEN_HVM_GET_ATTR, &__a);				\
	__a.u.field;								\
})
#define xen_set(x, t, field, val)						\
do {										\
	int __err = xen_try_set(x, t, field, val);				\
										\
	TEST_ASSERT(!__err, "SET " #t ": %s", strerror(__err));			\
} while (0)

#define xen_vcpu_try_set(x, n, t, field, val)					\
({										\
	struct kvm_xen_vcpu_attr __a = { .type = KVM_XEN_VCPU_ATTR_TYPE_##t };	\
										\
	__a.u.field = (val);							\
	xen_errno(__vcpu_ioctl((x)->vcpu[(n)], KVM_XEN_VCPU_SET_ATTR, &__a));	\
})
#define xen_vcpu_try_get(x, n, t)						\
({										\
	struct kvm_xen_vcpu_attr __a = { .type = KVM_XEN_VCPU_ATTR_TYPE_##t };	\
										\
	xen_errno(__vcpu_ioctl((x)->vcpu[n], KVM_XEN_VCPU_GET_ATTR, &__a));	\
})
#define xen_vcpu_get(x, n, t, field)						\
({										\
	struct kvm_xen_vcpu_attr __a = { .type = KVM_XEN_VCPU_ATTR_TYPE_##t };	\
										\
	vcpu_ioctl((x)->vcpu[n], KVM_XEN_VCPU_GET_ATTR, &__a);			\
	__a.u.field;								\
})
#define xen_vcpu_set(x, n, t, field, val)					\
do {										\
	int __err = xen_vcpu_try_set(x, n, t, field, val);			\
										\
	TEST_ASSERT(!__err, "SET " #t " of vCPU %d: %s", n, strerror(__err));	\
} while (0)

int xen_try_set_timer(struct xen_vm *x, int n, u32 port, u32 priority, u64 expires);
void xen_set_timer(struct xen_vm *x, int n, u32 port, u64 expires);
int xen_try_evtchn(struct xen_vm *x, u32 flags, u32 send_port, u32 type, u32 port, u32 vcpu);
int xen_try_evtchn_priority(struct xen_vm *x, u32 flags, u32 send_port, u32 type, u32 port,
			    u32 vcpu, u32 priority);
void xen_assign(struct xen_vm *x, u32 type, u32 send_port, u32 port, u32 vcpu);
int xen_try_eventfd(struct xen_vm *x, u32 send_port, int fd);
int xen_try_set_port(struct xen_vm *x, u32 port, u32 type, u32 vcpu, u32 priority);
void xen_set_port(struct xen_vm *x, u32 port, u32 type, u32 vcpu);
int xen_try_send_priority(struct xen_vm *x, u32 port, u32 vcpu, u32 priority);
int xen_try_send(struct xen_vm *x, u32 port, u32 vcpu);
void xen_send(struct xen_vm *x, u32 port, u32 vcpu);
bool xen_try_stat(struct xen_vm *x, int n, const char *name, u64 *value);

/*
 * What the kernel has allocated, to see that it does not become more and more.
 * Always the same with kmemleak, which sees by itself: debug kernels keep for a
 * while what was freed.
 */
u64 xen_slab_kb(void);

/* The guest clock as the host sees it, and real time. */
u64 xen_now(struct xen_vm *x);
u64 xen_in_ms(struct xen_vm *x, u64 ms);
void xen_sleep_until(struct xen_vm *x, u64 deadline);
void xen_set_now(struct xen_vm *x, u64 clock);
u64 xen_real_ns(clockid_t clock);
void xen_sleep_ms(u64 ms);

/*
 * Running the guest.  xen_run() blocks until the vCPU stops; a hang ends with
 * the case's time limit.  xen_start() does it in a thread: xen_wait() gives
 * XEN_RUNNING_YET after @ms milliseconds, xen_interrupt() interrupts it.  xen_sleeps()
 * waits until it sleeps in the kernel, and tells whether it still does not stop after
 * @ms milliseconds.
 */
void xen_prepare(struct xen_vm *x, int n, enum xen_step step);
enum xen_stop xen_run(struct xen_vm *x, int n);
void xen_start(struct xen_vm *x, int n);
enum xen_stop xen_wait(struct xen_vm *x, int n, u64 ms);
bool xen_sleeps(struct xen_vm *x, int n, u64 ms);
enum xen_stop xen_interrupt(struct xen_vm *x, int n);
void xen_expect(struct xen_vm *x, int n, enum xen_stop got, enum xen_stop want);
u64 xen_result(struct xen_vm *x, int n);

/* One whole step on vCPU @n, which must return. */
void xen_step(struct xen_vm *x, int n, enum xen_step step);
#define xen_window(x, n)	xen_step(x, n, STEP_WINDOW)

/* Call a C function in a 64-bit guest. */
void xen_prepare_call(struct xen_vm *x, int n, void *fn, u64 a, u64 b, u64 c);
#define xen_call(x, n, fn, a, b, c)						\
({										\
	xen_prepare_call(x, n, fn, (u64)(a), (u64)(b), (u64)(c));		\
	xen_expect(x, n, xen_run(x, n), XEN_RETURNED);				\
	xen_result(x, n);							\
})

/* Returns 0 or the vector of the exception. */
u32 xen_wrmsr(struct xen_vm *x, int n, u32 msr, u64 val);
u32 xen_rdmsr(struct xen_vm *x, int n, u32 msr, u64 *val);

/*
 * A hypercall by vCPU @n with up to six arguments: xen_hcall() asserts that
 * the kernel answers it, xen_hcall_exits() that it comes to the VMM and leaves
 * it uncompleted, xen_hcall_start() does not wait.
 */
void xen_prepare_hcall(struct xen_vm *x, int n, u64 nr, const u64 *args);
s64 __xen_hcall(struct xen_vm *x, int n, u64 nr, const u64 *args);
struct kvm_xen_exit *__xen_hcall_exits(struct xen_vm *x, int n, u64 nr, const u64 *args);
#define xen_hcall(x, n, nr, ...)	__xen_hcall(x, n, nr, (u64[6]) { __VA_ARGS__ })
#define xen_hcall_exits(x, n, nr, ...) \
	__xen_hcall_exits(x, n, nr, (u64[6]) { __VA_ARGS__ })
#define xen_hcall_start(x, n, nr, ...)						\
do {										\
	xen_prepare_hcall(x, n, nr, (u64[6]) { __VA_ARGS__ });			\
	xen_start(x, n);							\
} while (0)

/* Arguments in guest memory, in the layout of the calling mode; returns their address. */
u64 xen_put_poll(struct xen_vm *x, int n, u64 timeout, u32 nr, const u32 *ports);
u64 xen_put_singleshot(struct xen_vm *x, int n, u64 timeout, u32 flags);
s64 xen_set_timer_op(struct xen_vm *x, int n, u64 timeout);
s64 xen_singleshot(struct xen_vm *x, int n, u64 timeout, u32 flags);

/* shared_info and vcpu_info, in the layout that x->long_mode says. */
bool xen_pending(struct xen_vm *x, u32 port);
void xen_put_pending(struct xen_vm *x, u32 port, bool on);
bool xen_masked(struct xen_vm *x, u32 port);
void xen_put_mask(struct xen_vm *x, u32 port, bool on);
u32 xen_nr_ports(struct xen_vm *x);
void xen_put_vcpu_info(struct xen_vm *x, int n, u64 gpa);
u8 xen_flag(struct xen_vm *x, int n);
void xen_put_flag(struct xen_vm *x, int n, u8 val);
u64 xen_sel(struct xen_vm *x, int n);
void xen_put_sel(struct xen_vm *x, int n, u64 sel);
u64 xen_sel_bit(struct xen_vm *x, u32 port);
struct xen_wallclock *xen_wallclock(struct xen_vm *x);
void xen_clear_events(struct xen_vm *x);

/*
 * FIFO event channels.  xen_fifo_enter() plays a guest that calls EVTCHNOP_init_control
 * on all of its vCPUs, and EVTCHNOP_expand_array @nr_pages times.
 */
void xen_fifo_opt_in(struct xen_vm *x);
void xen_fifo_add_memory(struct xen_vm *x);
int xen_fifo_try_abi(struct xen_vm *x, u32 abi, u32 flags);
int xen_fifo_try_array(struct xen_vm *x, u32 index, u64 gfn);
void xen_fifo_enter(struct xen_vm *x, int nr_pages);
void xen_fifo_tails(struct xen_vm *x, int n, u32 *tails);

static inline u32 *xen_fifo_word(struct xen_vm *x, u32 port)
{
	return (u32 *)xen_hva(x, XEN_FIFO_ARRAY(0)) + port;
}

static inline struct xen_fifo_control *xen_fifo_control(struct xen_vm *x, int n)
{
	return xen_hva(x, XEN_FIFO_CONTROL(n));
}

/* Who consumes the events of a vCPU, in the guest or in its stead. */
struct xen_fifo_consumer {
	u8 *flag;			/* evtchn_upcall_pending */
	struct xen_fifo_control *control;
	u32 *words;
	u32 next[XEN_FIFO_NR_QUEUES];	/* where to go on; 0: at the head */
	u32 nr_bad;			/* words that were not LINKED */
};

static inline u32 xen_fifo_take_ready(struct xen_fifo_consumer *c)
{
	return __atomic_exchange_n(&c->control->ready, 0, __ATOMIC_SEQ_CST);
}

/* Take the first event off queue @q, which is in @ready unless it was the last one. */
static inline u32 xen_fifo_dequeue(struct xen_fifo_consumer *c, int q, u32 *ready)
{
	u32 port = c->next[q] ?: READ_ONCE(c->control->head[q]);
	u32 word = READ_ONCE(c->words[port]), seen;

	while ((seen = __sync_val_compare_and_swap(&c->words[port], word,
						   word & ~(XEN_FIFO_LINKED | XEN_FIFO_LINK))) !=
	       word)
		word = seen;
	if (!(word & XEN_FIFO_LINKED))
		c->nr_bad++;
	c->next[q] = word & XEN_FIFO_LINK;
	if (!c->next[q])
		*ready &= ~BIT(q);
	return port;
}

/* As a guest's upcall does it; @handle has to clear PENDING. */
static inline void xen_fifo_consume(struct xen_fifo_consumer *c,
				    void (*handle)(void *arg, u32 port, int q), void *arg)
{
	u32 ready, port;
	int q;

	__atomic_exchange_n(c->flag, 0, __ATOMIC_SEQ_CST);
	for (ready = xen_fifo_take_ready(c); ready; ready |= xen_fifo_take_ready(c)) {
		q = __builtin_ctz(ready);
		port = xen_fifo_dequeue(c, q, &ready);
		if ((READ_ONCE(c->words[port]) & (XEN_FIFO_PENDING | XEN_FIFO_MASKED)) ==
		    XEN_FIFO_PENDING)
			handle(arg, port, q);
	}
}

/* Interrupts that vCPU @n's handler saw. */
static inline struct xen_cpu *xen_cpu(struct xen_vm *x, int n)
{
	return xen_hva(x, XEN_CPU(n));
}

static inline u32 xen_count(struct xen_vm *x, int n, u8 vector)
{
	return READ_ONCE(xen_cpu(x, n)->count[vector]);
}

bool xen_irr(struct xen_vm *x, int n, u8 vector);
void xen_lapic_enable(struct xen_vm *x, int n, bool on);
void xen_send_msi(struct xen_vm *x, int n, u32 data);

/* For C code in the guest. */
s64 xen_guest_hcall(u64 nr, u64 a0, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5);
u64 xen_guest_now(const struct xen_time_info *time);

/* The TSCs of two CPUs may differ by a little: take a small step back for what it is. */
static inline u64 xen_scale(const struct xen_time_info *time, u64 tsc)
{
	s64 delta = tsc - time->tsc_timestamp;
	u64 ticks = delta < 0 ? -delta : delta, ns;

	ticks = time->shift < 0 ? ticks >> -time->shift : ticks << time->shift;
	ns = ((unsigned __int128)ticks * time->mul) >> 32;
	return time->system_time + (delta < 0 ? -ns : ns);
}

/*
 * The TAP runner.  Options of a test program: -l lists the cases, -t TEXT runs
 * those whose names contain TEXT, -x TEXT skips such (say, what an emulator cannot
 * do), -T SECONDS changes the time limit per case, -S FACTOR says how much slower than
 * a usual one the machine is.
 *
 * A test with random in it sets xen_seconds, the budget of all its cases together,
 * which -d SECONDS changes.  Its cases use guest_random_seed, which -s SEED sets, and
 * go on for xen_case_ms().
 */
extern u32 xen_seconds;
u64 xen_case_ms(void);

/* For what has to be done by then, on a usual machine in much less time. */
extern u32 xen_slower;

static inline u64 xen_ms(u64 ms)
{
	return ms * xen_slower;
}

struct xen_case {
	const char *name;
	void (*fn)(void);
	u32 caps;		/* KVM_XEN_HVM_CONFIG_* bits it needs */
};

int xen_run_cases(int argc, char *argv[], const struct xen_case *cases, int nr);

/* Cases for callers of all kinds.  A guest in compatibility mode has the 64-bit layout. */
#define IN_64_BIT(fn)						\
static void in_64_bit_##fn(void)				\
{								\
	fn(XEN_64);						\
}

#define IN_32_BIT(fn)						\
static void in_32_bit_##fn(void)				\
{								\
	fn(XEN_32);						\
}

#define IN_COMPAT(fn)						\
static void in_compat_##fn(void)				\
{								\
	fn(XEN_COMPAT);						\
}

#endif /* SELFTEST_KVM_XEN_H */
