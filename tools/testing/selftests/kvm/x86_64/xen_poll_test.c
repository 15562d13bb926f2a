// SPDX-License-Identifier: GPL-2.0-only
/*
 * Xen guests: SCHEDOP_poll and SCHEDOP_yield.
 *
 * A poll that should return is started with no timeout at all, or with one that
 * is far away: if the wakeup is missing, the case says so after a few seconds.
 * A poll that should block is watched for a while, or has a timeout before which
 * it must not return.  "Spurious" returns are allowed by the ABI, but only where
 * something happens that the guest could see.
 *
 * Most cases poll with interrupts disabled, as PV spinlocks do: then nothing but
 * the poll's own rules can wake the vCPU.
 *
 * Linux 6.12 fails the cases that name KF1 to KF4 and those of port 0, of a list
 * with a bad port behind a pending one (DT12), of an upcall that is due (P19), and
 * of events that it finds no reason to wake for.
 */
#include <errno.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "xen.h"

#define PORT_A		5	/* bound to vCPU 0 */
#define PORT_B		6	/* bound to vCPU 1 */
#define PORT_C		7	/* bound to vCPU 1 */
#define PORT_OTHER	40	/* in another 32-bit word than the above */

#define UPTIME		(1000 * NSEC_PER_SEC)

/* Sooner than any timeout here, later than any delay of a slow machine. */
#define PROMPT_MS	xen_ms(5000)
#define BLOCKED_MS	150
#define FAR		(60 * NSEC_PER_SEC)

#define RACE_MS		2000

struct ports {
	u32 nr;
	const u32 *list;
};

#define PORTS(...)						\
	((struct ports) {					\
		ARRAY_SIZE(((u32[]) { __VA_ARGS__ })),		\
		(const u32[]) { __VA_ARGS__ },			\
	})
#define NO_PORTS	((struct ports) {})

/* A VM that is old enough to tell an absolute time from a relative one. */
static struct xen_vm *poll_vm(int nr_vcpus, enum xen_mode mode, u32 what)
{
	struct xen_vm *x = xen_vm_new(nr_vcpus, mode, what);

	xen_set_now(x, UPTIME);
	return x;
}

static void poll_start(struct xen_vm *x, int n, u64 timeout, struct ports ports)
{
	u64 arg = xen_put_poll(x, n, timeout, ports.nr, ports.list);

	xen_hcall_start(x, n, HCALL_SCHED, SCHEDOP_POLL, arg);
}

/* A poll by address of its arguments. */
static void poll_start_at(struct xen_vm *x, int n, u64 addr)
{
	xen_hcall_start(x, n, HCALL_SCHED, SCHEDOP_POLL, addr);
}

static void poll_blocks(struct xen_vm *x, int n)
{
	TEST_ASSERT(xen_sleeps(x, n, BLOCKED_MS), "vCPU %d does not poll", n);
}

static void poll_returns(struct xen_vm *x, int n, s32 result)
{
	enum xen_stop stop = xen_wait(x, n, PROMPT_MS);

	TEST_ASSERT(stop != XEN_RUNNING_YET, "vCPU %d still polls", n);
	xen_expect(x, n, stop, XEN_RETURNED);
	TEST_ASSERT_EQ((s32)xen_result(x, n), result);
}

static void poll_now(struct xen_vm *x, int n, s32 result, u64 timeout, struct ports ports)
{
	poll_start(x, n, timeout, ports);
	poll_returns(x, n, result);
}

static void poll_starts_blocking(struct xen_vm *x, int n, u64 timeout, struct ports ports)
{
	poll_start(x, n, timeout, ports);
	poll_blocks(x, n);
}

/* A poll that nothing but its timeout ends. */
static void poll_times_out(struct xen_vm *x, int n, u64 ms, struct ports ports)
{
	u64 deadline = xen_now(x) + ms * NSEC_PER_MSEC;
	u64 now;

	poll_now(x, n, 0, deadline, ports);
	now = xen_now(x);
	TEST_ASSERT(now >= deadline, "early by %lu ns", deadline - now);
}

static void yield(enum xen_mode mode)
{
	struct xen_vm *x = poll_vm(1, mode, XEN_S);

	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_SCHED, SCHEDOP_YIELD), 0);
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_SCHED, SCHEDOP_YIELD, XEN_HOLE), 0);
	xen_vm_free(x);
}

IN_64_BIT(yield)
IN_32_BIT(yield)

static void poll_pending(enum xen_mode mode)
{
	struct xen_vm *x = poll_vm(1, mode, XEN_S);
	u32 port, last = xen_nr_ports(x) - 1;

	for (port = 1; port <= last; port = port < last ? min(port * 2 + 1, last) : last + 1) {
		xen_put_pending(x, port, true);
		xen_put_mask(x, port, false);
		poll_now(x, 0, 0, 0, PORTS(port));
		xen_put_mask(x, port, true);
		poll_now(x, 0, 0, 0, PORTS(port));
		TEST_ASSERT(xen_pending(x, port), "port %u was consumed", port);
		xen_put_pending(x, port, false);
	}

	xen_vm_free(x);
}

IN_64_BIT(poll_pending)
IN_32_BIT(poll_pending)

static void poll_pending_in_compat_mode(void)
{
	poll_pending(XEN_COMPAT);
}

/* Only the polled bit counts: all others around it are set. */
static void poll_only_that_bit(enum xen_mode mode)
{
	struct xen_vm *x = poll_vm(1, mode, XEN_S);
	u32 port;

	for (port = 1; port < xen_nr_ports(x); port++)
		xen_put_pending(x, port, port != PORT_OTHER);

	poll_starts_blocking(x, 0, 0, PORTS(PORT_OTHER));
	xen_put_mask(x, PORT_OTHER, true);
	xen_send(x, PORT_OTHER, 0);
	poll_returns(x, 0, 0);
	xen_vm_free(x);
}

IN_64_BIT(poll_only_that_bit)
IN_32_BIT(poll_only_that_bit)

static void poll_timeout(enum xen_mode mode)
{
	struct xen_vm *x = poll_vm(1, mode, XEN_S);
	u64 polls = 0, polls_after = 0;
	u32 i, list[128];
	struct ports all = { ARRAY_SIZE(list), list };
	bool stats;

	for (i = 0; i < ARRAY_SIZE(list); i++)
		list[i] = i + 1;

	stats = xen_try_stat(x, 0, "xen_polls", &polls);
	poll_times_out(x, 0, 50, PORTS(PORT_A));
	if (stats) {
		xen_try_stat(x, 0, "xen_polls", &polls_after);
		TEST_ASSERT_EQ(polls_after, polls + 1);
	}

	/* Not a whole number of ticks of any clock. */
	poll_times_out(x, 0, 21, PORTS(PORT_A));
	xen_put_mask(x, PORT_A, true);
	poll_times_out(x, 0, 13, PORTS(PORT_A));

	/* However many ports. */
	poll_times_out(x, 0, 30, NO_PORTS);
	poll_times_out(x, 0, 30, all);
	xen_vm_free(x);
}

IN_64_BIT(poll_timeout)
IN_32_BIT(poll_timeout)

static void poll_timeout_past(enum xen_mode mode)
{
	static const u64 past[] = { 1, 50 * NSEC_PER_MSEC, UPTIME - 1, BIT_ULL(63),
				    BIT_ULL(63) + 5, -1ULL };
	struct xen_vm *x = poll_vm(1, mode, XEN_S);
	int i;

	for (i = 0; i < ARRAY_SIZE(past); i++) {
		poll_start(x, 0, past[i], PORTS(PORT_A));
		TEST_ASSERT(xen_wait(x, 0, PROMPT_MS) == XEN_RETURNED,
			    "timeout %#lx is not past", past[i]);
		TEST_ASSERT_EQ((s32)xen_result(x, 0), 0);
		/* Errors are found all the same. */
		poll_now(x, 0, -EINVAL, past[i], PORTS(xen_nr_ports(x)));
	}

	xen_vm_free(x);
}

IN_64_BIT(poll_timeout_past)
IN_32_BIT(poll_timeout_past)

static void poll_timeout_far(void)
{
	static const u64 far[] = { UPTIME + FAR, BIT_ULL(50) + UPTIME, INT64_MAX - 1, INT64_MAX };
	struct xen_vm *x = poll_vm(1, XEN_64, XEN_S);
	int i;

	for (i = 0; i < ARRAY_SIZE(far); i++) {
		poll_starts_blocking(x, 0, far[i], PORTS(PORT_A));
		xen_send(x, PORT_A, 0);
		poll_returns(x, 0, 0);
		xen_clear_events(x);
	}

	xen_vm_free(x);
}

static void poll_no_ports(enum xen_mode mode)
{
	struct xen_vm *x = poll_vm(2, mode, XEN_S);

	/* Any event of the VM, whomever it is for. */
	poll_starts_blocking(x, 0, 0, NO_PORTS);
	xen_send(x, PORT_A, 0);
	poll_returns(x, 0, 0);

	xen_put_mask(x, PORT_OTHER, true);
	poll_starts_blocking(x, 0, 0, NO_PORTS);
	xen_send(x, PORT_OTHER, 1);
	poll_returns(x, 0, 0);

	xen_vm_free(x);
}

IN_64_BIT(poll_no_ports)
IN_32_BIT(poll_no_ports)

/* The guest's own send, to a port that is masked for good: a PV spinlock. */
static void poll_kicked_by_vcpu(enum xen_mode mode)
{
	struct xen_vm *x = poll_vm(2, mode, XEN_S);
	u32 *port = xen_hva(x, XEN_ARG(1));
	int i;

	xen_assign(x, EVTCHN_IPI, PORT_A, PORT_A, 0);
	xen_put_mask(x, PORT_A, true);
	*port = PORT_A;

	for (i = 0; i < 5; i++) {
		poll_starts_blocking(x, 0, 0, PORTS(PORT_A));
		TEST_ASSERT_EQ(xen_hcall(x, 1, HCALL_EVTCHN, EVTCHNOP_SEND, XEN_ARG(1)), 0);
		poll_returns(x, 0, 0);
		TEST_ASSERT(xen_pending(x, PORT_A), "event lost");

		/* Sent again, and still there: the next poll does not even block. */
		TEST_ASSERT_EQ(xen_hcall(x, 1, HCALL_EVTCHN, EVTCHNOP_SEND, XEN_ARG(1)), 0);
		poll_now(x, 0, 0, 0, PORTS(PORT_A));
		xen_put_pending(x, PORT_A, false);
	}

	TEST_ASSERT_EQ(xen_flag(x, 0), 0);
	xen_vm_free(x);
}

IN_64_BIT(poll_kicked_by_vcpu)
IN_32_BIT(poll_kicked_by_vcpu)

static void poll_port_of_other_vcpu(u32 what, bool masked, struct ports ports)
{
	struct xen_vm *x = poll_vm(2, XEN_64, what);

	xen_put_mask(x, PORT_B, masked);
	poll_starts_blocking(x, 0, 0, ports);
	xen_send(x, PORT_B, 1);
	poll_returns(x, 0, 0);
	xen_vm_free(x);
}

static void poll_masked_port_of_other_vcpu(void)
{
	poll_port_of_other_vcpu(XEN_S, true, PORTS(PORT_B));
}

static void poll_unmasked_port_of_other_vcpu(void)
{
	poll_port_of_other_vcpu(XEN_S, false, PORTS(PORT_B));
}

static void poll_ports_of_other_vcpu(void)
{
	poll_port_of_other_vcpu(XEN_S, true, PORTS(PORT_A, PORT_B));
	poll_port_of_other_vcpu(XEN_S, false, PORTS(PORT_A, PORT_B));
}

static void poll_port_of_other_vcpu_lapic(void)
{
	poll_port_of_other_vcpu(XEN_SL, true, PORTS(PORT_B));
	poll_port_of_other_vcpu(XEN_SL, false, PORTS(PORT_B));
}

/* The selector bit says that there are events already; nobody gets an upcall. */
static void poll_selector_set(enum xen_mode mode)
{
	struct xen_vm *x = poll_vm(1, mode, XEN_S);

	xen_put_sel(x, 0, xen_sel_bit(x, PORT_A));
	poll_starts_blocking(x, 0, 0, PORTS(PORT_A));
	xen_send(x, PORT_A, 0);
	poll_returns(x, 0, 0);

	/* And so does an earlier event in the same word. */
	xen_clear_events(x);
	xen_send(x, PORT_B, 0);
	poll_starts_blocking(x, 0, 0, PORTS(PORT_A));
	xen_send(x, PORT_A, 0);
	poll_returns(x, 0, 0);
	xen_vm_free(x);
}

IN_64_BIT(poll_selector_set)
IN_32_BIT(poll_selector_set)

static void poll_lapic_vector(void)
{
	struct xen_vm *x = poll_vm(1, XEN_64, XEN_SL);

	xen_lapic_enable(x, 0, true);
	poll_starts_blocking(x, 0, 0, PORTS(PORT_A));
	xen_send(x, PORT_A, 0);
	poll_returns(x, 0, 0);
	TEST_ASSERT(xen_irr(x, 0, XEN_LAPIC_VECTOR(0)), "no interrupt");
	TEST_ASSERT_EQ(xen_count(x, 0, XEN_LAPIC_VECTOR(0)), 0);
	xen_vm_free(x);
}

/* An upcall kicks the vCPU, whatever it polls for. */
static void poll_upcall_for_other_port(u32 what)
{
	struct xen_vm *x = poll_vm(1, XEN_64, what);

	xen_lapic_enable(x, 0, true);
	xen_put_mask(x, PORT_A, true);
	poll_starts_blocking(x, 0, 0, PORTS(PORT_A));
	xen_send(x, PORT_OTHER, 0);
	poll_returns(x, 0, 0);
	TEST_ASSERT_EQ(xen_flag(x, 0), 1);
	xen_vm_free(x);
}

static void poll_upcall_by_lapic(void)
{
	poll_upcall_for_other_port(XEN_SL);
}

static void poll_upcall_by_vector(void)
{
	poll_upcall_for_other_port(XEN_S);
}

static void poll_two_pollers(void)
{
	struct xen_vm *x = poll_vm(2, XEN_64, XEN_S);
	int i;

	for (i = 0; i < 2; i++) {
		xen_put_mask(x, PORT_A, !i);
		poll_starts_blocking(x, 0, 0, PORTS(PORT_A));
		poll_starts_blocking(x, 1, 0, PORTS(PORT_A));
		xen_send(x, PORT_A, 0);
		poll_returns(x, 0, 0);
		poll_returns(x, 1, 0);
		xen_clear_events(x);
	}

	xen_vm_free(x);
}

static void poll_two_ports(enum xen_mode mode)
{
	static const u32 list[] = { PORT_A, PORT_OTHER };
	struct xen_vm *x = poll_vm(2, mode, XEN_S);
	int i;

	for (i = 0; i < 4; i++) {
		xen_put_mask(x, list[i % 2], i < 2);
		poll_starts_blocking(x, 0, 0, PORTS(list[0], list[1]));
		xen_send(x, list[i % 2], 0);
		poll_returns(x, 0, 0);
		xen_clear_events(x);
	}

	xen_vm_free(x);
}

IN_64_BIT(poll_two_ports)
IN_32_BIT(poll_two_ports)

static void poll_many_ports(enum xen_mode mode)
{
	struct xen_vm *x = poll_vm(1, mode, XEN_S);
	u32 list[129];
	struct ports max = { 128, list }, too_many = { 129, list };
	int i;

	for (i = 0; i < ARRAY_SIZE(list); i++) {
		list[i] = i + 1;
		xen_put_mask(x, list[i], true);
	}

	poll_starts_blocking(x, 0, 0, max);
	xen_send(x, 128, 0);
	poll_returns(x, 0, 0);
	poll_now(x, 0, 0, 0, max);

	/* Too many, be the first one pending or not. */
	poll_now(x, 0, -EINVAL, 0, too_many);
	xen_put_pending(x, 1, true);
	poll_now(x, 0, -EINVAL, 0, too_many);
	xen_vm_free(x);
}

IN_64_BIT(poll_many_ports)
IN_32_BIT(poll_many_ports)

/* An event that is neither for this vCPU nor for this port changes nothing. */
static void poll_other_event(void)
{
	struct xen_vm *x = poll_vm(2, XEN_64, XEN_S);

	xen_put_mask(x, PORT_A, true);
	xen_put_mask(x, PORT_B, true);
	poll_starts_blocking(x, 0, 0, PORTS(PORT_A));
	xen_send(x, PORT_B, 1);
	xen_send(x, PORT_C, 1);
	poll_blocks(x, 0);
	xen_send(x, PORT_A, 0);
	poll_returns(x, 0, 0);
	xen_vm_free(x);
}

/* struct sched_poll in the caller's layout at @addr, its ports at @ports. */
static void put_poll_at(struct xen_vm *x, u64 addr, u64 ports, u32 nr, u64 timeout)
{
	if (xen_is_64(x, 0))
		*(struct xen_poll64 *)xen_hva(x, addr) = (struct xen_poll64) {
			.ports = ports, .nr_ports = nr, .pad = -1U, .timeout = timeout,
		};
	else
		*(struct xen_poll32 *)xen_hva(x, addr) = (struct xen_poll32) {
			.ports = ports, .nr_ports = nr, .timeout = timeout,
		};
}

static void poll_bad_pointers(enum xen_mode mode)
{
	struct xen_vm *x = poll_vm(1, mode, XEN_S);

	poll_start_at(x, 0, XEN_HOLE);
	poll_returns(x, 0, -EFAULT);

	put_poll_at(x, XEN_ARG(0), XEN_HOLE, 1, 0);
	poll_start_at(x, 0, XEN_ARG(0));
	poll_returns(x, 0, -EFAULT);

	/* The number of ports is checked before any of them is read. */
	put_poll_at(x, XEN_ARG(0), XEN_HOLE, 129, 0);
	poll_start_at(x, 0, XEN_ARG(0));
	poll_returns(x, 0, -EINVAL);

	put_poll_at(x, XEN_ARG(0), XEN_HOLE, -1U, 0);
	poll_start_at(x, 0, XEN_ARG(0));
	poll_returns(x, 0, -EINVAL);

	/* No ports, no pointer. */
	put_poll_at(x, XEN_ARG(0), XEN_HOLE, 0, 1);
	poll_start_at(x, 0, XEN_ARG(0));
	poll_returns(x, 0, 0);
	xen_vm_free(x);
}

IN_64_BIT(poll_bad_pointers)
IN_32_BIT(poll_bad_pointers)

static void poll_at_page_end(enum xen_mode mode)
{
	struct xen_vm *x = poll_vm(1, mode, XEN_S);
	u64 size = xen_is_64(x, 0) ? sizeof(struct xen_poll64) : sizeof(struct xen_poll32);
	u64 at = XEN_HOLE - size;
	u32 *port = xen_hva(x, XEN_SPARE);

	*port = PORT_A;
	xen_put_pending(x, PORT_A, true);

	put_poll_at(x, at, XEN_SPARE, 1, 0);
	poll_start_at(x, 0, at);
	poll_returns(x, 0, 0);

	/* One byte later the end of the timeout is out of reach. */
	memmove(xen_hva(x, at + 1), xen_hva(x, at), size - 1);
	poll_start_at(x, 0, at + 1);
	poll_returns(x, 0, -EFAULT);

	/* Both may cross from one page to the next. */
	at = XEN_SPARE + 0x1000 - size / 2;
	put_poll_at(x, at, XEN_PAGE(5) - 2, 1, 0);
	memcpy(xen_hva(x, XEN_PAGE(5) - 2), port, sizeof(*port));
	poll_start_at(x, 0, at);
	poll_returns(x, 0, 0);
	xen_vm_free(x);
}

IN_64_BIT(poll_at_page_end)
IN_32_BIT(poll_at_page_end)

/* Errors are found port by port, and none behind a pending port. */
static void poll_stops_at_pending(enum xen_mode mode)
{
	struct xen_vm *x = poll_vm(1, mode, XEN_S);
	u32 *last = xen_hva(x, XEN_HOLE - 4);

	xen_put_pending(x, PORT_A, true);
	poll_now(x, 0, 0, 0, PORTS(PORT_A, 5000));
	poll_now(x, 0, 0, 0, PORTS(PORT_A, -1U));

	*last = PORT_A;
	put_poll_at(x, XEN_ARG(0), XEN_HOLE - 4, 2, 0);
	poll_start_at(x, 0, XEN_ARG(0));
	poll_returns(x, 0, 0);
	xen_vm_free(x);
}

IN_64_BIT(poll_stops_at_pending)
IN_32_BIT(poll_stops_at_pending)

static void poll_bad_ports(enum xen_mode mode)
{
	struct xen_vm *x = poll_vm(1, mode, XEN_S);
	u32 nr = xen_nr_ports(x);
	const u32 bad[] = { nr, nr + 1, 4096, 5000, 0x80000000, -1U };
	u32 *last = xen_hva(x, XEN_HOLE - 4);
	int i;

	TEST_ASSERT_EQ(nr, mode == XEN_64 ? 4096 : 1024);
	xen_put_pending(x, PORT_A, true);

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		poll_now(x, 0, -EINVAL, 0, PORTS(bad[i]));
		poll_now(x, 0, -EINVAL, 1, PORTS(bad[i]));
		poll_now(x, 0, -EINVAL, 0, PORTS(bad[i], PORT_A));
		poll_now(x, 0, -EINVAL, 0, PORTS(PORT_B, bad[i]));
	}

	*last = PORT_B;
	put_poll_at(x, XEN_ARG(0), XEN_HOLE - 4, 2, 0);
	poll_start_at(x, 0, XEN_ARG(0));
	poll_returns(x, 0, -EFAULT);
	xen_vm_free(x);
}

IN_64_BIT(poll_bad_ports)
IN_32_BIT(poll_bad_ports)

/* No port ever has number 0: to wait for it would be to wait for ever. */
static void poll_port_0(void)
{
	struct xen_vm *x = poll_vm(1, XEN_64, XEN_S);
	enum xen_stop stop;

	poll_start(x, 0, 0, PORTS(0));
	stop = xen_wait(x, 0, PROMPT_MS);
	TEST_ASSERT(stop != XEN_RUNNING_YET, "waits for port 0");
	if (stop != XEN_EXITED) {
		xen_expect(x, 0, stop, XEN_RETURNED);
		TEST_ASSERT_EQ((s32)xen_result(x, 0), -EINVAL);
	}
	xen_vm_free(x);
}

static u64 guest_poll_with_upcall_due(u64 arg, u64 vcpu_info, u64 rounds)
{
	u64 zeroes = 0;

	asm volatile("sti; nop");
	while (rounds--) {
		WRITE_ONCE(*(u8 *)vcpu_info, 1);
		zeroes += !xen_guest_hcall(HCALL_SCHED, SCHEDOP_POLL, arg, 0, 0, 0, 0);
	}
	asm volatile("cli");
	return zeroes;
}

/*
 * A deliverable interrupt comes before all errors, and is taken right after the
 * call.  A host interrupt may hit the instruction before the call; not often.
 */
static void poll_with_upcall_due(void)
{
	struct xen_vm *x = poll_vm(1, XEN_64, XEN_S);
	u64 arg = xen_put_poll(x, 0, 0, 1, (const u32[]) { -1U });
	u64 zeroes;

	xen_window(x, 0);
	zeroes = xen_call(x, 0, guest_poll_with_upcall_due, arg, XEN_SHINFO, 20);
	TEST_ASSERT(zeroes >= 15, "%lu of 20 returned 0", zeroes);
	TEST_ASSERT_EQ(xen_count(x, 0, XEN_VECTOR), 20);
	xen_vm_free(x);
}

static void poll_upcall_flag_set(void)
{
	struct xen_vm *x = poll_vm(1, XEN_64, XEN_S);

	xen_put_mask(x, PORT_A, true);
	xen_put_flag(x, 0, 1);
	poll_starts_blocking(x, 0, 0, PORTS(PORT_A));
	xen_send(x, PORT_A, 0);
	poll_returns(x, 0, 0);
	TEST_ASSERT_EQ(xen_count(x, 0, XEN_VECTOR), 0);
	xen_vm_free(x);
}

static void poll_lapic_interrupt(void)
{
	struct xen_vm *x = poll_vm(1, XEN_64, XEN_S);

	xen_lapic_enable(x, 0, true);
	xen_cpu(x, 0)->flags |= XEN_CPU_EOI;
	xen_put_mask(x, PORT_A, true);
	x->state[0].irqs = true;
	poll_starts_blocking(x, 0, 0, PORTS(PORT_A));
	xen_send_msi(x, 0, 0x77);
	poll_returns(x, 0, 0);
	TEST_ASSERT_EQ(xen_count(x, 0, 0x77), 1);
	xen_vm_free(x);
}

static void poll_nmi(void)
{
	struct xen_vm *x = poll_vm(1, XEN_64, XEN_S);

	xen_lapic_enable(x, 0, true);
	xen_put_mask(x, PORT_A, true);
	poll_starts_blocking(x, 0, 0, PORTS(PORT_A));
	xen_send_msi(x, 0, 0x400);

	poll_returns(x, 0, 0);
	TEST_ASSERT_EQ(xen_count(x, 0, NMI_VECTOR), 1);
	xen_vm_free(x);
}

/* A timeout that is no longer needed must not end a later poll. */
static void poll_old_timeout(void)
{
	struct xen_vm *x = poll_vm(1, XEN_64, XEN_S);

	xen_put_mask(x, PORT_A, true);
	poll_starts_blocking(x, 0, xen_in_ms(x, 2000), PORTS(PORT_A));
	xen_send(x, PORT_A, 0);
	poll_returns(x, 0, 0);
	xen_clear_events(x);

	/* May end early, but does not end late. */
	poll_start(x, 0, 0, PORTS(PORT_A));
	xen_wait(x, 0, xen_ms(2500));
	xen_send(x, PORT_A, 0);
	poll_returns(x, 0, 0);
	xen_clear_events(x);

	poll_times_out(x, 0, 50, PORTS(PORT_A));
	xen_vm_free(x);
}

static void poll_without_promise(void)
{
	struct xen_vm *x = poll_vm(1, XEN_64, XEN_S);

	xen_config(x, KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL, XEN_HCALL_MSR);
	poll_now(x, 0, 0, 0, PORTS(PORT_A));
	xen_vm_free(x);
}

static void poll_promise_taken_back(void)
{
	struct xen_vm *x = poll_vm(2, XEN_64, XEN_S);
	int i;

	for (i = 0; i < 4; i++) {
		poll_starts_blocking(x, i % 2, 0, PORTS(PORT_A));
		if (i < 2)
			xen_config(x, KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL, XEN_HCALL_MSR);
		else
			xen_config(x, 0, 0);
		poll_returns(x, i % 2, 0);
		xen_setup(x, XEN_CFG);
	}
	xen_vm_free(x);
}

static void poll_without_shared_info(void)
{
	struct xen_vm *x = poll_vm(1, XEN_64, XEN_CFG);

	poll_now(x, 0, 0, 0, PORTS(PORT_A));
	poll_now(x, 0, 0, 0, PORTS());
	xen_vm_free(x);
}

/* 32-bit code without paging, of a VM whose local APIC is the VMM's. */
static struct xen_vm *vm_without_lapic(void)
{
	struct xen_vm *x = calloc(1, sizeof(*x));
	const u8 *insn = (u8 *)(host_cpu_is_amd ? "\x0f\x01\xd9" : "\x0f\x01\xc1");
	u8 *code;

	TEST_ASSERT(x, "no memory");
	x->vm = vm_create_barebones();
	vm_userspace_mem_region_add(x->vm, VM_MEM_SRC_ANONYMOUS, XEN_BASE, XEN_SLOT,
				    XEN_NR_PAGES, 0);
	x->vcpu[0] = vm_vcpu_recreate(x->vm, 0);	/* the other way needs a stack */
	x->nr_vcpus = 1;
	x->shinfo = xen_hva(x, XEN_SHINFO);
	xen_put_vcpu_info(x, 0, XEN_SHINFO);
	xen_set_mode(x, 0, XEN_32);
	xen_setup(x, XEN_S);

	/* STEP_HCALL, as the library makes it. */
	code = xen_hva(x, XEN_CODE);
	memcpy(code, insn, 3);
	memcpy(code + 3, "\xe6\xe8", 2);		/* out %al, $0xe8 */
	return x;
}

/* KVM does not know of the interrupts that would end the sleep. */
static void poll_without_lapic(void)
{
	struct xen_vm *x = vm_without_lapic();

	xen_config(x, KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL | KVM_XEN_HVM_CONFIG_EVTCHN_SEND |
		   KVM_XEN_HVM_CONFIG_MORE_HCALLS, XEN_HCALL_MSR);
	poll_now(x, 0, 0, 0, PORTS(PORT_A));
	poll_now(x, 0, 0, xen_now(x) + FAR, NO_PORTS);
	xen_hcall_exits(x, 0, HCALL_SCHED, SCHEDOP_BLOCK);
	xen_vm_free(x);
}

static void wait_step(u32 *step, u32 wanted)
{
	u64 end = xen_real_ns(CLOCK_MONOTONIC) + PROMPT_MS * NSEC_PER_MSEC;

	while (READ_ONCE(*step) < wanted) {
		TEST_ASSERT(xen_real_ns(CLOCK_MONOTONIC) < end, "step %u", READ_ONCE(*step));
		xen_sleep_ms(1);
	}
}

/* The second poll has to wait until who sends the upcall is done: that might end it. */
static u64 guest_poll_halt_poll(struct xen_poll64 *poll, u32 *step, u32 *go_on)
{
	s64 r = xen_guest_hcall(HCALL_SCHED, SCHEDOP_POLL, (u64)poll, 0, 0, 0, 0);

	WRITE_ONCE(*step, 1);
	asm volatile("sti; hlt" : : : "memory");
	WRITE_ONCE(*step, 2);
	while (!READ_ONCE(*go_on))
		asm volatile("pause");
	asm volatile("cli");
	poll->timeout = 0;
	return r ?: xen_guest_hcall(HCALL_SCHED, SCHEDOP_POLL, (u64)poll, 0, 0, 0, 0);
}

/* All within one KVM_RUN, after which userspace would find no poll anyway. */
static void poll_then_halt(bool timeout)
{
	struct xen_vm *x = poll_vm(1, XEN_64, XEN_S);
	u32 *step = xen_hva(x, XEN_SPARE), *go_on = step + 1;
	u64 arg = xen_put_poll(x, 0, timeout ? xen_in_ms(x, 50) : 0, 1, (u32[]) { PORT_A });

	xen_put_mask(x, PORT_A, true);
	xen_prepare_call(x, 0, guest_poll_halt_poll, arg, XEN_SPARE, XEN_SPARE + 4);
	xen_start(x, 0);
	if (!timeout) {
		poll_blocks(x, 0);
		xen_send(x, PORT_A, 0);
	}
	wait_step(step, 1);
	xen_put_pending(x, PORT_A, false);
	TEST_ASSERT(xen_sleeps(x, 0, BLOCKED_MS), "does not sleep");
	TEST_ASSERT(READ_ONCE(*step) == 1, "HLT ended without an interrupt");
	/* It does not poll any more, either. */
	xen_send(x, PORT_A, 0);
	TEST_ASSERT(xen_sleeps(x, 0, BLOCKED_MS), "does not sleep");
	TEST_ASSERT(READ_ONCE(*step) == 1, "HLT ended by a port that was polled before");
	xen_put_pending(x, PORT_A, false);

	xen_send(x, PORT_OTHER, 0);
	wait_step(step, 2);
	WRITE_ONCE(*go_on, 1);
	TEST_ASSERT_EQ(xen_count(x, 0, XEN_VECTOR), 1);
	poll_blocks(x, 0);
	xen_send(x, PORT_A, 0);
	poll_returns(x, 0, 0);
	xen_vm_free(x);
}

static void poll_by_event_then_halt(void)
{
	poll_then_halt(false);
}

static void poll_by_timeout_then_halt(void)
{
	poll_then_halt(true);
}

/* The VMM stops the vCPU: it finds a hypercall that has returned 0. */
static void poll_interrupted(enum xen_mode mode)
{
	struct xen_vm *x = poll_vm(1, mode, XEN_S);
	struct kvm_mp_state mp_state;
	struct kvm_regs regs;
	u64 arg, rip;
	int i;

	for (i = 0; i < 3; i++) {
		arg = xen_put_poll(x, 0, i == 2 ? INT64_MAX : 0, 1, (const u32[]) { PORT_A });
		xen_prepare_hcall(x, 0, HCALL_SCHED, (u64[6]) { SCHEDOP_POLL, arg });
		vcpu_regs_get(x->vcpu[0], &regs);
		rip = regs.rip;

		xen_start(x, 0);
		poll_blocks(x, 0);
		xen_expect(x, 0, xen_interrupt(x, 0), XEN_SIGNALLED);

		vcpu_regs_get(x->vcpu[0], &regs);
		TEST_ASSERT_EQ(regs.rip, rip + 3);
		TEST_ASSERT_EQ((s32)regs.rax, 0);
		vcpu_mp_state_get(x->vcpu[0], &mp_state);
		TEST_ASSERT_EQ(mp_state.mp_state, KVM_MP_STATE_RUNNABLE);

		xen_start(x, 0);
		poll_returns(x, 0, 0);
	}

	/* Nothing of it is left. */
	poll_starts_blocking(x, 0, 0, PORTS(PORT_A));
	xen_send(x, PORT_A, 0);
	poll_returns(x, 0, 0);
	xen_vm_free(x);
}

IN_64_BIT(poll_interrupted)
IN_32_BIT(poll_interrupted)

static void other_commands_exit(enum xen_mode mode)
{
	static const u32 cmds[] = { 1, 2, 4, 5, 6, 7, 8, 9, 99, -1U };
	struct xen_vm *x = poll_vm(1, mode, XEN_S);
	struct kvm_xen_exit *exit;
	int i;

	for (i = 0; i < ARRAY_SIZE(cmds); i++) {
		exit = xen_hcall_exits(x, 0, HCALL_SCHED, cmds[i], XEN_ARG(0));
		TEST_ASSERT_EQ(exit->u.hcall.input, HCALL_SCHED);
		TEST_ASSERT_EQ((u32)exit->u.hcall.params[0], cmds[i]);
		exit->u.hcall.result = -EPERM;
		xen_expect(x, 0, xen_run(x, 0), XEN_RETURNED);
		TEST_ASSERT_EQ((s32)xen_result(x, 0), -EPERM);
	}

	xen_vm_free(x);
}

IN_64_BIT(other_commands_exit)
IN_32_BIT(other_commands_exit)

static void commands_are_ints(void)
{
	struct xen_vm *x = poll_vm(1, XEN_64, XEN_S);

	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_SCHED, 0xdead00000000 | SCHEDOP_YIELD), 0);
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_SCHED, 0xdead00000000 | SCHEDOP_POLL, XEN_HOLE),
		       -EFAULT);
	xen_vm_free(x);
}

/* The clock is set past the deadline: the poll is over. */
static void poll_clock_set_forward(void)
{
	struct xen_vm *x = poll_vm(2, XEN_64, XEN_S);
	u64 deadline;
	int n;

	for (n = 0; n < 2; n++) {
		deadline = xen_now(x) + FAR;
		poll_starts_blocking(x, n, deadline, PORTS(PORT_A));
		xen_set_now(x, deadline + NSEC_PER_SEC);
		poll_returns(x, n, 0);

		/* The next one sees the new clock. */
		poll_now(x, n, 0, deadline, PORTS(PORT_A));
		poll_times_out(x, n, 30, PORTS(PORT_A));
	}
	xen_vm_free(x);
}

static void poll_clock_set_back(void)
{
	struct xen_vm *x = poll_vm(1, XEN_64, XEN_S);

	/* May end early, but must not wait for ever afterwards. */
	poll_starts_blocking(x, 0, xen_in_ms(x, 3000), PORTS(PORT_A));
	xen_set_now(x, UPTIME - 400 * NSEC_PER_MSEC);
	poll_returns(x, 0, 0);
	poll_times_out(x, 0, 30, PORTS(PORT_A));
	xen_vm_free(x);
}

/* Nor does a timeout make it a poll of any port. */
static void poll_one_with_timeout(void)
{
	struct xen_vm *x = poll_vm(1, XEN_64, XEN_S);

	xen_put_mask(x, PORT_B, true);
	poll_starts_blocking(x, 0, xen_now(x) + FAR, PORTS(PORT_A));
	xen_send(x, PORT_B, 0);
	poll_blocks(x, 0);
	xen_send(x, PORT_A, 0);
	poll_returns(x, 0, 0);
	xen_vm_free(x);
}

/* Those with a high index, too. */
static void poll_by_many(void)
{
	struct xen_vm *x = poll_vm(1, XEN_64, XEN_S);
	int i;

	for (i = 2; i < 70; i++)
		vm_vcpu_recreate(x->vm, i);		/* without a stack */
	x->vcpu[1] = vm_vcpu_add(x->vm, 1, NULL);
	x->nr_vcpus = 2;
	xen_cpu(x, 1)->self = XEN_CPU(1);
	xen_put_vcpu_info(x, 1, XEN_SHINFO + 64);
	xen_set_mode(x, 1, XEN_64);
	xen_vcpu_set(x, 1, VCPU_INFO, gpa, XEN_SHINFO + 64);
	for (i = 0; i < 2; i++) {
		poll_starts_blocking(x, i, 0, PORTS(PORT_A));
		xen_send(x, PORT_A, 0);
		poll_returns(x, i, 0);
		xen_clear_events(x);
	}
	xen_vm_free(x);
}

/* Who polls does not stop the VMM from changing the VM. */
static void poll_holds_nothing(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	u64 start, ms;
	int r;

	xen_assign(x, EVTCHN_IPI, PORT_A, PORT_A, 0);
	poll_starts_blocking(x, 0, xen_now(x) + FAR, PORTS(PORT_A));

	start = xen_real_ns(CLOCK_MONOTONIC);
	vm_mem_region_set_flags(x->vm, XEN_SLOT, KVM_MEM_LOG_DIRTY_PAGES);
	vm_mem_region_set_flags(x->vm, XEN_SLOT, 0);
	r = xen_try_evtchn(x, KVM_XEN_EVTCHN_DEASSIGN, PORT_A, EVTCHN_IPI, PORT_A, 0);
	TEST_ASSERT_EQ(r, 0);
	ms = (xen_real_ns(CLOCK_MONOTONIC) - start) / NSEC_PER_MSEC;
	TEST_ASSERT(ms < PROMPT_MS, "took %lu ms", ms);

	poll_blocks(x, 0);
	xen_send(x, PORT_A, 0);
	poll_returns(x, 0, 0);
	xen_vm_free(x);
}

static u64 guest_poll_errors(u64 arg, u64 rounds, u64 unused)
{
	static const u32 nr[] = { 1, 2, 128, 129, 1U << 31 };
	struct xen_poll64 *poll = (void *)arg;
	s64 r;
	u32 i;

	while (rounds--) {
		for (i = 0; i < ARRAY_SIZE(nr); i++) {
			poll->nr_ports = nr[i];
			r = xen_guest_hcall(HCALL_SCHED, SCHEDOP_POLL, arg, 0, 0, 0, 0);
			if (r != (nr[i] > 128 ? -EINVAL : -EFAULT))
				return nr[i];
		}
	}
	/* Not an error, and it may last until the next tick. */
	poll->nr_ports = 0;
	return xen_guest_hcall(HCALL_SCHED, SCHEDOP_POLL, arg, 0, 0, 0, 0);
}

/* Whatever an error path leaves behind, leave much of it. */
static void poll_error_paths(void)
{
	struct xen_vm *x = poll_vm(1, XEN_64, XEN_S);
	u64 kb = xen_slab_kb();

	put_poll_at(x, XEN_ARG(0), XEN_HOLE, 0, 1);
	TEST_ASSERT_EQ(xen_call(x, 0, guest_poll_errors, XEN_ARG(0), 10000, 0), 0);
	kb = xen_slab_kb() - kb;
	TEST_ASSERT((s64)kb < 1024, "%ld KB of memory are gone", (s64)kb);
	xen_vm_free(x);
}

/*
 * One vCPU takes events from a port and polls when there is none; others send
 * one per round, at every moment of the poll's start.  A lost wakeup is a poller
 * that does not stop when told.
 */
struct race {
	u32 round;		/* the poller waits for the event of that round */
	u32 stop;
	u32 done;
};

static bool guest_take_event(u32 port)
{
	bool set;

	asm volatile("lock btrq %2, %1"
		     : "=@ccc" (set), "+m" (*(u64 *)(XEN_SHINFO + 0x800 + port / 64 * 8))
		     : "r" ((u64)port % 64) : "memory");
	return set;
}

static u64 guest_race_poller(u64 arg, u64 port, u64 unused)
{
	struct race *race = (void *)XEN_SPARE;
	s64 r;

	while (!READ_ONCE(race->stop)) {
		WRITE_ONCE(race->round, race->round + 1);
		while (!guest_take_event(port)) {
			r = xen_guest_hcall(HCALL_SCHED, SCHEDOP_POLL, arg, 0, 0, 0, 0);
			if (r)
				return r;
		}
	}

	WRITE_ONCE(race->done, 1);
	return 0;
}

static u64 guest_race_sender(u64 arg, u64 unused0, u64 unused1)
{
	struct race *race = (void *)XEN_SPARE;
	u32 i, round, seen = 0;
	s64 r;

	while (!READ_ONCE(race->done)) {
		round = READ_ONCE(race->round);
		if (round == seen) {
			asm volatile("pause");
			continue;
		}
		seen = round;
		for (i = round * 61 % 2048; i; i--)
			asm volatile("");
		r = xen_guest_hcall(HCALL_EVTCHN, EVTCHNOP_SEND, arg, 0, 0, 0, 0);
		if (r)
			return r;
	}

	return 0;
}

struct race_thread {
	struct xen_vm *x;
	u32 port;
	u32 vcpu;
	pthread_t thread;
};

static void *race_vmm_sender(void *data)
{
	struct race_thread *t = data;
	struct race *race = xen_hva(t->x, XEN_SPARE);
	u32 round, seen = 0;
	u32 i;

	while (!READ_ONCE(race->done)) {
		round = READ_ONCE(race->round);
		if (round == seen) {
			sched_yield();
			continue;
		}
		seen = round;
		for (i = round * 61 % 2048; i; i--)
			asm volatile("");
		xen_send(t->x, t->port, t->vcpu);
	}

	return NULL;
}

static void race(u32 what, u32 vcpu, bool masked, bool by_guest, bool by_vmm, u32 nr, u64 timeout)
{
	struct xen_vm *x = poll_vm(2, XEN_64, what);
	struct race *race = xen_hva(x, XEN_SPARE);
	struct race_thread vmm = { .x = x, .port = PORT_A, .vcpu = vcpu };
	const u32 list[] = { PORT_A, PORT_OTHER };
	enum xen_stop stop;
	u64 end;

	xen_assign(x, EVTCHN_IPI, PORT_A, PORT_A, vcpu);
	xen_put_mask(x, PORT_A, masked);
	*(u32 *)xen_hva(x, XEN_ARG(1)) = PORT_A;

	xen_prepare_call(x, 0, guest_race_poller, xen_put_poll(x, 0, timeout, nr, list), PORT_A, 0);
	xen_start(x, 0);
	if (by_guest) {
		x->state[1].irqs = true;	/* see struct xen_vcpu */
		xen_prepare_call(x, 1, guest_race_sender, XEN_ARG(1), 0, 0);
		xen_start(x, 1);
	}
	if (by_vmm)
		pthread_create(&vmm.thread, NULL, race_vmm_sender, &vmm);

	end = xen_real_ns(CLOCK_MONOTONIC) + PROMPT_MS * NSEC_PER_MSEC;
	xen_sleep_ms(RACE_MS);
	while (READ_ONCE(race->round) <= 10 && xen_real_ns(CLOCK_MONOTONIC) < end)
		xen_sleep_ms(1);
	WRITE_ONCE(race->stop, 1);
	stop = xen_wait(x, 0, PROMPT_MS);
	TEST_ASSERT(stop != XEN_RUNNING_YET, "lost wakeup in round %u", READ_ONCE(race->round));
	xen_expect(x, 0, stop, XEN_RETURNED);
	TEST_ASSERT_EQ(xen_result(x, 0), 0);
	if (by_guest)
		poll_returns(x, 1, 0);
	if (by_vmm)
		pthread_join(vmm.thread, NULL);

	TEST_ASSERT(race->round > 10, "only %u rounds", race->round);
	ksft_print_msg("%u rounds\n", race->round);
	xen_vm_free(x);
}

static void race_masked(void)
{
	race(XEN_S, 0, true, true, false, 1, 0);
}

static void race_unmasked(void)
{
	race(XEN_S, 0, false, true, false, 1, 0);
}

static void race_other_vcpu(void)
{
	race(XEN_S, 1, true, true, false, 1, 0);
}

static void race_lapic(void)
{
	race(XEN_SL, 0, false, true, false, 1, 0);
}

static void race_vmm(void)
{
	race(XEN_S, 0, true, false, true, 1, 0);
}

static void race_any(void)
{
	race(XEN_S, 0, true, false, true, 2, 0);
}

static void race_storm(void)
{
	race(XEN_S, 0, true, true, true, 1, UPTIME + FAR * 10);
}

static const struct xen_case cases[] = {
	{ "SC1: yield returns 0", in_64_bit_yield },
	{ "SC1: yield returns 0, 32-bit", in_32_bit_yield },
	{ "SC2 P1 P2: a pending port ends a poll at once", in_64_bit_poll_pending },
	{ "SC11 P23: a pending port ends a poll at once, 32-bit", in_32_bit_poll_pending },
	{ "SC11: a pending port ends a poll at once, compat", poll_pending_in_compat_mode },
	{ "P13: the other 4094 ports do not end a poll", in_64_bit_poll_only_that_bit },
	{ "P13: the other 1022 ports do not end a poll, 32-bit", in_32_bit_poll_only_that_bit },
	{ "SC3 SC12 P3 P15 DE1 DE2 DT10 M1 KF1: the timeout is absolute", in_64_bit_poll_timeout },
	{ "SC3 SC12 P3 P15 DE1 DE2 DT10 M1 KF1: the timeout is absolute, 32-bit",
	  in_32_bit_poll_timeout },
	{ "SC4 P4 P5 DT10 M1 XSA20: past and negative timeouts", in_64_bit_poll_timeout_past },
	{ "SC4 P4 P5 DT10 M1 XSA20: past and negative timeouts, 32-bit",
	  in_32_bit_poll_timeout_past },
	{ "DT21 XSA20: far timeouts", poll_timeout_far },
	{ "P11 DE5: no ports", in_64_bit_poll_no_ports },
	{ "P11 DE5: no ports, 32-bit", in_32_bit_poll_no_ports },
	{ "SC5 P10: kicked by another vCPU", in_64_bit_poll_kicked_by_vcpu },
	{ "SC5 P10: kicked by another vCPU, 32-bit", in_32_bit_poll_kicked_by_vcpu },
	{ "SC6 P6 DE3 DT11a M4 KF2: masked port of another vCPU", poll_masked_port_of_other_vcpu },
	{ "SC6 P6 DE3 DE4 DT11a M4 KF2: unmasked port of another vCPU",
	  poll_unmasked_port_of_other_vcpu },
	{ "SC6 P6 DE3 DE5 DT11a M4 KF2: several ports, one of another vCPU",
	  poll_ports_of_other_vcpu },
	{ "SC6 P6 DE3 DT11a M4 KF2: port of another vCPU, LAPIC vector",
	  poll_port_of_other_vcpu_lapic },
	{ "P7 DE4 M2 KF3: the selector bit is set already", in_64_bit_poll_selector_set },
	{ "P7 DE4 M2 KF3: the selector bit is set already, 32-bit", in_32_bit_poll_selector_set },
	{ "P8 DE4 M3: unmasked port, LAPIC vector", poll_lapic_vector },
	{ "SC13 DT11b: an upcall for another port, LAPIC vector", poll_upcall_by_lapic },
	{ "SC13: an upcall for another port, vector callback", poll_upcall_by_vector },
	{ "P9: two pollers of one port", poll_two_pollers },
	{ "P12 DE5: two ports", in_64_bit_poll_two_ports },
	{ "P12 DE5: two ports, 32-bit", in_32_bit_poll_two_ports },
	{ "SC7 P15: 128 ports, and 129", in_64_bit_poll_many_ports },
	{ "SC7 P15: 128 ports, and 129, 32-bit", in_32_bit_poll_many_ports },
	{ "P13: events for others", poll_other_event },
	{ "SC10 P14 P16: bad pointers", in_64_bit_poll_bad_pointers },
	{ "SC10 P14 P16: bad pointers, 32-bit", in_32_bit_poll_bad_pointers },
	{ "P24 RG52: arguments at the end of a page", in_64_bit_poll_at_page_end },
	{ "P24 RG52: arguments at the end of a page, 32-bit", in_32_bit_poll_at_page_end },
	{ "SC9 P17 DE7 DT12 M6: nothing behind a pending port is looked at",
	  in_64_bit_poll_stops_at_pending },
	{ "SC9 P17 DE7 DT12 M6: nothing behind a pending port is looked at, 32-bit",
	  in_32_bit_poll_stops_at_pending },
	{ "SC8 DE6 RG37 XSA221 XSA342: bad ports", in_64_bit_poll_bad_ports },
	{ "SC8 DE6 RG37 XSA221 XSA342: bad ports, 32-bit", in_32_bit_poll_bad_ports },
	{ "P18 DE6 M5 XSA221 XC8: port 0", poll_port_0 },
	{ "P19 DE7: a deliverable upcall comes first", poll_with_upcall_due },
	{ "P20: the upcall flag itself ends nothing", poll_upcall_flag_set },
	{ "P21: a deliverable interrupt ends a poll", poll_lapic_interrupt },
	{ "P22: an NMI ends a poll", poll_nmi },
	{ "P30: timeout of an earlier poll", poll_old_timeout },
	{ "SC14 DE8 DT13: without EVTCHN_SEND", poll_without_promise },
	{ "SC14: EVTCHN_SEND is taken back, or all of it", poll_promise_taken_back },
	{ "SC14 RG10: without shared_info", poll_without_shared_info },
	{ "SC16 DE8: the local APIC is the VMM's", poll_without_lapic,
	  KVM_XEN_HVM_CONFIG_MORE_HCALLS },
	{ "SC5 P30: an event ends a poll, then HLT", poll_by_event_then_halt },
	{ "SC3 P30 KF1: a timeout ends a poll, then HLT", poll_by_timeout_then_halt },
	{ "SC15 X8: interrupted by a signal", in_64_bit_poll_interrupted },
	{ "SC15 X8: interrupted by a signal, 32-bit", in_32_bit_poll_interrupted },
	{ "SC16: other commands", in_64_bit_other_commands_exit },
	{ "SC16: other commands, 32-bit", in_32_bit_other_commands_exit },
	{ "SC1 SC10 M15: commands have 32 bits", commands_are_ints },
	{ "SC3: KVM_SET_CLOCK forward during a poll", poll_clock_set_forward },
	{ "SC3: KVM_SET_CLOCK back during a poll", poll_clock_set_back },
	{ "P13: one port and a timeout, no other one", poll_one_with_timeout },
	{ "P13: the last one of many vCPUs", poll_by_many },
	{ "P26 KF4 XSA441: memory and ports change during a poll", poll_holds_nothing },
	{ "DE9 RG48: errors, many times", poll_error_paths },
	{ "SC17 P28: send races with poll", race_masked },
	{ "SC17 P28: send races with poll, unmasked", race_unmasked },
	{ "SC17 P28: send races with poll, port of another vCPU", race_other_vcpu },
	{ "SC17 P28: send races with poll, LAPIC vector", race_lapic },
	{ "SC17 P28: VMM races with poll", race_vmm },
	{ "SC17 P28: VMM races with poll of any port", race_any },
	{ "RG49: two senders race with poll", race_storm },
};

int main(int argc, char *argv[])
{
	return xen_run_cases(argc, argv, cases, ARRAY_SIZE(cases));
}
