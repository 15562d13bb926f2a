// SPDX-License-Identifier: GPL-2.0-only
/*
 * Hypercalls that are answered right after the exit, with interrupts off: which
 * ones are, that they do the same as on the ordinary path, and what goes the
 * ordinary path instead, with nothing done twice.  Likewise, upcalls and interrupt
 * windows.
 *
 * A case fails when the statistic xen_hypercalls_fast does not move as told, or
 * when the outcome differs from that of the ordinary path.  The cases are skipped
 * where KVM has no such path: on AMD processors without NRIPS, on PREEMPT_RT, and
 * in Linux 6.12 itself.
 *
 * Emulated AMD of Bochs 2.7 dies in the exits of HC26: use -x HC26.
 */
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hyperv.h"
#include "xen.h"

#define A		5
#define B		100
#define VERSION		0x40011
#define ALL		(XEN_S | XEN_ID | XEN_TM)
#define FAR		(3600 * 1000 * NSEC_PER_MSEC)

static u64 stat(struct xen_vm *x, const char *name)
{
	u64 value;

	TEST_ASSERT(xen_try_stat(x, 0, name, &value), "no statistic %s", name);
	return value;
}

static bool has_nrips(void)
{
	FILE *file = fopen("/sys/module/kvm_amd/parameters/nrips", "r");
	int nrips = 0;

	TEST_ASSERT(file && fscanf(file, "%d", &nrips) == 1, "no parameter nrips");
	fclose(file);
	return nrips;
}

static struct xen_vm *new_vm(int nr_vcpus, enum xen_mode mode)
{
	struct xen_vm *x;
	u64 value;

	if (host_cpu_is_amd && !has_nrips())
		ksft_exit_skip("kvm_amd without NRIPS\n");
	if (!access("/sys/kernel/realtime", F_OK))
		ksft_exit_skip("a PREEMPT_RT kernel\n");

	x = xen_vm_new(nr_vcpus, mode, ALL);
	if (!xen_try_stat(x, 0, "xen_hypercalls_fast", &value))
		ksft_exit_skip("KVM without the statistic xen_hypercalls_fast\n");
	xen_set(x, XEN_VERSION, xen_version, VERSION);
	xen_assign(x, EVTCHN_IPI, A, A, 0);
	return x;
}

/* Assert how many hypercalls @stmt made the kernel answer at once, and in all. */
#define EXPECT_CALLS(x, fast, all, stmt)					\
do {										\
	struct xen_vm *__x = (x);						\
	u64 __fast = stat(__x, "xen_hypercalls_fast");				\
	u64 __all = stat(__x, "xen_hypercalls");				\
										\
	stmt;									\
	TEST_ASSERT_EQ(stat(__x, "xen_hypercalls_fast") - __fast, fast);	\
	TEST_ASSERT_EQ(stat(__x, "xen_hypercalls") - __all, all);		\
} while (0)

static s64 send(struct xen_vm *x, u32 port)
{
	*(u32 *)xen_hva(x, XEN_ARG(0)) = port;
	return xen_hcall(x, 0, HCALL_EVTCHN, EVTCHNOP_SEND, XEN_ARG(0));
}

static void calls(enum xen_mode mode)
{
	struct xen_vm *x = new_vm(1, mode);
	int fd = eventfd(0, 0);
	u64 value;

	EXPECT_CALLS(x, 1, 1, TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_VERSION, XENVER_VERSION),
					     VERSION));

	xen_put_mask(x, A, true);
	EXPECT_CALLS(x, 1, 1, TEST_ASSERT_EQ(send(x, A), 0));
	TEST_ASSERT(xen_pending(x, A), "not pending");
	TEST_ASSERT_EQ(xen_flag(x, 0), 0);
	EXPECT_CALLS(x, 1, 1, TEST_ASSERT_EQ(send(x, A), 0));
	xen_put_mask(x, A, false);
	xen_put_pending(x, A, false);
	EXPECT_CALLS(x, 1, 1, TEST_ASSERT_EQ(send(x, A), 0));
	TEST_ASSERT_EQ(xen_flag(x, 0), 1);
	TEST_ASSERT_EQ(stat(x, "xen_events_sent"), 3);
	TEST_ASSERT_EQ(stat(x, "xen_events_masked"), 1);
	TEST_ASSERT_EQ(stat(x, "xen_events_merged"), 1);
	TEST_ASSERT_EQ(stat(x, "xen_events_delivered"), 1);
	xen_clear_events(x);

	TEST_ASSERT_EQ(xen_try_eventfd(x, B, fd), 0);
	EXPECT_CALLS(x, 1, 1, TEST_ASSERT_EQ(send(x, B), 0));
	TEST_ASSERT(read(fd, &value, sizeof(value)) == sizeof(value) && value == 1,
		    "eventfd was not signalled once");

	EXPECT_CALLS(x, 1, 1, TEST_ASSERT_EQ(xen_set_timer_op(x, 0, FAR), 0));
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, TIMER, timer.expires_ns), FAR);
	EXPECT_CALLS(x, 1, 1, TEST_ASSERT_EQ(xen_singleshot(x, 0, 2 * FAR, 0), 0));
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, TIMER, timer.expires_ns), 2 * FAR);
	EXPECT_CALLS(x, 1, 1, TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_VCPU, VCPUOP_STOP_SINGLESHOT,
						       XEN_VCPU_ID(0)), 0));
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, TIMER, timer.expires_ns), 0);

	/* A deadline that is past fires at once. */
	EXPECT_CALLS(x, 1, 1, TEST_ASSERT_EQ(xen_singleshot(x, 0, 1, 0), 0));
	TEST_ASSERT(xen_pending(x, XEN_TIMER_PORT(0)), "timer did not fire");
}

static void test_calls(void)
{
	calls(XEN_64);
}

static void test_calls_32(void)
{
	calls(XEN_32);
}

static void test_calls_compat(void)
{
	calls(XEN_COMPAT);
}

/* EVTCHNOP_unmask, if the VMM asks for it. */
static s64 unmask(struct xen_vm *x, u32 port)
{
	*(u32 *)xen_hva(x, XEN_ARG(0)) = port;
	return xen_hcall(x, 0, HCALL_EVTCHN, EVTCHNOP_UNMASK, XEN_ARG(0));
}

static struct xen_vm *new_unmask_vm(enum xen_mode mode)
{
	struct xen_vm *x = new_vm(1, mode);

	xen_config(x, KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL | KVM_XEN_HVM_CONFIG_EVTCHN_SEND |
		   KVM_XEN_HVM_CONFIG_MORE_HCALLS, XEN_HCALL_MSR);
	xen_set_port(x, A, STATUS_IPI, 0);
	xen_put_mask(x, A, true);
	return x;
}

static void unmasks(enum xen_mode mode)
{
	struct xen_vm *x = new_unmask_vm(mode);

	EXPECT_CALLS(x, 1, 1, TEST_ASSERT_EQ(unmask(x, A), 0));
	TEST_ASSERT(!xen_masked(x, A), "still masked");
	TEST_ASSERT_EQ(xen_flag(x, 0), 0);
	xen_put_pending(x, A, true);
	EXPECT_CALLS(x, 1, 1, TEST_ASSERT_EQ(unmask(x, A), 0));
	TEST_ASSERT_EQ(xen_flag(x, 0), 0);
	xen_put_mask(x, A, true);
	EXPECT_CALLS(x, 1, 1, TEST_ASSERT_EQ(unmask(x, A), 0));
	TEST_ASSERT_EQ(xen_flag(x, 0), 1);
	xen_window(x, 0);
	TEST_ASSERT_EQ(xen_count(x, 0, XEN_VECTOR), 1);
}

static void test_unmask(void)
{
	unmasks(XEN_64);
}

static void test_unmask_32(void)
{
	unmasks(XEN_32);
}

/* What may sleep, what the guest got wrong, and what is the VMM's. */
static void test_others(void)
{
	u64 edge = XEN_PAGE(XEN_NR_PAGES) - 2;
	struct xen_vm *x = new_vm(1, XEN_64);

	EXPECT_CALLS(x, 0, 1, TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_SCHED, SCHEDOP_YIELD), 0));
	EXPECT_CALLS(x, 0, 1, TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_EVTCHN, EVTCHNOP_SEND, edge),
					     -EFAULT));
	EXPECT_CALLS(x, 0, 1, TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_VCPU, VCPUOP_SET_SINGLESHOT,
						       XEN_VCPU_ID(0), edge), -EFAULT));
	*(u32 *)xen_hva(x, XEN_ARG(0)) = B;
	EXPECT_CALLS(x, 0, 0, xen_hcall_exits(x, 0, HCALL_EVTCHN, EVTCHNOP_SEND, XEN_ARG(0)));
	EXPECT_CALLS(x, 0, 0, xen_hcall_exits(x, 0, HCALL_VERSION, 1));
	EXPECT_CALLS(x, 0, 0, xen_hcall_exits(x, 0, 55));

	xen_set_mode(x, 0, XEN_USER64);
	EXPECT_CALLS(x, 0, 0, xen_hcall_exits(x, 0, HCALL_VERSION, XENVER_VERSION));
}

/* An argument that crosses pages, in guest memory that is far apart. */
static void test_crossing(void)
{
	struct xen_vm *x = new_vm(1, XEN_64);
	u64 arg = XEN_SPARE + 0x1000 - 2;
	u32 port = A;

	memcpy(xen_hva(x, arg), &port, sizeof(port));
	EXPECT_CALLS(x, 1, 1, TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_EVTCHN, EVTCHNOP_SEND, arg), 0));
	TEST_ASSERT(xen_pending(x, A), "not pending");
}

/* Memory that the host took away, and gives back when it is touched. */
static void *new_slot(struct xen_vm *x)
{
	void *page = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	TEST_ASSERT(page != MAP_FAILED, "mmap");
	vm_set_user_memory_region(x->vm, XEN_SLOT + 1, 0, XEN_HOLE, 0x1000, page);
	return page;
}

static void take_away(void *page)
{
	TEST_ASSERT(!madvise(page, 0x1000, MADV_DONTNEED), "madvise");
}

static void test_argument_gone(void)
{
	struct xen_vm *x = new_vm(1, XEN_64);
	u32 *page = new_slot(x);

	virt_pg_map(x->vm, XEN_HOLE, XEN_HOLE);
	*page = A;
	take_away(page);
	EXPECT_CALLS(x, 0, 1, TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_EVTCHN, EVTCHNOP_SEND,
						       XEN_HOLE), 0));
	EXPECT_CALLS(x, 1, 1, TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_EVTCHN, EVTCHNOP_SEND,
						       XEN_HOLE), 0));
	TEST_ASSERT_EQ(stat(x, "xen_events_sent"), 2);
	TEST_ASSERT_EQ(stat(x, "xen_events_delivered"), 1);
	TEST_ASSERT_EQ(stat(x, "xen_events_merged"), 1);
}

static void test_shared_info_gone(void)
{
	struct xen_vm *x = new_vm(1, XEN_64);

	x->shinfo = new_slot(x);
	xen_set(x, SHARED_INFO, shared_info.gfn, XEN_HOLE >> 12);
	take_away(x->shinfo);
	EXPECT_CALLS(x, 0, 1, TEST_ASSERT_EQ(send(x, A), 0));
	TEST_ASSERT(xen_pending(x, A), "not pending");
	TEST_ASSERT_EQ(xen_flag(x, 0), 1);
	EXPECT_CALLS(x, 1, 1, TEST_ASSERT_EQ(send(x, A), 0));
	TEST_ASSERT_EQ(stat(x, "xen_events_sent"), 2);
	TEST_ASSERT_EQ(stat(x, "xen_events_deferred"), 0);
}

/* Once the pending bit is set there is no way back: the rest is the other vCPU's. */
static void test_vcpu_info_gone(void)
{
	struct xen_vm *x = new_vm(2, XEN_64);

	x->state[1].info = new_slot(x);
	virt_pg_map(x->vm, XEN_HOLE, XEN_HOLE);
	xen_cpu(x, 1)->vcpu_info = XEN_HOLE;
	xen_vcpu_set(x, 1, VCPU_INFO, gpa, XEN_HOLE);
	xen_assign(x, EVTCHN_IPI, B, B, 1);
	/* New memory makes shared_info be looked up anew, once. */
	EXPECT_CALLS(x, 0, 1, TEST_ASSERT_EQ(send(x, A), 0));
	take_away(x->state[1].info);
	EXPECT_CALLS(x, 1, 1, TEST_ASSERT_EQ(send(x, B), 0));
	TEST_ASSERT(xen_pending(x, B), "not pending");
	TEST_ASSERT_EQ(xen_flag(x, 1), 0);
	xen_window(x, 1);
	TEST_ASSERT_EQ(xen_count(x, 1, XEN_VECTOR), 1);
	TEST_ASSERT_EQ(xen_sel(x, 1), xen_sel_bit(x, B));
}

/* Unmasked once, by who can fault the page in.  What is not known, or bad, likewise. */
static void test_unmask_gone(void)
{
	struct xen_vm *x = new_unmask_vm(XEN_64);

	x->shinfo = new_slot(x);
	xen_set(x, SHARED_INFO, shared_info.gfn, XEN_HOLE >> 12);
	xen_put_mask(x, A, true);
	xen_put_pending(x, A, true);
	take_away(x->shinfo);
	EXPECT_CALLS(x, 0, 1, TEST_ASSERT_EQ(unmask(x, A), 0));
	TEST_ASSERT(!xen_masked(x, A), "still masked");
	TEST_ASSERT_EQ(xen_flag(x, 0), 1);
	xen_window(x, 0);
	TEST_ASSERT_EQ(xen_count(x, 0, XEN_VECTOR), 1);
	xen_put_mask(x, A, true);
	EXPECT_CALLS(x, 1, 1, TEST_ASSERT_EQ(unmask(x, A), 0));
	TEST_ASSERT(!xen_masked(x, A), "still masked");

	EXPECT_CALLS(x, 0, 1, TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_EVTCHN, EVTCHNOP_UNMASK,
						       XEN_HOLE - 2), -EFAULT));
	*(u32 *)xen_hva(x, XEN_ARG(0)) = B;
	EXPECT_CALLS(x, 0, 0, xen_hcall_exits(x, 0, HCALL_EVTCHN, EVTCHNOP_UNMASK, XEN_ARG(0)));
}

/* An upcall that is due comes before the guest's next instruction. */
static u64 guest_upcall(u64 nr, u64 op, struct xen_cpu *cpu)
{
	u64 count;

	asm volatile("sti; nop");
	xen_guest_hcall(nr, op, XEN_ARG(0), 0, 0, 0, 0);
	count = READ_ONCE(cpu->nr);
	asm volatile("cli");
	return count;
}

static void test_upcall(void)
{
	struct xen_vm *x = new_vm(1, XEN_64);

	*(u32 *)xen_hva(x, XEN_ARG(0)) = A;
	EXPECT_CALLS(x, 1, 1, TEST_ASSERT_EQ(xen_call(x, 0, guest_upcall, HCALL_EVTCHN,
						      EVTCHNOP_SEND, XEN_CPU(0)), 1));
	TEST_ASSERT_EQ(xen_count(x, 0, XEN_VECTOR), 1);
}

static void test_timer_upcall(void)
{
	struct xen_vm *x = new_vm(1, XEN_64);

	EXPECT_CALLS(x, 1, 1, TEST_ASSERT_EQ(xen_call(x, 0, guest_upcall, HCALL_SET_TIMER, 1,
						      XEN_CPU(0)), 1));
	TEST_ASSERT(xen_pending(x, XEN_TIMER_PORT(0)), "timer did not fire");
}

/* The guest sets its own flag, and interrupts are enabled just before the call. */
static u64 guest_shadow(struct xen_vcpu_info64 *info, struct xen_cpu *cpu, u64 unused)
{
	u64 count, rax = HCALL_VERSION;

	WRITE_ONCE(info->upcall_pending, 1);
	if (host_cpu_is_amd)
		asm volatile("sti; vmmcall; mov %2, %k0; cli" : "=&r" (count), "+a" (rax)
			     : "m" (cpu->nr), "D" (XENVER_VERSION) : "memory");
	else
		asm volatile("sti; vmcall; mov %2, %k0; cli" : "=&r" (count), "+a" (rax)
			     : "m" (cpu->nr), "D" (XENVER_VERSION) : "memory");
	return count;
}

static void test_own_flag(void)
{
	struct xen_vm *x = new_vm(1, XEN_64);

	EXPECT_CALLS(x, 1, 1, TEST_ASSERT_EQ(xen_call(x, 0, guest_shadow, XEN_SHINFO, XEN_CPU(0),
						      0), 1));
}

static void test_lapic_vector(void)
{
	struct xen_vm *x = new_vm(1, XEN_64);

	xen_set(x, UPCALL_VECTOR, vector, 0);
	xen_setup(x, XEN_LV);
	*(u32 *)xen_hva(x, XEN_ARG(0)) = A;
	EXPECT_CALLS(x, 1, 1, TEST_ASSERT_EQ(xen_call(x, 0, guest_upcall, HCALL_EVTCHN,
						      EVTCHNOP_SEND, XEN_CPU(0)), 1));
	TEST_ASSERT_EQ(xen_count(x, 0, XEN_LAPIC_VECTOR(0)), 1);
}

/*
 * An upcall is injected, and the window that was opened for it is closed, without a
 * look at all that could have to be injected.
 */
#define NR_UPCALLS	50

static u64 guest_upcalls(struct xen_shared_info64 *info, u64 unused, u64 unused2)
{
	int i;

	asm volatile("sti");
	for (i = 0; i < NR_UPCALLS; i++) {
		info->pending[0] = 0;
		info->vcpu_info[0].pending_sel = 0;
		xen_guest_hcall(HCALL_EVTCHN, EVTCHNOP_SEND, XEN_ARG(0), 0, 0, 0, 0);
	}
	asm volatile("cli");
	return 0;
}

/* The same with interrupts off during the call: the upcall comes with the window. */
static u64 guest_upcalls_off(struct xen_shared_info64 *info, struct xen_cpu *cpu, u64 unused)
{
	u32 nr;
	int i;

	for (i = 0; i < NR_UPCALLS; i++) {
		info->pending[0] = 0;
		info->vcpu_info[0].pending_sel = 0;
		nr = READ_ONCE(cpu->nr);
		xen_guest_hcall(HCALL_EVTCHN, EVTCHNOP_SEND, XEN_ARG(0), 0, 0, 0, 0);
		GUEST_ASSERT_EQ(READ_ONCE(cpu->nr), nr);
		asm volatile("sti; nop; cli" : : : "memory");
		GUEST_ASSERT_EQ(READ_ONCE(cpu->nr), nr + 1);
	}
	return 0;
}

static void upcalls(void *fn, u32 windows_each)
{
	struct xen_vm *x = new_vm(1, XEN_64);
	u64 windows, looks, injections;

	*(u32 *)xen_hva(x, XEN_ARG(0)) = A;
	windows = stat(x, "irq_window_exits");
	looks = stat(x, "req_event");
	injections = stat(x, "irq_injections");
	xen_call(x, 0, fn, XEN_SHINFO, XEN_CPU(0), 0);
	TEST_ASSERT_EQ(xen_count(x, 0, XEN_VECTOR), NR_UPCALLS);
	windows = stat(x, "irq_window_exits") - windows;
	/* Now and then an interrupt of the host makes the guest exit instead. */
	TEST_ASSERT(windows + NR_UPCALLS / 5 >= NR_UPCALLS * windows_each, "%lu windows",
		    windows);
	/* Not once for each; now and then the host has something to do. */
	looks = stat(x, "req_event") - looks;
	TEST_ASSERT(looks < NR_UPCALLS / 2, "looked for events %lu times", looks);
	injections = stat(x, "irq_injections") - injections;
	TEST_ASSERT(injections >= NR_UPCALLS && injections < NR_UPCALLS * 3 / 2,
		    "%lu injections", injections);
}

static void test_upcalls_on(void)
{
	upcalls(guest_upcalls, 1);
}

static void test_upcalls_off(void)
{
	upcalls(guest_upcalls_off, 2);
}

/* Page walks are remembered, but never when the guest or the VMM has changed something. */
#define ELSEWHERE	(XEN_BASE + 0x100000)
#define ELSEWHERE_SLOT	(XEN_SLOT + 1)

static u32 *new_memory(u32 port)
{
	u32 *page = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	TEST_ASSERT(page != MAP_FAILED, "no memory");
	*page = port;
	return page;
}

static void sent(struct xen_vm *x, u32 port, u32 fast)
{
	EXPECT_CALLS(x, fast, 1,
		     TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_EVTCHN, EVTCHNOP_SEND, ELSEWHERE), 0));
	TEST_ASSERT(xen_pending(x, port), "port %u is not pending", port);
	xen_clear_events(x);
}

static void test_remapped(void)
{
	struct xen_vm *x = new_vm(1, XEN_64);
	u32 *first = new_memory(A), *second = new_memory(B);
	u64 *pte, old;

	xen_assign(x, EVTCHN_IPI, B, B, 0);
	vm_set_user_memory_region(x->vm, ELSEWHERE_SLOT, 0, ELSEWHERE, 0x1000, first);
	virt_map(x->vm, ELSEWHERE, ELSEWHERE, 1);
	pte = vm_get_page_table_entry(x->vm, ELSEWHERE);
	*pte |= BIT_ULL(5);			/* as if accessed before */
	*(u32 *)xen_hva(x, XEN_SPARE) = B;
	/* After a change of the memslots, shared_info has to be looked for first. */
	sent(x, A, 0);
	sent(x, A, 1);

	/* The guest maps another page there, and back. */
	old = *pte;
	*pte = (old & ~GENMASK_ULL(51, 12)) | XEN_SPARE;
	sent(x, B, 1);
	*pte = old;
	sent(x, A, 1);

	/* Not present: KVM's own walk says so, where it may sleep. */
	*pte = old & ~1ULL;
	EXPECT_CALLS(x, 0, 1, TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_EVTCHN, EVTCHNOP_SEND,
						       ELSEWHERE), -EFAULT));
	*pte = old;

	/* The VMM takes the memory away, and puts other memory there. */
	vm_set_user_memory_region(x->vm, ELSEWHERE_SLOT, 0, ELSEWHERE, 0, NULL);
	EXPECT_CALLS(x, 0, 1, TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_EVTCHN, EVTCHNOP_SEND,
						       ELSEWHERE), -EFAULT));
	vm_set_user_memory_region(x->vm, ELSEWHERE_SLOT, 0, ELSEWHERE, 0x1000, second);
	sent(x, B, 0);
	sent(x, B, 1);
}

/*
 * Copy the page tables on the way to ELSEWHERE, and let the copy lead to XEN_SPARE.
 * Returns the guest's new CR3.
 */
static u64 other_pgtables(struct xen_vm *x)
{
	u64 old = x->vm->pgd, new = XEN_PGTABLES, cr3 = new, *entry;
	int shift;

	for (shift = 39; ; shift -= 9) {
		memcpy(xen_hva(x, new), addr_gpa2hva(x->vm, old), 0x1000);
		entry = (u64 *)xen_hva(x, new) + (ELSEWHERE >> shift & 511);
		old = *entry & GENMASK_ULL(51, 12);
		/* Three pages and one more. */
		new = shift == 21 ? XEN_SPARE + 0x1000 : new + 0x1000;
		*entry &= ~GENMASK_ULL(51, 12);
		if (shift == 12) {
			*entry |= XEN_SPARE;
			return cr3;
		}
		*entry |= new;
	}
}

/* Without an exit between the switch and the hypercall. */
static u64 guest_switch_and_send(u64 new_cr3, u64 addr, u64 old_cr3)
{
	s64 r;

	asm volatile("mov %0, %%cr3" : : "r" (new_cr3) : "memory");
	r = xen_guest_hcall(HCALL_EVTCHN, EVTCHNOP_SEND, addr, 0, 0, 0, 0);
	asm volatile("mov %0, %%cr3" : : "r" (old_cr3) : "memory");
	return r;
}

static void test_other_cr3(void)
{
	struct xen_vm *x = new_vm(1, XEN_64);
	u64 cr3;

	xen_assign(x, EVTCHN_IPI, B, B, 0);
	vm_set_user_memory_region(x->vm, ELSEWHERE_SLOT, 0, ELSEWHERE, 0x1000, new_memory(A));
	virt_map(x->vm, ELSEWHERE, ELSEWHERE, 1);
	*vm_get_page_table_entry(x->vm, ELSEWHERE) |= BIT_ULL(5);
	*(u32 *)xen_hva(x, XEN_SPARE) = B;
	cr3 = other_pgtables(x);
	sent(x, A, 0);
	sent(x, A, 1);
	EXPECT_CALLS(x, 1, 1, TEST_ASSERT_EQ(xen_call(x, 0, guest_switch_and_send, cr3, ELSEWHERE,
						      x->vm->pgd), 0));
	TEST_ASSERT(xen_pending(x, B) && !xen_pending(x, A), "sent what is in other page tables");
}

/* Here, looking at page tables may sleep. */
static void test_pae(void)
{
	struct xen_vm *x = new_vm(1, XEN_32);
	u64 *pdpt = xen_hva(x, XEN_PGTABLES), *pd = pdpt + 512;
	struct kvm_sregs sregs;
	int i;

	for (i = 0; i < 512; i++)
		pd[i] = (u64)i << 21 | 0xe3;	/* 2 MiB, accessed, dirty, writable */
	pdpt[0] = (XEN_PGTABLES + 0x1000) | 1;
	vcpu_sregs_get(x->vcpu[0], &sregs);
	sregs.cr3 = XEN_PGTABLES;
	sregs.cr4 |= X86_CR4_PAE;
	sregs.cr0 |= X86_CR0_PG;
	vcpu_sregs_set(x->vcpu[0], &sregs);

	EXPECT_CALLS(x, 1, 1,
		     TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_VERSION, XENVER_VERSION), VERSION));
	EXPECT_CALLS(x, 0, 1, TEST_ASSERT_EQ(send(x, A), 0));
	TEST_ASSERT(xen_pending(x, A), "the port is not pending");
}

/* The trap after the instruction is not lost, be it the guest's or the VMM's. */
static void test_single_step(void)
{
	struct kvm_guest_debug debug = {
		.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP,
	};
	struct xen_vm *x = new_vm(1, XEN_64);
	struct kvm_regs regs;
	u64 rip;

	xen_prepare(x, 0, STEP_HCALL_TF);
	vcpu_regs_get(x->vcpu[0], &regs);
	regs.rax = HCALL_VERSION;
	regs.rdi = XENVER_VERSION;
	vcpu_regs_set(x->vcpu[0], &regs);
	EXPECT_CALLS(x, 1, 1, xen_expect(x, 0, xen_run(x, 0), XEN_FAULTED));
	TEST_ASSERT_EQ((u8)xen_result(x, 0), DB_VECTOR);
	TEST_ASSERT_EQ(xen_cpu(x, 0)->fault, STEP_HCALL_TF_RIP);

	xen_prepare_hcall(x, 0, HCALL_VERSION, (u64[6]) { XENVER_VERSION });
	vcpu_regs_get(x->vcpu[0], &regs);
	rip = regs.rip;
	vcpu_guest_debug_set(x->vcpu[0], &debug);
	EXPECT_CALLS(x, 1, 1, xen_expect(x, 0, xen_run(x, 0), XEN_OTHER));
	TEST_ASSERT_KVM_EXIT_REASON(x->vcpu[0], KVM_EXIT_DEBUG);
	vcpu_regs_get(x->vcpu[0], &regs);
	TEST_ASSERT_EQ(regs.rip, rip + 3);
	TEST_ASSERT_EQ(regs.rax, VERSION);
}

/* Whose call it is takes a closer look. */
static void test_hyperv(void)
{
	struct xen_vm *x = new_vm(1, XEN_64);

	TEST_REQUIRE(kvm_has_cap(KVM_CAP_HYPERV_CPUID));
	xen_config(x, KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL, 0x40000200);
	vcpu_set_hv_cpuid(x->vcpu[0]);
	TEST_ASSERT_EQ(xen_wrmsr(x, 0, HV_X64_MSR_GUEST_OS_ID, HYPERV_LINUX_OS_ID), 0);
	EXPECT_CALLS(x, 0, 1, TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_VERSION, XENVER_VERSION),
					     VERSION));
}

static const struct xen_case cases[] = {
	{ "calls that are answered at once, 64-bit", test_calls },
	{ "calls that are answered at once, 32-bit", test_calls_32 },
	{ "calls that are answered at once, compat", test_calls_compat },
	{ "unmask is answered at once, 64-bit", test_unmask, KVM_XEN_HVM_CONFIG_MORE_HCALLS },
	{ "unmask is answered at once, 32-bit", test_unmask_32, KVM_XEN_HVM_CONFIG_MORE_HCALLS },
	{ "calls that are not", test_others },
	{ "argument crosses pages", test_crossing },
	{ "argument has to be faulted in", test_argument_gone },
	{ "shared_info has to be faulted in", test_shared_info_gone },
	{ "vcpu_info has to be faulted in", test_vcpu_info_gone },
	{ "unmask, shared_info has to be faulted in", test_unmask_gone,
	  KVM_XEN_HVM_CONFIG_MORE_HCALLS },
	{ "upcall of a send to oneself", test_upcall },
	{ "upcall of a timer that is past", test_timer_upcall },
	{ "U7: guest sets its own flag, interrupt shadow", test_own_flag },
	{ "per-vCPU vector of a send to oneself", test_lapic_vector },
	{ "upcalls and windows, interrupts on", test_upcalls_on },
	{ "upcalls and windows, interrupts off", test_upcalls_off },
	{ "argument is somewhere else each time", test_remapped },
	{ "argument in other page tables", test_other_cr3 },
	{ "argument with PAE paging", test_pae },
	{ "HC26: single-step", test_single_step },
	{ "HC17: Hyper-V beside Xen", test_hyperv },
};

int main(int argc, char *argv[])
{
	return xen_run_cases(argc, argv, cases, ARRAY_SIZE(cases));
}
