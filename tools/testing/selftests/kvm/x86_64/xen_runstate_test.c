// SPDX-License-Identifier: GPL-2.0-only
/*
 * Runstates of Xen guests: accounting of running, stolen, halted and stopped time, the
 * guest's area in both layouts at any address, the attributes to read, set and adjust it,
 * and changes of the VM's clock.
 *
 * Ids: RS1 to RS23, MG9 and the divergences D14, D17, D32, D33, F6 of the plan for time and the API (RS24 is
 * in xen_shinfo_test, RS25 needs a day); R19, R22 to R24 of the list of regressions; measured rows
 * 10 and 11.
 *
 * A case fails when the four times do not add up to the entry time, when time is accounted to
 * the wrong state, when a byte outside the area changes, or when a reader that follows the update
 * protocol sees a half-written area.
 */
#include <sched.h>

#include "xen.h"

#define MS	NSEC_PER_MSEC
#define SECOND	1000000000ULL
#define KEEP	(~0ULL)			/* the state, in RUNSTATE_ADJUST */

struct runstate {
	u64 state;
	u64 entry_time;
	u64 time[4];
};

static struct runstate get(struct xen_vm *x)
{
	struct kvm_xen_vcpu_attr a = { .type = KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_DATA };
	struct runstate rs;

	vcpu_ioctl(x->vcpu[0], KVM_XEN_VCPU_GET_ATTR, &a);
	memcpy(&rs, &a.u.runstate, sizeof(rs));
	return rs;
}

static int try_put(struct xen_vm *x, u16 type, struct runstate rs)
{
	struct kvm_xen_vcpu_attr a = { .type = type };

	memcpy(&a.u.runstate, &rs, sizeof(rs));
	return xen_errno(__vcpu_ioctl(x->vcpu[0], KVM_XEN_VCPU_SET_ATTR, &a));
}

#define try_data(x, ...) \
	try_put(x, KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_DATA, (struct runstate) { __VA_ARGS__ })
#define try_adjust(x, ...) \
	try_put(x, KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_ADJUST, (struct runstate) { __VA_ARGS__ })

static u64 sum(const struct runstate *rs)
{
	return rs->time[0] + rs->time[1] + rs->time[2] + rs->time[3];
}

/* What the guest reads at @gpa. */
static struct runstate area_at(struct xen_vm *x, u64 gpa)
{
	u8 *p = xen_hva(x, gpa);
	struct runstate rs = {};

	memcpy(&rs.state, p, 4);
	memcpy(&rs.entry_time, p + (x->long_mode ? 8 : 4), 40);
	return rs;
}

static struct runstate area(struct xen_vm *x)
{
	return area_at(x, XEN_RUNSTATE);
}

static void assert_sum(struct runstate rs)
{
	TEST_ASSERT(rs.entry_time == sum(&rs), "entry time 0x%llx is not the sum 0x%llx",
		    (long long)rs.entry_time, (long long)sum(&rs));
}

static void assert_same(struct runstate a, struct runstate b)
{
	TEST_ASSERT(!memcmp(&a, &b, sizeof(a)), "the area is not the kernel's state");
}

/* A VM whose vCPU has its area, and has run. */
static struct xen_vm *new_vm(enum xen_mode mode)
{
	struct xen_vm *x = xen_vm_new(1, mode, XEN_S);

	xen_vcpu_set(x, 0, RUNSTATE_ADDR, gpa, XEN_RUNSTATE);
	xen_step(x, 0, STEP_RETURN);
	return x;
}

static void run(struct xen_vm *x)
{
	xen_step(x, 0, STEP_RETURN);
}

static void basic(enum xen_mode mode)
{
	struct xen_vm *x = new_vm(mode);
	struct runstate before = area(x), after;

	TEST_ASSERT_EQ(before.state, XEN_RUNNING);
	TEST_ASSERT(before.entry_time && before.entry_time <= xen_now(x), "entry time 0x%llx",
		    (long long)before.entry_time);
	assert_sum(before);
	assert_same(before, get(x));
	xen_sleep_ms(5);
	run(x);
	after = area(x);
	TEST_ASSERT_EQ(after.state, XEN_RUNNING);
	assert_sum(after);
	TEST_ASSERT(after.entry_time >= before.entry_time && after.time[0] >= before.time[0] &&
		    after.time[1] >= before.time[1], "a time went back");
}

static void test_basic(void)
{
	basic(XEN_64);
}

static void test_basic_32(void)
{
	basic(XEN_32);
}

static void spin_ms(u64 ms)
{
	u64 end = xen_real_ns(CLOCK_MONOTONIC) + ms * MS;

	while (xen_real_ns(CLOCK_MONOTONIC) < end)
		;
}

static void pin(void)
{
	kvm_pin_this_task_to_pcpu(sched_getcpu());
}

/* This thread and the vCPU's compete for one CPU. */
static void test_stolen(void)
{
	struct xen_vm *x = new_vm(XEN_64);
	struct runstate before = get(x), after;

	TEST_REQUIRE(get_run_delay() >= 0);
	pin();
	x->state[0].irqs = true;
	xen_prepare(x, 0, STEP_SPIN);
	xen_start(x, 0);
	spin_ms(200);
	xen_expect(x, 0, xen_interrupt(x, 0), XEN_SIGNALLED);
	run(x);
	after = get(x);
	assert_sum(after);
	TEST_ASSERT(after.time[1] - before.time[1] >= 30 * MS, "%llu us stolen of 200 ms",
		    (long long)(after.time[1] - before.time[1]) / 1000);
	TEST_ASSERT(after.time[0] - before.time[0] >= 10 * MS, "%llu us running of 200 ms",
		    (long long)(after.time[0] - before.time[0]) / 1000);
	assert_same(area(x), after);
}

/* What the VMM sets lasts until the next entry to the guest. */
static void by_vmm(u64 state)
{
	struct xen_vm *x = new_vm(XEN_64);
	struct runstate before, after;

	xen_vcpu_set(x, 0, RUNSTATE_CURRENT, runstate.state, state);
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, RUNSTATE_CURRENT, runstate.state), state);
	before = area(x);
	TEST_ASSERT_EQ(before.state, state);
	assert_sum(before);
	xen_sleep_ms(20);
	run(x);
	after = area(x);
	TEST_ASSERT_EQ(after.state, XEN_RUNNING);
	assert_sum(after);
	TEST_ASSERT(after.time[state] - before.time[state] >= 20 * MS, "%llu us instead of 20 ms",
		    (long long)(after.time[state] - before.time[state]) / 1000);
	TEST_ASSERT(after.time[state] - before.time[state] < SECOND, "%llu us instead of 20 ms",
		    (long long)(after.time[state] - before.time[state]) / 1000);
}

static void test_blocked(void)
{
	by_vmm(XEN_BLOCKED);
}

static void test_offline(void)
{
	by_vmm(XEN_OFFLINE);
}

static void test_runnable(void)
{
	by_vmm(XEN_RUNNABLE);
}

/* Halted in the kernel. */
static void halted(bool poll)
{
	struct xen_vm *x = new_vm(XEN_64);
	struct runstate before = get(x), after;

	xen_put_mask(x, 5, poll);
	if (poll)
		xen_prepare_hcall(x, 0, HCALL_SCHED,
				  (u64[6]) { SCHEDOP_POLL,
					     xen_put_poll(x, 0, 0, 1, (u32[]) { 5 }) });
	else
		xen_prepare(x, 0, STEP_HLT);
	xen_start(x, 0);
	TEST_ASSERT_EQ(xen_wait(x, 0, 100), XEN_RUNNING_YET);
	TEST_ASSERT_EQ(area(x).state, XEN_BLOCKED);
	xen_send(x, 5, 0);
	xen_expect(x, 0, xen_wait(x, 0, 5000), XEN_RETURNED);
	after = area(x);
	TEST_ASSERT_EQ(after.state, XEN_RUNNING);
	assert_sum(after);
	TEST_ASSERT(after.time[2] - before.time[2] >= 50 * MS, "%llu us blocked of 100 ms",
		    (long long)(after.time[2] - before.time[2]) / 1000);
}

static void test_hlt(void)
{
	halted(false);
}

static void test_poll(void)
{
	halted(true);
}

static void test_never_ran(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);

	xen_vcpu_set(x, 0, RUNSTATE_ADDR, gpa, XEN_RUNSTATE);
	TEST_ASSERT_EQ(area(x).state, XEN_OFFLINE);
}

/* The time before the first run is offline time. */
static void test_first_run(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	struct runstate rs;

	xen_sleep_ms(20);
	run(x);
	rs = get(x);
	TEST_ASSERT_EQ(rs.state, XEN_RUNNING);
	assert_sum(rs);
	TEST_ASSERT(rs.time[3] >= 20 * MS, "%llu us offline", (long long)rs.time[3] / 1000);
	TEST_ASSERT(rs.time[0] < rs.time[3], "more running than offline");
}

static void test_current_errors(void)
{
	struct xen_vm *x = new_vm(XEN_64);
	struct runstate before = get(x);

	TEST_ASSERT_EQ(xen_vcpu_try_set(x, 0, RUNSTATE_CURRENT, runstate.state, 4), EINVAL);
	TEST_ASSERT_EQ(xen_vcpu_try_set(x, 0, RUNSTATE_CURRENT, runstate.state, 1ULL << 32), EINVAL);
	TEST_ASSERT_EQ(xen_vcpu_try_set(x, 0, RUNSTATE_CURRENT, runstate.state, KEEP), EINVAL);
	assert_same(before, get(x));
}

static void test_data(void)
{
	struct xen_vm *x = new_vm(XEN_64);
	struct runstate rs = { 0, 0x6bc5, { 0, 0, 0x6b6b, 0x5a } }, before = area(x);

	TEST_ASSERT_EQ(try_data(x, 0, 0x6bc5, { 0, 0, 0x6b6b, 0x5a }), 0);
	assert_same(rs, get(x));
	TEST_ASSERT(!memcmp(&before, &(struct runstate[]) { area(x) }, sizeof(before)),
		    "the area was written at once");
	run(x);
	rs = area(x);
	assert_sum(rs);
	TEST_ASSERT(rs.time[2] == 0x6b6b && rs.time[3] == 0x5a, "times were lost");
	TEST_ASSERT_EQ(try_data(x, 2, 0x100, { 0x40, 0x40, 0x40, 0x40 }), 0);
	TEST_ASSERT_EQ(get(x).state, 2);
}

static void test_data_errors(void)
{
	struct xen_vm *x = new_vm(XEN_64);
	struct runstate before = get(x);
	u64 future = xen_now(x) + 3600 * SECOND;

	TEST_ASSERT_EQ(try_data(x, 0, 0x101, { 0x40, 0x40, 0x40, 0x40 }), EINVAL);
	TEST_ASSERT_EQ(try_data(x, 0, future, { future }), EINVAL);
	TEST_ASSERT_EQ(try_data(x, 4, 0x100, { 0x40, 0x40, 0x40, 0x40 }), EINVAL);
	TEST_ASSERT_EQ(try_data(x, 1ULL << 32, 0x100, { 0x40, 0x40, 0x40, 0x40 }), EINVAL);
	TEST_ASSERT_EQ(try_data(x, KEEP, 0x100, { 0x40, 0x40, 0x40, 0x40 }), EINVAL);
	assert_same(before, get(x));
}

static void test_data_clock(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	u64 t = 1000 * SECOND;

	TEST_ASSERT_EQ(try_data(x, 0, t, { t }), EINVAL);
	xen_set_now(x, t + SECOND);
	TEST_ASSERT_EQ(try_data(x, 0, t, { t }), 0);
	run(x);
	TEST_ASSERT(get(x).time[0] + get(x).time[1] >= t + SECOND, "times were lost");
	assert_sum(get(x));
}

static void adjust(enum xen_mode mode)
{
	struct xen_vm *x = new_vm(mode);
	struct runstate before, after;

	xen_vcpu_set(x, 0, RUNSTATE_CURRENT, runstate.state, XEN_BLOCKED);
	before = get(x);
	TEST_ASSERT_EQ(try_adjust(x, KEEP, 0, { 3000, -1000ULL, -2000ULL, 0 }), 0);
	after = get(x);
	TEST_ASSERT_EQ(after.state, XEN_BLOCKED);
	TEST_ASSERT_EQ(after.entry_time, before.entry_time);
	TEST_ASSERT_EQ(after.time[0], before.time[0] + 3000);
	TEST_ASSERT_EQ(after.time[1], before.time[1] - 1000);
	TEST_ASSERT_EQ(after.time[2], before.time[2] - 2000);
	TEST_ASSERT_EQ(after.time[3], before.time[3]);
	assert_same(after, area(x));

	TEST_ASSERT_EQ(try_adjust(x, KEEP, -500ULL, { 0, 0, 0, -500ULL }), 0);
	TEST_ASSERT_EQ(get(x).entry_time, after.entry_time - 500);
	assert_same(get(x), area(x));
}

static void test_adjust(void)
{
	adjust(XEN_64);
}

static void test_adjust_32(void)
{
	adjust(XEN_32);
}

static void test_adjust_state(void)
{
	struct xen_vm *x = new_vm(XEN_64);
	struct runstate before, after;

	xen_vcpu_set(x, 0, RUNSTATE_CURRENT, runstate.state, XEN_BLOCKED);
	before = get(x);
	xen_sleep_ms(5);
	TEST_ASSERT_EQ(try_adjust(x, XEN_OFFLINE, 0, {}), 0);
	after = get(x);
	TEST_ASSERT_EQ(after.state, XEN_OFFLINE);
	TEST_ASSERT(after.time[2] - before.time[2] >= 5 * MS, "not accounted to the old state");
	TEST_ASSERT_EQ(after.time[3], before.time[3]);
	assert_sum(after);
	assert_same(after, area(x));
}

static void test_adjust_errors(void)
{
	struct xen_vm *x = new_vm(XEN_64);
	struct runstate before = get(x);

	TEST_ASSERT_EQ(try_adjust(x, KEEP, 1, {}), EINVAL);
	TEST_ASSERT_EQ(try_adjust(x, KEEP, 3600 * SECOND, { 3600 * SECOND }), EINVAL);
	TEST_ASSERT_EQ(try_adjust(x, 7, 0, {}), EINVAL);
	TEST_ASSERT_EQ(try_adjust(x, 0xffffffff, 0, {}), EINVAL);
	TEST_ASSERT_EQ(xen_vcpu_try_get(x, 0, RUNSTATE_ADJUST), EINVAL);
	assert_same(before, get(x));
}

/* The area. */

static void test_addr_unset(void)
{
	struct xen_vm *x = new_vm(XEN_64);

	xen_vcpu_set(x, 0, RUNSTATE_ADDR, gpa, KVM_XEN_INVALID_GPA);
	TEST_ASSERT_EQ(xen_vcpu_try_get(x, 0, RUNSTATE_ADDR), ENOENT);
}

static void test_addr_unbacked(void)
{
	struct xen_vm *x = new_vm(XEN_64);

	TEST_ASSERT_EQ(xen_vcpu_try_set(x, 0, RUNSTATE_ADDR, gpa, XEN_HOLE - 0x2f), EFAULT);
	TEST_ASSERT_EQ(xen_vcpu_try_get(x, 0, RUNSTATE_ADDR), ENOENT);
	TEST_ASSERT_EQ(xen_vcpu_try_set(x, 0, RUNSTATE_ADDR, gpa, XEN_HOLE), EFAULT);
	xen_vcpu_set(x, 0, RUNSTATE_ADDR, gpa, XEN_HOLE - 0x30);
	run(x);
	assert_same(get(x), area_at(x, XEN_HOLE - 0x30));
}

/* At every offset around a page's end: the whole structure and nothing else. */
static void every_offset(enum xen_mode mode)
{
	struct xen_vm *x = xen_vm_new(1, mode, XEN_S);
	u32 size = x->long_mode ? 0x30 : 0x2c, offset, i;
	u8 *pages = xen_hva(x, XEN_RUNSTATE);

	run(x);
	for (offset = 0x1000 - 0x34; offset <= 0x1000 + 4; offset++) {
		memset(pages, 0xa5, 0x2000);
		xen_vcpu_set(x, 0, RUNSTATE_ADDR, gpa, XEN_RUNSTATE + offset);
		assert_same(get(x), area_at(x, XEN_RUNSTATE + offset));
		memset(pages, 0xa5, 0x2000);
		TEST_ASSERT_EQ(try_adjust(x, KEEP, 0, {}), 0);
		assert_same(get(x), area_at(x, XEN_RUNSTATE + offset));
		if (x->long_mode)
			TEST_ASSERT(!memcmp(pages + offset + 4, (u8[4]) {}, 4), "padding is not 0");
		for (i = 0; i < 0x2000; i++)
			TEST_ASSERT(pages[i] == 0xa5 || (i >= offset && i < offset + size),
				    "offset 0x%x: byte 0x%x was written", offset, i);
		run(x);
		assert_same(get(x), area_at(x, XEN_RUNSTATE + offset));
	}
}

static void test_every_offset(void)
{
	every_offset(XEN_64);
}

static void test_every_offset_32(void)
{
	every_offset(XEN_32);
}

/* The layout of the mode of the moment; it may need a page that is not there. */
static void test_relatch(void)
{
	struct xen_vm *x = new_vm(XEN_32);
	u8 copy[0x2c], *p = xen_hva(x, XEN_HOLE - 0x2c);

	xen_vcpu_set(x, 0, RUNSTATE_ADDR, gpa, XEN_HOLE - 0x2c);
	run(x);
	memcpy(copy, p, sizeof(copy));
	xen_set(x, LONG_MODE, long_mode, 1);
	x->long_mode = true;
	run(x);
	TEST_ASSERT_EQ(try_adjust(x, KEEP, 0, {}), 0);
	TEST_ASSERT(!memcmp(copy, p, sizeof(copy)), "half an update was written");

	vm_userspace_mem_region_add(x->vm, VM_MEM_SRC_ANONYMOUS, XEN_HOLE, XEN_SLOT + 1, 1, 0);
	TEST_ASSERT_EQ(try_adjust(x, KEEP, 0, {}), 0);
	memcpy(xen_hva(x, XEN_RUNSTATE), p, 0x2c);
	memcpy(xen_hva(x, XEN_RUNSTATE + 0x2c), xen_hva(x, XEN_HOLE), 4);
	assert_same(get(x), area(x));
}

static void test_padding(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	u32 *p = xen_hva(x, XEN_RUNSTATE);

	memset(p, 0xa5, 0x40);
	xen_vcpu_set(x, 0, RUNSTATE_ADDR, gpa, XEN_RUNSTATE);
	TEST_ASSERT_EQ(p[1], 0);
	p[1] = 0xa5a5a5a5;
	run(x);
	TEST_ASSERT_EQ(p[1], 0);
	TEST_ASSERT_EQ(p[12], 0xa5a5a5a5);
}

static void test_no_config(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_SI | XEN_VI);
	struct runstate before;

	xen_vcpu_set(x, 0, RUNSTATE_ADDR, gpa, XEN_RUNSTATE);
	before = area(x);
	run(x);
	run(x);
	TEST_ASSERT(!memcmp(&before, &(struct runstate[]) { area(x) }, sizeof(before)),
		    "the area was updated");
	TEST_ASSERT_EQ(get(x).entry_time, 0);
}

static void test_dirty(void)
{
	struct xen_vm *x = new_vm(XEN_64);
	u64 log, want = BIT(3) | BIT(4);

	xen_vcpu_set(x, 0, RUNSTATE_ADDR, gpa, XEN_RUNSTATE + 0x1000 - 8);
	vm_mem_region_set_flags(x->vm, XEN_SLOT, KVM_MEM_LOG_DIRTY_PAGES);
	kvm_vm_get_dirty_log(x->vm, XEN_SLOT, &log);
	TEST_ASSERT_EQ(try_adjust(x, KEEP, 0, {}), 0);
	kvm_vm_get_dirty_log(x->vm, XEN_SLOT, &log);
	TEST_ASSERT((log & want) == want, "log 0x%lx", log);
}

static void test_off(void)
{
	struct xen_vm *x = new_vm(XEN_64);
	struct runstate before = area(x);

	xen_vcpu_set(x, 0, RUNSTATE_ADDR, gpa, KVM_XEN_INVALID_GPA);
	xen_sleep_ms(2);
	run(x);
	TEST_ASSERT(!memcmp(&before, &(struct runstate[]) { area(x) }, sizeof(before)),
		    "the area was updated");
	TEST_ASSERT(get(x).entry_time > before.entry_time, "accounting has stopped");
}

/* The area's memory goes away while the vCPU competes for a CPU, and comes back. */
static void test_gone(void)
{
	struct xen_vm *x = new_vm(XEN_64);
	void *page = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct runstate rs = {};

	vm_set_user_memory_region(x->vm, XEN_SLOT + 1, 0, XEN_HOLE, 0x1000, page);
	xen_vcpu_set(x, 0, RUNSTATE_ADDR, gpa, XEN_HOLE - 0x10);
	pin();
	x->state[0].irqs = true;
	xen_prepare(x, 0, STEP_SPIN);
	xen_start(x, 0);
	spin_ms(20);
	vm_set_user_memory_region(x->vm, XEN_SLOT + 1, 0, XEN_HOLE, 0, NULL);
	spin_ms(30);
	vm_set_user_memory_region(x->vm, XEN_SLOT + 1, 0, XEN_HOLE, 0x1000, page);
	spin_ms(20);
	madvise(page, 0x1000, MADV_DONTNEED);
	spin_ms(20);
	xen_expect(x, 0, xen_interrupt(x, 0), XEN_SIGNALLED);
	run(x);
	memcpy(xen_hva(x, XEN_RUNSTATE), xen_hva(x, XEN_HOLE - 0x10), 0x10);
	memcpy(xen_hva(x, XEN_RUNSTATE + 0x10), page, 0x20);
	rs = area(x);
	assert_sum(rs);
	assert_same(get(x), rs);
}

/* The update protocol. */

struct watch {
	struct xen_vm *x;
	u64 gpa;
	bool stop;
	bool in_update;		/* XEN_RUNSTATE_UPDATE was seen */
	u64 torn, good;
};

/* Reads as a guest does on another vCPU. */
static void *watch_thread(void *arg)
{
	struct watch *w = arg;
	bool lm = w->x->long_mode;
	u32 size = lm ? 0x30 : 0x2c, entry = lm ? 8 : 4, i;
	volatile u8 *p = malloc(2 * size), *q = p + size, *page, *next;
	struct runstate rs;

	page = xen_hva(w->x, w->gpa);
	next = xen_hva(w->x, align_up(w->gpa, 0x1000)) - (align_up(w->gpa, 0x1000) - w->gpa);
	while (!READ_ONCE(w->stop)) {
		/* Both copies equal and no update on the way, read from the flag's byte on. */
		p[entry + 7] = (w->gpa % 0x1000 + entry + 7 < 0x1000 ? page : next)[entry + 7];
		if (p[entry + 7] & 0x80) {
			w->in_update = true;
			continue;
		}
		for (i = 0; i < size; i++)
			p[i] = (w->gpa % 0x1000 + i < 0x1000 ? page : next)[i];
		for (i = 0; i < size; i++)
			q[i] = (w->gpa % 0x1000 + i < 0x1000 ? page : next)[i];
		if (memcmp((u8 *)p, (u8 *)q, size) || p[entry + 7] & 0x80)
			continue;
		memcpy(&rs.entry_time, (u8 *)p + entry, 40);
		w->torn += rs.entry_time != sum(&rs);
		w->good++;
	}
	free((u8 *)p);
	return NULL;
}

static void updates(enum xen_mode mode, u64 gpa, bool flag)
{
	struct xen_vm *x = xen_vm_new(1, mode, XEN_S);
	struct watch w = { .x = x, .gpa = gpa };
	u64 end = xen_real_ns(CLOCK_MONOTONIC) + 500 * MS;
	pthread_t thread;
	int i;

	xen_set(x, RUNSTATE_UPDATE_FLAG, runstate_update_flag, flag);
	xen_vcpu_set(x, 0, RUNSTATE_ADDR, gpa, gpa);
	run(x);
	TEST_ASSERT(!pthread_create(&thread, NULL, watch_thread, &w), "no thread");
	for (i = 0; xen_real_ns(CLOCK_MONOTONIC) < end; i++) {
		xen_vcpu_set(x, 0, RUNSTATE_CURRENT, runstate.state, i % 4);
		if (i % 8 == 0)
			run(x);
	}
	WRITE_ONCE(w.stop, true);
	pthread_join(thread, NULL);
	TEST_ASSERT(w.good, "the watcher never got through");
	if (flag)
		TEST_ASSERT(!w.torn, "%lu of %lu reads were torn", w.torn, w.good);
	else
		TEST_ASSERT(!w.in_update, "the update flag was set although it is off");
	assert_sum(area_at(x, gpa));
}

static void test_protocol(void)
{
	updates(XEN_64, XEN_RUNSTATE, true);
}

static void test_protocol_32(void)
{
	updates(XEN_32, XEN_RUNSTATE, true);
}

static void test_protocol_crossing(void)
{
	updates(XEN_64, XEN_RUNSTATE + 0x1000 - 12, true);
	updates(XEN_32, XEN_RUNSTATE + 0x1000 - 9, true);
}

static void test_protocol_off(void)
{
	updates(XEN_64, XEN_RUNSTATE, false);
}

/* The VM's clock changes. */

static void test_clock_back(void)
{
	struct xen_vm *x = new_vm(XEN_64);
	struct runstate before, after;
	int i;

	xen_set_now(x, 1000 * SECOND);
	run(x);
	before = get(x);
	assert_sum(before);
	xen_set_now(x, 10 * SECOND);
	for (i = 0; i < 3; i++) {
		run(x);
		after = get(x);
		assert_sum(after);
		TEST_ASSERT(after.time[0] >= before.time[0] && after.time[1] >= before.time[1] &&
			    after.time[2] >= before.time[2] && after.time[3] >= before.time[3],
			    "a time went back");
		TEST_ASSERT(sum(&after) < 2000 * SECOND, "times jumped to 0x%llx",
			    (long long)sum(&after));
		xen_sleep_ms(2);
	}
	assert_same(after, area(x));
}

static void test_clock_forward(void)
{
	struct xen_vm *x = new_vm(XEN_64);
	struct runstate before, after;

	xen_vcpu_set(x, 0, RUNSTATE_CURRENT, runstate.state, XEN_BLOCKED);
	before = get(x);
	xen_set_now(x, xen_now(x) + 10 * SECOND);
	run(x);
	after = get(x);
	assert_sum(after);
	TEST_ASSERT(after.time[2] - before.time[2] >= 10 * SECOND &&
		    after.time[2] - before.time[2] < 12 * SECOND, "%llu ms blocked, not 10 s",
		    (long long)((after.time[2] - before.time[2]) / MS));
}

static void *compete(void *arg)
{
	spin_ms(400);
	return NULL;
}

/* This thread has waited for CPUs much more than the vCPU's. */
static void test_other_thread(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	struct runstate before, after;
	pthread_t rival;
	long delay;

	pin();
	TEST_ASSERT(!pthread_create(&rival, NULL, compete, NULL), "no thread");
	spin_ms(400);
	pthread_join(rival, NULL);
	delay = get_run_delay();
	TEST_REQUIRE(delay > 60 * (long)MS);

	xen_prepare(x, 0, STEP_RETURN);
	xen_start(x, 0);
	xen_expect(x, 0, xen_wait(x, 0, 5000), XEN_RETURNED);
	before = get(x);
	xen_sleep_ms(60);
	xen_vcpu_set(x, 0, RUNSTATE_CURRENT, runstate.state, XEN_RUNNING);
	after = get(x);
	assert_sum(after);
	TEST_ASSERT(after.time[1] - before.time[1] < 30 * MS, "%llu us stolen of nobody",
		    (long long)(after.time[1] - before.time[1]) / 1000);
}

static const struct xen_case cases[] = {
	{ "RS1 D17: running, 64-bit", test_basic },
	{ "RS1 D17: running, 32-bit", test_basic_32 },
	{ "RS2: stolen time", test_stolen },
	{ "RS3: blocked by the VMM", test_blocked },
	{ "RS4: offline by the VMM", test_offline },
	{ "7.9: runnable by the VMM", test_runnable },
	{ "D14: HLT is blocked", test_hlt },
	{ "D14: poll is blocked", test_poll },
	{ "7.1: offline before the first run", test_never_ran },
	{ "7.3: first run accounts for the time before", test_first_run },
	{ "RS5: CURRENT errors", test_current_errors },
	{ "RS6: DATA", test_data },
	{ "RS7: DATA errors", test_data_errors },
	{ "MG9: DATA and the clock", test_data_clock },
	{ "RS8: ADJUST, 64-bit", test_adjust },
	{ "RS8: ADJUST, 32-bit", test_adjust_32 },
	{ "RS8 D33: ADJUST with a state", test_adjust_state },
	{ "RS9 RS10: ADJUST errors", test_adjust_errors },
	{ "RS11: no area", test_addr_unset },
	{ "RS13: area on unbacked memory", test_addr_unbacked },
	{ "RS12 R22 R23: area at every offset, 64-bit", test_every_offset },
	{ "RS12 R22 R23: area at every offset, 32-bit", test_every_offset_32 },
	{ "RS14: mode changes, second page is missing", test_relatch },
	{ "RS20: padding", test_padding },
	{ "RS21: no accounting without CONFIG", test_no_config },
	{ "RS22: updates are in the dirty log", test_dirty },
	{ "RS23: area switched off", test_off },
	{ "R19: area's memory gone and back", test_gone },
	{ "RS15 R23: update protocol, 64-bit", test_protocol },
	{ "RS15 R23: update protocol, 32-bit", test_protocol_32 },
	{ "RS15 R23: update protocol on two pages", test_protocol_crossing },
	{ "RS16: update protocol off", test_protocol_off },
	{ "RS17 F6 R24: clock set back", test_clock_back },
	{ "RS18: clock set forward", test_clock_forward },
	{ "RS19 D32: other thread with a run delay", test_other_thread },
};

int main(int argc, char *argv[])
{
	if (!(kvm_check_cap(KVM_CAP_XEN_HVM) & KVM_XEN_HVM_CONFIG_RUNSTATE))
		ksft_exit_skip("KVM has no runstates\n");
	return xen_run_cases(argc, argv, cases, ARRAY_SIZE(cases));
}
