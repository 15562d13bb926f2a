// SPDX-License-Identifier: GPL-2.0-only
/*
 * Xen guests: what a vCPU did with its time, as the guest sees it in memory
 * (struct vcpu_runstate_info) and the VMM in the RUNSTATE attributes.
 *
 * A vCPU thread that is not in KVM_RUN is still running, as the VMM works for the
 * guest.  Like any vCPU ioctl, it can be preempted on its way out, which makes the
 * vCPU runnable until it is run again: run() does that.
 *
 * Lower bounds of times are strict.  Upper bounds are what really went by.
 *
 * Linux 6.12 fails M10 and M11 (never offline or blocked by itself), RS2 and RS19
 * (threads take turns), RS17 and RS20.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/sysinfo.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "xen.h"

#define MSEC		NSEC_PER_MSEC
#define SEC		((u64)NSEC_PER_SEC)
#define UPTIME		(1000 * SEC)

#define PORT		5
#define SLEEP_MS	60
#define HOG_MS		50
#define PROMPT_MS	xen_ms(5000)
#define SLACK_NS(ms)	(xen_ms(ms) * MSEC)
#define WATCH_MS	1000
#define CLOCK_ERROR_NS	20000
#define GARBAGE		0xa5
#define KEEP_STATE	(~0ULL)

struct runstate {
	u64 state;
	u64 entry;
	u64 time[4];
};

static u32 area_size(bool long_mode)
{
	return long_mode ? sizeof(struct xen_runstate64) : sizeof(struct xen_runstate32);
}

static struct runstate decode(const void *area, bool long_mode)
{
	struct runstate rs;

	if (long_mode) {
		struct xen_runstate64 a;

		memcpy(&a, area, sizeof(a));
		rs = (struct runstate) { (u32)a.state, a.entry_time };
		memcpy(rs.time, a.time, sizeof(rs.time));
	} else {
		struct xen_runstate32 a;

		memcpy(&a, area, sizeof(a));
		rs = (struct runstate) { (u32)a.state, a.entry_time };
		memcpy(rs.time, a.time, sizeof(rs.time));
	}
	return rs;
}

static struct runstate area_at(struct xen_vm *x, u64 gpa)
{
	return decode(xen_hva(x, gpa), x->long_mode);
}

static struct runstate area(struct xen_vm *x)
{
	return area_at(x, XEN_RUNSTATE);
}

static struct runstate data(struct xen_vm *x)
{
	struct kvm_xen_vcpu_attr a = { .type = KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_DATA };

	vcpu_ioctl(x->vcpu[0], KVM_XEN_VCPU_GET_ATTR, &a);
	return (struct runstate) {
		a.u.runstate.state, a.u.runstate.state_entry_time,
		{ a.u.runstate.time_running, a.u.runstate.time_runnable,
		  a.u.runstate.time_blocked, a.u.runstate.time_offline }
	};
}

static int try_put(struct xen_vm *x, u16 type, struct runstate rs)
{
	struct kvm_xen_vcpu_attr a = {
		.type = type,
		.u.runstate = { rs.state, rs.entry, rs.time[0], rs.time[1], rs.time[2],
				rs.time[3] },
	};

	return xen_errno(__vcpu_ioctl(x->vcpu[0], KVM_XEN_VCPU_SET_ATTR, &a));
}

#define TRY_DATA(x, ...) \
	try_put(x, KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_DATA, (struct runstate) { __VA_ARGS__ })
#define TRY_ADJUST(x, ...) \
	try_put(x, KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_ADJUST, (struct runstate) { __VA_ARGS__ })

static void set_area(struct xen_vm *x, u64 gpa)
{
	xen_vcpu_set(x, 0, RUNSTATE_ADDR, gpa, gpa);
}

static void set_current(struct xen_vm *x, u64 state)
{
	xen_vcpu_set(x, 0, RUNSTATE_CURRENT, runstate.state, state);
}

static u64 get_current(struct xen_vm *x)
{
	return xen_vcpu_get(x, 0, RUNSTATE_CURRENT, runstate.state);
}

static bool same(struct runstate a, struct runstate b)
{
	return !memcmp(&a, &b, sizeof(a));
}

static u64 sum(struct runstate rs)
{
	return rs.time[0] + rs.time[1] + rs.time[2] + rs.time[3];
}

static void is_sane(struct xen_vm *x, struct runstate rs)
{
	u64 now = xen_now(x);

	TEST_ASSERT(rs.state <= XEN_OFFLINE, "state %lu", rs.state);
	TEST_ASSERT(!(rs.entry & XEN_RUNSTATE_UPDATE), "update in progress");
	TEST_ASSERT_EQ(rs.entry, sum(rs));
	TEST_ASSERT(rs.entry <= now + CLOCK_ERROR_NS, "%lu ns ahead", rs.entry - now);
}

/* By how much the times grew since @old. */
static struct runstate growth(struct runstate rs, struct runstate old)
{
	int i;

	for (i = 0; i < 4; i++) {
		TEST_ASSERT(rs.time[i] >= old.time[i], "time[%d] from %lu back to %lu", i,
			    old.time[i], rs.time[i]);
		rs.time[i] -= old.time[i];
	}
	TEST_ASSERT(rs.entry >= old.entry, "entry from %lu to %lu", old.entry, rs.entry);
	rs.entry -= old.entry;
	return rs;
}

static void run(struct xen_vm *x)
{
	int i = 0;

	do {
		xen_window(x, 0);
	} while (get_current(x) != XEN_RUNNING && i++ < 5);
	TEST_ASSERT_EQ(get_current(x), XEN_RUNNING);
}

static struct xen_vm *runstate_vm(enum xen_mode mode, u32 what)
{
	struct xen_vm *x = xen_vm_new(1, mode, what);

	x->long_mode = mode == XEN_64;
	xen_set(x, LONG_MODE, long_mode, x->long_mode);
	xen_set_now(x, UPTIME);
	set_area(x, XEN_RUNSTATE);
	return x;
}

/* What the guest finds when it looks for a while, or until stopped. */
struct check {
	u32 stop;
	u32 reads;
	u64 ahead;
	struct xen_runstate64 bad;
};

#define CHECK	((struct check *)XEN_SPARE)

static u64 guest_check(u64 rounds, u64 unused0, u64 unused1)
{
	struct xen_runstate64 *area = (void *)XEN_RUNSTATE, rs, last = {};
	struct xen_time_info *time = (void *)XEN_SHINFO + 32;
	u64 now, err = 0;
	int i;

	while (!READ_ONCE(CHECK->stop) && (!rounds || CHECK->reads < rounds)) {
		rs.entry_time = READ_ONCE(area->entry_time);
		barrier();
		rs.state = READ_ONCE(area->state);
		for (i = 0; i < 4; i++)
			rs.time[i] = READ_ONCE(area->time[i]);
		barrier();
		if (READ_ONCE(area->entry_time) != rs.entry_time)
			continue;
		now = xen_guest_now(time);

		if (rs.state != XEN_RUNNING)
			err = 1;
		if (rs.entry_time != rs.time[0] + rs.time[1] + rs.time[2] + rs.time[3])
			err = 2;
		if (rs.entry_time > now + 1000) {
			CHECK->ahead = rs.entry_time - now;
			err = 3;
		}
		for (i = 0; i < 4; i++)
			if (rs.time[i] < last.time[i])
				err = 4 + i;
		CHECK->bad = rs;
		if (err)
			return err;
		last = rs;
		CHECK->reads++;
	}
	return 0;
}

static void guest_agrees(struct xen_vm *x)
{
	struct check *check = xen_hva(x, XEN_SPARE);
	u64 err = xen_result(x, 0);

	TEST_ASSERT(!err, "guest: error %lu, state %d, entry %lu, %lu %lu %lu %lu, ahead by %lu",
		    err, check->bad.state, check->bad.entry_time, check->bad.time[0],
		    check->bad.time[1], check->bad.time[2], check->bad.time[3], check->ahead);
	TEST_ASSERT(check->reads, "the guest did not look");
}

/* A vCPU that never ran is offline for other vCPUs; the VMM finds nothing yet. */
static void never_ran(enum xen_mode mode)
{
	struct xen_vm *x = runstate_vm(mode, XEN_S);
	struct runstate rs = data(x);

	TEST_ASSERT(same(rs, (struct runstate) {}), "state %lu, entry %lu", rs.state, rs.entry);
	rs = area(x);
	TEST_ASSERT(same(rs, (struct runstate) { XEN_OFFLINE }), "state %lu, entry %lu",
		    rs.state, rs.entry);
	xen_vm_free(x);
}

IN_64_BIT(never_ran)
IN_32_BIT(never_ran)

static void runs(enum xen_mode mode)
{
	struct xen_vm *x = runstate_vm(mode, XEN_S);
	struct runstate old, rs;

	run(x);
	old = area(x);
	is_sane(x, old);
	TEST_ASSERT(old.time[XEN_OFFLINE] >= UPTIME, "offline %lu ns", old.time[XEN_OFFLINE]);
	TEST_ASSERT_EQ(old.time[XEN_BLOCKED], 0);

	xen_sleep_ms(SLEEP_MS);
	run(x);
	rs = area(x);
	is_sane(x, rs);
	TEST_ASSERT_EQ(rs.state, XEN_RUNNING);
	rs = growth(rs, old);
	TEST_ASSERT(rs.time[0] + rs.time[1] >= SLEEP_MS * MSEC, "only %lu + %lu ns",
		    rs.time[0], rs.time[1]);
	TEST_ASSERT_EQ(rs.time[2], 0);
	TEST_ASSERT_EQ(rs.time[3], 0);

	if (mode == XEN_64) {
		xen_call(x, 0, guest_check, 20000, 0, 0);
		guest_agrees(x);
	}
	xen_vm_free(x);
}

IN_64_BIT(runs)
IN_32_BIT(runs)

/* A thread that wants all of a CPU. */
struct competitor {
	pthread_t thread;
	bool stop;
};

static void *compete(void *arg)
{
	struct competitor *c = arg;

	while (!READ_ONCE(c->stop))
		;
	return NULL;
}

static u64 cpu_ns(pthread_t thread)
{
	clockid_t clock;

	TEST_ASSERT(!pthread_getcpuclockid(thread, &clock), "no CPU time clock");
	return xen_real_ns(clock);
}

/* Threads started from here on share a CPU, until set free. */
static cpu_set_t pin(void)
{
	cpu_set_t all, one;
	int cpu = sched_getcpu();

	TEST_ASSERT(!sched_getaffinity(0, sizeof(all), &all), "no affinity");
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	TEST_ASSERT(!sched_setaffinity(0, sizeof(one), &one), "cannot stay on CPU %d", cpu);
	return all;
}

static void unpin(cpu_set_t all)
{
	TEST_ASSERT(!sched_setaffinity(0, sizeof(all), &all), "cannot leave the CPU");
}

static void start_competitor(struct competitor *c)
{
	c->stop = false;
	TEST_ASSERT(!pthread_create(&c->thread, NULL, compete, c), "no thread");
}

static void stop_competitor(struct competitor *c)
{
	WRITE_ONCE(c->stop, true);
	pthread_join(c->thread, NULL);
}

static void still_runs(struct xen_vm *x)
{
	if (xen_wait(x, 0, 0) == XEN_RUNNING_YET)
		return;
	guest_agrees(x);
	TEST_FAIL("the vCPU stopped");
}

static void preempted(enum xen_mode mode)
{
	struct xen_vm *x = runstate_vm(mode, XEN_S);
	struct check *check = xen_hva(x, XEN_SPARE);
	u64 stolen, ran, start, elapsed, end, entry, seen[4] = {};
	struct competitor c;
	struct runstate old, rs;
	cpu_set_t all;

	run(x);
	x->state[0].irqs = true;
	if (mode == XEN_64)
		xen_prepare_call(x, 0, guest_check, 0, 0, 0);
	else
		xen_prepare(x, 0, STEP_SPIN);
	start = xen_real_ns(CLOCK_MONOTONIC);
	old = data(x);
	entry = area(x).entry;
	all = pin();
	xen_start(x, 0);
	start_competitor(&c);
	unpin(all);

	/* What the thread waited before its first KVM_RUN does not count. */
	end = start + PROMPT_MS * MSEC;
	while (area(x).entry == entry)
		TEST_ASSERT(xen_real_ns(CLOCK_MONOTONIC) < end, "the vCPU does not run");
	stolen = cpu_ns(c.thread);
	still_runs(x);
	ran = cpu_ns(x->state[0].thread);

	end = xen_real_ns(CLOCK_MONOTONIC) + 10 * SEC;
	while (cpu_ns(c.thread) - stolen < 200 * MSEC || !seen[0] || !seen[1]) {
		seen[area(x).state & 3]++;
		if (xen_real_ns(CLOCK_MONOTONIC) > end)
			break;
	}
	stolen = cpu_ns(c.thread) - stolen;
	still_runs(x);
	ran = cpu_ns(x->state[0].thread) - ran;

	WRITE_ONCE(check->stop, 1);
	if (mode == XEN_64)
		xen_expect(x, 0, xen_wait(x, 0, PROMPT_MS), XEN_RETURNED);
	else
		xen_expect(x, 0, xen_interrupt(x, 0), XEN_SIGNALLED);
	stop_competitor(&c);
	if (mode == XEN_64)
		guest_agrees(x);
	run(x);
	rs = data(x);
	elapsed = xen_real_ns(CLOCK_MONOTONIC) - start;
	is_sane(x, rs);
	rs = growth(rs, old);

	TEST_ASSERT(stolen >= 200 * MSEC, "the competitor got only %lu ns", stolen);
	TEST_ASSERT(rs.time[1] >= stolen - stolen / 4, "runnable %lu of %lu ns", rs.time[1],
		    stolen);
	TEST_ASSERT(rs.time[0] + rs.time[1] + SLACK_NS(1) >= stolen + ran, "%lu + %lu of %lu ns",
		    rs.time[0], rs.time[1], stolen + ran);
	TEST_ASSERT(rs.time[1] + ran <= elapsed + stolen / 2, "runnable %lu, ran %lu of %lu ns",
		    rs.time[1], ran, elapsed);
	TEST_ASSERT_EQ(rs.time[2], 0);
	TEST_ASSERT_EQ(rs.time[3], 0);
	TEST_ASSERT(seen[0] && seen[1] && !seen[2] && !seen[3],
		    "seen running %lu, runnable %lu, blocked %lu, offline %lu times",
		    seen[0], seen[1], seen[2], seen[3]);
	xen_vm_free(x);
}

IN_64_BIT(preempted)
IN_32_BIT(preempted)

/* An area that begins in guest memory and ends in a page of its own, which is returned. */
#define SPLIT_AREA	(XEN_HOLE - 0x18)

static void *set_split_area(struct xen_vm *x)
{
	void *page = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	TEST_ASSERT(page != MAP_FAILED, "mmap");
	vm_set_user_memory_region(x->vm, XEN_SLOT + 1, 0, XEN_HOLE, 0x1000, page);
	set_area(x, SPLIT_AREA);
	return page;
}

static struct runstate split_area(struct xen_vm *x, const void *page)
{
	struct xen_runstate64 area;

	memcpy(&area, xen_hva(x, SPLIT_AREA), 0x18);
	memcpy((void *)&area + 0x18, page, 0x18);
	return decode(&area, true);
}

/* The vCPU runs and is preempted now and then. */
static void start_competing(struct xen_vm *x, struct competitor *c)
{
	cpu_set_t all;

	x->state[0].irqs = true;
	xen_prepare(x, 0, STEP_SPIN);
	all = pin();
	xen_start(x, 0);
	start_competitor(c);
	unpin(all);
}

/* Half of the area goes away meanwhile, and comes back. */
static void preempted_without_area(void)
{
	struct xen_vm *x = runstate_vm(XEN_64, XEN_S);
	void *page = set_split_area(x);
	struct competitor c;
	struct runstate rs;
	int i;

	start_competing(x, &c);
	for (i = 0; i < 6; i++) {
		xen_sleep_ms(20);
		if (i % 3 == 2)
			madvise(page, 0x1000, MADV_REMOVE);
		else
			vm_set_user_memory_region(x->vm, XEN_SLOT + 1, 0, XEN_HOLE,
						  i % 3 ? 0x1000 : 0, page);
	}
	xen_expect(x, 0, xen_interrupt(x, 0), XEN_SIGNALLED);
	stop_competitor(&c);
	run(x);
	rs = split_area(x, page);
	is_sane(x, rs);
	TEST_ASSERT(same(rs, data(x)), "the area is not up to date");
	xen_vm_free(x);
}

/* The scheduler, which cannot bring the other half back, leaves both as they are. */
static void preempted_without_half(void)
{
	u64 end = xen_real_ns(CLOCK_MONOTONIC) + 10 * SEC, stolen, looks = 0, others = 0;
	u64 *entry;
	struct xen_vm *x = runstate_vm(XEN_64, XEN_S);
	void *page = set_split_area(x);
	struct runstate old, rs;
	struct competitor c;

	run(x);
	old = split_area(x, page);
	entry = xen_hva(x, SPLIT_AREA + 8);
	start_competing(x, &c);
	/* What the thread waited before its first KVM_RUN does not count. */
	while (READ_ONCE(*entry) == old.entry)
		TEST_ASSERT(xen_real_ns(CLOCK_MONOTONIC) < end, "the vCPU does not run");
	stolen = cpu_ns(c.thread);
	do {
		madvise(page, 0x1000, MADV_REMOVE);
		looks++;
		others += READ_ONCE(*(s32 *)xen_hva(x, SPLIT_AREA)) != XEN_RUNNING;
	} while (cpu_ns(c.thread) - stolen < 200 * MSEC && xen_real_ns(CLOCK_MONOTONIC) < end);
	xen_expect(x, 0, xen_interrupt(x, 0), XEN_SIGNALLED);
	stop_competitor(&c);
	/* A thread that loses its CPU just before it writes both halves has to write that. */
	TEST_ASSERT(others * 4 < looks, "%lu of %lu times, half of the area was written", others,
		    looks);
	ksft_print_msg("%lu of %lu\n", others, looks);
	run(x);
	rs = growth(split_area(x, page), old);
	TEST_ASSERT(rs.time[1] >= 50 * MSEC, "runnable only for %lu ns", rs.time[1]);
	xen_vm_free(x);
}

/* So does the vCPU's own thread, if it cannot write the other half. */
static void half_is_read_only(void)
{
	struct xen_vm *x = runstate_vm(XEN_64, XEN_S);
	void *page = set_split_area(x);
	struct runstate old, rs;

	run(x);
	old = split_area(x, page);
	TEST_ASSERT(!mprotect(page, 0x1000, PROT_READ), "mprotect");
	run(x);
	rs = split_area(x, page);
	TEST_ASSERT(same(rs, old), "half of the area was written");
	TEST_ASSERT(!mprotect(page, 0x1000, PROT_READ | PROT_WRITE), "mprotect");
	run(x);
	rs = split_area(x, page);
	TEST_ASSERT(same(rs, data(x)), "the area is not up to date");
	xen_vm_free(x);
}

static void set_by_vmm(enum xen_mode mode)
{
	struct xen_vm *x = runstate_vm(mode, XEN_S);
	struct runstate old, rs;
	u64 state;
	int i;

	run(x);
	for (state = XEN_RUNNABLE; state <= XEN_OFFLINE; state++) {
		set_current(x, state);
		TEST_ASSERT_EQ(get_current(x), state);
		old = area(x);
		is_sane(x, old);
		TEST_ASSERT_EQ(old.state, state);

		xen_sleep_ms(SLEEP_MS);
		run(x);
		rs = area(x);
		is_sane(x, rs);
		TEST_ASSERT_EQ(rs.state, XEN_RUNNING);
		rs = growth(rs, old);
		TEST_ASSERT(rs.time[state] >= SLEEP_MS * MSEC, "state %lu for %lu ns", state,
			    rs.time[state]);
		for (i = XEN_BLOCKED; i < 4; i++)
			TEST_ASSERT(i == state || !rs.time[i], "state %d for %lu ns", i,
				    rs.time[i]);
	}
	xen_vm_free(x);
}

IN_64_BIT(set_by_vmm)
IN_32_BIT(set_by_vmm)

/*
 * A sleep in the kernel, until an event comes.  Was all of it blocked time?  If the
 * thread woke up for something else meanwhile, or polls, it may have had to wait for a
 * CPU, and that is not.
 */
static bool sleeps(struct xen_vm *x, struct runstate old)
{
	u64 end = xen_real_ns(CLOCK_MONOTONIC) + PROMPT_MS * MSEC, asleep;
	struct runstate rs;

	xen_start(x, 0);
	while (area(x).state != XEN_BLOCKED)
		TEST_ASSERT(xen_real_ns(CLOCK_MONOTONIC) < end, "not blocked but %lu",
			    area(x).state);
	asleep = xen_real_ns(CLOCK_MONOTONIC);
	xen_sleep_ms(SLEEP_MS);
	rs = area(x);
	is_sane(x, rs);
	TEST_ASSERT_EQ(rs.state, XEN_BLOCKED);
	asleep = xen_real_ns(CLOCK_MONOTONIC) - asleep;
	xen_send(x, PORT, 0);
	xen_expect(x, 0, xen_wait(x, 0, PROMPT_MS), XEN_RETURNED);
	TEST_ASSERT(get_current(x) != XEN_BLOCKED, "blocked while it ran again");
	xen_clear_events(x);
	run(x);
	rs = area(x);
	is_sane(x, rs);
	TEST_ASSERT_EQ(rs.state, XEN_RUNNING);
	rs = growth(rs, old);
	TEST_ASSERT(rs.time[XEN_BLOCKED] + rs.time[XEN_RUNNABLE] >= asleep, "%lu + %lu of %lu ns",
		    rs.time[XEN_BLOCKED], rs.time[XEN_RUNNABLE], asleep);
	TEST_ASSERT_EQ(rs.time[XEN_OFFLINE], 0);
	return rs.time[XEN_BLOCKED] + SLACK_NS(1) >= asleep;
}

static void sleeps_in_kernel(enum xen_mode mode)
{
	struct xen_vm *x = runstate_vm(mode, XEN_S);
	u32 port = PORT;
	int i, all;

	for (i = all = 0; i < 3; i++) {
		run(x);
		xen_prepare(x, 0, STEP_HLT);
		all += sleeps(x, area(x));
	}
	TEST_ASSERT(all, "HLT was never blocked all the time");

	xen_put_mask(x, PORT, true);
	for (i = all = 0; i < 3; i++) {
		run(x);
		xen_prepare_hcall(x, 0, HCALL_SCHED,
				  (u64[6]) { SCHEDOP_POLL, xen_put_poll(x, 0, 0, 1, &port) });
		all += sleeps(x, area(x));
	}
	TEST_ASSERT(all, "SCHEDOP_poll was never blocked all the time");
	xen_vm_free(x);
}

IN_64_BIT(sleeps_in_kernel)
IN_32_BIT(sleeps_in_kernel)

/* Sleeps of which the thread that sleeps does not give up its CPU. */
static void sleeps_polling(void)
{
	u64 end = xen_real_ns(CLOCK_MONOTONIC) + 2 * PROMPT_MS * MSEC, old, polls = 0;
	struct xen_vm *x = runstate_vm(XEN_64, XEN_S);
	bool all = false, was_blocked;

	TEST_REQUIRE(kvm_has_cap(KVM_CAP_HALT_POLL) && get_nprocs() > 1);
	vm_enable_cap(x->vm, KVM_CAP_HALT_POLL, SEC);
	/* KVM learns that it is worth while to poll for so long. */
	do {
		run(x);
		xen_prepare(x, 0, STEP_HLT);
		was_blocked = sleeps(x, area(x));
		old = polls;
		TEST_ASSERT(xen_try_stat(x, 0, "halt_successful_poll", &polls), "no statistic");
		all |= was_blocked && polls != old;
	} while ((polls < 5 || !all) && xen_real_ns(CLOCK_MONOTONIC) < end);
	xen_vm_free(x);
	if (!polls)
		ksft_exit_skip("SKIP no sleep ended while KVM polled\n");
	TEST_ASSERT(all, "%lu polls, none of which was blocked all the time", polls);
}

/* Wakes the vCPU up and keeps the CPU of its thread busy. */
static void *wake_and_hog(void *arg)
{
	const struct sched_param param = { .sched_priority = 1 };
	u64 end;

	TEST_ASSERT(!sched_setscheduler(0, SCHED_FIFO, &param), "no real-time scheduling");
	xen_send(arg, PORT, 0);
	end = xen_real_ns(CLOCK_MONOTONIC) + HOG_MS * MSEC;
	while (xen_real_ns(CLOCK_MONOTONIC) < end)
		;
	return NULL;
}

static void waits_after_sleep(enum xen_mode mode)
{
	struct xen_vm *x = runstate_vm(mode, XEN_S);
	struct runstate old, rs;
	bool slept = false;
	pthread_t hog;
	cpu_set_t all;
	int i;

	for (i = 0; i < 3; i++) {
		run(x);
		xen_prepare(x, 0, STEP_HLT);
		all = pin();
		xen_start(x, 0);
		TEST_ASSERT(xen_sleeps(x, 0, SLEEP_MS), "does not sleep");
		old = area(x);
		TEST_ASSERT_EQ(old.state, XEN_BLOCKED);
		TEST_ASSERT(!pthread_create(&hog, NULL, wake_and_hog, x), "no thread");
		unpin(all);
		pthread_join(hog, NULL);
		xen_expect(x, 0, xen_wait(x, 0, PROMPT_MS), XEN_RETURNED);
		xen_clear_events(x);
		run(x);
		rs = area(x);
		is_sane(x, rs);
		rs = growth(rs, old);
		TEST_ASSERT(rs.time[XEN_RUNNABLE] + MSEC >= HOG_MS * MSEC,
			    "runnable for %lu ns, blocked for %lu", rs.time[XEN_RUNNABLE],
			    rs.time[XEN_BLOCKED]);
		TEST_ASSERT(rs.time[XEN_BLOCKED] + rs.time[XEN_RUNNABLE] + MSEC >=
			    (SLEEP_MS + HOG_MS) * MSEC, "blocked %lu + runnable %lu ns",
			    rs.time[XEN_BLOCKED], rs.time[XEN_RUNNABLE]);
		/* See sleeps(). */
		slept |= rs.time[XEN_BLOCKED] + MSEC >= SLEEP_MS * MSEC;
	}
	TEST_ASSERT(slept, "sleep was never blocked all the time");
	xen_vm_free(x);
}

IN_64_BIT(waits_after_sleep)
IN_32_BIT(waits_after_sleep)

static void refuses(void)
{
	struct xen_vm *x = runstate_vm(XEN_64, 0);
	static const u64 bad[] = { 4, BIT_ULL(32), BIT_ULL(32) + 1, BIT_ULL(63), -1ULL };
	const u64 far = 2 * UPTIME;
	struct runstate old;
	int i;

	/* Without CONFIG nothing happens by itself: exact values. */
	TEST_ASSERT_EQ(TRY_DATA(x, XEN_BLOCKED, 1000, { 100, 200, 300, 400 }), 0);
	old = data(x);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		TEST_ASSERT_EQ(xen_vcpu_try_set(x, 0, RUNSTATE_CURRENT, runstate.state, bad[i]),
			       EINVAL);
		TEST_ASSERT_EQ(TRY_DATA(x, bad[i], 3, { 3 }), EINVAL);
		if (bad[i] != KEEP_STATE)
			TEST_ASSERT_EQ(TRY_ADJUST(x, bad[i], 3, { 3 }), EINVAL);
	}
	TEST_ASSERT_EQ(TRY_DATA(x, 0, 3, { 1, 1, 1, 1 }), EINVAL);
	TEST_ASSERT_EQ(TRY_DATA(x, 0, 0, { 1 }), EINVAL);
	TEST_ASSERT_EQ(TRY_DATA(x, 0, far, { far }), EINVAL);
	TEST_ASSERT_EQ(TRY_DATA(x, 0, -1ULL, { -1ULL }), EINVAL);

	TEST_ASSERT_EQ(TRY_ADJUST(x, KEEP_STATE, 3, { 1, 1, 1, 1 }), EINVAL);
	TEST_ASSERT_EQ(TRY_ADJUST(x, KEEP_STATE, 0, { 1 }), EINVAL);
	TEST_ASSERT_EQ(TRY_ADJUST(x, KEEP_STATE, far, { far }), EINVAL);
	TEST_ASSERT_EQ(TRY_ADJUST(x, XEN_OFFLINE, far, { 0, far }), EINVAL);
	TEST_ASSERT_EQ(xen_vcpu_try_get(x, 0, RUNSTATE_ADJUST), EINVAL);
	TEST_ASSERT(same(data(x), old), "changed by what was refused");
	xen_vm_free(x);
}

static void set_data(enum xen_mode mode)
{
	struct xen_vm *x = runstate_vm(mode, 0);
	struct runstate rs = { XEN_RUNNING, 0x6bc5, { 0, 0, 0x6b6b, 0x5a } };

	set_current(x, XEN_BLOCKED);
	TEST_ASSERT_EQ(try_put(x, KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_DATA, rs), 0);
	TEST_ASSERT(same(data(x), rs), "not what was set");
	TEST_ASSERT_EQ(area(x).state, XEN_BLOCKED);

	/* Registering shows it, as it is. */
	set_area(x, XEN_RUNSTATE);
	TEST_ASSERT(same(area(x), rs), "the area differs");

	xen_config(x, 0, XEN_HCALL_MSR);
	run(x);
	is_sane(x, area(x));
	rs = growth(area(x), rs);
	TEST_ASSERT(rs.time[0] + rs.time[1] >= UPTIME - 0x6bc5, "%lu + %lu ns", rs.time[0],
		    rs.time[1]);
	TEST_ASSERT_EQ(rs.time[2], 0);
	TEST_ASSERT_EQ(rs.time[3], 0);
	xen_vm_free(x);
}

IN_64_BIT(set_data)
IN_32_BIT(set_data)

static void adjust(enum xen_mode mode)
{
	struct xen_vm *x = runstate_vm(mode, 0);
	struct runstate rs;

	TEST_ASSERT_EQ(TRY_DATA(x, XEN_BLOCKED, 1000, { 100, 200, 300, 400 }), 0);
	TEST_ASSERT_EQ(TRY_ADJUST(x, KEEP_STATE, 0, { -50, 70, -30, 10 }), 0);
	rs = (struct runstate) { XEN_BLOCKED, 1000, { 50, 270, 270, 410 } };
	TEST_ASSERT(same(data(x), rs), "not adjusted");
	TEST_ASSERT(same(area(x), rs), "the area is not");

	TEST_ASSERT_EQ(TRY_ADJUST(x, KEEP_STATE, -600, { 50, -270, -170, -210 }), 0);
	rs = (struct runstate) { XEN_BLOCKED, 400, { 100, 0, 100, 200 } };
	TEST_ASSERT(same(data(x), rs), "not adjusted");
	TEST_ASSERT(same(area(x), rs), "the area is not");

	/* With a state it begins now, and until now was the old one. */
	TEST_ASSERT_EQ(TRY_ADJUST(x, XEN_OFFLINE, 600, { 0, 600 }), 0);
	TEST_ASSERT(same(data(x), area(x)), "the area differs");
	rs = area(x);
	is_sane(x, rs);
	TEST_ASSERT_EQ(rs.state, XEN_OFFLINE);
	TEST_ASSERT_EQ(rs.time[0], 100);
	TEST_ASSERT_EQ(rs.time[1], 600);
	TEST_ASSERT(rs.time[2] >= UPTIME - 1000 + 100, "blocked for %lu ns", rs.time[2]);
	TEST_ASSERT_EQ(rs.time[3], 200);
	xen_vm_free(x);
}

IN_64_BIT(adjust)
IN_32_BIT(adjust)

/* Nothing but the structure of @bytes bytes at @gpa was written; then fill it again. */
static void only_written(struct xen_vm *x, u64 gpa, u32 bytes)
{
	u8 *pages = xen_hva(x, XEN_RUNSTATE);
	u32 at = gpa - XEN_RUNSTATE, i;

	for (i = 0; i < 0x2000; i++)
		TEST_ASSERT(pages[i] == GARBAGE || (i >= at && i < at + bytes),
			    "area at %#x: byte %#x was written", at, i);
	memset(pages, GARBAGE, 0x2000);
}

static void is_at(struct xen_vm *x, u64 gpa, struct runstate want)
{
	struct runstate rs = area_at(x, gpa);

	TEST_ASSERT(same(rs, want), "area at 0x%lx: state %lu, entry %lx, %lx %lx %lx %lx", gpa,
		    rs.state, rs.entry, rs.time[0], rs.time[1], rs.time[2], rs.time[3]);
	only_written(x, gpa, area_size(x->long_mode));
}

static void every_place(bool update_flag)
{
	const struct runstate rs = {
		XEN_BLOCKED, 0x3132333435363738,
		{ 0x0908070605040302, 0x1112131415161718, 0x0102030405060708,
		  0x3132333435363738 - 0x0908070605040302 - 0x1112131415161718 -
		  0x0102030405060708 }
	};
	struct xen_vm *x = runstate_vm(XEN_64, 0);
	u64 gpa;
	int i;

	if (update_flag)
		xen_set(x, RUNSTATE_UPDATE_FLAG, runstate_update_flag, 1);
	xen_set_now(x, BIT_ULL(62));
	TEST_ASSERT_EQ(try_put(x, KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_DATA, rs), 0);

	for (gpa = XEN_RUNSTATE + 0x1000 - 0x34; gpa <= XEN_RUNSTATE + 0x1004; gpa++) {
		xen_set(x, LONG_MODE, long_mode, x->long_mode = false);
		memset(xen_hva(x, XEN_RUNSTATE), GARBAGE, 0x2000);
		set_area(x, gpa);
		is_at(x, gpa, rs);
		TEST_ASSERT_EQ(xen_vcpu_get(x, 0, RUNSTATE_ADDR, gpa), gpa);

		/* The mode changes the layout, from the next update on. */
		for (i = 0; i < 3; i++) {
			TEST_ASSERT_EQ(TRY_ADJUST(x, KEEP_STATE, 0), 0);
			is_at(x, gpa, rs);
			xen_set(x, LONG_MODE, long_mode, x->long_mode = !x->long_mode);
			only_written(x, 0, 0);
		}
		set_area(x, gpa);
		is_at(x, gpa, rs);
	}
	xen_vm_free(x);
}

static void every_place_at_once(void)
{
	every_place(false);
}

static void every_place_step_by_step(void)
{
	every_place(true);
}

/* The same when it is the vCPU that writes, with all kinds of locks around it. */
static void runs_across_pages(enum xen_mode mode)
{
	struct xen_vm *x = runstate_vm(mode, XEN_S);
	u64 size = area_size(x->long_mode), gpa;

	for (gpa = XEN_RUNSTATE + 0x1000 - size; gpa <= XEN_RUNSTATE + 0x1000; gpa++) {
		xen_set(x, RUNSTATE_UPDATE_FLAG, runstate_update_flag, gpa & 1);
		set_area(x, KVM_XEN_INVALID_GPA);
		memset(xen_hva(x, XEN_RUNSTATE), GARBAGE, 0x2000);
		set_area(x, gpa);
		run(x);
		is_sane(x, area_at(x, gpa));
		TEST_ASSERT_EQ(area_at(x, gpa).state, XEN_RUNNING);
		only_written(x, gpa, size);
	}
	xen_vm_free(x);
}

IN_64_BIT(runs_across_pages)
IN_32_BIT(runs_across_pages)

static void bad_places(enum xen_mode mode)
{
	struct xen_vm *x = runstate_vm(mode, XEN_S);
	u64 size = area_size(x->long_mode), i;

	for (i = 0; i < size; i++) {
		set_area(x, XEN_HOLE - size);
		TEST_ASSERT_EQ(xen_vcpu_try_set(x, 0, RUNSTATE_ADDR, gpa, XEN_HOLE - i), EFAULT);
		TEST_ASSERT_EQ(xen_vcpu_try_get(x, 0, RUNSTATE_ADDR), ENOENT);
	}
	TEST_ASSERT_EQ(xen_vcpu_try_set(x, 0, RUNSTATE_ADDR, gpa, XEN_HOLE + 0x123), EFAULT);
	TEST_ASSERT_EQ(xen_vcpu_try_get(x, 0, RUNSTATE_ADDR), ENOENT);
	run(x);
	xen_vm_free(x);
}

IN_64_BIT(bad_places)
IN_32_BIT(bad_places)

static void padding_is_zero(void)
{
	struct xen_vm *x = runstate_vm(XEN_64, XEN_S);
	u64 gpa;
	int i;

	for (gpa = XEN_RUNSTATE + 0x1000 - 0x30; gpa <= XEN_RUNSTATE + 0x1000; gpa++) {
		for (i = 0; i < 4; i++) {
			xen_set(x, RUNSTATE_UPDATE_FLAG, runstate_update_flag, i & 1);
			memset(xen_hva(x, XEN_RUNSTATE), GARBAGE, 0x2000);
			if (i & 2)
				run(x);
			else
				set_area(x, gpa);
			TEST_ASSERT_EQ(*(u32 *)xen_hva(x, gpa + 4), 0);
		}
	}
	xen_vm_free(x);
}

/* An area that fits, until the mode makes it bigger. */
static void outgrows_memory(void)
{
	struct xen_vm *x = runstate_vm(XEN_32, XEN_S);
	u8 *page = xen_hva(x, XEN_HOLE - 0x1000);
	u64 gpa = XEN_HOLE - 0x2c;
	int i;

	set_area(x, gpa);
	xen_set(x, LONG_MODE, long_mode, 1);
	memset(page, GARBAGE, 0x1000);
	for (i = 0; i < 4; i++) {
		run(x);
		set_current(x, i);
		TEST_ASSERT_EQ(TRY_ADJUST(x, KEEP_STATE, 0), 0);
	}
	run(x);
	for (i = 0; i < 0x1000; i++)
		TEST_ASSERT_EQ(page[i], GARBAGE);

	xen_set(x, LONG_MODE, long_mode, 0);
	run(x);
	is_sane(x, area_at(x, gpa));
	TEST_ASSERT_EQ(area_at(x, gpa).state, XEN_RUNNING);
	xen_vm_free(x);
}

static void unset(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	u8 *pages = xen_hva(x, XEN_RUNSTATE);
	struct runstate old, rs;
	int i;

	TEST_ASSERT_EQ(xen_vcpu_try_get(x, 0, RUNSTATE_ADDR), ENOENT);
	set_area(x, XEN_RUNSTATE);
	run(x);
	old = data(x);

	set_area(x, KVM_XEN_INVALID_GPA);
	TEST_ASSERT_EQ(xen_vcpu_try_get(x, 0, RUNSTATE_ADDR), ENOENT);
	memset(pages, GARBAGE, 0x2000);
	set_current(x, XEN_BLOCKED);
	xen_sleep_ms(SLEEP_MS);
	run(x);
	for (i = 0; i < 0x2000; i++)
		TEST_ASSERT_EQ(pages[i], GARBAGE);
	rs = data(x);
	is_sane(x, rs);
	rs = growth(rs, old);
	TEST_ASSERT(rs.time[2] >= SLEEP_MS * MSEC, "blocked for %lu ns", rs.time[2]);

	/* And what it missed is there when it comes back. */
	old = data(x);
	set_area(x, XEN_RUNSTATE);
	growth(area(x), old);
	xen_vm_free(x);
}

/* Somebody reads while KVM writes: @torn counts what cannot be. */
struct watch {
	u8 *area;
	bool long_mode, update_flag, stop;
	u64 busy, good, torn;
};

static void *watch(void *arg)
{
	struct watch *w = arg;
	u32 size = area_size(w->long_mode), top = w->long_mode ? 15 : 11;
	u8 a[0x30], b[0x30];
	struct runstate rs, last = {};
	int i;

	while (!READ_ONCE(w->stop)) {
		bool busy = READ_ONCE(w->area[top]) & 0x80;

		w->busy += busy;
		if (busy || !w->update_flag)
			continue;
		for (i = 0; i < size; i++)
			a[i] = READ_ONCE(w->area[i]);
		/* Any part that is new has come after the bit. */
		for (i = 0; i < size; i++)
			b[i] = READ_ONCE(w->area[i]);
		if (((a[top] | b[top] | READ_ONCE(w->area[top])) & 0x80) || memcmp(a, b, size))
			continue;
		rs = decode(a, w->long_mode);
		if (rs.entry != sum(rs) || rs.entry < last.entry || rs.state > XEN_OFFLINE)
			w->torn++;
		w->good++;
		last = rs;
	}
	return NULL;
}

static void watched(enum xen_mode mode, u64 gpa, bool update_flag)
{
	struct xen_vm *x = runstate_vm(mode, XEN_S);
	struct watch w = {
		.area = xen_hva(x, gpa),
		.long_mode = x->long_mode,
		.update_flag = update_flag,
	};
	u64 end, limit, writes = 0;
	pthread_t thread;

	TEST_ASSERT_EQ(xen_get(x, RUNSTATE_UPDATE_FLAG, runstate_update_flag), 0);
	xen_set(x, RUNSTATE_UPDATE_FLAG, runstate_update_flag, update_flag);
	run(x);
	set_area(x, gpa);
	TEST_ASSERT(!pthread_create(&thread, NULL, watch, &w), "no thread");

	end = xen_real_ns(CLOCK_MONOTONIC) + WATCH_MS * MSEC;
	limit = end + 10 * SEC;
	while (xen_real_ns(CLOCK_MONOTONIC) < end ||
	       (update_flag && (!READ_ONCE(w.busy) || !READ_ONCE(w.good)) &&
		xen_real_ns(CLOCK_MONOTONIC) < limit)) {
		set_current(x, ++writes & 3);
		if (writes % 16 == 0)
			xen_window(x, 0);
	}
	WRITE_ONCE(w.stop, true);
	pthread_join(thread, NULL);

	TEST_ASSERT_EQ(w.torn, 0);
	if (update_flag)
		TEST_ASSERT(w.busy && w.good, "%lu writes: bit seen %lu times, good %lu times",
			    writes, w.busy, w.good);
	else
		TEST_ASSERT_EQ(w.busy, 0);
	run(x);
	is_sane(x, area_at(x, gpa));
	xen_vm_free(x);
}

static void update_in_steps(enum xen_mode mode)
{
	u64 end = XEN_RUNSTATE + 0x1000;

	watched(mode, XEN_RUNSTATE, true);
	/* The bit in the first page, the bit alone or just not in the second one. */
	watched(mode, end - 0x20, true);
	watched(mode, end - (mode == XEN_64 ? 15 : 11), true);
	watched(mode, end - (mode == XEN_64 ? 16 : 12), true);
}

IN_64_BIT(update_in_steps)
IN_32_BIT(update_in_steps)

static void update_at_once(enum xen_mode mode)
{
	watched(mode, XEN_RUNSTATE, false);
	watched(mode, XEN_RUNSTATE + 0x1000 - 0x20, false);
}

IN_64_BIT(update_at_once)
IN_32_BIT(update_at_once)

static void update_flag_is_boolean(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);

	TEST_ASSERT_EQ(xen_get(x, RUNSTATE_UPDATE_FLAG, runstate_update_flag), 0);
	xen_set(x, RUNSTATE_UPDATE_FLAG, runstate_update_flag, 2);
	TEST_ASSERT_EQ(xen_get(x, RUNSTATE_UPDATE_FLAG, runstate_update_flag), 1);
	xen_set(x, RUNSTATE_UPDATE_FLAG, runstate_update_flag, 0);
	TEST_ASSERT_EQ(xen_get(x, RUNSTATE_UPDATE_FLAG, runstate_update_flag), 0);
	xen_vm_free(x);
}

static void clock_backwards(enum xen_mode mode)
{
	static const u64 set[] = { UPTIME / 2, SEC, 0, 5 };
	struct xen_vm *x = runstate_vm(mode, XEN_S);
	struct runstate old, rs;
	u64 start, elapsed;
	int i, state;

	for (i = 0; i < ARRAY_SIZE(set); i++) {
		for (state = XEN_RUNNING; state <= XEN_OFFLINE; state++) {
			xen_set_now(x, UPTIME + (4 * i + state) * SEC);
			run(x);
			start = xen_real_ns(CLOCK_MONOTONIC);
			set_current(x, state);
			old = data(x);
			xen_set_now(x, set[i]);
			run(x);
			rs = data(x);
			elapsed = xen_real_ns(CLOCK_MONOTONIC) - start;
			TEST_ASSERT_EQ(rs.entry, sum(rs));
			rs = growth(rs, old);
			TEST_ASSERT(rs.entry <= elapsed, "%lu of %lu ns", rs.entry, elapsed);
			rs = area(x);
			TEST_ASSERT_EQ(rs.entry, sum(rs));
			TEST_ASSERT_EQ(rs.state, XEN_RUNNING);
		}
	}
	xen_vm_free(x);
}

IN_64_BIT(clock_backwards)
IN_32_BIT(clock_backwards)

static void clock_forwards(enum xen_mode mode)
{
	struct xen_vm *x = runstate_vm(mode, XEN_S);
	u64 start, elapsed;
	struct runstate old, rs;
	int state, i;

	for (state = XEN_RUNNING; state <= XEN_OFFLINE; state++) {
		start = xen_real_ns(CLOCK_MONOTONIC);
		run(x);
		if (state != XEN_RUNNING)
			set_current(x, state);
		old = data(x);
		xen_set_now(x, xen_now(x) + 10 * SEC);
		run(x);
		rs = data(x);
		elapsed = xen_real_ns(CLOCK_MONOTONIC) - start;
		is_sane(x, rs);
		rs = growth(rs, old);
		for (i = 0; i < 4; i++)
			TEST_ASSERT(i == state ? rs.time[i] + elapsed >= 10 * SEC :
				    rs.time[i] <= elapsed, "state %d: time[%d] grew %lu ns",
				    state, i, rs.time[i]);
		TEST_ASSERT(rs.entry >= 10 * SEC, "only %lu ns", rs.entry);
	}
	xen_vm_free(x);
}

IN_64_BIT(clock_forwards)
IN_32_BIT(clock_forwards)

static void halt(struct xen_vm *x)
{
	xen_clear_events(x);
	xen_prepare(x, 0, STEP_HLT);
	xen_start(x, 0);
	TEST_ASSERT(xen_sleeps(x, 0, 50), "does not sleep");
}

/* A vCPU has to wait for its CPU when it wakes: that counts, but not for the next sleeps. */
static void stolen_once(void)
{
	const struct sched_param fifo = { .sched_priority = 1 }, other = {};
	struct xen_vm *x = runstate_vm(XEN_64, XEN_S);
	struct runstate old, rs;
	cpu_set_t all;
	u64 end;
	int i;

	run(x);
	old = data(x);
	all = pin();
	halt(x);
	TEST_ASSERT(!sched_setscheduler(0, SCHED_FIFO, &fifo), "no real-time scheduling");
	xen_send(x, PORT, 0);
	end = xen_real_ns(CLOCK_MONOTONIC) + 100 * MSEC;
	while (xen_real_ns(CLOCK_MONOTONIC) < end)
		;
	TEST_ASSERT(!sched_setscheduler(0, SCHED_OTHER, &other), "no usual scheduling");
	unpin(all);
	xen_expect(x, 0, xen_wait(x, 0, PROMPT_MS), XEN_RETURNED);
	rs = growth(data(x), old);
	TEST_ASSERT(rs.time[1] >= 50 * MSEC, "runnable only for %lu ns", rs.time[1]);

	old = data(x);
	for (i = 0; i < 10; i++) {
		halt(x);
		xen_send(x, PORT, 0);
		xen_expect(x, 0, xen_wait(x, 0, PROMPT_MS), XEN_RETURNED);
	}
	rs = growth(data(x), old);
	TEST_ASSERT(rs.time[2] >= 250 * MSEC, "blocked only for %lu ns", rs.time[2]);
	xen_vm_free(x);
}

/* A thread that has waited for its CPU for long uses the vCPU of another one. */
struct waiter {
	struct xen_vm *x;
	u64 waited;
};

static void *wait_for_cpu(void *arg)
{
	struct waiter *w = arg;
	u64 end = xen_real_ns(CLOCK_MONOTONIC) + 20 * SEC, now, start, ran;
	struct competitor c;
	cpu_set_t all = pin();

	start_competitor(&c);
	start = xen_real_ns(CLOCK_MONOTONIC);
	ran = xen_real_ns(CLOCK_THREAD_CPUTIME_ID);
	do {
		now = xen_real_ns(CLOCK_MONOTONIC);
		w->waited = now - start - (xen_real_ns(CLOCK_THREAD_CPUTIME_ID) - ran);
	} while ((s64)w->waited < (s64)(400 * MSEC) && now < end);
	stop_competitor(&c);
	unpin(all);
	set_current(w->x, XEN_RUNNING);
	return NULL;
}

static void set_by_other_thread(void)
{
	struct xen_vm *x = runstate_vm(XEN_64, XEN_S);
	struct waiter w = { .x = x };
	struct runstate old, rs;
	pthread_t thread;

	run(x);
	old = data(x);
	TEST_ASSERT(!pthread_create(&thread, NULL, wait_for_cpu, &w), "no thread");
	pthread_join(thread, NULL);
	TEST_ASSERT(w.waited >= 400 * MSEC, "waited only for %lu ns", w.waited);
	rs = growth(data(x), old);
	TEST_ASSERT(rs.time[1] < w.waited / 2, "runnable for %lu ns", rs.time[1]);

	run(x);
	is_sane(x, area(x));
	rs = growth(area(x), old);
	TEST_ASSERT(rs.time[0] >= w.waited / 2, "running for %lu ns", rs.time[0]);
	TEST_ASSERT(rs.time[1] < w.waited / 2, "runnable for %lu ns", rs.time[1]);
	xen_vm_free(x);
}

static void no_config(void)
{
	struct xen_vm *x = runstate_vm(XEN_64, 0);
	struct runstate rs;

	memset(xen_hva(x, XEN_RUNSTATE), GARBAGE, 0x2000);
	xen_window(x, 0);
	xen_sleep_ms(SLEEP_MS);
	xen_window(x, 0);
	TEST_ASSERT(same(data(x), (struct runstate) {}), "something was accounted");
	only_written(x, 0, 0);

	set_current(x, XEN_BLOCKED);
	rs = data(x);
	is_sane(x, area(x));
	xen_window(x, 0);
	TEST_ASSERT(same(data(x), rs), "something was accounted");
	TEST_ASSERT(same(area(x), rs), "the area differs");
	xen_vm_free(x);
}

static void marks_pages_dirty(void)
{
	const unsigned long first = BIT((XEN_RUNSTATE - XEN_BASE) >> 12);
	struct xen_vm *x = runstate_vm(XEN_64, XEN_S);
	const u64 end = XEN_RUNSTATE + 0x1000;
	unsigned long dirty;
	int i;

	run(x);
	vm_mem_region_set_flags(x->vm, XEN_SLOT, KVM_MEM_LOG_DIRTY_PAGES);
	for (i = 0; i < 8; i++) {
		xen_set(x, RUNSTATE_UPDATE_FLAG, runstate_update_flag, i & 1);
		set_area(x, i & 2 ? end - 0x20 : XEN_RUNSTATE);
		kvm_vm_get_dirty_log(x->vm, XEN_SLOT, &dirty);
		if (i & 4)
			set_current(x, XEN_BLOCKED);
		else
			run(x);
		kvm_vm_get_dirty_log(x->vm, XEN_SLOT, &dirty);
		TEST_ASSERT_EQ(dirty & (3 * first), i & 2 ? 3 * first : first);
	}
	xen_vm_free(x);
}

static const struct xen_case cases[] = {
	{ "RS1 M11: never ran", in_64_bit_never_ran },
	{ "RS1 M11: never ran, 32-bit", in_32_bit_never_ran },
	{ "RS1 DT17 DT39: runs", in_64_bit_runs },
	{ "RS1 DT17: runs, 32-bit", in_32_bit_runs },
	{ "RS2 DT39 RG20: preempted", in_64_bit_preempted },
	{ "RS2 RG20: preempted, 32-bit", in_32_bit_preempted },
	{ "DT29 RG19 RG21: preempted, memory of the area gone and back", preempted_without_area },
	{ "RS2 DT29: preempted, half of the area is gone", preempted_without_half },
	{ "RS13: half of the area cannot be written", half_is_read_only },
	{ "RS3 RS4: states set by the VMM", in_64_bit_set_by_vmm },
	{ "RS3 RS4: states set by the VMM, 32-bit", in_32_bit_set_by_vmm },
	{ "RS3 DT14 M10: blocked in HLT and in poll", in_64_bit_sleeps_in_kernel },
	{ "RS3 DT14 M10: blocked in HLT and in poll, 32-bit", in_32_bit_sleeps_in_kernel },
	{ "RS1 RS3: blocked while KVM polls, then running", sleeps_polling },
	{ "RS2 RS3: blocked, then runnable until there is a CPU", in_64_bit_waits_after_sleep },
	{ "RS2 RS3: blocked, then runnable until there is a CPU, 32-bit",
	  in_32_bit_waits_after_sleep },
	{ "RS5 RS7 RS9 RS10: refuses what cannot be", refuses },
	{ "RS6: RUNSTATE_DATA", in_64_bit_set_data },
	{ "RS6: RUNSTATE_DATA, 32-bit", in_32_bit_set_data },
	{ "RS8 DT33: RUNSTATE_ADJUST", in_64_bit_adjust },
	{ "RS8 DT33: RUNSTATE_ADJUST, 32-bit", in_32_bit_adjust },
	{ "RS12: every place", every_place_at_once },
	{ "RS12: every place, update flag", every_place_step_by_step },
	{ "RS12 RG22 RG23: runs across pages", in_64_bit_runs_across_pages },
	{ "RS12 RG22 RG23: runs across pages, 32-bit", in_32_bit_runs_across_pages },
	{ "RS20: padding is zero", padding_is_zero },
	{ "RS13: bad places", in_64_bit_bad_places },
	{ "RS13: bad places, 32-bit", in_32_bit_bad_places },
	{ "RS14: outgrows memory", outgrows_memory },
	{ "RS15 RG23: update in steps", in_64_bit_update_in_steps },
	{ "RS15 RG23: update in steps, 32-bit", in_32_bit_update_in_steps },
	{ "RS16: update at once", in_64_bit_update_at_once },
	{ "RS16: update at once, 32-bit", in_32_bit_update_at_once },
	{ "RS17 FX6 RG24: clock backwards", in_64_bit_clock_backwards },
	{ "RS17 FX6 RG24: clock backwards, 32-bit", in_32_bit_clock_backwards },
	{ "RS18: clock forwards", in_64_bit_clock_forwards },
	{ "RS18: clock forwards, 32-bit", in_32_bit_clock_forwards },
	{ "RS19 FX6 DT32: set by another thread", set_by_other_thread },
	{ "woken without a CPU, once", stolen_once },
	{ "RS21: without CONFIG", no_config },
	{ "RS22: dirty log", marks_pages_dirty },
	{ "RS11 RS23: no area", unset },
	{ "RS24: update flag is a boolean", update_flag_is_boolean },
};

int main(int argc, char *argv[])
{
	return xen_run_cases(argc, argv, cases, ARRAY_SIZE(cases));
}
