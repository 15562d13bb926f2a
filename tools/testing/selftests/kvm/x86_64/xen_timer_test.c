// SPDX-License-Identifier: GPL-2.0-only
/*
 * Timers of Xen guests: the hypercalls set_timer_op and VCPUOP_set/stop_singleshot_timer in
 * 64-bit, compatibility and 32-bit mode, delivery of the event, the attribute by which a VMM
 * sets, saves and restores a timer, and timers across changes of the VM's clock.
 *
 * Ids: VO1 to VO16, TO1 to TO10, TM1 to TM13, MG1 to MG3, MG5 and the divergences D9, D20, D21, D24,
 * D28, D35 of the plan for time and the API; R26, R31 to R36, R52 of the list of regressions; measured
 * rows 8 and 9.  Long-run drift (TM9 for an hour) is not tested.
 *
 * A case fails when the event is early by the guest's clock, does not come, comes twice or
 * on another port, when a call gives another result than real Xen, or when what the VMM
 * reads would not bring the timer back.  Upper bounds are generous: hosts may be slow.
 */
#include "xen.h"

#define PORT		XEN_TIMER_PORT(0)
#define SETUP		(XEN_S | XEN_ID | XEN_TM)
#define MS		NSEC_PER_MSEC
#define SECOND		1000000000ULL
#define CLOCK_ERROR	20000ULL	/* KVM_GET_CLOCK against the guest's clock, in ns */
#define SLOW		(2 * SECOND)

static u64 expires(struct xen_vm *x)
{
	return xen_vcpu_get(x, 0, TIMER, timer.expires_ns);
}

/* The guest sleeps until the event, which must not be early or absurdly late. */
static void assert_fires(struct xen_vm *x, u64 deadline)
{
	u64 now;

	xen_prepare(x, 0, STEP_HLT);
	xen_start(x, 0);
	xen_expect(x, 0, xen_wait(x, 0, 10000), XEN_RETURNED);
	now = xen_now(x);
	TEST_ASSERT(now + CLOCK_ERROR >= deadline, "early by %llu ns",
		    (long long)(deadline - now));
	TEST_ASSERT(now < deadline + SLOW, "late by %llu ns", (long long)(now - deadline));
	TEST_ASSERT(xen_pending(x, PORT), "no event");
	TEST_ASSERT_EQ(xen_count(x, 0, XEN_VECTOR), 1);
	TEST_ASSERT_EQ(expires(x), 0);
	xen_clear_events(x);
}

static void assert_quiet(struct xen_vm *x, u64 ms)
{
	xen_sleep_ms(ms);
	xen_window(x, 0);
	TEST_ASSERT(!xen_pending(x, PORT), "unexpected event");
	TEST_ASSERT_EQ(xen_cpu(x, 0)->nr, 0);
}

static void assert_now(struct xen_vm *x)
{
	assert_fires(x, xen_now(x));
}

/* VCPUOP_set_singleshot_timer. */

static void singleshot(enum xen_mode mode)
{
	struct xen_vm *x = xen_vm_new(1, mode, SETUP);
	u64 deadline = xen_now(x) + 20 * MS;

	TEST_ASSERT_EQ(xen_singleshot(x, 0, deadline, 0), 0);
	assert_fires(x, deadline);
	assert_quiet(x, 20);
}

static void test_singleshot(void)
{
	singleshot(XEN_64);
}

static void test_singleshot_32(void)
{
	singleshot(XEN_32);
}

static void test_singleshot_compat(void)
{
	singleshot(XEN_COMPAT);
}

static void test_singleshot_past(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, SETUP);

	TEST_ASSERT_EQ(xen_singleshot(x, 0, 1, 0), 0);
	assert_now(x);
	TEST_ASSERT_EQ(xen_singleshot(x, 0, 1, 1), 0);	/* VCPU_SSHOTTMR_future */
	assert_now(x);
	TEST_ASSERT_EQ(xen_singleshot(x, 0, 0, 0), 0);
	assert_now(x);
	TEST_ASSERT_EQ(xen_singleshot(x, 0, 1, 0xffffffff), 0);
	assert_now(x);
}

static void test_singleshot_negative(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, SETUP);

	TEST_ASSERT_EQ(xen_singleshot(x, 0, BIT_ULL(63), 0), 0);
	assert_now(x);
	TEST_ASSERT_EQ(xen_singleshot(x, 0, ~0ULL, 0), 0);
	assert_now(x);
}

static void test_singleshot_never(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, SETUP);

	TEST_ASSERT_EQ(xen_singleshot(x, 0, BIT_ULL(63) - 1, 0), 0);
	assert_quiet(x, 50);
	TEST_ASSERT_EQ(expires(x), BIT_ULL(63) - 1);
}

static void test_other_vcpu(void)
{
	struct xen_vm *x = xen_vm_new(2, XEN_64, SETUP);
	u64 far = xen_now(x) + 1000 * SECOND, arg;

	TEST_ASSERT_EQ(xen_singleshot(x, 0, far, 0), 0);
	arg = xen_put_singleshot(x, 0, 1, 0);
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_VCPU, VCPUOP_SET_SINGLESHOT, XEN_VCPU_ID(1), arg),
		       -EINVAL);
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_VCPU, VCPUOP_STOP_SINGLESHOT, XEN_VCPU_ID(1)),
		       -EINVAL);
	TEST_ASSERT_EQ(expires(x), far);
	TEST_ASSERT_EQ(xen_vcpu_get(x, 1, TIMER, timer.expires_ns), 0);
	assert_quiet(x, 10);
}

static void test_unknown_vcpu(void)
{
	struct xen_vm *x = xen_vm_new(2, XEN_64, SETUP);
	u64 arg = xen_put_singleshot(x, 0, 1, 0);
	struct kvm_xen_exit *hc;

	hc = xen_hcall_exits(x, 0, HCALL_VCPU, VCPUOP_SET_SINGLESHOT, 77, arg);
	TEST_ASSERT_EQ(hc->u.hcall.params[1], 77);
	xen_hcall_exits(x, 0, HCALL_VCPU, VCPUOP_STOP_SINGLESHOT, 77);
	/* Numbers of KVM are not numbers of Xen. */
	xen_hcall_exits(x, 0, HCALL_VCPU, VCPUOP_STOP_SINGLESHOT, 0);
}

/* Only the low halves of command and vCPU count. */
static void test_garbage(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, SETUP);
	const u64 garbage = 0xdead00000000ULL;
	u64 far = xen_now(x) + 1000 * SECOND;

	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_VCPU, garbage | VCPUOP_SET_SINGLESHOT,
				 garbage | XEN_VCPU_ID(0), xen_put_singleshot(x, 0, far, 0)), 0);
	TEST_ASSERT_EQ(expires(x), far);
}

static s64 singleshot_at(struct xen_vm *x, u64 arg)
{
	return xen_hcall(x, 0, HCALL_VCPU, VCPUOP_SET_SINGLESHOT, XEN_VCPU_ID(0), arg);
}

static void test_bad_pointer(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, SETUP);
	u64 far = xen_now(x) + 1000 * SECOND;

	TEST_ASSERT_EQ(xen_singleshot(x, 0, far, 0), 0);
	TEST_ASSERT_EQ(singleshot_at(x, XEN_HOLE), -EFAULT);
	TEST_ASSERT_EQ(singleshot_at(x, 0x123456789000), -EFAULT);
	TEST_ASSERT_EQ(singleshot_at(x, XEN_HOLE - 12), -EFAULT);
	TEST_ASSERT_EQ(expires(x), far);
	*(u64 *)xen_hva(x, XEN_HOLE - 16) = far + 1;
	TEST_ASSERT_EQ(singleshot_at(x, XEN_HOLE - 16), 0);
	TEST_ASSERT_EQ(expires(x), far + 1);
}

static void test_pointer_32(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_32, SETUP);
	u64 far = xen_now(x) + 1000 * SECOND;

	memcpy(xen_hva(x, XEN_HOLE - 12), &far, sizeof(far));
	TEST_ASSERT_EQ(singleshot_at(x, XEN_HOLE - 12), 0);
	TEST_ASSERT_EQ(expires(x), far);
	TEST_ASSERT_EQ(singleshot_at(x, XEN_HOLE - 8), -EFAULT);
	TEST_ASSERT_EQ(expires(x), far);
}

static void test_straddle(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, SETUP);
	struct xen_singleshot arg = { .timeout = xen_now(x) + 1000 * SECOND };

	memcpy(xen_hva(x, XEN_SPARE + 0xffb), &arg, sizeof(arg));
	TEST_ASSERT_EQ(singleshot_at(x, XEN_SPARE + 0xffb), 0);
	TEST_ASSERT_EQ(expires(x), arg.timeout);
}

static void stop(enum xen_mode mode)
{
	struct xen_vm *x = xen_vm_new(1, mode, SETUP);

	TEST_ASSERT_EQ(xen_singleshot(x, 0, xen_now(x) + 30 * MS, 0), 0);
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_VCPU, VCPUOP_STOP_SINGLESHOT, XEN_VCPU_ID(0),
				 XEN_HOLE), 0);
	TEST_ASSERT_EQ(expires(x), 0);
	assert_quiet(x, 50);
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_VCPU, VCPUOP_STOP_SINGLESHOT, XEN_VCPU_ID(0)), 0);
}

static void test_stop(void)
{
	stop(XEN_64);
}

static void test_stop_32(void)
{
	stop(XEN_32);
}

static void test_no_port(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S | XEN_ID);

	xen_hcall_exits(x, 0, HCALL_VCPU, VCPUOP_SET_SINGLESHOT, XEN_VCPU_ID(0),
			xen_put_singleshot(x, 0, 1, 0));
	xen_hcall_exits(x, 0, HCALL_VCPU, VCPUOP_STOP_SINGLESHOT, XEN_VCPU_ID(0));
	xen_hcall_exits(x, 0, HCALL_SET_TIMER, 1);
}

static void test_no_id(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S | XEN_TM);

	xen_hcall_exits(x, 0, HCALL_VCPU, VCPUOP_SET_SINGLESHOT, 0,
			xen_put_singleshot(x, 0, 1, 0));
	xen_hcall_exits(x, 0, HCALL_VCPU, VCPUOP_STOP_SINGLESHOT, 0);
	xen_hcall_exits(x, 0, HCALL_VCPU, VCPUOP_STOP_SINGLESHOT, 0xffffffff);
}

static void test_other_ops(void)
{
	static const u8 ops[] = { 0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14, 15, 99 };
	struct xen_vm *x = xen_vm_new(1, XEN_64, SETUP);
	int i;

	for (i = 0; i < ARRAY_SIZE(ops); i++)
		xen_hcall_exits(x, 0, HCALL_VCPU, ops[i], XEN_VCPU_ID(0));
}

/* set_timer_op. */

static void set_timer(enum xen_mode mode)
{
	struct xen_vm *x = xen_vm_new(1, mode, SETUP);
	u64 deadline = xen_now(x) + 20 * MS;

	TEST_ASSERT_EQ(xen_set_timer_op(x, 0, deadline), 0);
	assert_fires(x, deadline);

	TEST_ASSERT_EQ(xen_set_timer_op(x, 0, xen_now(x) + 30 * MS), 0);
	TEST_ASSERT_EQ(xen_set_timer_op(x, 0, 0), 0);
	TEST_ASSERT_EQ(expires(x), 0);
	assert_quiet(x, 50);

	TEST_ASSERT_EQ(xen_set_timer_op(x, 0, 1), 0);
	assert_now(x);
}

static void test_set_timer(void)
{
	set_timer(XEN_64);
}

static void test_set_timer_32(void)
{
	set_timer(XEN_32);
}

static void test_set_timer_compat(void)
{
	set_timer(XEN_COMPAT);
}

/* Some deadlines mean 100 ms from now. */
static void replaced(struct xen_vm *x, u64 deadline)
{
	u64 before = xen_now(x), after, got;

	TEST_ASSERT_EQ(xen_set_timer_op(x, 0, deadline), 0);
	after = xen_now(x);
	got = expires(x);
	if (xen_pending(x, PORT))
		return;			/* a very slow host */
	TEST_ASSERT(got + CLOCK_ERROR >= before + 100 * MS, "%llu is too soon", (long long)got);
	TEST_ASSERT(got <= after + CLOCK_ERROR + 100 * MS, "%llu is too late", (long long)got);
}

static void test_replaced(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, SETUP);

	replaced(x, -1ULL);
	assert_fires(x, expires(x));
	replaced(x, BIT_ULL(63));
	replaced(x, BIT_ULL(63) - 1);
	replaced(x, xen_now(x) + BIT_ULL(50) + SECOND);
	assert_fires(x, expires(x));
}

static void test_not_replaced(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, SETUP);
	u64 far = xen_now(x) + BIT_ULL(50) - 10 * SECOND;

	TEST_ASSERT_EQ(xen_set_timer_op(x, 0, far), 0);
	TEST_ASSERT_EQ(expires(x), far);
	assert_quiet(x, 20);
}

static void test_halves_32(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_32, SETUP);
	u64 before = xen_now(x), got;

	xen_set_now(x, 0x12345678ULL << 32);
	before = xen_now(x);
	/* The other way round this would be a few ms from now. */
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_SET_TIMER, 0x12345678, 0), 0);
	got = expires(x);
	TEST_ASSERT(!got, "0x%llx instead of a deadline in the past", (long long)got);
	assert_now(x);
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_SET_TIMER, 0x12345678, 0x7fffffff), 0);
	got = expires(x);
	TEST_ASSERT(xen_pending(x, PORT) || (got >= before + 100 * MS && got < before + SLOW),
		    "0x%llx is not 100 ms from now", (long long)got);
}

static void test_set_timer_no_id(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S | XEN_TM);
	u64 deadline = xen_now(x) + 10 * MS;

	TEST_ASSERT_EQ(xen_set_timer_op(x, 0, deadline), 0);
	assert_fires(x, deadline);
}

static void test_one_timer(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, SETUP);
	u64 deadline = xen_now(x) + 60 * MS;

	TEST_ASSERT_EQ(xen_set_timer_op(x, 0, deadline - 40 * MS), 0);
	TEST_ASSERT_EQ(xen_singleshot(x, 0, deadline, 0), 0);
	TEST_ASSERT_EQ(expires(x), deadline);
	assert_fires(x, deadline);
	assert_quiet(x, 20);
}

/* Delivery. */

static void halt_here(void)
{
	/* The interrupt must not write to the red zone. */
	asm volatile("sub $128, %%rsp\n\t"
		     "sti\n\t"
		     "hlt\n\t"
		     "cli\n\t"
		     "add $128, %%rsp" : : : "memory", "cc");
}

/* Many timers, judged by the guest's own clock; returns how late the latest was. */
static u64 guest_timers(struct xen_vcpu_info64 *info, struct xen_cpu *cpu, u64 nr)
{
	u64 deadline, now, latest = 0;
	u32 count;

	while (nr--) {
		count = READ_ONCE(cpu->nr);
		deadline = xen_guest_now(&info->time) + 100000 + nr % 8 * 50000;
		xen_guest_hcall(HCALL_SET_TIMER, deadline, 0, 0, 0, 0, 0);
		while (READ_ONCE(cpu->nr) == count)
			halt_here();
		now = xen_guest_now(&info->time);
		__GUEST_ASSERT(now >= deadline, "early by %lu ns", deadline - now);
		latest = now - deadline > latest ? now - deadline : latest;
		/* The handler has cleared the flag, this is the rest. */
		__atomic_store_n(&info->pending_sel, 0, __ATOMIC_SEQ_CST);
		__sync_fetch_and_and((u64 *)((void *)info + 0x800), ~BIT_ULL(PORT));
	}
	return latest;
}

static void test_guest_clock(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, SETUP);
	u64 latest = xen_call(x, 0, guest_timers, XEN_SHINFO, XEN_CPU(0), 200);

	TEST_ASSERT(latest < SECOND, "late by %llu ns", (long long)latest);
	TEST_ASSERT_EQ(xen_count(x, 0, XEN_VECTOR), 200);
}

static void test_tsc_scaled(void)
{
	struct xen_vm *x;
	int khz, i;

	TEST_REQUIRE(kvm_has_cap(KVM_CAP_TSC_CONTROL));
	for (i = 0; i < 2; i++) {
		x = xen_vm_new(1, XEN_64, SETUP);
		khz = __vcpu_ioctl(x->vcpu[0], KVM_GET_TSC_KHZ, NULL) / 10 * (i ? 13 : 7);
		vcpu_ioctl(x->vcpu[0], KVM_SET_TSC_KHZ, (void *)(long)khz);
		xen_call(x, 0, guest_timers, XEN_SHINFO, XEN_CPU(0), 100);
		xen_vm_free(x);
	}
}

static void masked(enum xen_mode mode)
{
	struct xen_vm *x = xen_vm_new(1, mode, SETUP);

	xen_put_mask(x, PORT, true);
	TEST_ASSERT_EQ(xen_set_timer_op(x, 0, 1), 0);
	xen_window(x, 0);
	TEST_ASSERT(xen_pending(x, PORT), "not pending");
	TEST_ASSERT_EQ(xen_sel(x, 0), 0);
	TEST_ASSERT_EQ(xen_cpu(x, 0)->nr, 0);
	TEST_ASSERT_EQ(expires(x), 0);
}

static void test_masked(void)
{
	masked(XEN_64);
}

static void test_masked_32(void)
{
	masked(XEN_32);
}

static void test_already_pending(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, SETUP);

	xen_put_pending(x, PORT, true);
	TEST_ASSERT_EQ(xen_set_timer_op(x, 0, 1), 0);
	xen_window(x, 0);
	TEST_ASSERT_EQ(xen_sel(x, 0), 0);
	TEST_ASSERT_EQ(xen_cpu(x, 0)->nr, 0);
	TEST_ASSERT_EQ(expires(x), 0);
}

static void test_lapic_vector(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_SL | XEN_ID | XEN_TM);

	TEST_ASSERT_EQ(xen_set_timer_op(x, 0, xen_now(x) + 20 * MS), 0);
	xen_prepare(x, 0, STEP_HLT);
	xen_start(x, 0);
	xen_expect(x, 0, xen_wait(x, 0, 10000), XEN_RETURNED);
	TEST_ASSERT_EQ(xen_count(x, 0, XEN_LAPIC_VECTOR(0)), 1);
}

static bool wait_pending(struct xen_vm *x, u32 port)
{
	int i;

	for (i = 0; i < 5000 && !xen_pending(x, port); i++)
		xen_sleep_ms(1);
	return xen_pending(x, port);
}

static void test_not_running(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, SETUP);

	TEST_ASSERT_EQ(xen_singleshot(x, 0, xen_now(x) + 20 * MS, 0), 0);
	TEST_ASSERT(wait_pending(x, PORT), "not pending");
	TEST_ASSERT_EQ(xen_flag(x, 0), 1);
	xen_window(x, 0);
	TEST_ASSERT_EQ(xen_count(x, 0, XEN_VECTOR), 1);
}

static void test_get_twice(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, SETUP);
	u64 deadline = xen_now(x) + 300 * MS;

	TEST_ASSERT_EQ(xen_singleshot(x, 0, deadline, 0), 0);
	TEST_ASSERT_EQ(expires(x), deadline);
	TEST_ASSERT_EQ(expires(x), deadline);
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, TIMER, timer.port), PORT);
	assert_fires(x, deadline);
}

/* shared_info is out of reach while the timer expires. */
static void test_memslot_gone(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, SETUP);
	void *page = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	vm_set_user_memory_region(x->vm, XEN_SLOT + 1, 0, XEN_HOLE, 0x1000, page);
	xen_set(x, SHARED_INFO, shared_info.gfn, XEN_HOLE >> 12);
	x->shinfo = page;
	TEST_ASSERT_EQ(xen_singleshot(x, 0, xen_now(x) + 20 * MS, 0), 0);
	vm_set_user_memory_region(x->vm, XEN_SLOT + 1, 0, XEN_HOLE, 0, NULL);
	xen_sleep_ms(40);
	xen_window(x, 0);
	vm_set_user_memory_region(x->vm, XEN_SLOT + 1, 0, XEN_HOLE, 0x1000, page);
	xen_window(x, 0);
	xen_window(x, 0);
	TEST_ASSERT(xen_pending(x, PORT), "event was lost");
	TEST_ASSERT_EQ(xen_count(x, 0, XEN_VECTOR), 1);
}

static void test_shinfo_off(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, SETUP);
	u64 deadline = xen_now(x) + 20 * MS;

	TEST_ASSERT_EQ(xen_singleshot(x, 0, deadline, 0), 0);
	xen_set(x, SHARED_INFO, shared_info.gfn, KVM_XEN_INVALID_GFN);
	xen_sleep_ms(40);
	xen_window(x, 0);
	TEST_ASSERT_EQ(expires(x), deadline);
	xen_set(x, SHARED_INFO, shared_info.gfn, XEN_SHINFO >> 12);
	xen_window(x, 0);
	xen_window(x, 0);
	TEST_ASSERT(xen_pending(x, PORT), "event was lost");
	TEST_ASSERT_EQ(xen_count(x, 0, XEN_VECTOR), 1);
	TEST_ASSERT_EQ(expires(x), 0);
}

/* Read at the moment of expiry: a deadline or an event, never neither and never both. */
static void test_get_races_expiry(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, SETUP);
	u64 deadline, got;
	int i, armed = 0;

	for (i = 0; i < 2000; i++) {
		deadline = xen_now(x) + 20000 + i * 61 % 100000;
		xen_set_timer(x, 0, PORT, deadline);
		while (xen_now(x) + 3000 < deadline)
			;
		got = expires(x);
		if (got) {
			armed++;
			TEST_ASSERT_EQ(got, deadline);
			/* It may expire right after the ioctl, but it will come. */
			TEST_ASSERT(wait_pending(x, PORT), "event %d was lost", i);
		} else {
			TEST_ASSERT(xen_pending(x, PORT), "neither deadline nor event, %d", i);
		}
		TEST_ASSERT_EQ(xen_sel(x, 0), xen_sel_bit(x, PORT));
		xen_clear_events(x);
	}
	pr_debug("%d of %d were armed yet\n", armed, i);
}

/* The attribute. */

static void test_set_past(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, SETUP);

	xen_set_timer(x, 0, PORT, 1);
	assert_now(x);
	xen_set_timer(x, 0, PORT, BIT_ULL(63));
	assert_now(x);
}

static void test_set_far(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, SETUP);

	xen_set_timer(x, 0, PORT, BIT_ULL(63) - 1);
	assert_quiet(x, 20);
	TEST_ASSERT_EQ(expires(x), BIT_ULL(63) - 1);
	xen_set_timer(x, 0, PORT, xen_now(x) + BIT_ULL(51));
	assert_quiet(x, 150);
}

static void test_set_off(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, SETUP);

	TEST_ASSERT_EQ(xen_singleshot(x, 0, xen_now(x) + 30 * MS, 0), 0);
	xen_set_timer(x, 0, 0, 0);
	assert_quiet(x, 50);
	xen_hcall_exits(x, 0, HCALL_SET_TIMER, 1);
	xen_set_timer(x, 0, 0, 1);		/* a deadline without a port */
	assert_quiet(x, 10);
}

static void test_new_port(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, SETUP);
	u64 deadline = xen_now(x) + 30 * MS;

	TEST_ASSERT_EQ(xen_singleshot(x, 0, deadline, 0), 0);
	xen_set_timer(x, 0, PORT + 1, deadline);
	TEST_ASSERT(wait_pending(x, PORT + 1), "no event on the new port");
	xen_window(x, 0);
	TEST_ASSERT_EQ(xen_cpu(x, 0)->nr, 1);
	TEST_ASSERT(!xen_pending(x, PORT), "event on the old port");
	xen_clear_events(x);
	assert_quiet(x, 30);
	TEST_ASSERT(!xen_pending(x, PORT + 1), "second event");
}

static void test_no_pages(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG | XEN_ID | XEN_UV);

	xen_set_timer(x, 0, PORT, 1);
	TEST_ASSERT(expires(x) == 1, "deadline %llu", (long long)expires(x));
	xen_window(x, 0);
	TEST_ASSERT_EQ(expires(x), 1);
	xen_setup(x, XEN_SI);
	expires(x);
	xen_window(x, 0);
	TEST_ASSERT(xen_pending(x, PORT), "event was lost");
	xen_setup(x, XEN_VI);
	xen_window(x, 0);
	TEST_ASSERT_EQ(xen_count(x, 0, XEN_VECTOR), 1);
	TEST_ASSERT_EQ(xen_sel(x, 0), xen_sel_bit(x, PORT));
}

static void test_destroy(void)
{
	struct xen_vm *x = xen_vm_new(2, XEN_64, SETUP);

	TEST_ASSERT_EQ(xen_singleshot(x, 0, xen_now(x) + 20 * MS, 0), 0);
	TEST_ASSERT_EQ(xen_singleshot(x, 1, xen_now(x) + 20 * MS, 0), 0);
	xen_vm_free(x);
	xen_sleep_ms(40);
}

static void *arm_loop(void *arg)
{
	struct xen_vm *x = arg;
	int i;

	for (i = 0; i < 2000; i++) {
		xen_set_timer(x, 0, PORT + i % 2, xen_now(x) + i % 3 * 10000);
		if (i % 5 == 0)
			expires(x);
	}
	return NULL;
}

/* Set again and again while it expires; in the end just one deadline counts. */
static void test_rearm(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, SETUP);
	pthread_t threads[2];
	int i;

	for (i = 0; i < 2; i++)
		TEST_ASSERT(!pthread_create(&threads[i], NULL, arm_loop, x), "no thread");
	for (i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	xen_set_timer(x, 0, PORT, 0);
	xen_window(x, 0);
	xen_clear_events(x);
	assert_quiet(x, 10);
}

/* The VM's clock changes. */

static void test_clock_after(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);

	xen_set_timer(x, 0, PORT, 1000 * SECOND + 50 * MS);
	xen_set_now(x, 1000 * SECOND);
	assert_fires(x, 1000 * SECOND + 50 * MS);
}

static void test_clock_before(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);

	xen_set_now(x, 1000 * SECOND);
	xen_set_timer(x, 0, PORT, 1000 * SECOND + 50 * MS);
	assert_fires(x, 1000 * SECOND + 50 * MS);
}

static void test_clock_paused(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, SETUP);
	u64 deadline = xen_now(x) + 600 * MS, paused;

	TEST_ASSERT_EQ(xen_singleshot(x, 0, deadline, 0), 0);
	paused = xen_now(x);
	xen_sleep_ms(300);
	xen_set_now(x, paused);
	TEST_ASSERT_EQ(expires(x), deadline);
	assert_fires(x, deadline);
}

static void test_clock_running(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, SETUP);
	u64 deadline = xen_now(x) + 3000 * SECOND;

	TEST_ASSERT_EQ(xen_singleshot(x, 0, deadline, 0), 0);
	xen_prepare(x, 0, STEP_HLT);
	xen_start(x, 0);
	xen_sleep_ms(20);
	xen_set_now(x, deadline - 20 * MS);
	xen_expect(x, 0, xen_wait(x, 0, 5000), XEN_RETURNED);
	TEST_ASSERT(xen_now(x) + CLOCK_ERROR >= deadline, "early");
	TEST_ASSERT_EQ(xen_count(x, 0, XEN_VECTOR), 1);
}

/* The order in which QEMU restores. */
static void test_qemu_restore(void)
{
	struct xen_vm *x = xen_vm_new(2, XEN_64, XEN_CFG | XEN_ID);
	u64 clock = 5000 * SECOND;

	xen_set(x, SHARED_INFO, shared_info.gfn, XEN_SHINFO >> 12);
	xen_set(x, LONG_MODE, long_mode, 1);
	x->long_mode = true;
	xen_setup(x, XEN_UV | XEN_VI);
	xen_vcpu_set(x, 0, VCPU_TIME_INFO, gpa, XEN_TIME);
	xen_vcpu_set(x, 0, RUNSTATE_ADDR, gpa, XEN_RUNSTATE);
	xen_set_timer(x, 0, PORT, clock + 50 * MS);
	xen_set_now(x, clock);
	assert_fires(x, clock + 50 * MS);
	xen_send(x, 2100, 1);
	xen_window(x, 1);
	TEST_ASSERT_EQ(xen_count(x, 1, XEN_VECTOR), 1);
}

static void test_stats(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, SETUP);
	u64 fires;

	if (!xen_try_stat(x, 0, "xen_timer_fires", &fires))
		ksft_exit_skip("KVM has no statistic xen_timer_fires\n");
	TEST_ASSERT_EQ(fires, 0);
	TEST_ASSERT_EQ(xen_singleshot(x, 0, xen_now(x) + 10 * MS, 0), 0);
	TEST_ASSERT(wait_pending(x, PORT), "no event");
	xen_window(x, 0);
	xen_try_stat(x, 0, "xen_timer_fires", &fires);
	TEST_ASSERT_EQ(fires, 1);
}

static const struct xen_case cases[] = {
	{ "VO1: singleshot, 64-bit", test_singleshot },
	{ "VO1: singleshot, 32-bit", test_singleshot_32 },
	{ "VO1: singleshot, compat", test_singleshot_compat },
	{ "VO2 VO3 VO4 D28 R35: singleshot in the past", test_singleshot_past },
	{ "VO5: singleshot beyond 2^63", test_singleshot_negative },
	{ "VO6 D21: singleshot never", test_singleshot_never },
	{ "VO7 R36: singleshot for another vCPU", test_other_vcpu },
	{ "VO8 D9: singleshot for a vCPU that does not exist", test_unknown_vcpu },
	{ "VO8: garbage above bit 31", test_garbage },
	{ "VO9 VO10 R52: bad pointers, 64-bit", test_bad_pointer },
	{ "VO11: structure at the end of a page, 32-bit", test_pointer_32 },
	{ "R52: structure on two pages", test_straddle },
	{ "VO12 VO13: stop, 64-bit", test_stop },
	{ "VO12 VO13: stop, 32-bit", test_stop_32 },
	{ "VO14 D35: no timer port", test_no_port },
	{ "VO15 F7 R36: no vCPU id", test_no_id },
	{ "VO16: other vcpu_op commands", test_other_ops },
	{ "TO1 TO2 TO3: set_timer_op, 64-bit", test_set_timer },
	{ "TO1 TO2 TO3 TO7: set_timer_op, 32-bit", test_set_timer_32 },
	{ "TO1 TO2 TO3 TO7: set_timer_op, compat", test_set_timer_compat },
	{ "TO4 TO5: huge deadlines are replaced", test_replaced },
	{ "TO6: a deadline just below is honoured", test_not_replaced },
	{ "TO8: order of the halves, 32-bit", test_halves_32 },
	{ "TO9: set_timer_op without vCPU id", test_set_timer_no_id },
	{ "TO10: one timer for both calls", test_one_timer },
	{ "TM3 R26 F4: never early by the guest's clock", test_guest_clock },
	{ "TM9 R26: guest TSC of another frequency", test_tsc_scaled },
	{ "TM1: masked port, 64-bit", test_masked },
	{ "TM1: masked port, 32-bit", test_masked_32 },
	{ "TM2: port already pending", test_already_pending },
	{ "TM3: per-vCPU vector", test_lapic_vector },
	{ "TM4: expiry outside KVM_RUN", test_not_running },
	{ "TM5: read twice", test_get_twice },
	{ "TM6: expiry while the memslot is gone", test_memslot_gone },
	{ "TM7 D24: expiry while shared_info is off", test_shinfo_off },
	{ "TM8 R34: read at the moment of expiry", test_get_races_expiry },
	{ "TM10: set in the past", test_set_past },
	{ "TM10 D21: set far ahead", test_set_far },
	{ "TM11: port 0 stops", test_set_off },
	{ "TM12 R32: new port while armed", test_new_port },
	{ "5.4 R33: restored before any page", test_no_pages },
	{ "TM13: destroyed while armed", test_destroy },
	{ "R31 F5: set again and again", test_rearm },
	{ "MG1 D20: clock set after the timer", test_clock_after },
	{ "MG2: clock set before the timer", test_clock_before },
	{ "MG3 D20: clock stands still while stopped", test_clock_paused },
	{ "MG1 D20: clock set while the vCPU sleeps", test_clock_running },
	{ "MG5: QEMU's order", test_qemu_restore },
	{ "statistics count expirations", test_stats },
};

int main(int argc, char *argv[])
{
	return xen_run_cases(argc, argv, cases, ARRAY_SIZE(cases));
}
