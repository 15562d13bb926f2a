// SPDX-License-Identifier: GPL-2.0-only
/*
 * SCHEDOP_poll and SCHEDOP_yield of Xen guests: arguments, what ends a poll, whom an event
 * wakes, the timeout, and races between an event and falling asleep.
 *
 * Ids: SC1 to SC17, D10 to D13 of the plan for time and the API; P1 to P17, P19 to P24, P28, P30, U29 and
 * divergences 1 to 9 of the plan for event channels; R37, R38, R47 to R49, L1 to L4 of the list of
 * regressions; measured rows 1 to 7.  P18 (closed ports) and P25, P26 are up to the VMM, which
 * knows the ports; port 0 must not block for ever.
 *
 * A case fails when a poll returns another result than real Xen's, blocks on although its event
 * has come, or ends long before or after its deadline.  Spurious ends are allowed, so no
 * case depends on a poll going on for long, but for the timeout, which is tried thrice.
 */
#include <poll.h>

#include "apic.h"
#include "xen.h"

#define A	5
#define B	6
#define MS	NSEC_PER_MSEC
#define FOREVER	0

/* Milliseconds after which a poll that should have ended is taken to hang. */
#define HANG	3000

static void start_poll_list(struct xen_vm *x, int n, u64 timeout, u32 nr, const u32 *ports)
{
	xen_hcall_start(x, n, HCALL_SCHED, SCHEDOP_POLL, xen_put_poll(x, n, timeout, nr, ports));
}

static void start_poll(struct xen_vm *x, int n, u64 timeout, u32 port)
{
	start_poll_list(x, n, timeout, 1, &port);
}

static s64 end_poll(struct xen_vm *x, int n)
{
	xen_expect(x, n, xen_wait(x, n, HANG), XEN_RETURNED);
	return xen_is_64(x, n) ? (s64)xen_result(x, n) : (s32)xen_result(x, n);
}

/* Polls that return at once. */
static s64 poll_list(struct xen_vm *x, u64 timeout, u32 nr, const u32 *ports)
{
	start_poll_list(x, 0, timeout, nr, ports);
	return end_poll(x, 0);
}

static s64 poll_port(struct xen_vm *x, u64 timeout, u32 port)
{
	return poll_list(x, timeout, 1, &port);
}

/* A deadline that a lost wake-up does not hide behind. */
static u64 far(struct xen_vm *x)
{
	return xen_now(x) + 3600 * 1000 * MS;
}

/* Let the vCPU fall asleep; it may be slower than that, which the cases stand. */
static void settle(struct xen_vm *x, int n)
{
	TEST_ASSERT_EQ(xen_wait(x, n, 40), XEN_RUNNING_YET);
}

static void test_yield(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);

	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_SCHED, SCHEDOP_YIELD), 0);
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_SCHED, SCHEDOP_YIELD, XEN_HOLE), 0);
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_SCHED, 0xdead00000000ULL), 0);
	xen_set_mode(x, 0, XEN_32);
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_SCHED, SCHEDOP_YIELD), 0);
}

static void test_other_ops(void)
{
	static const u8 ops[] = { 1, 2, 4, 5, 6, 7, 9 };
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	int i;

	for (i = 0; i < ARRAY_SIZE(ops); i++)
		xen_hcall_exits(x, 0, HCALL_SCHED, ops[i]);
}

static void pending(enum xen_mode mode)
{
	struct xen_vm *x = xen_vm_new(1, mode, XEN_S);

	xen_put_pending(x, A, true);
	TEST_ASSERT_EQ(poll_port(x, FOREVER, A), 0);
	TEST_ASSERT(xen_pending(x, A), "poll has consumed the event");
	xen_put_mask(x, A, true);
	TEST_ASSERT_EQ(poll_port(x, FOREVER, A), 0);
	TEST_ASSERT(xen_pending(x, A), "poll has consumed the event");
	xen_put_pending(x, xen_nr_ports(x) - 1, true);
	TEST_ASSERT_EQ(poll_port(x, FOREVER, xen_nr_ports(x) - 1), 0);
}

static void test_pending(void)
{
	pending(XEN_64);
}

static void test_pending_32(void)
{
	pending(XEN_32);
}

static void test_pending_compat(void)
{
	pending(XEN_COMPAT);
}

/* A port of the whole VM's, bound to nobody in particular, below the call's bitness. */
static void limit(enum xen_mode mode)
{
	struct xen_vm *x = xen_vm_new(1, mode, XEN_S);
	u32 nr = xen_nr_ports(x);

	TEST_ASSERT_EQ(poll_port(x, 1, nr), -EINVAL);
	TEST_ASSERT_EQ(poll_port(x, 1, 0xffffffff), -EINVAL);
	TEST_ASSERT_EQ(poll_port(x, 1, 0x80000005), -EINVAL);
	TEST_ASSERT_EQ(poll_port(x, 1, nr - 1), 0);
}

static void test_limit(void)
{
	limit(XEN_64);
}

static void test_limit_32(void)
{
	limit(XEN_32);
}

static void test_port_0(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	enum xen_stop stop;

	start_poll(x, 0, xen_now(x) + 50 * MS, 0);
	stop = xen_wait(x, 0, HANG);
	TEST_ASSERT(stop == XEN_EXITED || stop == XEN_RETURNED, "poll of port 0 hangs");
	if (stop == XEN_RETURNED)
		TEST_ASSERT(!xen_result(x, 0) || xen_result(x, 0) == (u64)-EINVAL, "result %lld",
			    (long long)xen_result(x, 0));
}

static void test_too_many(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	u32 ports[128], i;
	u64 arg;

	arg = xen_put_poll(x, 0, 1, 129, NULL);
	((struct xen_poll64 *)xen_hva(x, arg))->ports = XEN_HOLE;
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_SCHED, SCHEDOP_POLL, arg), -EINVAL);
	((struct xen_poll64 *)xen_hva(x, arg))->nr_ports = 0xffffffff;
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_SCHED, SCHEDOP_POLL, arg), -EINVAL);

	for (i = 0; i < 128; i++)
		ports[i] = i + 1;
	TEST_ASSERT_EQ(poll_list(x, 1, 128, ports), 0);
	TEST_ASSERT_EQ(poll_list(x, xen_now(x) + 10 * MS, 128, ports), 0);
	xen_put_pending(x, 128, true);
	TEST_ASSERT_EQ(poll_list(x, FOREVER, 128, ports), 0);
}

/* Errors are found only as far as the list is read. */
static void test_order(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	u64 arg;

	xen_put_pending(x, A, true);
	TEST_ASSERT_EQ(poll_list(x, 1, 2, (u32[]) { 0xffffffff, A }), -EINVAL);
	TEST_ASSERT_EQ(poll_list(x, 1, 2, (u32[]) { B, 5000 }), -EINVAL);
	TEST_ASSERT_EQ(poll_list(x, 1, 2, (u32[]) { A, 5000 }), 0);
	TEST_ASSERT_EQ(poll_list(x, 1, 2, (u32[]) { A, 0xffffffff }), 0);

	/* The same with an address that faults behind the first port. */
	*(u32 *)xen_hva(x, XEN_HOLE - 4) = A;
	arg = xen_put_poll(x, 0, 1, 2, NULL);
	((struct xen_poll64 *)xen_hva(x, arg))->ports = XEN_HOLE - 4;
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_SCHED, SCHEDOP_POLL, arg), 0);
	xen_put_pending(x, A, false);
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_SCHED, SCHEDOP_POLL, arg), -EFAULT);
}

static void test_bad_pointers(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	u32 nr[] = { 1, 2, 128 };
	u64 arg;
	int i;

	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_SCHED, SCHEDOP_POLL, XEN_HOLE), -EFAULT);
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_SCHED, SCHEDOP_POLL, 0), -EFAULT);
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_SCHED, SCHEDOP_POLL, XEN_HOLE - 23), -EFAULT);
	for (i = 0; i < ARRAY_SIZE(nr); i++) {
		arg = xen_put_poll(x, 0, 1, nr[i], NULL);
		((struct xen_poll64 *)xen_hva(x, arg))->ports = XEN_HOLE;
		TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_SCHED, SCHEDOP_POLL, arg), -EFAULT);
	}
	((struct xen_poll64 *)xen_hva(x, arg))->nr_ports = 0;
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_SCHED, SCHEDOP_POLL, arg), 0);
}

/* A structure that ends with its page. */
static void page_end(enum xen_mode mode, u64 size)
{
	struct xen_vm *x = xen_vm_new(1, mode, XEN_S);
	u64 arg;

	xen_put_pending(x, A, true);
	arg = xen_put_poll(x, 0, FOREVER, 1, (u32[]) { A });
	memcpy(xen_hva(x, XEN_HOLE - size), xen_hva(x, arg), size);
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_SCHED, SCHEDOP_POLL, XEN_HOLE - size), 0);
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_SCHED, SCHEDOP_POLL, XEN_HOLE - size + 1), -EFAULT);
	memcpy(xen_hva(x, XEN_SPARE + 0x1000 - 3), xen_hva(x, arg), size);
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_SCHED, SCHEDOP_POLL, XEN_SPARE + 0x1000 - 3), 0);
}

static void test_page_end(void)
{
	page_end(XEN_64, 24);
}

static void test_page_end_32(void)
{
	page_end(XEN_32, 16);
}

static void test_compat_garbage(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_COMPAT, XEN_S);
	const u64 garbage = 0xdead00000000ULL;
	u64 arg = xen_put_poll(x, 0, 1, 1, (u32[]) { A });

	TEST_ASSERT_EQ(xen_hcall(x, 0, garbage | HCALL_SCHED, garbage | SCHEDOP_POLL,
				 garbage | arg), 0);
}

/* Timeouts. */

/* The best of three: a spurious end is allowed now and then. */
static void timeout_case(enum xen_mode mode, u32 nr)
{
	struct xen_vm *x = xen_vm_new(1, mode, XEN_S);
	u32 ports[] = { A, B };
	u64 deadline, now;
	int i;

	xen_put_mask(x, A, true);
	for (i = 0; i < 3; i++) {
		deadline = xen_now(x) + 50 * MS;
		TEST_ASSERT_EQ(poll_list(x, deadline, nr, ports), 0);
		now = xen_now(x);
		TEST_ASSERT(now < deadline + 1000 * MS, "late by %llu ns",
			    (long long)(now - deadline));
		if (now + 20000 >= deadline)
			return;
	}
	TEST_FAIL("early by %llu ns", (long long)(deadline - now));
}

static void test_timeout(void)
{
	timeout_case(XEN_64, 1);
}

static void test_timeout_32(void)
{
	timeout_case(XEN_32, 1);
}

static void test_timeout_no_ports(void)
{
	timeout_case(XEN_64, 0);
}

static void test_timeout_two_ports(void)
{
	timeout_case(XEN_64, 2);
}

/* Absolute, so a long uptime makes no difference. */
static void test_timeout_uptime(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	u64 deadline, now;

	xen_set_now(x, 3600 * 1000 * MS);
	deadline = xen_now(x) + 20 * MS;
	TEST_ASSERT_EQ(poll_port(x, deadline, A), 0);
	now = xen_now(x);
	TEST_ASSERT(now < deadline + 1000 * MS, "late by %llu ns", (long long)(now - deadline));
}

static void test_timeout_past(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	u64 before;

	xen_set_now(x, 3600 * 1000 * MS);
	before = xen_now(x);
	TEST_ASSERT_EQ(poll_port(x, 1, A), 0);
	TEST_ASSERT_EQ(poll_port(x, before - 1, A), 0);
	TEST_ASSERT_EQ(poll_port(x, BIT_ULL(63) + 5, A), 0);
	TEST_ASSERT_EQ(poll_port(x, ~0ULL, A), 0);
	TEST_ASSERT(xen_now(x) < before + 1000 * MS, "took %llu ns",
		    (long long)(xen_now(x) - before));
}

/* In the guest's clock and finer than a timer tick, many times. */
static u64 guest_polls(struct xen_time_info *time, u64 arg, u64 nr)
{
	struct xen_poll64 *poll = (void *)arg;
	u64 early = 0, start;

	while (nr--) {
		start = xen_guest_now(time);
		poll->timeout = start + 200000 + nr % 7 * 50000;
		GUEST_ASSERT(!xen_guest_hcall(HCALL_SCHED, SCHEDOP_POLL, arg, 0, 0, 0, 0));
		early += xen_guest_now(time) < poll->timeout;
	}
	return early;
}

static void test_timeout_precise(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	u64 arg = xen_put_poll(x, 0, 0, 1, (u32[]) { A });
	u64 before = xen_now(x), early;

	xen_put_mask(x, A, true);
	xen_prepare_call(x, 0, guest_polls, XEN_SHINFO + 32, arg, 100);
	xen_start(x, 0);
	xen_expect(x, 0, xen_wait(x, 0, 10000), XEN_RETURNED);
	early = xen_result(x, 0);
	TEST_ASSERT(early < 50, "%lu of 100 polls ended early", early);
	TEST_ASSERT(xen_now(x) - before < 3000 * MS, "100 polls took %llu ms",
		    (long long)((xen_now(x) - before) / MS));
}

static void test_timeout_never(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);

	start_poll(x, 0, BIT_ULL(63) - 1, A);
	settle(x, 0);
	xen_send(x, A, 0);
	TEST_ASSERT_EQ(end_poll(x, 0), 0);
}

/* A deadline left over from a poll that an event ended does no harm. */
static void test_timeout_left_over(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);

	xen_put_mask(x, A, true);
	xen_put_mask(x, B, true);
	start_poll(x, 0, xen_now(x) + 60 * MS, A);
	settle(x, 0);
	xen_send(x, A, 0);
	TEST_ASSERT_EQ(end_poll(x, 0), 0);
	start_poll(x, 0, FOREVER, B);
	xen_sleep_ms(100);
	xen_send(x, B, 0);
	TEST_ASSERT_EQ(end_poll(x, 0), 0);
}

/* Wake-ups. Interrupts are off unless said. */

static void wake(enum xen_mode mode, bool mask, int target)
{
	struct xen_vm *x = xen_vm_new(2, mode, XEN_S);

	if (mask)
		xen_put_mask(x, A, true);
	start_poll(x, 0, far(x), A);
	settle(x, 0);
	xen_send(x, A, target);
	TEST_ASSERT_EQ(end_poll(x, 0), 0);
	TEST_ASSERT(xen_pending(x, A), "poll has consumed the event");
	TEST_ASSERT_EQ(xen_cpu(x, 0)->nr, 0);
}

static void test_wake_masked(void)
{
	wake(XEN_64, true, 0);
}

static void test_wake_masked_32(void)
{
	wake(XEN_32, true, 0);
}

static void test_wake_unmasked(void)
{
	wake(XEN_64, false, 0);
}

static void test_wake_unmasked_32(void)
{
	wake(XEN_32, false, 0);
}

static void test_wake_other_vcpu(void)
{
	wake(XEN_64, true, 1);
	wake(XEN_64, false, 1);
}

static void test_wake_other_vcpu_32(void)
{
	wake(XEN_32, true, 1);
	wake(XEN_32, false, 1);
}

/* As a PV spinlock does: another vCPU sends an IPI. */
static void ipi(enum xen_mode mode)
{
	struct xen_vm *x = xen_vm_new(2, mode, XEN_S);
	int i;

	xen_assign(x, EVTCHN_IPI, A, A, 0);
	xen_put_mask(x, A, true);
	*(u32 *)xen_hva(x, XEN_ARG(1)) = A;
	for (i = 0; i < 5; i++) {
		start_poll(x, 0, FOREVER, A);
		xen_wait(x, 0, i);
		if (!x->state[0].started)
			start_poll(x, 0, FOREVER, A);
		TEST_ASSERT_EQ(xen_hcall(x, 1, HCALL_EVTCHN, EVTCHNOP_SEND, XEN_ARG(1)), 0);
		TEST_ASSERT_EQ(end_poll(x, 0), 0);
		/* Still pending: the next one returns at once. */
		TEST_ASSERT_EQ(poll_port(x, FOREVER, A), 0);
		xen_clear_events(x);
	}
}

static void test_ipi(void)
{
	ipi(XEN_64);
}

static void test_ipi_32(void)
{
	ipi(XEN_32);
}

static void test_selector_set(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);

	xen_put_sel(x, 0, xen_sel_bit(x, A));
	start_poll(x, 0, far(x), A);
	settle(x, 0);
	xen_send(x, A, 0);
	TEST_ASSERT_EQ(end_poll(x, 0), 0);
}

static void test_lapic_vector(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_SL);

	start_poll(x, 0, far(x), A);
	settle(x, 0);
	xen_send(x, A, 0);
	TEST_ASSERT_EQ(end_poll(x, 0), 0);
	TEST_ASSERT(xen_irr(x, 0, XEN_LAPIC_VECTOR(0)), "vector is not in the IRR");

	/* Another port, unmasked: its upcall ends the poll, too. */
	xen_clear_events(x);
	xen_window(x, 0);
	xen_clear_events(x);
	start_poll(x, 0, far(x), A);
	settle(x, 0);
	xen_send(x, B, 0);
	TEST_ASSERT_EQ(end_poll(x, 0), 0);
}

static void test_upcall_other_port(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);

	start_poll(x, 0, far(x), A);
	settle(x, 0);
	xen_send(x, B, 0);
	TEST_ASSERT_EQ(end_poll(x, 0), 0);
}

/* A list of none, or of more than one, waits for any port of the VM. */
static void test_any_port(void)
{
	struct xen_vm *x = xen_vm_new(2, XEN_64, XEN_S);
	u32 ports[] = { A, B };
	int i;

	for (i = 0; i < 100; i++)
		xen_put_mask(x, i, true);
	start_poll_list(x, 0, far(x), 0, ports);
	settle(x, 0);
	xen_send(x, 77, 1);
	TEST_ASSERT_EQ(end_poll(x, 0), 0);

	start_poll_list(x, 0, far(x), 2, ports);
	settle(x, 0);
	xen_send(x, B, 1);
	TEST_ASSERT_EQ(end_poll(x, 0), 0);
}

/* One port: another masked one does not matter. */
static void test_not_mine(void)
{
	struct xen_vm *x = xen_vm_new(2, XEN_64, XEN_S);
	int i;

	xen_put_mask(x, A, true);
	xen_put_mask(x, B, true);
	for (i = 0; i < 3; i++) {
		start_poll(x, 0, far(x), A);
		xen_wait(x, 0, 20);
		xen_send(x, B, 1);
		xen_put_pending(x, B, false);
		if (xen_wait(x, 0, 60) == XEN_RUNNING_YET)
			break;
	}
	TEST_ASSERT(i < 3, "each poll ended for another port");
	xen_send(x, A, 1);
	TEST_ASSERT_EQ(end_poll(x, 0), 0);
}

static void test_two_pollers(void)
{
	struct xen_vm *x = xen_vm_new(3, XEN_64, XEN_S);

	xen_put_mask(x, A, true);
	start_poll(x, 0, far(x), A);
	start_poll(x, 1, far(x), A);
	settle(x, 0);
	settle(x, 1);
	xen_send(x, A, 2);
	TEST_ASSERT_EQ(end_poll(x, 0), 0);
	TEST_ASSERT_EQ(end_poll(x, 1), 0);
}

/* A flag that is set already is no event. */
static void test_flag_set(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	u64 deadline, now;
	int i;

	xen_put_flag(x, 0, 1);
	for (i = 0; i < 3; i++) {
		deadline = xen_now(x) + 30 * MS;
		TEST_ASSERT_EQ(poll_port(x, deadline, A), 0);
		now = xen_now(x);
		if (now + 20000 >= deadline)
			return;
	}
	TEST_FAIL("each poll was ended by the flag");
}

/* With interrupts on, an upcall that is pending comes first, whatever the list says. */
static u64 guest_poll_upcall(struct xen_vcpu_info64 *info, u64 arg, struct xen_cpu *cpu)
{
	u64 ret;

	asm volatile("sti");
	WRITE_ONCE(info->upcall_pending, 1);
	ret = xen_guest_hcall(HCALL_SCHED, SCHEDOP_POLL, arg, 0, 0, 0, 0);
	asm volatile("cli");
	return ret << 8 | READ_ONCE(cpu->count[XEN_VECTOR]);
}

static void test_interrupt_first(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	u64 arg = xen_put_poll(x, 0, 1, 1, (u32[]) { 0xffffffff });

	TEST_ASSERT_EQ(xen_call(x, 0, guest_poll_upcall, XEN_SHINFO, arg, XEN_CPU(0)), 1);
}

/* With interrupts on, an interrupt ends the poll and is taken. */
static void test_interrupt(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	struct kvm_msi msi = { .address_lo = 0xfee00000, .data = 0x99 };

	xen_lapic_enable(x, 0, true);
	x->state[0].irqs = true;
	start_poll(x, 0, far(x), A);
	settle(x, 0);
	TEST_ASSERT(__vm_ioctl(x->vm, KVM_SIGNAL_MSI, &msi) > 0, "no MSI");
	TEST_ASSERT_EQ(end_poll(x, 0), 0);
	TEST_ASSERT_EQ(xen_count(x, 0, 0x99), 1);
}

static u64 send_nmi(u64 icr, u64 unused, u64 unused2)
{
	xapic_write_reg(APIC_ICR2, 0);
	xapic_write_reg(APIC_ICR, icr);
	return 0;
}

static void test_nmi(void)
{
	struct xen_vm *x = xen_vm_new(2, XEN_64, XEN_S);

	xen_lapic_enable(x, 1, true);
	start_poll(x, 0, far(x), A);
	settle(x, 0);
	xen_call(x, 1, send_nmi, APIC_DM_NMI | APIC_INT_ASSERT, 0, 0);
	TEST_ASSERT_EQ(end_poll(x, 0), 0);
	TEST_ASSERT_EQ(xen_count(x, 0, NMI_VECTOR), 1);
}

/* A signal ends KVM_RUN; the call has returned then. */
static void test_signal(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	struct kvm_regs regs;

	start_poll(x, 0, far(x), A);
	settle(x, 0);
	xen_expect(x, 0, xen_interrupt(x, 0), XEN_SIGNALLED);
	xen_start(x, 0);
	if (xen_wait(x, 0, HANG) == XEN_RUNNING_YET) {
		vcpu_regs_get(x->vcpu[0], &regs);
		TEST_FAIL("poll goes on after a signal");
	}
	TEST_ASSERT_EQ(xen_result(x, 0), 0);
}

static void test_no_send_flag(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, 0);

	xen_config(x, KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL, XEN_HCALL_MSR);
	xen_setup(x, XEN_SI | XEN_VI | XEN_UV);
	TEST_ASSERT_EQ(poll_port(x, FOREVER, A), 0);
}

static void test_no_shinfo(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);

	TEST_ASSERT_EQ(poll_port(x, far(x), A), 0);
}

/* A poll must not hold up changes of memory. */
static void test_memslot(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	u64 start;

	start_poll(x, 0, xen_now(x) + 2000 * MS, A);
	settle(x, 0);
	start = xen_real_ns(CLOCK_MONOTONIC);
	vm_userspace_mem_region_add(x->vm, VM_MEM_SRC_ANONYMOUS, XEN_HOLE, XEN_SLOT + 1, 1, 0);
	vm_mem_region_delete(x->vm, XEN_SLOT + 1);
	TEST_ASSERT(xen_real_ns(CLOCK_MONOTONIC) - start < 1000 * MS,
		    "changing a memslot had to wait for the poll");
	xen_send(x, A, 0);
	TEST_ASSERT_EQ(end_poll(x, 0), 0);
}

/* The VM is destroyed while a vCPU polls: here by the end of the process. */
static void test_exit_while_polling(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);

	start_poll(x, 0, FOREVER, A);
	settle(x, 0);
}

/* Races of an event with falling asleep. */

static u64 guest_poller(u64 arg, u64 *rounds, struct xen_shared_info64 *shinfo)
{
	u64 n = READ_ONCE(*rounds), i;

	for (i = 0; i < n; i++) {
		while (!(READ_ONCE(shinfo->pending[0]) & BIT(A)))
			GUEST_ASSERT(!xen_guest_hcall(HCALL_SCHED, SCHEDOP_POLL, arg, 0, 0, 0, 0));
		__sync_fetch_and_and(&shinfo->pending[0], ~BIT_ULL(A));
		WRITE_ONCE(rounds[1], i + 1);
	}
	return i;
}

/* Sends as soon as the poller has seen the last one, so around the time it falls asleep. */
static u64 guest_sender(u64 arg, u64 *rounds, u64 unused)
{
	u64 n = READ_ONCE(*rounds), i, spin;

	for (i = 0; i < n; i++) {
		while (READ_ONCE(rounds[1]) != i)
			asm volatile("pause");
		for (spin = 0; spin < i % 64; spin++)
			asm volatile("pause");
		GUEST_ASSERT(!xen_guest_hcall(HCALL_EVTCHN, EVTCHNOP_SEND, arg, 0, 0, 0, 0));
	}
	return i;
}

static void race(bool mask, int target)
{
	struct xen_vm *x = xen_vm_new(2, XEN_64, XEN_CFG | XEN_SI | XEN_VI);
	u64 *rounds = xen_hva(x, XEN_SPARE);
	u64 last = 0;
	int quiet;

	*rounds = 3000;
	xen_assign(x, EVTCHN_IPI, A, A, target);
	if (mask)
		xen_put_mask(x, A, true);
	*(u32 *)xen_hva(x, XEN_ARG(1)) = A;
	xen_prepare_call(x, 0, guest_poller, xen_put_poll(x, 0, FOREVER, 1, (u32[]) { A }),
			 XEN_SPARE, XEN_SHINFO);
	x->state[1].irqs = true;
	xen_prepare_call(x, 1, guest_sender, XEN_ARG(1), XEN_SPARE, 0);
	xen_start(x, 0);
	xen_start(x, 1);
	for (quiet = 0; xen_wait(x, 0, 100) == XEN_RUNNING_YET; quiet++) {
		if (READ_ONCE(rounds[1]) != last)
			quiet = 0;
		last = READ_ONCE(rounds[1]);
		TEST_ASSERT(quiet < 50, "poller hangs after %lu events", last);
	}
	xen_expect(x, 1, xen_wait(x, 1, HANG), XEN_RETURNED);
}

static void test_race_masked(void)
{
	race(true, 0);
}

static void test_race_unmasked(void)
{
	race(false, 0);
}

static void test_race_other_vcpu(void)
{
	race(true, 1);
}

/* Two sources wake at the same time, again and again. */
static void test_storm(void)
{
	struct xen_vm *x = xen_vm_new(2, XEN_64, XEN_S);
	int i;

	xen_put_mask(x, A, true);
	for (i = 0; i < 200; i++) {
		start_poll(x, 0, i % 2 ? xen_now(x) + 200000 : FOREVER, A);
		xen_send(x, A, i & 1);
		xen_send(x, B, 0);
		TEST_ASSERT_EQ(end_poll(x, 0), 0);
		xen_clear_events(x);
	}
}

static void test_stats(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	u64 before, after;

	if (!xen_try_stat(x, 0, "xen_polls", &before))
		ksft_exit_skip("KVM has no statistic xen_polls\n");
	xen_put_pending(x, A, true);
	TEST_ASSERT_EQ(poll_port(x, FOREVER, A), 0);
	TEST_ASSERT_EQ(poll_port(x, FOREVER, A), 0);
	xen_try_stat(x, 0, "xen_polls", &after);
	TEST_ASSERT_EQ(after - before, 2);
}

#define SEND KVM_XEN_HVM_CONFIG_EVTCHN_SEND

static const struct xen_case cases[] = {
	{ "SC1: yield", test_yield },
	{ "SC16: other sched_op commands", test_other_ops },
	{ "SC2 P1 P2: port is pending, 64-bit", test_pending, SEND },
	{ "SC2 SC11 P23: port is pending, 32-bit", test_pending_32, SEND },
	{ "SC2 SC11 P23: port is pending, compat", test_pending_compat, SEND },
	{ "SC8 R37: ports out of range, 64-bit", test_limit, SEND },
	{ "SC8 R37: ports out of range, 32-bit", test_limit_32, SEND },
	{ "P18: port 0", test_port_0, SEND },
	{ "SC7 P14 P15 R48: number of ports", test_too_many, SEND },
	{ "SC9 P17 D12: errors behind a pending port", test_order, SEND },
	{ "SC10 P16 R48: bad pointers", test_bad_pointers, SEND },
	{ "P24: structure at the end of a page, 64-bit", test_page_end, SEND },
	{ "P24: structure at the end of a page, 32-bit", test_page_end_32, SEND },
	{ "SC11: garbage above bit 31, compat", test_compat_garbage, SEND },
	{ "SC3 P3 D10 L1: timeout, 64-bit", test_timeout, SEND },
	{ "SC3 P3 D10 L1: timeout, 32-bit", test_timeout_32, SEND },
	{ "SC12: timeout without ports", test_timeout_no_ports, SEND },
	{ "SC12: timeout with two ports", test_timeout_two_ports, SEND },
	{ "SC3 P3 L1: timeout after a long uptime", test_timeout_uptime, SEND },
	{ "SC4 P4 P5 L1: timeout in the past", test_timeout_past, SEND },
	{ "SC3 D10: timeout finer than a tick", test_timeout_precise, SEND },
	{ "SC3: timeout never", test_timeout_never, SEND },
	{ "P30: timeout left over", test_timeout_left_over, SEND },
	{ "SC5: masked port, 64-bit", test_wake_masked, SEND },
	{ "SC5: masked port, 32-bit", test_wake_masked_32, SEND },
	{ "P7: unmasked port, 64-bit", test_wake_unmasked, SEND },
	{ "P7: unmasked port, 32-bit", test_wake_unmasked_32, SEND },
	{ "SC6 P6 D11a L2: port of another vCPU, 64-bit", test_wake_other_vcpu, SEND },
	{ "SC6 P6 D11a L2: port of another vCPU, 32-bit", test_wake_other_vcpu_32, SEND },
	{ "SC5 P10: IPI as for PV spinlocks, 64-bit", test_ipi, SEND },
	{ "SC5 P10: IPI as for PV spinlocks, 32-bit", test_ipi_32, SEND },
	{ "P7 L3: selector bit already set", test_selector_set, SEND },
	{ "SC13 P8 D11b: per-vCPU vector", test_lapic_vector, SEND },
	{ "U29: upcall for another port", test_upcall_other_port, SEND },
	{ "P11 P12 D11c: any port", test_any_port, SEND },
	{ "P13: another port does not matter", test_not_mine, SEND },
	{ "P9: two pollers", test_two_pollers, SEND },
	{ "P20: flag set before the poll", test_flag_set, SEND },
	{ "P19: pending interrupt comes before errors", test_interrupt_first, SEND },
	{ "P21: interrupt", test_interrupt, SEND },
	{ "P22: NMI", test_nmi, SEND },
	{ "SC15: signal", test_signal, SEND },
	{ "SC14 D13: without the EVTCHN_SEND flag", test_no_send_flag },
	{ "8: without shared_info", test_no_shinfo, SEND },
	{ "L4: memslots change during a poll", test_memslot, SEND },
	{ "X7: process ends during a poll", test_exit_while_polling, SEND },
	{ "SC17 P28 R49: events around falling asleep, masked", test_race_masked, SEND },
	{ "SC17 P28 R49: events around falling asleep, unmasked", test_race_unmasked, SEND },
	{ "SC17 P28: events around falling asleep, other vCPU's", test_race_other_vcpu, SEND },
	{ "R49: two wake-ups at once", test_storm, SEND },
	{ "statistics count polls", test_stats, SEND },
};

int main(int argc, char *argv[])
{
	return xen_run_cases(argc, argv, cases, ARRAY_SIZE(cases));
}
