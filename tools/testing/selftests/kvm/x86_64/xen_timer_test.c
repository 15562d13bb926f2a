// SPDX-License-Identifier: GPL-2.0-only
/*
 * Xen guests: singleshot timers (VCPUOP_set_singleshot_timer, set_timer_op, the
 * TIMER attribute) and VIRQ_TIMER.
 *
 * The guest's clock decides.  That an event is not early is checked strictly, in
 * the guest by its own clock, from outside with the microseconds by which
 * KVM_GET_CLOCK may differ from that.  That it is not late is checked generously:
 * the machine may be slow.  "No event" means none for a while.
 *
 * Linux 6.12 fails VO5, VO8, VO15 and DT24.
 */
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "xen.h"

#define XEN_T		(XEN_S | XEN_ID | XEN_TM)
#define PORT		XEN_TIMER_PORT(0)
#define PORT_2		200

#define UPTIME		(1000 * (u64)NSEC_PER_SEC)
#define MSEC		NSEC_PER_MSEC

#define PROMPT_MS	xen_ms(5000)
#define FAR		(300 * (u64)NSEC_PER_SEC)
#define QUIET_MS	150
#define CLOCK_ERROR_NS	20000

#define RACE_NS		(2 * (u64)NSEC_PER_SEC)

static struct xen_vm *timer_vm(int nr_vcpus, enum xen_mode mode, u32 what)
{
	struct xen_vm *x = xen_vm_new(nr_vcpus, mode, what);

	xen_set_now(x, UPTIME);
	/* The vCPU has seen its clock. */
	xen_window(x, 0);
	return x;
}

static u64 expires(struct xen_vm *x, int n)
{
	return xen_vcpu_get(x, n, TIMER, timer.expires_ns);
}

static void event_within(struct xen_vm *x, u32 port, u64 ms)
{
	u64 end = xen_real_ns(CLOCK_MONOTONIC) + ms * MSEC;

	while (!xen_pending(x, port)) {
		TEST_ASSERT(xen_real_ns(CLOCK_MONOTONIC) < end, "no event on port %u", port);
		xen_sleep_ms(1);
	}
}

/* The event of a deadline comes, and not before. */
static void event_at(struct xen_vm *x, u32 port, u64 deadline)
{
	u64 now;

	event_within(x, port, PROMPT_MS);
	now = xen_now(x);
	TEST_ASSERT(now + CLOCK_ERROR_NS >= deadline, "early by %lu ns", deadline - now);
}

static void no_event(struct xen_vm *x, u32 port)
{
	xen_sleep_ms(QUIET_MS);
	TEST_ASSERT(!xen_pending(x, port), "event on port %u", port);
}

/* Run the vCPU until the event comes: what the host could not deliver waits for that. */
static void event_if_run(struct xen_vm *x, u32 port)
{
	u64 end = xen_real_ns(CLOCK_MONOTONIC) + PROMPT_MS * MSEC;

	for (xen_window(x, 0); !xen_pending(x, port); xen_window(x, 0)) {
		TEST_ASSERT(xen_real_ns(CLOCK_MONOTONIC) < end, "no event on port %u", port);
		xen_sleep_ms(1);
	}
	xen_window(x, 0);
}

/*
 * Did a deadline come before all was done that had to be done before?  Then prepare
 * for another attempt.
 */
static bool too_late(struct xen_vm *x, u64 deadline)
{
	if (xen_now(x) + CLOCK_ERROR_NS < deadline)
		return false;

	xen_set_timer(x, 0, PORT, 0);
	xen_clear_events(x);
	return true;
}

/* Everything that goes with an event that is neither masked nor pending yet. */
static void event_was_signalled(struct xen_vm *x, u32 port)
{
	/* First, because it waits until all is done that goes with an expiry. */
	TEST_ASSERT_EQ(expires(x, 0), 0);
	TEST_ASSERT_EQ(xen_sel(x, 0), xen_sel_bit(x, port));
	TEST_ASSERT_EQ(xen_flag(x, 0), 1);
	xen_window(x, 0);
	TEST_ASSERT_EQ(xen_count(x, 0, XEN_VECTOR), 1);
	xen_clear_events(x);
}

static s64 stop_singleshot(struct xen_vm *x, u32 vcpu)
{
	return xen_hcall(x, 0, HCALL_VCPU, VCPUOP_STOP_SINGLESHOT, vcpu);
}

static void exits(struct xen_vm *x, u64 nr, u64 a, u64 b, u64 c)
{
	struct kvm_xen_exit *exit = xen_hcall_exits(x, 0, nr, a, b, c);

	exit->u.hcall.result = 77;
	xen_expect(x, 0, xen_run(x, 0), XEN_RETURNED);
	TEST_ASSERT_EQ((s32)xen_result(x, 0), 77);
}

static void singleshot(enum xen_mode mode)
{
	struct xen_vm *x = timer_vm(1, mode, XEN_T);
	u64 deadline, fires = 0, before = 0;
	bool stats = xen_try_stat(x, 0, "xen_timer_fires", &before);
	int i;

	for (i = 0; i < 5; i++) {
		deadline = xen_now(x) + 10 * MSEC;
		TEST_ASSERT_EQ(xen_singleshot(x, 0, deadline, 0), 0);
		event_at(x, PORT, deadline);
		event_was_signalled(x, PORT);
	}

	if (stats) {
		xen_try_stat(x, 0, "xen_timer_fires", &fires);
		TEST_ASSERT_EQ(fires, before + 5);
	}
	xen_vm_free(x);
}

IN_64_BIT(singleshot)
IN_32_BIT(singleshot)

static void singleshot_in_compat_mode(void)
{
	singleshot(XEN_COMPAT);
}

static void fires_at_once(struct xen_vm *x, u64 deadline)
{
	static const u32 flags[] = { 0, 1, -1U };
	int i;

	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		TEST_ASSERT_EQ(xen_singleshot(x, 0, deadline, flags[i]), 0);
		event_within(x, PORT, PROMPT_MS);
		event_was_signalled(x, PORT);
	}
}

static void singleshot_past(enum xen_mode mode)
{
	struct xen_vm *x = timer_vm(1, mode, XEN_T);

	fires_at_once(x, 1);
	fires_at_once(x, UPTIME - 1);
	fires_at_once(x, 0);
	xen_vm_free(x);
}

IN_64_BIT(singleshot_past)
IN_32_BIT(singleshot_past)

static void singleshot_negative(enum xen_mode mode)
{
	struct xen_vm *x = timer_vm(1, mode, XEN_T);

	fires_at_once(x, -1ULL);
	fires_at_once(x, -(u64)NSEC_PER_SEC);
	fires_at_once(x, BIT_ULL(63) + 1);
	fires_at_once(x, BIT_ULL(63));
	xen_vm_free(x);
}

IN_64_BIT(singleshot_negative)
IN_32_BIT(singleshot_negative)

static void singleshot_far(enum xen_mode mode)
{
	static const u64 far[] = { BIT_ULL(51), BIT_ULL(62), INT64_MAX - 1, INT64_MAX };
	/* Younger than the host, whose clock must not overflow. */
	struct xen_vm *x = xen_vm_new(1, mode, XEN_T);
	int i;

	xen_window(x, 0);
	for (i = 0; i < ARRAY_SIZE(far); i++) {
		TEST_ASSERT_EQ(xen_singleshot(x, 0, far[i], 0), 0);
		no_event(x, PORT);
		TEST_ASSERT_EQ(expires(x, 0), far[i]);
		xen_set_timer(x, 0, PORT, far[i]);
		no_event(x, PORT);
		TEST_ASSERT_EQ(expires(x, 0), far[i]);
	}
	xen_vm_free(x);
}

IN_64_BIT(singleshot_far)
IN_32_BIT(singleshot_far)

static void singleshot_of_other_vcpu(enum xen_mode mode)
{
	struct xen_vm *x = timer_vm(2, mode, XEN_T);
	u64 deadline, arg, got;

	do {
		deadline = xen_in_ms(x, 500);
		TEST_ASSERT_EQ(xen_singleshot(x, 0, deadline, 0), 0);
		arg = xen_put_singleshot(x, 0, deadline + 1000 * MSEC, 0);
		TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_VCPU, VCPUOP_SET_SINGLESHOT,
					 XEN_VCPU_ID(1), arg), -EINVAL);
		TEST_ASSERT_EQ(stop_singleshot(x, XEN_VCPU_ID(1)), -EINVAL);
		got = expires(x, 0);
		TEST_ASSERT_EQ(expires(x, 1), 0);
	} while (too_late(x, deadline));
	TEST_ASSERT_EQ(got, deadline);
	event_at(x, PORT, deadline);
	TEST_ASSERT(!xen_pending(x, XEN_TIMER_PORT(1)), "event for the other vCPU");
	xen_vm_free(x);
}

IN_64_BIT(singleshot_of_other_vcpu)
IN_32_BIT(singleshot_of_other_vcpu)

/* To another deadline while the first one is yet to come, there and back. */
static void singleshot_moved(enum xen_mode mode)
{
	struct xen_vm *x = timer_vm(1, mode, XEN_T);
	u64 first, deadline, got;

	do {
		first = xen_in_ms(x, 100);
		deadline = first + 200 * MSEC;
		TEST_ASSERT_EQ(xen_singleshot(x, 0, first, 0), 0);
		TEST_ASSERT_EQ(xen_singleshot(x, 0, deadline, 0), 0);
		got = expires(x, 0);
	} while (too_late(x, first));
	TEST_ASSERT_EQ(got, deadline);
	event_at(x, PORT, deadline);
	event_was_signalled(x, PORT);

	deadline = xen_now(x) + 100 * MSEC;
	TEST_ASSERT_EQ(xen_singleshot(x, 0, deadline + FAR, 0), 0);
	TEST_ASSERT_EQ(xen_set_timer_op(x, 0, deadline), 0);
	event_at(x, PORT, deadline);
	event_was_signalled(x, PORT);
	no_event(x, PORT);
	xen_vm_free(x);
}

IN_64_BIT(singleshot_moved)
IN_32_BIT(singleshot_moved)

static u64 guest_moves_timer(u64 first, u64 deadline, u64 unused)
{
	u64 *pending = (void *)(XEN_SHINFO + 0x800);

	GUEST_ASSERT_EQ(xen_guest_hcall(HCALL_SET_TIMER, first, 0, 0, 0, 0, 0), 0);
	GUEST_ASSERT_EQ(xen_guest_hcall(HCALL_SET_TIMER, deadline, 0, 0, 0, 0, 0), 0);
	while (!READ_ONCE(*pending))
		cpu_relax();
	return 0;
}

/* To and fro, by a vCPU that does not sleep or leave the kernel meanwhile. */
static void moved_while_running(void)
{
	/* From the one to the other, relative to a time that is near. */
	static const u64 moves[][2] = {
		{ 800 * MSEC, 1000 * MSEC }, { 200 * MSEC, 0 }, { FAR, 0 },
	};
	struct xen_vm *x = timer_vm(1, XEN_64, XEN_T);
	u64 near;
	int i;

	xen_put_mask(x, PORT, true);
	x->state[0].irqs = true;
	for (i = 0; i < ARRAY_SIZE(moves); i++) {
		near = xen_in_ms(x, 200);
		xen_prepare_call(x, 0, guest_moves_timer, near + moves[i][0],
				 near + moves[i][1], 0);
		xen_start(x, 0);
		event_at(x, PORT, near + moves[i][1]);
		xen_expect(x, 0, xen_wait(x, 0, PROMPT_MS), XEN_RETURNED);
		xen_clear_events(x);
	}
	xen_vm_free(x);
}

/* A vCPU that sleeps meanwhile; the old deadline does not end its sleep. */
static void moved_then_hlt(void)
{
	struct xen_vm *x = timer_vm(1, XEN_64, XEN_T);
	u64 first, deadline;

	do {
		first = xen_in_ms(x, 50);
		deadline = first + 150 * MSEC;
		TEST_ASSERT_EQ(xen_singleshot(x, 0, first, 0), 0);
		TEST_ASSERT_EQ(xen_singleshot(x, 0, deadline, 0), 0);
	} while (too_late(x, first));
	xen_step(x, 0, STEP_HLT);
	TEST_ASSERT(xen_now(x) + CLOCK_ERROR_NS >= deadline, "early");
	TEST_ASSERT(xen_pending(x, PORT), "no event");
	xen_vm_free(x);
}

/*
 * What the host has set up for an earlier deadline, which is none any more, must not
 * be taken for the new one when the clock was set in between.
 */
static void moved_across_clock_change(void)
{
	struct xen_vm *x = timer_vm(1, XEN_64, XEN_T);
	u64 now = xen_now(x), deadline;

	TEST_ASSERT_EQ(xen_singleshot(x, 0, now + 30 * (u64)NSEC_PER_SEC, 0), 0);
	TEST_ASSERT_EQ(xen_singleshot(x, 0, now, 0), 0);
	event_within(x, PORT, PROMPT_MS);
	event_was_signalled(x, PORT);

	xen_set_now(x, now + 60 * (u64)NSEC_PER_SEC);
	xen_window(x, 0);
	deadline = xen_now(x) + 10 * MSEC;
	TEST_ASSERT_EQ(xen_singleshot(x, 0, deadline, 0), 0);
	event_at(x, PORT, deadline);
	xen_vm_free(x);
}

/* The host's alarm is far away; the deadline has come all the same. */
static void clock_set_while_asleep(void)
{
	struct xen_vm *x = timer_vm(2, XEN_64, XEN_T);
	u64 deadline;
	int n;

	for (n = 0; n < 2; n++) {
		deadline = xen_now(x) + FAR;
		TEST_ASSERT_EQ(xen_singleshot(x, n, deadline, 0), 0);
		xen_prepare(x, n, STEP_HLT);
		xen_start(x, n);
		TEST_ASSERT(xen_sleeps(x, n, QUIET_MS), "does not sleep");
		xen_set_now(x, deadline);
		xen_expect(x, n, xen_wait(x, n, PROMPT_MS), XEN_RETURNED);
		TEST_ASSERT(xen_pending(x, XEN_TIMER_PORT(n)), "no event");
		TEST_ASSERT_EQ(xen_count(x, n, XEN_VECTOR), 1);
		TEST_ASSERT_EQ(expires(x, n), 0);
	}
	xen_vm_free(x);
}

/* The page is there, but not mapped, and who sees the deadline come cannot map it. */
static void expires_without_mapping(void)
{
	void *page = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct xen_vm *x = timer_vm(1, XEN_64, XEN_T);
	u64 deadline;
	bool slept;

	vm_set_user_memory_region(x->vm, XEN_SLOT + 1, 0, XEN_HOLE, 0x1000, page);
	xen_put_vcpu_info(x, 0, XEN_VINFO);
	xen_vcpu_set(x, 0, VCPU_INFO, gpa, XEN_VINFO);
	xen_cpu(x, 0)->vcpu_info = XEN_VINFO;
	xen_set(x, SHARED_INFO, shared_info.gfn, XEN_HOLE >> 12);
	x->shinfo = page;
	do {
		xen_clear_events(x);
		deadline = xen_in_ms(x, 1500);
		TEST_ASSERT_EQ(xen_singleshot(x, 0, deadline, 0), 0);
		xen_prepare(x, 0, STEP_HLT);
		xen_start(x, 0);
		/* KVM wakes a new vCPU once to correct its clock. */
		slept = xen_sleeps(x, 0, xen_ms(300));
		TEST_ASSERT(!madvise(page, 0x1000, MADV_DONTNEED), "madvise");
		if (slept)
			xen_expect(x, 0, xen_wait(x, 0, PROMPT_MS), XEN_RETURNED);
	} while (!slept);
	TEST_ASSERT(xen_pending(x, PORT), "no event");
	xen_vm_free(x);
}

/* Far ahead of one that is far ahead, but not of now. */
static void timer_op_huge_moved(void)
{
	struct xen_vm *x = timer_vm(1, XEN_64, XEN_T);
	u64 now = xen_now(x), far = now + BIT_ULL(50) - NSEC_PER_SEC;

	/* In 64-bit mode it is a single argument. */
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_SET_TIMER, far, 0xdeadbeef), 0);
	TEST_ASSERT_EQ(expires(x, 0), far);
	TEST_ASSERT_EQ(xen_set_timer_op(x, 0, far + 60 * (u64)NSEC_PER_SEC), 0);
	event_at(x, PORT, now + 100 * MSEC);
	xen_vm_free(x);
}

/* Each vCPU has a timer of its own. */
static void two_timers(void)
{
	struct xen_vm *x = timer_vm(2, XEN_64, XEN_T);
	u64 now = xen_now(x);

	xen_window(x, 1);
	TEST_ASSERT_EQ(xen_singleshot(x, 0, now + 200 * MSEC, 0), 0);
	TEST_ASSERT_EQ(xen_singleshot(x, 1, now + 100 * MSEC, 0), 0);
	event_at(x, XEN_TIMER_PORT(1), now + 100 * MSEC);
	event_at(x, XEN_TIMER_PORT(0), now + 200 * MSEC);
	TEST_ASSERT_EQ(expires(x, 0), 0);
	TEST_ASSERT_EQ(expires(x, 1), 0);
	TEST_ASSERT_EQ(xen_flag(x, 0), 1);
	TEST_ASSERT_EQ(xen_flag(x, 1), 1);
	xen_vm_free(x);
}

static void singleshot_of_no_vcpu(enum xen_mode mode)
{
	static const u32 ids[] = { 77, XEN_VCPU_ID(2), -1U };
	struct xen_vm *x = timer_vm(2, mode, XEN_T & ~XEN_ID);
	u64 deadline = xen_now(x) + FAR;
	int i;

	/* The other vCPU has no id. */
	xen_vcpu_set(x, 0, VCPU_ID, vcpu_id, XEN_VCPU_ID(0));
	TEST_ASSERT_EQ(xen_singleshot(x, 0, deadline, 0), 0);

	for (i = 0; i < ARRAY_SIZE(ids); i++) {
		exits(x, HCALL_VCPU, VCPUOP_SET_SINGLESHOT, ids[i],
		      xen_put_singleshot(x, 0, 1, 0));
		exits(x, HCALL_VCPU, VCPUOP_STOP_SINGLESHOT, ids[i], 0);
	}

	TEST_ASSERT(!xen_pending(x, PORT), "event");
	TEST_ASSERT_EQ(expires(x, 0), deadline);
	xen_vm_free(x);
}

IN_64_BIT(singleshot_of_no_vcpu)
IN_32_BIT(singleshot_of_no_vcpu)

static void singleshot_pointers(enum xen_mode mode)
{
	struct xen_vm *x = timer_vm(1, mode, XEN_T);
	u64 size = mode == XEN_64 ? 16 : 12;
	u64 deadline = xen_now(x) + FAR;
	u64 bad[] = { XEN_HOLE, XEN_HOLE - size + 1, XEN_HOLE - 1 };
	int i;

	TEST_ASSERT_EQ(xen_singleshot(x, 0, deadline, 0), 0);
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_VCPU, VCPUOP_SET_SINGLESHOT, XEN_VCPU_ID(0),
					 bad[i]), -EFAULT);
	if (mode == XEN_64)
		TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_VCPU, VCPUOP_SET_SINGLESHOT, XEN_VCPU_ID(0),
					 XEN_HOLE - 12), -EFAULT);
	TEST_ASSERT_EQ(expires(x, 0), deadline);

	*(u64 *)xen_hva(x, XEN_HOLE - size) = 2 * deadline;
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_VCPU, VCPUOP_SET_SINGLESHOT, XEN_VCPU_ID(0),
				 XEN_HOLE - size), 0);
	TEST_ASSERT_EQ(expires(x, 0), 2 * deadline);

	/* From one page to the next, and not aligned. */
	deadline++;
	memcpy(xen_hva(x, XEN_SPARE + 0xffd), &deadline, sizeof(deadline));
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_VCPU, VCPUOP_SET_SINGLESHOT, XEN_VCPU_ID(0),
				 XEN_SPARE + 0xffd), 0);
	TEST_ASSERT_EQ(expires(x, 0), deadline);

	/* To stop takes no argument. */
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_VCPU, VCPUOP_STOP_SINGLESHOT, XEN_VCPU_ID(0),
				 XEN_HOLE), 0);
	TEST_ASSERT_EQ(expires(x, 0), 0);
	xen_vm_free(x);
}

IN_64_BIT(singleshot_pointers)
IN_32_BIT(singleshot_pointers)

static void singleshot_stop(enum xen_mode mode)
{
	struct xen_vm *x = timer_vm(1, mode, XEN_T);
	u64 deadline;

	TEST_ASSERT_EQ(stop_singleshot(x, XEN_VCPU_ID(0)), 0);
	do {
		deadline = xen_in_ms(x, 200);
		TEST_ASSERT_EQ(xen_singleshot(x, 0, deadline, 0), 0);
		TEST_ASSERT_EQ(stop_singleshot(x, XEN_VCPU_ID(0)), 0);
	} while (too_late(x, deadline));
	TEST_ASSERT_EQ(expires(x, 0), 0);
	xen_sleep_until(x, deadline);
	no_event(x, PORT);
	TEST_ASSERT_EQ(stop_singleshot(x, XEN_VCPU_ID(0)), 0);
	xen_vm_free(x);
}

IN_64_BIT(singleshot_stop)
IN_32_BIT(singleshot_stop)

static void without_port(enum xen_mode mode)
{
	struct xen_vm *x = timer_vm(1, mode, XEN_T & ~XEN_TM);
	u64 arg = xen_put_singleshot(x, 0, 1, 0);

	exits(x, HCALL_VCPU, VCPUOP_SET_SINGLESHOT, XEN_VCPU_ID(0), arg);
	exits(x, HCALL_VCPU, VCPUOP_SET_SINGLESHOT, XEN_VCPU_ID(0), XEN_HOLE);
	exits(x, HCALL_VCPU, VCPUOP_STOP_SINGLESHOT, XEN_VCPU_ID(0), 0);
	exits(x, HCALL_SET_TIMER, 1, 1, 0);
	exits(x, HCALL_SET_TIMER, 0, 0, 0);
	xen_vm_free(x);
}

IN_64_BIT(without_port)
IN_32_BIT(without_port)

static void without_vcpu_id(void)
{
	struct xen_vm *x = timer_vm(2, XEN_64, XEN_T & ~XEN_ID);
	u64 arg = xen_put_singleshot(x, 0, 1, 0);
	u32 id;

	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, VCPU_ID, vcpu_id), -1U);
	for (id = 0; id < 3; id++) {
		exits(x, HCALL_VCPU, VCPUOP_SET_SINGLESHOT, id, arg);
		exits(x, HCALL_VCPU, VCPUOP_STOP_SINGLESHOT, id, 0);
	}
	exits(x, HCALL_VCPU, VCPUOP_SET_SINGLESHOT, -1U, arg);

	/* The one that needs no id. */
	TEST_ASSERT_EQ(xen_set_timer_op(x, 0, 1), 0);
	event_within(x, PORT, PROMPT_MS);
	xen_vm_free(x);
}

static void other_commands_exit(enum xen_mode mode)
{
	static const u32 cmds[] = { 0, 1, 2, 3, VCPUOP_GET_RUNSTATE, 5, 6, 7, 10, 11, 12, 13,
				    14, 15, 16, -1U };
	struct xen_vm *x = timer_vm(1, mode, XEN_T);
	int i;

	for (i = 0; i < ARRAY_SIZE(cmds); i++)
		exits(x, HCALL_VCPU, cmds[i], XEN_VCPU_ID(0), XEN_ARG(0));
	xen_vm_free(x);
}

IN_64_BIT(other_commands_exit)
IN_32_BIT(other_commands_exit)

/* Commands and vCPU ids are 32 bits wide. */
static void arguments_are_ints(void)
{
	struct xen_vm *x = timer_vm(1, XEN_64, XEN_T);
	const u64 garbage = 0xdead00000000;

	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_VCPU, garbage | VCPUOP_SET_SINGLESHOT,
				 garbage | XEN_VCPU_ID(0), xen_put_singleshot(x, 0, 1, 0)), 0);
	event_within(x, PORT, PROMPT_MS);
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_VCPU, garbage | VCPUOP_STOP_SINGLESHOT,
				 garbage | XEN_VCPU_ID(0)), 0);
	xen_vm_free(x);
}

static void timer_op(enum xen_mode mode)
{
	struct xen_vm *x = timer_vm(1, mode, XEN_T);
	u64 deadline = xen_now(x) + 10 * MSEC, got;

	TEST_ASSERT_EQ(xen_set_timer_op(x, 0, deadline), 0);
	event_at(x, PORT, deadline);
	event_was_signalled(x, PORT);

	do {
		deadline = xen_in_ms(x, 200);
		TEST_ASSERT_EQ(xen_set_timer_op(x, 0, deadline), 0);
		got = expires(x, 0);
		TEST_ASSERT_EQ(xen_set_timer_op(x, 0, 0), 0);
	} while (too_late(x, deadline));
	TEST_ASSERT_EQ(got, deadline);
	TEST_ASSERT_EQ(expires(x, 0), 0);
	xen_sleep_until(x, deadline);
	no_event(x, PORT);

	TEST_ASSERT_EQ(xen_set_timer_op(x, 0, 1), 0);
	event_within(x, PORT, PROMPT_MS);
	event_was_signalled(x, PORT);
	xen_vm_free(x);
}

IN_64_BIT(timer_op)
IN_32_BIT(timer_op)

/* A deadline that cannot be meant is replaced: 100 ms from now. */
static void replaced(struct xen_vm *x, u64 deadline)
{
	u64 before, after, expected, got;

	before = xen_now(x);
	TEST_ASSERT_EQ(xen_set_timer_op(x, 0, deadline), 0);
	got = expires(x, 0);
	after = xen_now(x);

	expected = before + 100 * MSEC;
	if (got || after < expected)
		TEST_ASSERT(got + CLOCK_ERROR_NS >= expected &&
			    got <= after + 100 * MSEC + CLOCK_ERROR_NS,
			    "deadline %#lx became %#lx, not %#lx", deadline, got, expected);
	event_at(x, PORT, expected);
	event_was_signalled(x, PORT);
}

static void timer_op_huge(enum xen_mode mode)
{
	struct xen_vm *x = timer_vm(1, mode, XEN_T);
	u64 deadline;

	replaced(x, -1ULL);
	replaced(x, BIT_ULL(63));
	replaced(x, INT64_MAX);
	replaced(x, xen_now(x) + BIT_ULL(50) + NSEC_PER_SEC);

	/* Just not far enough. */
	deadline = xen_now(x) + BIT_ULL(50) - 10 * (u64)NSEC_PER_SEC;
	TEST_ASSERT_EQ(xen_set_timer_op(x, 0, deadline), 0);
	no_event(x, PORT);
	TEST_ASSERT_EQ(expires(x, 0), deadline);

	/* Only set_timer_op does so. */
	deadline = xen_now(x) + BIT_ULL(50) + 1000 * (u64)NSEC_PER_SEC;
	TEST_ASSERT_EQ(xen_singleshot(x, 0, deadline, 0), 0);
	no_event(x, PORT);
	TEST_ASSERT_EQ(expires(x, 0), deadline);
	xen_set_timer(x, 0, PORT, deadline + 1);
	no_event(x, PORT);
	TEST_ASSERT_EQ(expires(x, 0), deadline + 1);
	xen_vm_free(x);
}

IN_64_BIT(timer_op_huge)
IN_32_BIT(timer_op_huge)

static void timer_op_halves(void)
{
	struct xen_vm *x = timer_vm(1, XEN_32, XEN_T);
	u64 deadline = xen_now(x) + FAR;
	u64 before;

	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_SET_TIMER, (u32)deadline, deadline >> 32, -1U), 0);
	TEST_ASSERT_EQ(expires(x, 0), deadline);

	/* Swapped, a deadline that has just passed is negative: 100 ms. */
	deadline = UPTIME + 0x80000000 - (u32)UPTIME;
	TEST_ASSERT(deadline < UPTIME, "bad UPTIME");
	before = xen_now(x);
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_SET_TIMER, deadline >> 32, (u32)deadline), 0);
	event_at(x, PORT, before + 100 * MSEC);
	xen_vm_free(x);
}

static void one_timer(void)
{
	struct xen_vm *x = timer_vm(1, XEN_64, XEN_T);
	u64 first, deadline;

	do {
		first = xen_in_ms(x, 100);
		deadline = first + 300 * MSEC;
		TEST_ASSERT_EQ(xen_set_timer_op(x, 0, first), 0);
		TEST_ASSERT_EQ(xen_singleshot(x, 0, deadline, 0), 0);
	} while (too_late(x, first));
	event_at(x, PORT, deadline);
	event_was_signalled(x, PORT);

	/* And one stops the other's. */
	do {
		deadline = xen_in_ms(x, 100);
		TEST_ASSERT_EQ(xen_set_timer_op(x, 0, deadline), 0);
		TEST_ASSERT_EQ(stop_singleshot(x, XEN_VCPU_ID(0)), 0);
	} while (too_late(x, deadline));
	xen_sleep_until(x, deadline);
	no_event(x, PORT);
	do {
		deadline = xen_in_ms(x, 100);
		TEST_ASSERT_EQ(xen_singleshot(x, 0, deadline, 0), 0);
		TEST_ASSERT_EQ(xen_set_timer_op(x, 0, 0), 0);
	} while (too_late(x, deadline));
	xen_sleep_until(x, deadline);
	no_event(x, PORT);
	xen_vm_free(x);
}

static void masked_port(enum xen_mode mode)
{
	struct xen_vm *x = timer_vm(1, mode, XEN_T);
	u64 deadline = xen_now(x) + 50 * MSEC;

	xen_put_mask(x, PORT, true);
	TEST_ASSERT_EQ(xen_singleshot(x, 0, deadline, 0), 0);
	event_at(x, PORT, deadline);
	TEST_ASSERT_EQ(xen_sel(x, 0), 0);
	TEST_ASSERT_EQ(xen_flag(x, 0), 0);
	TEST_ASSERT_EQ(expires(x, 0), 0);
	xen_window(x, 0);
	TEST_ASSERT_EQ(xen_count(x, 0, XEN_VECTOR), 0);
	xen_vm_free(x);
}

IN_64_BIT(masked_port)
IN_32_BIT(masked_port)

static void pending_port(void)
{
	struct xen_vm *x = timer_vm(1, XEN_64, XEN_T);

	xen_put_pending(x, PORT, true);
	TEST_ASSERT_EQ(xen_singleshot(x, 0, xen_now(x) + 50 * MSEC, 0), 0);
	xen_sleep_ms(500);
	TEST_ASSERT(xen_pending(x, PORT), "pending bit gone");
	TEST_ASSERT_EQ(xen_sel(x, 0), 0);
	TEST_ASSERT_EQ(xen_flag(x, 0), 0);
	TEST_ASSERT_EQ(expires(x, 0), 0);
	xen_vm_free(x);
}

static void wakes_hlt(enum xen_mode mode, u32 what, u8 vector)
{
	struct xen_vm *x = timer_vm(1, mode, what);
	u64 deadline = xen_now(x) + 300 * MSEC;
	enum xen_stop stop;

	TEST_ASSERT_EQ(xen_singleshot(x, 0, deadline, 0), 0);
	xen_prepare(x, 0, STEP_HLT);
	xen_start(x, 0);
	stop = xen_wait(x, 0, PROMPT_MS);
	xen_expect(x, 0, stop, XEN_RETURNED);
	TEST_ASSERT(xen_now(x) + CLOCK_ERROR_NS >= deadline, "woke up early");
	TEST_ASSERT_EQ(xen_count(x, 0, vector), 1);
	TEST_ASSERT_EQ(xen_cpu(x, 0)->nr, 1);
	TEST_ASSERT(xen_pending(x, PORT), "no event");
	xen_vm_free(x);
}

static void wakes_hlt_64(void)
{
	wakes_hlt(XEN_64, XEN_T, XEN_VECTOR);
}

static void wakes_hlt_32(void)
{
	wakes_hlt(XEN_32, XEN_T, XEN_VECTOR);
}

static void wakes_hlt_lapic(void)
{
	wakes_hlt(XEN_64, XEN_SL | XEN_ID | XEN_TM, XEN_LAPIC_VECTOR(0));
}

static void wakes_poll(bool masked)
{
	struct xen_vm *x = timer_vm(1, XEN_64, XEN_T);
	u64 deadline = xen_now(x) + 300 * MSEC;
	enum xen_stop stop;

	xen_put_mask(x, PORT, masked);
	TEST_ASSERT_EQ(xen_singleshot(x, 0, deadline, 0), 0);
	xen_hcall_start(x, 0, HCALL_SCHED, SCHEDOP_POLL,
			xen_put_poll(x, 0, 0, 1, (const u32[]) { PORT }));
	stop = xen_wait(x, 0, PROMPT_MS);
	xen_expect(x, 0, stop, XEN_RETURNED);
	TEST_ASSERT_EQ(xen_result(x, 0), 0);
	TEST_ASSERT(xen_now(x) + CLOCK_ERROR_NS >= deadline, "woke up early");
	xen_vm_free(x);
}

static void wakes_poll_masked(void)
{
	wakes_poll(true);
}

static void wakes_poll_unmasked(void)
{
	wakes_poll(false);
}

static void interrupts_guest(void)
{
	struct xen_vm *x = timer_vm(1, XEN_64, XEN_T);
	u64 deadline = xen_now(x) + 200 * MSEC;
	u64 end = xen_real_ns(CLOCK_MONOTONIC) + PROMPT_MS * MSEC;

	TEST_ASSERT_EQ(xen_singleshot(x, 0, deadline, 0), 0);
	x->state[0].irqs = true;
	xen_prepare(x, 0, STEP_SPIN);
	xen_start(x, 0);
	event_at(x, PORT, deadline);
	while (!xen_count(x, 0, XEN_VECTOR))
		TEST_ASSERT(xen_real_ns(CLOCK_MONOTONIC) < end, "no upcall");
	xen_sleep_ms(xen_ms(QUIET_MS));
	xen_expect(x, 0, xen_interrupt(x, 0), XEN_SIGNALLED);
	TEST_ASSERT_EQ(xen_count(x, 0, XEN_VECTOR), 1);
	xen_vm_free(x);
}

static void get_does_not_stop(void)
{
	struct xen_vm *x = timer_vm(1, XEN_64, XEN_T);
	u64 deadline, got[2];
	bool early;

	do {
		deadline = xen_in_ms(x, 300);
		TEST_ASSERT_EQ(xen_singleshot(x, 0, deadline, 0), 0);
		got[0] = expires(x, 0);
		got[1] = expires(x, 0);
		TEST_ASSERT_EQ(xen_vcpu_get(x, 0, TIMER, timer.port), PORT);
		TEST_ASSERT_EQ(xen_vcpu_get(x, 0, TIMER, timer.priority), XEN_2LEVEL);
		early = xen_pending(x, PORT);
	} while (too_late(x, deadline));
	TEST_ASSERT_EQ(got[0], deadline);
	TEST_ASSERT_EQ(got[1], deadline);
	TEST_ASSERT(!early, "early");
	event_at(x, PORT, deadline);
	event_was_signalled(x, PORT);
	no_event(x, PORT);
	xen_vm_free(x);
}

/* Remove and put back the memory that shared_info is in. */
static void set_memory(struct xen_vm *x, bool there)
{
	struct kvm_userspace_memory_region2 region =
		memslot2region(x->vm, XEN_SLOT)->region;

	if (!there)
		region.memory_size = 0;
	vm_ioctl(x->vm, KVM_SET_USER_MEMORY_REGION2, &region);
}

static void expires_without_memory(void)
{
	struct xen_vm *x = timer_vm(1, XEN_64, XEN_T);
	int i;

	for (i = 0; i < 5; i++) {
		xen_set_timer(x, 0, PORT, xen_now(x) + 20 * MSEC);
		set_memory(x, false);
		xen_sleep_ms(50);
		set_memory(x, true);
		event_if_run(x, PORT);
		TEST_ASSERT_EQ(expires(x, 0), 0);
		TEST_ASSERT_EQ(xen_count(x, 0, XEN_VECTOR), 1);
		xen_clear_events(x);
	}
	xen_vm_free(x);
}

struct remapper {
	struct xen_vm *x;
	bool stop;
	pthread_t thread;
	u32 rounds;
};

static void *remap(void *data)
{
	struct remapper *r = data;

	while (!READ_ONCE(r->stop)) {
		set_memory(r->x, false);
		set_memory(r->x, true);
		r->rounds++;
		sched_yield();
	}
	return NULL;
}

/* The same, at all moments. */
static void expires_while_remapped(void)
{
	struct xen_vm *x = timer_vm(1, XEN_64, XEN_T);
	struct remapper r = { .x = x };
	u64 end = xen_real_ns(CLOCK_MONOTONIC) + RACE_NS;
	u32 rounds = 0;

	while (xen_real_ns(CLOCK_MONOTONIC) < end) {
		r.stop = false;
		pthread_create(&r.thread, NULL, remap, &r);
		xen_set_timer(x, 0, PORT, xen_now(x) + 3 * MSEC);
		xen_sleep_ms(6);
		WRITE_ONCE(r.stop, true);
		pthread_join(r.thread, NULL);

		event_if_run(x, PORT);
		TEST_ASSERT_EQ(expires(x, 0), 0);
		xen_clear_events(x);
		rounds++;
	}
	ksft_print_msg("%u timers, remapped %u times\n", rounds, r.rounds);
	xen_vm_free(x);
}

static void expires_without_shared_info(enum xen_mode mode)
{
	struct xen_vm *x = timer_vm(1, mode, XEN_T);
	u64 deadline = xen_in_ms(x, 100), before, deferred;
	bool stats = xen_try_stat(x, 0, "xen_events_deferred", &before);

	xen_set(x, SHARED_INFO, shared_info.gfn, KVM_XEN_INVALID_GFN);
	TEST_ASSERT_EQ(xen_singleshot(x, 0, deadline, 0), 0);
	xen_sleep_until(x, deadline);
	xen_sleep_ms(100);
	xen_window(x, 0);
	TEST_ASSERT(!xen_pending(x, PORT), "event in memory that is not shared_info");
	/* Whoever saves the VM now must not lose it. */
	TEST_ASSERT_EQ(expires(x, 0), deadline);
	if (stats) {
		xen_try_stat(x, 0, "xen_events_deferred", &deferred);
		TEST_ASSERT_EQ(deferred, before + 1);
	}

	xen_set(x, SHARED_INFO, shared_info.gfn, XEN_SHINFO >> 12);
	xen_window(x, 0);
	event_within(x, PORT, PROMPT_MS);
	TEST_ASSERT_EQ(expires(x, 0), 0);
	TEST_ASSERT_EQ(xen_count(x, 0, XEN_VECTOR), 1);

	/* The deadline 0 means one that has passed; in the attribute it would mean none. */
	xen_clear_events(x);
	xen_set(x, SHARED_INFO, shared_info.gfn, KVM_XEN_INVALID_GFN);
	TEST_ASSERT_EQ(xen_singleshot(x, 0, 0, 0), 0);
	TEST_ASSERT(expires(x, 0), "no deadline");
	xen_set(x, SHARED_INFO, shared_info.gfn, XEN_SHINFO >> 12);
	xen_window(x, 0);
	event_within(x, PORT, PROMPT_MS);

	/* One that has passed is no more when there is a new one, even if an alarm is left. */
	xen_clear_events(x);
	deadline = xen_now(x) + FAR;
	TEST_ASSERT_EQ(xen_singleshot(x, 0, deadline, 0), 0);
	xen_set(x, SHARED_INFO, shared_info.gfn, KVM_XEN_INVALID_GFN);
	TEST_ASSERT_EQ(xen_singleshot(x, 0, 1, 0), 0);
	TEST_ASSERT_EQ(xen_singleshot(x, 0, deadline + FAR, 0), 0);
	xen_set(x, SHARED_INFO, shared_info.gfn, XEN_SHINFO >> 12);
	xen_window(x, 0);
	TEST_ASSERT(!xen_pending(x, PORT), "event of a deadline that was replaced");
	TEST_ASSERT_EQ(expires(x, 0), deadline + FAR);
	xen_vm_free(x);
}

IN_64_BIT(expires_without_shared_info)
IN_32_BIT(expires_without_shared_info)

/* Nothing is left of a deadline that has come, once the guest has replaced it. */
static void moved_without_shared_info(enum xen_mode mode)
{
	struct xen_vm *x = timer_vm(1, mode, XEN_T);
	u64 first, deadline;
	int i;

	for (i = 0; i < 2; i++) {
		do {
			xen_set(x, SHARED_INFO, shared_info.gfn, KVM_XEN_INVALID_GFN);
			first = xen_in_ms(x, 20);
			TEST_ASSERT_EQ(xen_singleshot(x, 0, first, 0), 0);
			xen_sleep_until(x, first);
			TEST_ASSERT_EQ(expires(x, 0), first);

			deadline = xen_in_ms(x, 300);
			TEST_ASSERT_EQ(i ? xen_set_timer_op(x, 0, deadline) :
					   xen_singleshot(x, 0, deadline, 0), 0);
			xen_set(x, SHARED_INFO, shared_info.gfn, XEN_SHINFO >> 12);
			xen_window(x, 0);
		} while (too_late(x, deadline));
		event_at(x, PORT, deadline);
		event_was_signalled(x, PORT);
	}
	xen_vm_free(x);
}

IN_64_BIT(moved_without_shared_info)
IN_32_BIT(moved_without_shared_info)

static void expires_without_vcpu_info(void)
{
	struct xen_vm *x = timer_vm(1, XEN_64, XEN_T);
	u64 deadline = xen_in_ms(x, 100);

	TEST_ASSERT_EQ(xen_singleshot(x, 0, deadline, 0), 0);
	xen_vcpu_set(x, 0, VCPU_INFO, gpa, KVM_XEN_INVALID_GPA);
	event_at(x, PORT, deadline);
	TEST_ASSERT_EQ(expires(x, 0), 0);
	xen_set_timer(x, 0, PORT, 1);
	TEST_ASSERT_EQ(expires(x, 0), 0);

	xen_vcpu_set(x, 0, VCPU_INFO, gpa, XEN_SHINFO);
	xen_window(x, 0);
	TEST_ASSERT_EQ(xen_count(x, 0, XEN_VECTOR), 1);
	xen_vm_free(x);
}

/* Whoever reads the timer finds a deadline or an event, never neither. */
static void get_races_with_expiry(void)
{
	struct xen_vm *x = timer_vm(1, XEN_64, XEN_T);
	u64 deadline, got, end = xen_real_ns(CLOCK_MONOTONIC) + RACE_NS;
	u32 rounds = 0;
	bool before, after;

	while (xen_real_ns(CLOCK_MONOTONIC) < end || rounds <= 100) {
		deadline = xen_now(x) + 20000 + rounds % 64 * 4000;
		xen_set_timer(x, 0, PORT, deadline);
		do {
			before = xen_pending(x, PORT);
			got = expires(x, 0);
			after = xen_pending(x, PORT);
			TEST_ASSERT(got || after, "neither event nor deadline in round %u", rounds);
			TEST_ASSERT(!got || !before, "event and deadline in round %u", rounds);
			TEST_ASSERT(!got || got == deadline, "%#lx became %#lx", deadline, got);
		} while (got);
		xen_clear_events(x);
		rounds++;
	}
	ksft_print_msg("%u rounds\n", rounds);
	xen_vm_free(x);
}

static u64 guest_timers(u64 delta, u64 rounds, u64 unused)
{
	const struct xen_time_info *time = (void *)XEN_SHINFO + 32;
	struct xen_singleshot *arg = (void *)XEN_ARG(0);
	u64 *pending = (void *)(XEN_SHINFO + 0x800);
	u64 late, least = -1ULL;

	while (rounds--) {
		arg->timeout = xen_guest_now(time) + delta;
		if (xen_guest_hcall(HCALL_VCPU, VCPUOP_SET_SINGLESHOT, XEN_VCPU_ID(0), (u64)arg,
				    0, 0, 0))
			return -1ULL;
		while (!READ_ONCE(*pending))
			asm volatile("pause");
		late = xen_guest_now(time) - arg->timeout;
		if ((s64)late < 0)
			return late;
		if (late < least)
			least = late;
		WRITE_ONCE(*pending, 0);
	}
	return least;
}

/* @khz: frequency of the guest's TSC, or 0 */
static void not_early(u32 khz)
{
	static const u64 delta[] = { MSEC / 10, MSEC, 20 * MSEC };
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_T);
	s64 late;
	int i;

	if (khz)
		vcpu_ioctl(x->vcpu[0], KVM_SET_TSC_KHZ, (void *)(unsigned long)khz);
	xen_put_mask(x, PORT, true);
	xen_window(x, 0);
	x->state[0].irqs = true;	/* see struct xen_vcpu */
	for (i = 0; i < ARRAY_SIZE(delta); i++) {
		late = xen_call(x, 0, guest_timers, delta[i], 50, 0);
		TEST_ASSERT(late >= 0, "early by %ld of %lu ns", -late, delta[i]);
		TEST_ASSERT(late < 100 * (s64)MSEC, "always late by %ld ns or more", late);
	}
	xen_vm_free(x);
}

static void not_early_by_guest_clock(void)
{
	not_early(0);
}

static void not_early_with_scaled_tsc(void)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	u32 khz;

	TEST_REQUIRE(kvm_has_cap(KVM_CAP_TSC_CONTROL));
	vm = vm_create_with_one_vcpu(&vcpu, NULL);
	khz = __vcpu_ioctl(vcpu, KVM_GET_TSC_KHZ, NULL);
	kvm_vm_free(vm);

	not_early(khz / 10 * 7);
	not_early(khz / 10 * 13);
}

/* What was published once, and is not any more, is no clock to go by. */
static void without_clock_copies(void)
{
	struct xen_vm *x = timer_vm(1, XEN_64, XEN_T);
	u64 deadline;
	int i;

	for (i = 1; i < 4; i++) {
		xen_vcpu_set(x, 0, VCPU_INFO, gpa, XEN_SHINFO);
		xen_vcpu_set(x, 0, VCPU_TIME_INFO, gpa, XEN_TIME);
		xen_window(x, 0);
		xen_vcpu_set(x, 0, VCPU_INFO, gpa, KVM_XEN_INVALID_GPA);
		xen_vcpu_set(x, 0, VCPU_TIME_INFO, gpa, KVM_XEN_INVALID_GPA);
		xen_set_now(x, UPTIME * (i + 1));
		deadline = xen_now(x) + 50 * MSEC;
		TEST_ASSERT_EQ(xen_singleshot(x, 0, deadline, 0), 0);
		event_at(x, PORT, deadline);
		xen_clear_events(x);
	}
	xen_vm_free(x);
}

static void set_past(const u64 *past, int nr)
{
	struct xen_vm *x = timer_vm(1, XEN_64, XEN_T);
	int i;

	for (i = 0; i < nr; i++) {
		xen_set_timer(x, 0, PORT, past[i]);
		xen_window(x, 0);
		event_within(x, PORT, PROMPT_MS);
		TEST_ASSERT_EQ(expires(x, 0), 0);
		TEST_ASSERT_EQ(xen_count(x, 0, XEN_VECTOR), 1);
		xen_clear_events(x);
	}
	xen_vm_free(x);
}

static void set_to_past(void)
{
	set_past((const u64[]) { 1, UPTIME / 2, UPTIME - 1 }, 3);
}

static void set_negative(void)
{
	set_past((const u64[]) { -1ULL, BIT_ULL(63) + 1, BIT_ULL(63) }, 3);
}

static void set_port_0(void)
{
	struct xen_vm *x = timer_vm(1, XEN_64, XEN_T);
	u64 deadline;

	do {
		deadline = xen_in_ms(x, 100);
		TEST_ASSERT_EQ(xen_singleshot(x, 0, deadline, 0), 0);
		xen_set_timer(x, 0, 0, deadline);
	} while (too_late(x, deadline));
	xen_sleep_until(x, deadline);
	no_event(x, PORT);
	no_event(x, 0);
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, TIMER, timer.port), 0);
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, TIMER, timer.priority), XEN_2LEVEL);
	exits(x, HCALL_SET_TIMER, 1, 0, 0);
	xen_vm_free(x);
}

static void set_other_port(void)
{
	struct xen_vm *x = timer_vm(1, XEN_64, XEN_T);
	u64 deadline, got;

	do {
		deadline = xen_in_ms(x, 200);
		TEST_ASSERT_EQ(xen_singleshot(x, 0, deadline, 0), 0);
		xen_set_timer(x, 0, PORT_2, expires(x, 0));
		got = expires(x, 0);
	} while (too_late(x, deadline));
	TEST_ASSERT_EQ(got, deadline);
	event_at(x, PORT_2, deadline);
	event_was_signalled(x, PORT_2);
	no_event(x, PORT);
	no_event(x, PORT_2);

	/* Nor does what was due for the old port come out of the new one. */
	xen_set(x, SHARED_INFO, shared_info.gfn, KVM_XEN_INVALID_GFN);
	xen_set_timer(x, 0, PORT, 1);
	xen_set_timer(x, 0, PORT_2, 0);
	xen_set(x, SHARED_INFO, shared_info.gfn, XEN_SHINFO >> 12);
	xen_window(x, 0);
	no_event(x, PORT);
	no_event(x, PORT_2);
	xen_vm_free(x);
}

static void set_often(void)
{
	struct xen_vm *x = timer_vm(1, XEN_64, XEN_T);
	u64 deadline;
	int i;

	for (i = 0; i < 2000; i++)
		xen_set_timer(x, 0, PORT, xen_now(x) + i % 3 * 10000);
	xen_set_timer(x, 0, PORT, 0);
	xen_clear_events(x);
	no_event(x, PORT);

	deadline = xen_now(x) + 50 * MSEC;
	xen_set_timer(x, 0, PORT, deadline);
	event_at(x, PORT, deadline);
	xen_vm_free(x);
}

/* The end of a VM, with a timer that is far, about to fire, firing, or due. */
static void free_armed(void)
{
	struct xen_vm *x;
	int i;

	for (i = 0; i < 40; i++) {
		x = xen_vm_new(2, XEN_64, XEN_T);
		if (i % 4 == 3)
			xen_set(x, SHARED_INFO, shared_info.gfn, KVM_XEN_INVALID_GFN);
		xen_set_timer(x, 0, PORT, xen_now(x) + (i % 4 ? 100000 * i : 60 * NSEC_PER_SEC));
		xen_set_timer(x, 1, PORT, xen_now(x) + 1500000);
		xen_vm_free(x);
	}
}

static const struct xen_case cases[] = {
	{ "VO1 TM4 RG46: singleshot", in_64_bit_singleshot },
	{ "VO1 TM4 RG46: singleshot, 32-bit", in_32_bit_singleshot },
	{ "VO1 TM4: singleshot, compat", singleshot_in_compat_mode },
	{ "VO2 VO3 VO4 DT28 RG35: past deadlines, all flags", in_64_bit_singleshot_past },
	{ "VO2 VO3 VO4 DT28 RG35: past deadlines, all flags, 32-bit", in_32_bit_singleshot_past },
	{ "VO5 M8 XSA20: deadlines of 2^63 and more", in_64_bit_singleshot_negative },
	{ "VO5 M8 XSA20: deadlines of 2^63 and more, 32-bit", in_32_bit_singleshot_negative },
	{ "VO6 DT21 XSA20: far deadlines", in_64_bit_singleshot_far },
	{ "VO6 DT21 XSA20: far deadlines, 32-bit", in_32_bit_singleshot_far },
	{ "VO7 RG36: timer of another vCPU", in_64_bit_singleshot_of_other_vcpu },
	{ "VO7 RG36: timer of another vCPU, 32-bit", in_32_bit_singleshot_of_other_vcpu },
	{ "VO1: two vCPUs", two_timers },
	{ "VO1: moved to and fro", in_64_bit_singleshot_moved },
	{ "VO1: moved to and fro, 32-bit", in_32_bit_singleshot_moved },
	{ "VO1 TO1: moved by a vCPU that runs on", moved_while_running },
	{ "VO1 TM3: moved, then HLT", moved_then_hlt },
	{ "VO1: moved across a change of the clock", moved_across_clock_change },
	{ "TM3 DT20: the clock is set to the deadline during HLT", clock_set_while_asleep },
	{ "VO8 DT9 M9: timer of no vCPU", in_64_bit_singleshot_of_no_vcpu },
	{ "VO8 DT9 M9: timer of no vCPU, 32-bit", in_32_bit_singleshot_of_no_vcpu },
	{ "VO9 VO10 RG52: pointers", in_64_bit_singleshot_pointers },
	{ "VO9 VO11 RG52: pointers, 32-bit", in_32_bit_singleshot_pointers },
	{ "VO12 VO13: stop", in_64_bit_singleshot_stop },
	{ "VO12 VO13: stop, 32-bit", in_32_bit_singleshot_stop },
	{ "VO14 DT35: without a port", in_64_bit_without_port },
	{ "VO14 DT35: without a port, 32-bit", in_32_bit_without_port },
	{ "VO15 TO9 FX7 RG36: without a vCPU id", without_vcpu_id },
	{ "VO16: other commands", in_64_bit_other_commands_exit },
	{ "VO16: other commands, 32-bit", in_32_bit_other_commands_exit },
	{ "VO1 M15: command and vCPU have 32 bits", arguments_are_ints },
	{ "TO1 TO2 TO3: set_timer_op", in_64_bit_timer_op },
	{ "TO1 TO2 TO3 TO7: set_timer_op, 32-bit", in_32_bit_timer_op },
	{ "TO4 TO5 TO6: huge deadlines", in_64_bit_timer_op_huge },
	{ "TO4 TO5 TO6: huge deadlines, 32-bit", in_32_bit_timer_op_huge },
	{ "TO4 TO6: huge deadline after a far one", timer_op_huge_moved },
	{ "TO7 TO8: order of halves", timer_op_halves },
	{ "TO10: one timer for both calls", one_timer },
	{ "TM1: masked port", in_64_bit_masked_port },
	{ "TM1: masked port, 32-bit", in_32_bit_masked_port },
	{ "TM2: pending port", pending_port },
	{ "TM3: wakes up from HLT", wakes_hlt_64 },
	{ "TM3: wakes up from HLT, 32-bit", wakes_hlt_32 },
	{ "TM3: wakes up from HLT, LAPIC vector", wakes_hlt_lapic },
	{ "TM3: ends a poll of a masked port", wakes_poll_masked },
	{ "TM3: ends a poll of an unmasked port", wakes_poll_unmasked },
	{ "TM3: interrupts a running guest", interrupts_guest },
	{ "TM5: reading it changes nothing", get_does_not_stop },
	{ "TM6: expiry while memory is gone", expires_without_memory },
	{ "TM6: expiry races with memory changes", expires_while_remapped },
	{ "TM7 DT24: expiry while shared_info is not mapped", expires_without_mapping },
	{ "TM7 DT24: expiry without shared_info", in_64_bit_expires_without_shared_info },
	{ "TM7 DT24: expiry without shared_info, 32-bit", in_32_bit_expires_without_shared_info },
	{ "VO1 TM7: moved after an expiry without shared_info",
	  in_64_bit_moved_without_shared_info },
	{ "VO1 TM7: moved after an expiry without shared_info, 32-bit",
	  in_32_bit_moved_without_shared_info },
	{ "TM7 RG33: expiry without vcpu_info", expires_without_vcpu_info },
	{ "TM8 RG34: reading races with expiry", get_races_with_expiry },
	{ "TM9 FX4 RG26: never early", not_early_by_guest_clock },
	{ "TM9 RG26: never early, scaled TSC", not_early_with_scaled_tsc },
	{ "RG27: copies of the clock were disabled", without_clock_copies },
	{ "TM10: set to the past", set_to_past },
	{ "TM10 VO5: set to 2^63 and more", set_negative },
	{ "TM11: set to port 0", set_port_0 },
	{ "TM12 RG32: set to another port", set_other_port },
	{ "FX5 RG31: set often", set_often },
	{ "TM13: a vCPU ends while its timer runs", free_armed },
};

int main(int argc, char *argv[])
{
	return xen_run_cases(argc, argv, cases, ARRAY_SIZE(cases));
}
