// SPDX-License-Identifier: GPL-2.0-only
/*
 * Event channels of Xen guests, 2-level ABI: what raising a port does to the shared
 * pages in both layouts, the ways to raise one (ioctl, hypercall, irqfd, interrupt
 * line), interception of the guest's sends, and events whose pages are out of reach.
 *
 * A case fails when another bit than the expected ones changes, an event or an upcall is
 * lost, doubled or misdirected, or a call gives another result than real Xen or KVM's API.
 * Linux 6.12 fails T7, H9 and the cases in which pages are missing when the vCPU is run,
 * or when an interrupt line is raised.
 */
#include <sys/eventfd.h>

#include "xen.h"

#define MORE_HCALLS	KVM_XEN_HVM_CONFIG_MORE_HCALLS

#define A	5		/* the port of most cases */
#define GSI	32

/* How long each race goes on. */
#define RACE_MS	400

static u64 deadline(void)
{
	return xen_real_ns(CLOCK_MONOTONIC) + RACE_MS * NSEC_PER_MSEC;
}

static bool before(u64 end)
{
	return xen_real_ns(CLOCK_MONOTONIC) < end;
}

static bool wait_pending(struct xen_vm *x, u32 port)
{
	int i;

	for (i = 0; i < 5000 && !xen_pending(x, port); i++)
		xen_sleep_ms(1);
	return xen_pending(x, port);
}

static u64 put_send(struct xen_vm *x, int n, u32 port)
{
	*(u32 *)xen_hva(x, XEN_ARG(n)) = port;
	return XEN_ARG(n);
}

static s64 guest_send(struct xen_vm *x, int n, u32 port)
{
	return xen_hcall(x, n, HCALL_EVTCHN, EVTCHNOP_SEND, put_send(x, n, port));
}

static void assert_state(struct xen_vm *x, int n, u32 port, bool pending, u64 sel, u8 flag)
{
	TEST_ASSERT(xen_pending(x, port) == pending, "pending bit of port %u is %d", port,
		    !pending);
	TEST_ASSERT_EQ(xen_sel(x, n), sel);
	TEST_ASSERT_EQ(xen_flag(x, n), flag);
}

/* Delivery. */

/* Raised from outside and by the guest itself: the same bits, one upcall each. */
static void raise(enum xen_mode mode)
{
	struct xen_vm *x = xen_vm_new(2, mode, XEN_S);

	xen_send(x, A, 0);
	assert_state(x, 0, A, true, xen_sel_bit(x, A), 1);
	xen_window(x, 0);
	TEST_ASSERT_EQ(xen_count(x, 0, XEN_VECTOR), 1);
	TEST_ASSERT_EQ(xen_cpu(x, 0)->nr, 1);

	xen_clear_events(x);
	xen_assign(x, EVTCHN_IPI, A, A, 0);
	TEST_ASSERT_EQ(guest_send(x, 0, A), 0);
	assert_state(x, 0, A, true, xen_sel_bit(x, A), 1);
	xen_window(x, 0);
	TEST_ASSERT_EQ(xen_count(x, 0, XEN_VECTOR), 1);
}

static void test_raise(void)
{
	raise(XEN_64);
}

static void test_raise_32(void)
{
	raise(XEN_32);
}

static void test_raise_compat(void)
{
	raise(XEN_COMPAT);
}

/* The highest port; every other byte of the page stays as it is. */
static void last_port(enum xen_mode mode)
{
	struct xen_vm *x = xen_vm_new(1, mode, XEN_CFG | XEN_SI);
	u32 last = xen_nr_ports(x) - 1;
	u8 *page = x->shinfo, copy[0x1000];

	xen_vcpu_set(x, 0, VCPU_INFO, gpa, XEN_VINFO);
	xen_put_vcpu_info(x, 0, XEN_VINFO);
	memcpy(copy, page, sizeof(copy));
	xen_send(x, last, 0);
	copy[0x800 + last / 8] |= 0x80;
	TEST_ASSERT(!memcmp(copy, page, sizeof(copy)), "another byte was changed");
	TEST_ASSERT_EQ(xen_sel(x, 0), x->long_mode ? BIT_ULL(63) : BIT(31));
	TEST_ASSERT_EQ(xen_flag(x, 0), 1);
}

static void test_last_port(void)
{
	last_port(XEN_64);
}

static void test_last_port_32(void)
{
	last_port(XEN_32);
}

/* Selector bits around the first word's end. */
static void selector(enum xen_mode mode, u32 word)
{
	struct xen_vm *x = xen_vm_new(1, mode, XEN_S);

	xen_send(x, word - 1, 0);
	assert_state(x, 0, word - 1, true, BIT(0), 1);
	xen_clear_events(x);
	xen_send(x, word, 0);
	assert_state(x, 0, word, true, BIT(1), 1);
	xen_send(x, word - 1, 0);
	assert_state(x, 0, word, true, BIT(1) | BIT(0), 1);
}

static void test_selector(void)
{
	selector(XEN_64, 64);
}

static void test_selector_32(void)
{
	selector(XEN_32, 32);
}

/* Toggles all bits but one of a dword; counts those that were not as it left them. */
static u64 toggle(u32 *word, u64 *stop, u64 skip)
{
	u64 lost = 0;
	int i;

	while (!READ_ONCE(*stop)) {
		for (i = 0; i < 32; i++)
			if (i != skip)
				lost += !!(__sync_fetch_and_or(word, 1u << i) & 1u << i);
		for (i = 0; i < 32; i++)
			if (i != skip)
				lost += !(__sync_fetch_and_and(word, ~(1u << i)) & 1u << i);
	}
	return lost;
}

static void neighbours(struct xen_vm *x, u64 word, u32 port)
{
	u64 *stop = xen_hva(x, XEN_SPARE), end;
	int i;

	x->state[1].irqs = true;
	xen_prepare_call(x, 1, toggle, word, XEN_SPARE, port % 32);
	xen_start(x, 1);
	end = deadline();
	for (i = 0; before(end); i++) {
		xen_send(x, port, 0);
		TEST_ASSERT(xen_pending(x, port), "event %d was lost", i);
		TEST_ASSERT(xen_sel(x, 0) & xen_sel_bit(x, port), "selector bit %d was lost", i);
		xen_put_pending(x, port, false);
		xen_put_sel(x, 0, 0);
	}
	WRITE_ONCE(*stop, 1);
	xen_expect(x, 1, xen_wait(x, 1, xen_ms(5000)), XEN_RETURNED);
	TEST_ASSERT_EQ(xen_result(x, 1), 0);
}

static void test_neighbours(void)
{
	struct xen_vm *x = xen_vm_new(2, XEN_64, XEN_S);

	neighbours(x, XEN_SHINFO + 0x800 + 32 / 8, 40);
}

/* Bytes beside the upcall flag, and everything else in vcpu_info. */
static void beside_flag(enum xen_mode mode)
{
	struct xen_vm *x = xen_vm_new(1, mode, XEN_S);
	u8 *info, copy[64];

	xen_vcpu_set(x, 0, VCPU_INFO, gpa, XEN_VINFO + 56);
	xen_put_vcpu_info(x, 0, XEN_VINFO + 56);
	info = (u8 *)x->state[0].info;
	memset(info, 0xa5, 64);
	xen_put_flag(x, 0, 0);
	xen_put_sel(x, 0, 0);
	info[1] = 1;
	memcpy(copy, info, 64);
	xen_send(x, A, 0);
	xen_send(x, 100, 0);
	TEST_ASSERT_EQ(xen_flag(x, 0), 1);
	TEST_ASSERT_EQ(xen_sel(x, 0), xen_sel_bit(x, A) | xen_sel_bit(x, 100));
	xen_put_flag(x, 0, 0);
	xen_put_sel(x, 0, 0);
	TEST_ASSERT(!memcmp(copy, info, 64), "another field of vcpu_info was changed");
}

static void test_beside_flag(void)
{
	beside_flag(XEN_64);
}

static void test_beside_flag_32(void)
{
	beside_flag(XEN_32);
}

/* Writes the field behind the 32-bit selector all the time; counts what others changed. */
static u64 own_cr2(u32 *cr2, u64 *stop, u64 unused)
{
	u64 lost = 0;
	u32 i;

	for (i = 0; !READ_ONCE(*stop); i++) {
		WRITE_ONCE(*cr2, i);
		lost += READ_ONCE(*cr2) != i;
	}
	return lost;
}

static void test_cr2_32(void)
{
	struct xen_vm *x = xen_vm_new(2, XEN_64, XEN_CFG);
	u64 *stop = xen_hva(x, XEN_SPARE), end;

	xen_setup(x, XEN_SI);
	xen_set(x, LONG_MODE, long_mode, 0);
	x->long_mode = false;
	xen_vcpu_set(x, 0, VCPU_INFO, gpa, XEN_VINFO + 56);
	xen_put_vcpu_info(x, 0, XEN_VINFO + 56);
	x->state[1].irqs = true;
	xen_prepare_call(x, 1, own_cr2, XEN_VINFO + 56 + 8, XEN_SPARE, 0);
	xen_start(x, 1);
	end = deadline();
	while (before(end)) {
		xen_send(x, A, 0);
		TEST_ASSERT_EQ(xen_sel(x, 0), 1);
		xen_put_pending(x, A, false);
		xen_put_sel(x, 0, 0);
	}
	WRITE_ONCE(*stop, 1);
	xen_expect(x, 1, xen_wait(x, 1, xen_ms(5000)), XEN_RETURNED);
	TEST_ASSERT_EQ(xen_result(x, 1), 0);
}

static void pending_already(enum xen_mode mode)
{
	struct xen_vm *x = xen_vm_new(1, mode, XEN_S);

	xen_put_pending(x, A, true);
	xen_send(x, A, 0);
	assert_state(x, 0, A, true, 0, 0);
	xen_window(x, 0);
	TEST_ASSERT_EQ(xen_cpu(x, 0)->nr, 0);
}

static void test_pending_already(void)
{
	pending_already(XEN_64);
}

static void test_pending_already_32(void)
{
	pending_already(XEN_32);
}

static void masked(enum xen_mode mode)
{
	struct xen_vm *x = xen_vm_new(1, mode, XEN_S);

	xen_put_mask(x, A, true);
	xen_send(x, A, 0);
	assert_state(x, 0, A, true, 0, 0);
	TEST_ASSERT(xen_masked(x, A), "mask was changed");
	xen_window(x, 0);
	TEST_ASSERT_EQ(xen_cpu(x, 0)->nr, 0);
}

static void test_masked(void)
{
	masked(XEN_64);
}

static void test_masked_32(void)
{
	masked(XEN_32);
}

static void test_selector_set(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);

	xen_put_sel(x, 0, xen_sel_bit(x, A));
	xen_send(x, A, 0);
	assert_state(x, 0, A, true, xen_sel_bit(x, A), 0);
	xen_window(x, 0);
	TEST_ASSERT_EQ(xen_cpu(x, 0)->nr, 0);
}

static void test_flag_set(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);

	xen_put_flag(x, 0, 1);
	xen_send(x, A, 0);
	assert_state(x, 0, A, true, xen_sel_bit(x, A), 1);
	xen_window(x, 0);
	TEST_ASSERT_EQ(xen_count(x, 0, XEN_VECTOR), 1);
}

static void test_flag_2(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);

	xen_put_flag(x, 0, 2);
	xen_send(x, A, 0);
	assert_state(x, 0, A, true, xen_sel_bit(x, A), 3);
}

static void other_vcpu(enum xen_mode mode)
{
	struct xen_vm *x = xen_vm_new(2, mode, XEN_S);

	xen_assign(x, EVTCHN_IPI, A, A, 1);
	TEST_ASSERT_EQ(guest_send(x, 0, A), 0);
	assert_state(x, 0, A, true, 0, 0);
	assert_state(x, 1, A, true, xen_sel_bit(x, A), 1);
	xen_window(x, 0);
	xen_window(x, 1);
	TEST_ASSERT_EQ(xen_cpu(x, 0)->nr, 0);
	TEST_ASSERT_EQ(xen_count(x, 1, XEN_VECTOR), 1);
}

static void test_other_vcpu(void)
{
	other_vcpu(XEN_64);
}

static void test_other_vcpu_32(void)
{
	other_vcpu(XEN_32);
}

static void test_upcall_mask(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);

	x->state[0].info->upcall_mask = 1;
	xen_send(x, A, 0);
	xen_window(x, 0);
	TEST_ASSERT_EQ(xen_count(x, 0, XEN_VECTOR), 1);
	TEST_ASSERT_EQ(x->state[0].info->upcall_mask, 1);
}

/* Sent by the guest. */

static void test_loopback(void)
{
	struct xen_vm *x = xen_vm_new(2, XEN_64, XEN_S);

	xen_assign(x, EVTCHN_INTERDOMAIN, 20, 21, 1);
	TEST_ASSERT_EQ(guest_send(x, 0, 20), 0);
	TEST_ASSERT(!xen_pending(x, 20), "the sending port is pending");
	assert_state(x, 1, 21, true, xen_sel_bit(x, 21), 1);
	assert_state(x, 0, 21, true, 0, 0);
	xen_window(x, 1);
	TEST_ASSERT_EQ(xen_count(x, 1, XEN_VECTOR), 1);
}

/* A new target counts from now on; what is pending stays where it is. */
static void test_update(void)
{
	struct xen_vm *x = xen_vm_new(2, XEN_64, XEN_S);

	xen_assign(x, EVTCHN_INTERDOMAIN, 20, 21, 0);
	TEST_ASSERT_EQ(guest_send(x, 0, 20), 0);
	TEST_ASSERT_EQ(xen_try_evtchn(x, KVM_XEN_EVTCHN_UPDATE, 20, EVTCHN_INTERDOMAIN, 21, 1), 0);
	assert_state(x, 0, 21, true, xen_sel_bit(x, 21), 1);
	assert_state(x, 1, 21, true, 0, 0);
	TEST_ASSERT_EQ(guest_send(x, 0, 20), 0);
	assert_state(x, 1, 21, true, 0, 0);
	xen_clear_events(x);
	TEST_ASSERT_EQ(guest_send(x, 0, 20), 0);
	assert_state(x, 0, 21, true, 0, 0);
	assert_state(x, 1, 21, true, xen_sel_bit(x, 21), 1);
}

static void eventfd_case(enum xen_mode mode)
{
	struct xen_vm *x = xen_vm_new(1, mode, XEN_S);
	int fd = eventfd(0, EFD_NONBLOCK);
	u64 value = 0;

	TEST_ASSERT_EQ(xen_try_eventfd(x, 20, fd), 0);
	TEST_ASSERT_EQ(guest_send(x, 0, 20), 0);
	TEST_ASSERT_EQ(guest_send(x, 0, 20), 0);
	TEST_ASSERT_EQ(read(fd, &value, sizeof(value)), sizeof(value));
	TEST_ASSERT_EQ(value, 2);
	TEST_ASSERT(!xen_pending(x, 20), "port is pending");

	TEST_ASSERT_EQ(xen_try_evtchn(x, KVM_XEN_EVTCHN_RESET, 0, 0, 0, 0), 0);
	xen_hcall_exits(x, 0, HCALL_EVTCHN, EVTCHNOP_SEND, put_send(x, 0, 20));
	TEST_ASSERT(read(fd, &value, sizeof(value)) < 0 && errno == EAGAIN, "signalled once more");
}

static void test_eventfd(void)
{
	eventfd_case(XEN_64);
}

static void test_eventfd_32(void)
{
	eventfd_case(XEN_32);
}

/* Ports that the VMM did not assign, and other operations, are the VMM's. */
static void unassigned(enum xen_mode mode)
{
	struct xen_vm *x = xen_vm_new(1, mode, XEN_S);
	const u32 ports[] = { 0, A, 1023, 1024, 4095, 4096, 0xffffffff };
	const u32 cmds[] = { 3, 14, 15, 100, 0xffffffff };
	struct kvm_xen_exit *hc;
	int i;

	for (i = 0; i < ARRAY_SIZE(ports); i++) {
		hc = xen_hcall_exits(x, 0, HCALL_EVTCHN, EVTCHNOP_SEND, put_send(x, 0, ports[i]));
		TEST_ASSERT_EQ(hc->u.hcall.params[0], EVTCHNOP_SEND);
		TEST_ASSERT_EQ(hc->u.hcall.params[1], XEN_ARG(0));
	}
	xen_assign(x, EVTCHN_IPI, A, A, 0);
	for (i = 0; i < ARRAY_SIZE(cmds); i++)
		xen_hcall_exits(x, 0, HCALL_EVTCHN, cmds[i], XEN_HOLE);
	TEST_ASSERT_EQ(guest_send(x, 0, A), 0);
	TEST_ASSERT_EQ(xen_try_evtchn(x, KVM_XEN_EVTCHN_DEASSIGN, A, 0, 0, 0), 0);
	xen_hcall_exits(x, 0, HCALL_EVTCHN, EVTCHNOP_SEND, put_send(x, 0, A));
}

static void test_unassigned(void)
{
	unassigned(XEN_64);
}

static void test_unassigned_32(void)
{
	unassigned(XEN_32);
}

static void test_send_results(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);

	xen_assign(x, EVTCHN_IPI, A, A, 0);
	xen_assign(x, EVTCHN_IPI, A + 1, A + 1, 0);
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_EVTCHN, EVTCHNOP_SEND, XEN_HOLE), -EFAULT);
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_EVTCHN, EVTCHNOP_SEND, 0x123456789000), -EFAULT);
	TEST_ASSERT_EQ(guest_send(x, 0, A), 0);
	TEST_ASSERT_EQ(guest_send(x, 0, A), 0);
	xen_put_mask(x, A + 1, true);
	TEST_ASSERT_EQ(guest_send(x, 0, A + 1), 0);
	TEST_ASSERT(xen_pending(x, A + 1), "masked port is not pending");
}

/* No such vCPU: nothing the kernel can do. */
static void test_send_no_vcpu(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);

	xen_assign(x, EVTCHN_INTERDOMAIN, 20, 21, 99);
	xen_hcall_exits(x, 0, HCALL_EVTCHN, EVTCHNOP_SEND, put_send(x, 0, 20));
	TEST_ASSERT_EQ(xen_try_evtchn(x, KVM_XEN_EVTCHN_UPDATE, 20, EVTCHN_INTERDOMAIN, 21, 0), 0);
	TEST_ASSERT_EQ(guest_send(x, 0, 20), 0);
}

static void test_send_no_shinfo(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);

	xen_assign(x, EVTCHN_IPI, A, A, 0);
	xen_hcall_exits(x, 0, HCALL_EVTCHN, EVTCHNOP_SEND, put_send(x, 0, A));
}

/* Only the low half of the command counts. */
static void test_send_garbage(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);

	xen_assign(x, EVTCHN_IPI, A, A, 0);
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_EVTCHN, BIT_ULL(32) | EVTCHNOP_SEND,
				 put_send(x, 0, A)), 0);
	TEST_ASSERT(xen_pending(x, A), "not sent");
}

static void test_send_garbage_compat(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_COMPAT, XEN_S);
	const u64 garbage = 0xdead00000000ULL;

	xen_assign(x, EVTCHN_IPI, A, A, 0);
	TEST_ASSERT_EQ(xen_hcall(x, 0, garbage | HCALL_EVTCHN, garbage | EVTCHNOP_SEND,
				 garbage | put_send(x, 0, A)), 0);
	TEST_ASSERT(xen_pending(x, A), "not sent");
}

/* An argument on two pages, and one whose second page is not mapped. */
static void test_send_straddle(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	u64 arg = XEN_SPARE + 0x1000 - 2;
	u32 port = A;

	xen_assign(x, EVTCHN_IPI, A, A, 0);
	memcpy(xen_hva(x, arg), &port, sizeof(port));
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_EVTCHN, EVTCHNOP_SEND, arg), 0);
	TEST_ASSERT(xen_pending(x, A), "not sent");
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_EVTCHN, EVTCHNOP_SEND, XEN_HOLE - 2), -EFAULT);
	TEST_ASSERT_EQ(xen_cpu(x, 0)->nr, 0);
}

/* Where the guest has a 2 MiB page with all that is at XEN_BASE. */
#define LARGE_PAGE	0x40000000UL

static void sends(struct xen_vm *x, u64 arg, u32 port)
{
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_EVTCHN, EVTCHNOP_SEND, arg), 0);
	TEST_ASSERT(xen_pending(x, port), "port %u was not sent", port);
	xen_put_pending(x, port, false);
}

/* More than once: the first call finds entries that have never been accessed. */
static void test_send_large_page(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	u64 arg = LARGE_PAGE + put_send(x, 0, A) - XEN_BASE;
	int i;

	__virt_pg_map(x->vm, LARGE_PAGE, XEN_BASE, PG_LEVEL_2M);
	xen_assign(x, EVTCHN_IPI, A, A, 0);
	for (i = 0; i < 3; i++)
		sends(x, arg, A);
}

/* The guest's page tables change between calls. */
static void test_send_remapped(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	u64 *pte, i;

	virt_pg_map(x->vm, XEN_HOLE, XEN_SPARE);
	pte = vm_get_page_table_entry(x->vm, XEN_HOLE);
	for (i = 0; i < 2; i++) {
		xen_assign(x, EVTCHN_IPI, A + i, A + i, 0);
		*(u32 *)xen_hva(x, XEN_SPARE + i * 0x1000) = A + i;
	}
	for (i = 0; i < 8; i++) {
		sends(x, XEN_HOLE, A + i % 2);
		sends(x, XEN_HOLE, A + i % 2);
		*pte ^= XEN_SPARE ^ (XEN_SPARE + 0x1000);
	}
}

/* The mode changes after a port was assigned: it no longer exists. */
static void test_relatch(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	u8 copy[0x1000];

	xen_assign(x, EVTCHN_IPI, 2000, 2000, 0);
	xen_set(x, LONG_MODE, long_mode, 0);
	x->long_mode = false;
	memcpy(copy, x->shinfo, sizeof(copy));
	xen_prepare_hcall(x, 0, HCALL_EVTCHN, (u64[6]) { EVTCHNOP_SEND, put_send(x, 0, 2000) });
	xen_run(x, 0);			/* dropped, or left to the VMM */
	TEST_ASSERT(!memcmp(copy + 64, x->shinfo + 64, sizeof(copy) - 64), "page was changed");
	TEST_ASSERT_EQ(xen_sel(x, 0), 0);
	TEST_ASSERT_EQ(xen_try_send(x, 2000, 0), EINVAL);

	/* The others go where a 32-bit guest looks for them. */
	xen_send(x, 40, 0);
	assert_state(x, 0, 40, true, BIT(40 / 32), 1);
}

/* Routing. */

static void set_route(struct xen_vm *x, u32 port, u32 vcpu)
{
	struct kvm_irq_routing *routing = kvm_gsi_routing_create();

	routing->nr = 1;
	routing->entries[0] = (struct kvm_irq_routing_entry) {
		.gsi = GSI,
		.type = KVM_IRQ_ROUTING_XEN_EVTCHN,
		.u.xen_evtchn = { .port = port, .vcpu = vcpu, .priority = XEN_2LEVEL },
	};
	vm_ioctl(x->vm, KVM_SET_GSI_ROUTING, routing);
	free(routing);
}

static int set_irqfd(struct xen_vm *x)
{
	struct kvm_irqfd irqfd = { .fd = eventfd(0, 0), .gsi = GSI };

	vm_ioctl(x->vm, KVM_IRQFD, &irqfd);
	return irqfd.fd;
}

static void signal_fd(int fd)
{
	u64 one = 1;

	TEST_ASSERT_EQ(write(fd, &one, sizeof(one)), sizeof(one));
}

static void irqfd(enum xen_mode mode)
{
	struct xen_vm *x = xen_vm_new(2, mode, XEN_S);
	int fd;

	set_route(x, A, 1);
	fd = set_irqfd(x);
	signal_fd(fd);
	TEST_ASSERT(wait_pending(x, A), "not delivered");
	xen_step(x, 1, STEP_HLT);
	assert_state(x, 0, A, true, 0, 0);
	TEST_ASSERT_EQ(xen_sel(x, 1), xen_sel_bit(x, A));
	TEST_ASSERT_EQ(xen_count(x, 1, XEN_VECTOR), 1);

	/* To a vCPU that sleeps. */
	xen_clear_events(x);
	xen_prepare(x, 1, STEP_HLT);
	xen_start(x, 1);
	TEST_ASSERT(xen_sleeps(x, 1, 0), "does not sleep");
	signal_fd(fd);
	xen_expect(x, 1, xen_wait(x, 1, xen_ms(5000)), XEN_RETURNED);
	TEST_ASSERT_EQ(xen_count(x, 1, XEN_VECTOR), 1);

	xen_clear_events(x);
	xen_put_mask(x, A, true);
	signal_fd(fd);
	TEST_ASSERT(wait_pending(x, A), "not delivered");
	assert_state(x, 1, A, true, 0, 0);
}

static void test_irqfd(void)
{
	irqfd(XEN_64);
}

static void test_irqfd_32(void)
{
	irqfd(XEN_32);
}

static void test_irq_line(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);

	set_route(x, A, 0);
	kvm_irq_line(x->vm, GSI, 0);
	TEST_ASSERT(!xen_pending(x, A), "level 0 raised an event");
	kvm_irq_line(x->vm, GSI, 1);
	assert_state(x, 0, A, true, xen_sel_bit(x, A), 1);
}

static int irq_line_status(struct xen_vm *x)
{
	struct kvm_irq_level line = { .irq = GSI, .level = 1 };

	vm_ioctl(x->vm, KVM_IRQ_LINE_STATUS, &line);
	return line.status;
}

static void test_irq_line_status(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);

	set_route(x, A, 0);
	TEST_ASSERT(irq_line_status(x) > 0, "delivered, but it does not say so");
	TEST_ASSERT_EQ(irq_line_status(x), 0);
	xen_clear_events(x);
	xen_put_mask(x, A, true);
	TEST_ASSERT(irq_line_status(x) < 0, "masked, but it does not say so");
	assert_state(x, 0, A, true, 0, 0);
	TEST_ASSERT_EQ(irq_line_status(x), 0);

	set_route(x, 4096, 0);
	TEST_ASSERT(irq_line_status(x) < 0, "there is no such port");
	set_route(x, A, 99);
	TEST_ASSERT(irq_line_status(x) < 0, "there is no such vCPU");

	set_route(x, A + 1, 0);
	xen_set(x, SHARED_INFO, shared_info.gfn, KVM_XEN_INVALID_GFN);
	TEST_ASSERT(irq_line_status(x) > 0, "kept, but it does not say so");
}

static void test_route_limit(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_32, XEN_S);
	u8 copy[0x1000];

	set_route(x, 1024, 0);
	memcpy(copy, x->shinfo, sizeof(copy));
	signal_fd(set_irqfd(x));
	xen_sleep_ms(20);
	xen_step(x, 0, STEP_RETURN);
	TEST_ASSERT(!memcmp(copy + 64, x->shinfo + 64, sizeof(copy) - 64), "page was changed");
	TEST_ASSERT_EQ(xen_sel(x, 0), 0);
}

/* Pages out of reach. */

/* vcpu_info or shared_info in a memslot of its own, which can be taken away. */
static void *add_slot(struct xen_vm *x, bool again)
{
	static void *page;

	if (!again)
		page = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			    -1, 0);
	vm_set_user_memory_region(x->vm, XEN_SLOT + 1, 0, XEN_HOLE, 0x1000, page);
	return page;
}

static void remove_slot(struct xen_vm *x)
{
	vm_set_user_memory_region(x->vm, XEN_SLOT + 1, 0, XEN_HOLE, 0, NULL);
}

/* The interrupt handler cannot reach this vcpu_info; the test does its job. */
static void use_slot_for_vcpu_info(struct xen_vm *x)
{
	x->state[0].info = add_slot(x, false);
	xen_vcpu_set(x, 0, VCPU_INFO, gpa, XEN_HOLE);
	xen_cpu(x, 0)->vcpu_info = XEN_SPARE;
}

static void test_no_vcpu_info(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG | XEN_SI | XEN_UV);

	xen_send(x, A, 0);
	xen_send(x, 100, 0);
	assert_state(x, 0, A, true, 0, 0);
	xen_step(x, 0, STEP_WINDOW);
	TEST_ASSERT_EQ(xen_cpu(x, 0)->nr, 0);
	xen_setup(x, XEN_VI);
	xen_window(x, 0);
	TEST_ASSERT_EQ(xen_sel(x, 0), xen_sel_bit(x, A) | xen_sel_bit(x, 100));
	TEST_ASSERT_EQ(xen_count(x, 0, XEN_VECTOR), 1);
}

static void test_no_vcpu_info_32(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_32, XEN_CFG | XEN_SI | XEN_UV);

	xen_send(x, 1023, 0);
	xen_setup(x, XEN_VI);
	xen_window(x, 0);
	TEST_ASSERT_EQ(xen_sel(x, 0), BIT(31));
	TEST_ASSERT_EQ(xen_count(x, 0, XEN_VECTOR), 1);
}

static void test_vcpu_info_gone(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG | XEN_SI);
	int fd;

	use_slot_for_vcpu_info(x);
	set_route(x, A + 1, 0);
	fd = set_irqfd(x);
	xen_send(x, A, 0);
	TEST_ASSERT_EQ(xen_flag(x, 0), 1);
	xen_clear_events(x);

	remove_slot(x);
	xen_send(x, A, 0);
	signal_fd(fd);
	TEST_ASSERT(wait_pending(x, A + 1), "irqfd not delivered");
	xen_step(x, 0, STEP_RETURN);
	TEST_ASSERT_EQ(xen_sel(x, 0), 0);
	add_slot(x, true);
	xen_step(x, 0, STEP_RETURN);
	TEST_ASSERT_EQ(xen_sel(x, 0), xen_sel_bit(x, A));
	TEST_ASSERT_EQ(xen_flag(x, 0), 1);
}

/* The VMM learns about it; events of others are kept. */
static void test_shinfo_gone(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	int fd, i;

	x->shinfo = add_slot(x, false);
	xen_set(x, SHARED_INFO, shared_info.gfn, XEN_HOLE >> 12);
	set_route(x, A + 1, 0);
	fd = set_irqfd(x);
	remove_slot(x);
	TEST_ASSERT_EQ(xen_try_send(x, A, 0), EFAULT);
	signal_fd(fd);
	xen_sleep_ms(20);
	xen_step(x, 0, STEP_RETURN);
	TEST_ASSERT(!xen_pending(x, A + 1), "page that is gone was written");
	add_slot(x, true);
	for (i = 0; i < 1000 && !xen_pending(x, A + 1); i++) {
		xen_step(x, 0, STEP_RETURN);
		xen_sleep_ms(1);
	}
	TEST_ASSERT(xen_pending(x, A + 1), "event was lost");
	TEST_ASSERT_EQ(xen_sel(x, 0), xen_sel_bit(x, A + 1));
	xen_send(x, A, 0);
	TEST_ASSERT(xen_pending(x, A), "page that is back is not used");
}

static void unmask_exits(struct xen_vm *x, u32 port)
{
	xen_hcall_exits(x, 0, HCALL_EVTCHN, EVTCHNOP_UNMASK, put_send(x, 0, port));
}

static void test_unmask_no_shinfo(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);

	xen_config(x, KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL | KVM_XEN_HVM_CONFIG_EVTCHN_SEND |
		   MORE_HCALLS, XEN_HCALL_MSR);
	xen_set_port(x, A, STATUS_IPI, 0);
	xen_set(x, SHARED_INFO, shared_info.gfn, KVM_XEN_INVALID_GFN);
	unmask_exits(x, A);

	x->shinfo = add_slot(x, false);
	xen_set(x, SHARED_INFO, shared_info.gfn, XEN_HOLE >> 12);
	xen_put_pending(x, A, true);
	xen_put_mask(x, A, true);
	remove_slot(x);
	unmask_exits(x, A);
	TEST_ASSERT(xen_masked(x, A), "page that is gone was written");
	assert_state(x, 0, A, true, 0, 0);
	add_slot(x, true);
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_EVTCHN, EVTCHNOP_UNMASK, put_send(x, 0, A)), 0);
	TEST_ASSERT(!xen_masked(x, A), "still masked");
	assert_state(x, 0, A, true, xen_sel_bit(x, A), 1);
}

/* Ports that there would be in another mode or ABI. */
static void unmask_other_abi(enum xen_mode mode)
{
	struct xen_vm *x = xen_vm_new(1, mode, XEN_S);
	const u32 ports[] = { xen_nr_ports(x), 4096, XEN_FIFO_NR_PORTS - 1 };
	u8 before[0x1000];
	int i;

	xen_fifo_opt_in(x);
	/* All ports are pending, and masked. */
	memset(x->shinfo + 0x800, 0xff, xen_nr_ports(x) / 4);
	memcpy(before, x->shinfo, sizeof(before));
	for (i = 0; i < ARRAY_SIZE(ports); i++) {
		xen_set_port(x, ports[i], STATUS_IPI, 0);
		unmask_exits(x, ports[i]);
	}
	TEST_ASSERT(!memcmp(before + 0x800, x->shinfo + 0x800, 0x400), "some bit has changed");
	TEST_ASSERT_EQ(xen_sel(x, 0), 0);
	TEST_ASSERT_EQ(xen_flag(x, 0), 0);
}

IN_64_BIT(unmask_other_abi)
IN_32_BIT(unmask_other_abi)

/* Other memory behind the argument of a call; the old one is still there, too. */
static void test_send_slot_replaced(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	int i;

	xen_assign(x, EVTCHN_IPI, A, A, 0);
	xen_assign(x, EVTCHN_IPI, A + 1, A + 1, 0);
	virt_pg_map(x->vm, XEN_HOLE, XEN_HOLE);
	for (i = 0; i < 8; i++) {
		*(u32 *)add_slot(x, false) = A + i % 2;
		sends(x, XEN_HOLE, A + i % 2);
		sends(x, XEN_HOLE, A + i % 2);
		remove_slot(x);
	}
}

/* Other memory behind the same address. */
static void test_slot_replaced(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	void *old;
	int i;

	x->shinfo = add_slot(x, false);
	xen_set(x, SHARED_INFO, shared_info.gfn, XEN_HOLE >> 12);
	for (i = 0; i < 50; i++) {
		xen_send(x, A, 0);
		TEST_ASSERT(xen_pending(x, A), "event %d is elsewhere", i);
		old = x->shinfo;
		remove_slot(x);
		x->shinfo = add_slot(x, false);
		TEST_ASSERT(x->shinfo != old, "same memory");
	}
}

/* Memory outside guest memory, replaced under the kernel's hands. */
static void test_hva_replaced(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);
	const int prot = PROT_READ | PROT_WRITE;
	void *pages = mmap(NULL, 0x2000, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int i;

	x->long_mode = true;
	x->shinfo = pages;
	x->state[0].info = pages + 0x1000;
	xen_set(x, LONG_MODE, long_mode, 1);
	xen_set(x, SHARED_INFO_HVA, shared_info.hva, (u64)x->shinfo);
	xen_vcpu_set(x, 0, VCPU_INFO_HVA, hva, (u64)x->state[0].info);
	for (i = 0; i < 200; i++) {
		if (i % 4 == 0)
			madvise(pages, 0x2000, MADV_DONTNEED);
		else
			mmap(pages, 0x2000, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		xen_send(x, A, 0);
		TEST_ASSERT(xen_pending(x, A), "event %d is elsewhere", i);
		xen_step(x, 0, STEP_RETURN);
		TEST_ASSERT_EQ(xen_sel(x, 0), 1);
		TEST_ASSERT_EQ(xen_flag(x, 0), 1);
	}
}

/* Races. */

static u64 send_loop(u64 arg, u64 *stop, u64 *sent)
{
	while (!READ_ONCE(*stop)) {
		xen_guest_hcall(HCALL_EVTCHN, EVTCHNOP_SEND, arg, 0, 0, 0, 0);
		WRITE_ONCE(*sent, *sent + 1);
	}
	return 0;
}

struct race {
	struct xen_vm *x;
	pthread_t thread;
	bool stop;
	void (*fn)(struct race *race);
};

static void *race_thread(void *arg)
{
	struct race *race = arg;

	while (!READ_ONCE(race->stop))
		race->fn(race);
	return NULL;
}

static void race_start(struct race *race, struct xen_vm *x, void (*fn)(struct race *race))
{
	race->x = x;
	race->fn = fn;
	TEST_ASSERT(!pthread_create(&race->thread, NULL, race_thread, race), "no thread");
}

static void race_end(struct race *race)
{
	WRITE_ONCE(race->stop, true);
	pthread_join(race->thread, NULL);
}

/* The guest sends all the time; hypercalls that nobody knows come to us. */
static void *vmm_thread(void *arg)
{
	struct race *race = arg;
	enum xen_stop stop;

	do {
		stop = xen_run(race->x, 0);
		race->x->vcpu[0]->run->xen.u.hcall.result = 0;
	} while (stop == XEN_EXITED);
	xen_expect(race->x, 0, stop, XEN_RETURNED);
	return NULL;
}

static void start_calls(struct race *race, struct xen_vm *x, void *fn, u64 arg)
{
	u64 *sent = xen_hva(x, XEN_SPARE + 16);
	int i;

	race->x = x;
	x->state[0].irqs = true;
	xen_prepare_call(x, 0, fn, arg, XEN_SPARE, XEN_SPARE + 16);
	TEST_ASSERT(!pthread_create(&race->thread, NULL, vmm_thread, race), "no thread");
	for (i = 0; i < 5000 && !READ_ONCE(*sent); i++)
		xen_sleep_ms(1);
	TEST_ASSERT(READ_ONCE(*sent), "the guest does not send");
}

static void start_sender(struct race *race, struct xen_vm *x, u32 port)
{
	start_calls(race, x, send_loop, put_send(x, 0, port));
}

static void end_sender(struct race *race)
{
	*(u64 *)xen_hva(race->x, XEN_SPARE) = 1;
	pthread_join(race->thread, NULL);
}

/* The port is at @arg; a poll until the first nanosecond of the guest does not block. */
static u64 send_and_poll_loop(u64 arg, u64 *stop, u64 *sent)
{
	struct xen_poll64 *poll = (void *)arg + 64;

	*poll = (struct xen_poll64) { .ports = arg, .nr_ports = 1, .timeout = 1 };
	while (!READ_ONCE(*stop)) {
		xen_guest_hcall(HCALL_EVTCHN, EVTCHNOP_SEND, arg, 0, 0, 0, 0);
		xen_guest_hcall(HCALL_SCHED, SCHEDOP_POLL, (u64)poll, 0, 0, 0, 0);
		WRITE_ONCE(*sent, *sent + 1);
	}
	return 0;
}

static void test_race_assign(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	struct race sender = {};
	u64 end;
	int fd;
	u32 i;

	start_calls(&sender, x, send_and_poll_loop, put_send(x, 0, A));
	end = deadline();
	for (i = 0; before(end); i++) {
		fd = eventfd(0, 0);
		if (i % 2)
			xen_assign(x, EVTCHN_IPI, A, A, 0);
		else
			TEST_ASSERT_EQ(xen_try_eventfd(x, A, fd), 0);
		close(fd);		/* KVM holds its own reference */
		if (i % 3)
			TEST_ASSERT_EQ(xen_try_evtchn(x, KVM_XEN_EVTCHN_DEASSIGN, A, 0, 0, 0), 0);
		else
			TEST_ASSERT_EQ(xen_try_evtchn(x, KVM_XEN_EVTCHN_RESET, 0, 0, 0, 0), 0);
	}
	end_sender(&sender);
}

/* After UPDATE has returned, events go to the new vCPU for good. */
static void test_race_update(void)
{
	struct xen_vm *x = xen_vm_new(3, XEN_64, XEN_S);
	struct race sender = {};
	u64 end, late;
	u32 target = 1, i;
	int err;

	xen_assign(x, EVTCHN_IPI, A, A, target);
	start_sender(&sender, x, A);
	end = deadline();
	while (before(end)) {
		target = 3 - target;
		err = xen_try_evtchn(x, KVM_XEN_EVTCHN_UPDATE, A, EVTCHN_IPI, A, target);
		TEST_ASSERT_EQ(err, 0);
		/* One send may have been under way. */
		for (i = 0; i < 2; i++) {
			xen_put_sel(x, 1, 0);
			xen_put_sel(x, 2, 0);
			xen_put_pending(x, A, false);
			TEST_ASSERT(wait_pending(x, A), "no event");
		}
		late = xen_real_ns(CLOCK_MONOTONIC) + xen_ms(5000) * NSEC_PER_MSEC;
		while (!xen_sel(x, target) && before(late))
			;
		TEST_ASSERT(xen_sel(x, target), "event went to the old vCPU");
		TEST_ASSERT(!xen_sel(x, 3 - target), "event went to the old vCPU, too");
	}
	end_sender(&sender);
}

static void send_both(struct race *race)
{
	xen_try_send(race->x, A, 0);
	xen_try_send(race->x, 1023, 1);
	xen_try_send(race->x, 4095, 0);
	xen_set_timer(race->x, 1, 100, 1);
}

static void test_race_shinfo(void)
{
	struct xen_vm *x = xen_vm_new(2, XEN_64, XEN_S);
	struct race sender = {}, race = {};
	u64 end;

	xen_assign(x, EVTCHN_IPI, A, A, 1);
	start_calls(&sender, x, send_and_poll_loop, put_send(x, 0, A));
	race_start(&race, x, send_both);
	end = deadline();
	while (before(end)) {
		xen_set(x, SHARED_INFO, shared_info.gfn, KVM_XEN_INVALID_GFN);
		xen_set(x, SHARED_INFO, shared_info.gfn, XEN_SHINFO >> 12);
		xen_vcpu_set(x, 1, VCPU_INFO, gpa, XEN_VINFO);
		xen_vcpu_set(x, 1, VCPU_INFO, gpa, KVM_XEN_INVALID_GPA);
	}
	race_end(&race);
	end_sender(&sender);
}

static void test_race_mode(void)
{
	struct xen_vm *x = xen_vm_new(2, XEN_64, XEN_S);
	struct race sender = {}, race = {};
	u64 end;

	xen_assign(x, EVTCHN_IPI, 4095, 4095, 1);
	start_sender(&sender, x, 4095);
	race_start(&race, x, send_both);
	end = deadline();
	while (before(end)) {
		xen_set(x, LONG_MODE, long_mode, 0);
		xen_set(x, LONG_MODE, long_mode, 1);
	}
	race_end(&race);
	end_sender(&sender);
	TEST_ASSERT(!memcmp(xen_hva(x, XEN_VINFO), (u8[64]) {}, 64), "next page was written");
}

static void replace_pages(struct race *race)
{
	mmap(race->x->shinfo, 0x2000, PROT_READ | PROT_WRITE,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

static void test_race_hva(void)
{
	struct xen_vm *x = xen_vm_new(2, XEN_64, XEN_S);
	struct race sender = {}, race = {}, replace = {};
	u64 end;

	x->shinfo = mmap(NULL, 0x2000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	xen_assign(x, EVTCHN_IPI, A, A, 1);
	start_sender(&sender, x, A);
	race_start(&race, x, send_both);
	race_start(&replace, x, replace_pages);
	end = deadline();
	while (before(end)) {
		xen_set(x, SHARED_INFO_HVA, shared_info.hva, 0);
		xen_vcpu_set(x, 1, VCPU_INFO_HVA, hva, 0);
		xen_set(x, SHARED_INFO_HVA, shared_info.hva, (u64)x->shinfo);
		xen_vcpu_set(x, 1, VCPU_INFO_HVA, hva, (u64)x->shinfo + 0x1000);
	}
	/* The pages were replaced once more since: the last ones count. */
	race_end(&replace);
	race_end(&race);
	xen_send(x, 100, 0);
	TEST_ASSERT(xen_pending(x, 100), "event is elsewhere");
	end_sender(&sender);
}

static void test_race_memslot(void)
{
	struct xen_vm *x = xen_vm_new(2, XEN_64, XEN_S);
	struct race sender = {}, race = {};
	u64 end;

	x->shinfo = add_slot(x, false);
	xen_set(x, SHARED_INFO, shared_info.gfn, XEN_HOLE >> 12);
	xen_assign(x, EVTCHN_IPI, A, A, 1);
	start_sender(&sender, x, A);
	race_start(&race, x, send_both);
	end = deadline();
	while (before(end)) {
		remove_slot(x);
		add_slot(x, true);
	}
	race_end(&race);
	end_sender(&sender);
	xen_put_pending(x, A, false);
	xen_send(x, A, 0);
	TEST_ASSERT(xen_pending(x, A), "page that is back is not used");
}

static void drop_spare(struct race *race)
{
	madvise(xen_hva(race->x, XEN_SPARE + 0x1000), 0x1000, MADV_DONTNEED);
}

/* Invalidation of unrelated memory must not starve delivery. */
static void test_race_invalidate(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	u64 end, quiet = 0, noisy = 0;
	struct race race = {};
	int i;

	for (end = deadline(); before(end); quiet++)
		xen_send(x, A, 0);
	/* It may be this thread that could not run. */
	for (i = 0; i < 3 && noisy * 100 <= quiet; i++) {
		race_start(&race, x, drop_spare);
		for (noisy = 0, end = deadline(); before(end); noisy++)
			xen_send(x, A, 0);
		race_end(&race);
	}
	TEST_ASSERT(noisy * 100 > quiet, "%lu sends instead of %lu", noisy, quiet);
}

/* Two senders of one port, one receiver that clears as guests do: no event stays unseen. */
static u64 receive_loop(struct xen_shared_info64 *shinfo, u64 *stop, u64 port)
{
	struct xen_vcpu_info64 *info = &shinfo->vcpu_info[1];
	u64 sel, received = 0;

	while (!READ_ONCE(*stop)) {
		if (!__atomic_exchange_n(&info->upcall_pending, 0, __ATOMIC_SEQ_CST))
			continue;
		sel = __atomic_exchange_n(&info->pending_sel, 0, __ATOMIC_SEQ_CST);
		if (sel && (__sync_fetch_and_and(&shinfo->pending[0], ~BIT_ULL(port)) & BIT(port)))
			received++;
	}
	return received;
}

static void send_a(struct race *race)
{
	xen_send(race->x, A, 1);
}

static void test_race_receive(void)
{
	struct xen_vm *x = xen_vm_new(2, XEN_64, XEN_CFG | XEN_SI | XEN_VI);
	struct race sender = {}, race = {};
	u64 end;
	int i;

	xen_assign(x, EVTCHN_IPI, A, A, 1);
	x->state[1].irqs = true;
	xen_prepare_call(x, 1, receive_loop, XEN_SHINFO, XEN_SPARE + 8, A);
	xen_start(x, 1);
	start_sender(&sender, x, A);
	race_start(&race, x, send_a);
	end = deadline();
	while (before(end))
		xen_sleep_ms(10);
	race_end(&race);
	end_sender(&sender);

	/* All senders are quiet: the receiver must find the last event. */
	for (i = 0; i < xen_ms(5000) && (xen_pending(x, A) || xen_sel(x, 1) || xen_flag(x, 1)); i++)
		xen_sleep_ms(1);
	assert_state(x, 1, A, false, 0, 0);
	*(u64 *)xen_hva(x, XEN_SPARE + 8) = 1;
	xen_expect(x, 1, xen_wait(x, 1, xen_ms(5000)), XEN_RETURNED);
	TEST_ASSERT(xen_result(x, 1), "never received");
}

/* Any command, most of them sends; the argument is anywhere, most often in memory. */
static u64 random_calls(u64 arg, u64 *stop, u64 *made)
{
	const u64 ptrs[] = { arg, arg, arg, XEN_HOLE - 2, XEN_HOLE - 4, XEN_HOLE, 0, 0 };
	u64 random = 1, cmd, ptr;

	while (!READ_ONCE(*stop)) {
		random = random * 6364136223846793005ULL + 1442695040888963407ULL;
		ptr = ptrs[random >> 61] ?: random;
		*(u32 *)arg = random & BIT(60) ? (random >> 32) % 1100 : random >> 16;
		cmd = random & BIT(59) ? EVTCHNOP_SEND : (random >> 55) % 16;
		xen_guest_hcall(HCALL_EVTCHN, cmd, ptr, random, 0, 0, 0);
		WRITE_ONCE(*made, *made + 1);
	}
	return 0;
}

static void fuzz(bool long_mode)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	const u64 *made = xen_hva(x, XEN_SPARE + 16);
	struct race sender = {};
	u8 *page = x->shinfo;
	u32 i;

	xen_set(x, LONG_MODE, long_mode, long_mode);
	for (i = 1; i < 1024; i += 2)
		xen_assign(x, EVTCHN_INTERDOMAIN, i, 1024 - i, 0);
	memset(xen_hva(x, XEN_VINFO), 0xa5, 0x1000);
	memset(page + 0xc40, 0xa5, 0x1000 - 0xc40);
	start_calls(&sender, x, random_calls, XEN_ARG(0));
	xen_sleep_ms(RACE_MS);
	for (i = 0; i < xen_ms(5000) && READ_ONCE(*made) < 100; i++)
		xen_sleep_ms(1);
	end_sender(&sender);
	x->long_mode = long_mode;
	TEST_ASSERT(xen_sel(x, 0), "nothing was sent");
	for (i = 0xc40; i < 0x1000; i++)
		TEST_ASSERT_EQ(page[i], 0xa5);
	for (i = 0; i < 0x1000; i++)
		TEST_ASSERT_EQ(*(u8 *)xen_hva(x, XEN_VINFO + i), 0xa5);
}

static void test_fuzz(void)
{
	fuzz(true);
}

static void test_fuzz_32(void)
{
	fuzz(false);
}

/* Every other event finds the port pending already. */
static u64 flood_loop(u64 arg, u64 *stop, u64 *sent)
{
	while (!READ_ONCE(*stop)) {
		xen_guest_hcall(HCALL_EVTCHN, EVTCHNOP_SEND, arg, 0, 0, 0, 0);
		WRITE_ONCE(*sent, *sent + 1);
		if (*sent % 2)
			WRITE_ONCE(*(u64 *)(XEN_SHINFO + 0x800), 0);
	}
	return 0;
}

/* Were a send to cost memory, many would show. */
static void test_flood(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	struct race sender = {};
	u64 kb;

	xen_put_mask(x, A, true);
	xen_assign(x, EVTCHN_IPI, A, A, 0);
	start_calls(&sender, x, flood_loop, put_send(x, 0, A));
	kb = xen_slab_kb();
	xen_sleep_ms(5 * RACE_MS);
	kb = xen_slab_kb() - kb;
	end_sender(&sender);
	ksft_print_msg("%lu sends, %ld KB\n", *(u64 *)xen_hva(x, XEN_SPARE + 16), (s64)kb);
	TEST_ASSERT((s64)kb < 256, "%ld KB of memory are gone", (s64)kb);
}

static int busy_fd;

static void signal_busy_fd(struct race *race)
{
	signal_fd(busy_fd);
}

/* The process of this case, and with it the VM, ends in the middle of everything. */
static void test_end_busy(void)
{
	struct xen_vm *x = xen_vm_new(3, XEN_64, XEN_S);
	static struct race sender, race, irq;		/* they outlive this function */

	xen_assign(x, EVTCHN_IPI, A, A, 1);
	set_route(x, A + 1, 1);
	busy_fd = set_irqfd(x);
	xen_set_timer(x, 2, 100, xen_in_ms(x, 5 * RACE_MS));
	xen_hcall_start(x, 2, HCALL_SCHED, SCHEDOP_POLL,
			xen_put_poll(x, 2, 0, 1, (const u32[]) { 1000 }));
	/* Until it has looked at its port, any event may end the poll. */
	TEST_ASSERT(xen_sleeps(x, 2, 0), "does not poll");
	start_sender(&sender, x, A);
	race_start(&race, x, send_both);
	race_start(&irq, x, signal_busy_fd);
	TEST_ASSERT(xen_wait(x, 2, RACE_MS / 4) == XEN_RUNNING_YET, "does not poll any more");
}

static u64 stat(struct xen_vm *x, const char *name)
{
	u64 value;

	if (!xen_try_stat(x, 0, name, &value))
		ksft_exit_skip("KVM has no statistic %s\n", name);
	return value;
}

static void test_stats(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG | XEN_SI);
	u64 sent = stat(x, "xen_events_sent");

	TEST_ASSERT_EQ(stat(x, "xen_events_deferred"), 0);
	xen_send(x, 100, 0);
	TEST_ASSERT_EQ(stat(x, "xen_events_deferred"), 1);
	xen_setup(x, XEN_VI);
	xen_send(x, A, 0);
	xen_send(x, A, 0);
	xen_send(x, A, 0);
	xen_put_mask(x, A + 1, true);
	xen_send(x, A + 1, 0);
	TEST_ASSERT_EQ(stat(x, "xen_events_sent") - sent, 5);
	TEST_ASSERT_EQ(stat(x, "xen_events_delivered"), 2);
	TEST_ASSERT_EQ(stat(x, "xen_events_merged"), 2);
	TEST_ASSERT_EQ(stat(x, "xen_events_masked"), 1);
}

static const struct xen_case cases[] = {
	{ "T1: raise a port, 64-bit", test_raise },
	{ "T1: raise a port, 32-bit", test_raise_32 },
	{ "T1: raise a port, 64-bit layout from compat code", test_raise_compat },
	{ "L2 RG37: last port, 64-bit", test_last_port },
	{ "L3 RG37: last port, 32-bit", test_last_port_32 },
	{ "L4: selector bits, 64-bit", test_selector },
	{ "L4: selector bits, 32-bit", test_selector_32 },
	{ "L5: neighbours in the pending word", test_neighbours },
	{ "L6: other bytes of vcpu_info, 64-bit", test_beside_flag },
	{ "L6 L7: other bytes of vcpu_info, 32-bit", test_beside_flag_32 },
	{ "L7 DE13 RG13: the field behind the 32-bit selector", test_cr2_32 },
	{ "T2: already pending, 64-bit", test_pending_already },
	{ "T2: already pending, 32-bit", test_pending_already_32 },
	{ "T3: masked, 64-bit", test_masked },
	{ "T3: masked, 32-bit", test_masked_32 },
	{ "T4: selector bit already set", test_selector_set },
	{ "T5: upcall flag already set", test_flag_set },
	{ "T7 DE12: upcall flag is 2", test_flag_2 },
	{ "T8: port of another vCPU, 64-bit", test_other_vcpu },
	{ "T8: port of another vCPU, 32-bit", test_other_vcpu_32 },
	{ "T9: upcall mask is ignored", test_upcall_mask },
	{ "T20: loopback", test_loopback },
	{ "T15: update of the target", test_update },
	{ "AP25: send to an eventfd, 64-bit", test_eventfd },
	{ "AP25: send to an eventfd, 32-bit", test_eventfd_32 },
	{ "H2 H3 H4 H8 AP23 DE33 RG37: unassigned ports go to the VMM, 64-bit", test_unassigned },
	{ "H2 H3 H4 H8 AP23 DE33 RG37: unassigned ports go to the VMM, 32-bit",
	  test_unassigned_32 },
	{ "H1 DE30: results of a send", test_send_results },
	{ "send to a missing vCPU goes to the VMM", test_send_no_vcpu },
	{ "RG10 RG41: send without shared_info goes to the VMM", test_send_no_shinfo },
	{ "H9 DE21 M15: send with garbage above bit 31", test_send_garbage },
	{ "H11 FX10 RG51 XSA454: send with garbage above bit 31, compat",
	  test_send_garbage_compat },
	{ "H20 RG52: argument on two pages", test_send_straddle },
	{ "H20 RG52: argument in a 2 MiB page", test_send_large_page },
	{ "argument, page tables change", test_send_remapped },
	{ "L14 T19 RG17 XSA338 XSA342: port that the new mode does not have", test_relatch },
	{ "RG46: irqfd, 64-bit", test_irqfd },
	{ "RG46: irqfd, 32-bit", test_irqfd_32 },
	{ "interrupt line", test_irq_line },
	{ "interrupt line, status", test_irq_line_status },
	{ "RG18 XSA342: route to a port that the mode does not have", test_route_limit },
	{ "L12 DE23: no vcpu_info yet, 64-bit", test_no_vcpu_info },
	{ "L12 DE23: no vcpu_info yet, 32-bit", test_no_vcpu_info_32 },
	{ "X5 DE23: vcpu_info gone and back", test_vcpu_info_gone },
	{ "X5 AP27 DE22 RG10: shared_info gone and back", test_shinfo_gone },
	{ "H5 X5 RG10: unmask without shared_info goes to the VMM", test_unmask_no_shinfo,
	  MORE_HCALLS },
	{ "H5 FI46: unmask of ports of another ABI goes to the VMM", in_64_bit_unmask_other_abi,
	  MORE_HCALLS | KVM_XEN_HVM_CONFIG_EVTCHN_FIFO },
	{ "H5 FI46: unmask of ports of another ABI goes to the VMM, 32-bit",
	  in_32_bit_unmask_other_abi, MORE_HCALLS | KVM_XEN_HVM_CONFIG_EVTCHN_FIFO },
	{ "X5 RG4: other memory behind shared_info", test_slot_replaced },
	{ "X5 RG4: other memory behind an argument", test_send_slot_replaced },
	{ "FX11 RG9: other memory behind the HVA", test_hva_replaced },
	{ "AP31 RE7 RG39 RG40 XSA47 XSA340 XSA343: assign, deassign and reset while sending",
	  test_race_assign },
	{ "KF5: update while sending", test_race_update },
	{ "AP32 RG2 RG3 RG10 RG41: shared_info and vcpu_info while sending", test_race_shinfo },
	{ "RG17: mode flips while sending", test_race_mode },
	{ "RG7: pages of HVAs set, unset and replaced while sending", test_race_hva },
	{ "X5 RG4: memslot replaced while sending", test_race_memslot },
	{ "RG8: unrelated memory invalidated while sending", test_race_invalidate },
	{ "T16: two senders, no event stays unseen", test_race_receive },
	{ "X1: random calls, 64-bit layout", test_fuzz },
	{ "X1: random calls, 32-bit layout", test_fuzz_32 },
	{ "X6 XSA332: flood of masked events", test_flood },
	{ "X7: the VM ends in the middle of everything", test_end_busy },
	{ "statistics count events", test_stats },
};

int main(int argc, char *argv[])
{
	return xen_run_cases(argc, argv, cases, ARRAY_SIZE(cases));
}
