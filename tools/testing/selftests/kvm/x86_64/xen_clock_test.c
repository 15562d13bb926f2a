// SPDX-License-Identifier: GPL-2.0-only
/*
 * Xen guests: the guest's clock (struct vcpu_time_info in vcpu_info and in the
 * area of VCPU_TIME_INFO), the wallclock in shared_info, the TSC leaves of CPUID.
 *
 * What KVM publishes is read in guest memory, its meaning is checked by the
 * guest, which applies it to its own TSC.  The CPUID cases set tables as VMMs do,
 * with and without KVM_CPUID_FLAG_SIGNIFCANT_INDEX.
 *
 * Linux 6.12 fails PV8, PV10, MG4, MG6, CP1 and M14.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "xen.h"

#define MSEC			NSEC_PER_MSEC
#define SEC			((u64)NSEC_PER_SEC)
#define UPTIME			(1000 * SEC)

/* By how much KVM_GET_CLOCK and the guest may differ. */
#define CLOCK_ERROR_NS		10000

#define KVM_CLOCK_MSR		0x4b564d01
#define RACE_MS			2000

#define CPUID_BASE		0x40000000
#define GARBAGE			0xa5

static struct xen_time_info *primary(struct xen_vm *x, int n)
{
	return xen_hva(x, XEN_SHINFO + 64 * n + 32);
}

static void set_time_area(struct xen_vm *x, u64 gpa)
{
	xen_vcpu_set(x, 0, VCPU_TIME_INFO, gpa, gpa);
}

/* A copy that may have any alignment. */
static struct xen_time_info time_at(struct xen_vm *x, u64 gpa)
{
	struct xen_time_info time;

	memcpy(&time, xen_hva(x, gpa), sizeof(time));
	return time;
}

static void is_sane(const struct xen_time_info *time)
{
	TEST_ASSERT(time->version && !(time->version & 1), "version %u", time->version);
	TEST_ASSERT_EQ(time->pad0, 0);
	TEST_ASSERT_EQ(time->pad1[0], 0);
	TEST_ASSERT_EQ(time->pad1[1], 0);
	TEST_ASSERT(time->mul >= BIT(31), "multiplier %#x is not normalized", time->mul);
	TEST_ASSERT(time->shift > -32 && time->shift < 32, "shift %d", time->shift);
	TEST_ASSERT_EQ(time->flags & ~XEN_TIME_TSC_STABLE, 0);
}

static bool same_clock(struct xen_time_info a, struct xen_time_info b)
{
	a.version = b.version;
	return !memcmp(&a, &b, sizeof(a));
}

static bool needs_stable_tsc(struct xen_vm *x)
{
	xen_window(x, 0);
	if (!(primary(x, 0)->flags & XEN_TIME_TSC_STABLE))
		ksft_exit_skip("SKIP the TSC of this machine is not stable\n");
	return true;
}

static void publishes(enum xen_mode mode)
{
	struct xen_vm *x = xen_vm_new(2, mode, XEN_S & ~XEN_VI);
	int i;

	/* The guest's memory is what it happens to be. */
	memset(primary(x, 0), GARBAGE, 32);
	memset(primary(x, 1), 0x5c, 32);
	for (i = 0; i < 2; i++) {
		xen_vcpu_set(x, i, VCPU_INFO, gpa, XEN_SHINFO + 64 * i);
		xen_window(x, i);
		is_sane(primary(x, i));
	}
	TEST_ASSERT_EQ(primary(x, 0)->mul, primary(x, 1)->mul);
	TEST_ASSERT_EQ(primary(x, 0)->shift, primary(x, 1)->shift);
	xen_vm_free(x);
}

IN_64_BIT(publishes)
IN_32_BIT(publishes)

static void publishes_second_copy(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	struct xen_time_info time;
	u32 version;

	xen_window(x, 0);
	version = primary(x, 0)->version;

	((struct xen_time_info *)xen_hva(x, XEN_TIME))->version = 1000;
	set_time_area(x, XEN_TIME);
	xen_window(x, 0);
	time = time_at(x, XEN_TIME);
	is_sane(&time);
	/* KVM may have had another reason to publish the clock again. */
	TEST_ASSERT(time.version >= 1002 && time.version <= 1010, "version %u", time.version);
	TEST_ASSERT(same_clock(*primary(x, 0), time), "copies differ");
	TEST_ASSERT(primary(x, 0)->version >= version && primary(x, 0)->version < 1000,
		    "version of the first copy: %u", primary(x, 0)->version);
	xen_vm_free(x);
}

static void time_area_places(void)
{
	static const u64 good[] = { XEN_TIME + 0x1000 - 32, XEN_TIME + 1, XEN_TIME + 0x123,
				    XEN_TIME + 0xfdf, XEN_HOLE - 32 };
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	struct xen_time_info time;
	u64 i;

	set_time_area(x, XEN_TIME);
	for (i = 1; i < 32; i++) {
		TEST_ASSERT_EQ(xen_vcpu_try_set(x, 0, VCPU_TIME_INFO, gpa, XEN_HOLE - i), EINVAL);
		TEST_ASSERT_EQ(xen_vcpu_try_set(x, 0, VCPU_TIME_INFO, gpa, XEN_TIME - i), EINVAL);
	}
	TEST_ASSERT_EQ(xen_vcpu_try_set(x, 0, VCPU_TIME_INFO, gpa, XEN_HOLE), EFAULT);

	for (i = 0; i < ARRAY_SIZE(good); i++) {
		u8 *page = xen_hva(x, good[i] & ~0xfffUL);
		u32 at = good[i] & 0xfff, j;

		memset(page, GARBAGE, 0x1000);
		set_time_area(x, good[i]);
		TEST_ASSERT_EQ(xen_vcpu_get(x, 0, VCPU_TIME_INFO, gpa), good[i]);
		xen_window(x, 0);
		time = time_at(x, good[i]);
		is_sane(&time);
		TEST_ASSERT(same_clock(*primary(x, 0), time), "copies differ");
		for (j = 0; j < 0x1000; j++)
			TEST_ASSERT(page[j] == GARBAGE || (j >= at && j < at + 32),
				    "byte %#x of the page was written", j);
	}
	xen_vm_free(x);
}

static u64 guest_now(u64 time, u64 unused0, u64 unused1)
{
	return xen_guest_now((void *)time);
}

static void is_right(struct xen_vm *x, int n, u64 time)
{
	u64 before, now, after;
	int i;

	for (i = 0; i < 20; i++) {
		before = xen_now(x);
		now = xen_call(x, n, guest_now, time, 0, 0);
		after = xen_now(x);
		TEST_ASSERT(now + CLOCK_ERROR_NS >= before && now <= after + CLOCK_ERROR_NS,
			    "vCPU %d: now %lu, not from %lu to %lu", n, now, before, after);
	}
}

static void tells_the_time(void)
{
	static const u64 set[] = { 0, UPTIME, 5, BIT_ULL(62), 3 * UPTIME };
	struct xen_vm *x = xen_vm_new(2, XEN_64, XEN_S);
	u64 before, now;
	int i, n;

	set_time_area(x, XEN_TIME + 1);
	for (i = 0; i < ARRAY_SIZE(set); i++) {
		before = xen_real_ns(CLOCK_MONOTONIC);
		if (i)
			xen_set_now(x, set[i]);
		for (n = 0; n < 2; n++)
			is_right(x, n, XEN_SHINFO + 64 * n + 32);
		is_right(x, 0, XEN_TIME + 1);
		now = xen_now(x);
		if (i)
			TEST_ASSERT(now >= set[i] &&
				    now - set[i] <= xen_real_ns(CLOCK_MONOTONIC) - before + MSEC,
				    "%lu after it was %lu", now, set[i]);
	}
	xen_vm_free(x);
}

static u64 guest_moves_tsc(u64 time, u64 ticks, u64 unused)
{
	wrmsr(MSR_IA32_TSC, rdtsc() + ticks);
	return xen_guest_now((void *)time);
}

/* Its clock does not move with it. */
static void guest_sets_tsc(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	u64 before, got, now;

	xen_window(x, 0);
	before = xen_now(x);
	got = xen_call(x, 0, guest_moves_tsc, XEN_SHINFO + 32, 1000 * SEC, 0);
	now = xen_now(x);
	TEST_ASSERT(got + CLOCK_ERROR_NS >= before && got <= now + CLOCK_ERROR_NS,
		    "%lu is not in %lu .. %lu", got, before, now);
	xen_vm_free(x);
}

/* The memslot of a page at XEN_HOLE, which goes away while the page keeps its contents. */
static void set_hole(struct xen_vm *x, void *page, bool there)
{
	vm_set_user_memory_region(x->vm, XEN_SLOT + 1, 0, XEN_HOLE, there ? 0x1000 : 0, page);
}

static void *fill_hole(struct xen_vm *x)
{
	void *page = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	TEST_ASSERT(page != MAP_FAILED, "mmap");
	set_hole(x, page, true);
	virt_pg_map(x->vm, XEN_HOLE, XEN_HOLE);
	return page;
}

static u64 system_time_at(const void *copy)
{
	struct xen_time_info time;

	memcpy(&time, copy, sizeof(time));
	return time.system_time;
}

/* The copy at @offset in XEN_HOLE is out of reach when the clock is set. */
static void set_without_memory(struct xen_vm *x, void *page, u32 offset)
{
	u64 time = XEN_HOLE + offset, end;
	int i;

	is_right(x, 0, time);
	for (i = 1; i < 4; i++) {
		set_hole(x, page, false);
		xen_set_now(x, i * UPTIME);
		xen_window(x, 0);
		set_hole(x, page, true);
		is_right(x, 0, time);
	}

	/* Also if the vCPU runs all the time. */
	x->state[0].irqs = true;
	xen_prepare(x, 0, STEP_SPIN);
	xen_start(x, 0);
	set_hole(x, page, false);
	xen_set_now(x, i * UPTIME);
	xen_sleep_ms(20);
	TEST_ASSERT(system_time_at(page + offset) < i * UPTIME, "written without a memslot");
	set_hole(x, page, true);
	end = xen_real_ns(CLOCK_MONOTONIC) + xen_ms(5000) * MSEC;
	while (system_time_at(page + offset) < i * UPTIME)
		TEST_ASSERT(xen_real_ns(CLOCK_MONOTONIC) < end, "not published");
	xen_expect(x, 0, xen_interrupt(x, 0), XEN_SIGNALLED);
	is_right(x, 0, time);
}

static void set_without_vcpu_info(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	void *page = fill_hole(x);

	xen_vcpu_set(x, 0, VCPU_INFO, gpa, XEN_HOLE);
	set_without_memory(x, page, offsetof(struct xen_vcpu_info64, time));
	xen_vm_free(x);
}

static void set_without_time_area(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	void *page = fill_hole(x);

	set_time_area(x, XEN_HOLE + 0x123);
	set_without_memory(x, page, 0x123);
	is_right(x, 0, XEN_SHINFO + offsetof(struct xen_vcpu_info64, time));
	xen_vm_free(x);
}

static void config_unstable(struct xen_vm *x, bool unstable)
{
	xen_config(x, KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL | KVM_XEN_HVM_CONFIG_EVTCHN_SEND |
		      (unstable ? KVM_XEN_HVM_CONFIG_PVCLOCK_TSC_UNSTABLE : 0), XEN_HCALL_MSR);
	xen_window(x, 0);
}

static void set_kvm_clock(struct xen_vm *x, u64 gpa)
{
	TEST_ASSERT_EQ(xen_wrmsr(x, 0, KVM_CLOCK_MSR, gpa | 1), 0);
	xen_window(x, 0);
}

static void hides_stable_tsc(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	struct xen_time_info *kvm = xen_hva(x, XEN_SPARE);
	struct xen_time_info *second = xen_hva(x, XEN_TIME);
	u32 versions[2];
	int i;

	set_time_area(x, XEN_TIME);
	needs_stable_tsc(x);
	set_kvm_clock(x, XEN_SPARE);

	for (i = 0; i < 6; i++) {
		versions[0] = primary(x, 0)->version;
		versions[1] = second->version;
		config_unstable(x, i % 2 == 0);
		TEST_ASSERT_EQ(primary(x, 0)->flags, i % 2 ? XEN_TIME_TSC_STABLE : 0);
		TEST_ASSERT_EQ(second->flags, i % 2 ? XEN_TIME_TSC_STABLE : 0);
		TEST_ASSERT_EQ(kvm->flags & XEN_TIME_TSC_STABLE, XEN_TIME_TSC_STABLE);
		TEST_ASSERT(primary(x, 0)->version != versions[0], "not published");
		TEST_ASSERT(second->version != versions[1], "second copy not published");
		is_sane(primary(x, 0));
	}

	/* Also if it is what comes first, or for a clock that is set later. */
	config_unstable(x, true);
	xen_set_now(x, UPTIME);
	set_time_area(x, XEN_TIME + 0x100);
	xen_window(x, 0);
	TEST_ASSERT_EQ(primary(x, 0)->flags, 0);
	TEST_ASSERT_EQ(time_at(x, XEN_TIME + 0x100).flags, 0);
	xen_vm_free(x);
}

static void was_never_stopped(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	struct xen_time_info *kvm = xen_hva(x, XEN_SPARE);
	struct xen_time_info *second = xen_hva(x, XEN_TIME);

	/* Not even if the guest's memory says so. */
	primary(x, 0)->flags = 0xff;
	second->flags = 0xff;
	set_time_area(x, XEN_TIME);
	set_kvm_clock(x, XEN_SPARE);
	is_sane(primary(x, 0));
	is_sane(second);

	vcpu_ioctl(x->vcpu[0], KVM_KVMCLOCK_CTRL, NULL);
	xen_window(x, 0);
	TEST_ASSERT_EQ(kvm->flags & XEN_TIME_GUEST_STOPPED, XEN_TIME_GUEST_STOPPED);
	is_sane(primary(x, 0));
	is_sane(second);
	xen_vm_free(x);
}

/*
 * A vCPU reads another one's clock while that changes: time goes on as the host
 * sets the clock forward, and never back.
 */
struct race {
	u32 stop;
	u32 reads;
	u64 last;
};

static u64 guest_read_clock(u64 time, u64 unused0, u64 unused1)
{
	struct race *race = (void *)XEN_SPARE;
	u64 now;

	while (!READ_ONCE(race->stop)) {
		now = xen_guest_now((void *)time);
		if (now + 1000 < race->last)
			return race->last - now;
		race->last = now;
		race->reads++;
	}
	return 0;
}

static void read_races_with_set_clock(void)
{
	struct xen_vm *x = xen_vm_new(2, XEN_64, XEN_S);
	struct race *race = xen_hva(x, XEN_SPARE);
	u64 end = xen_real_ns(CLOCK_MONOTONIC) + RACE_MS * MSEC;
	u32 version, sets = 0;
	enum xen_stop stop;

	needs_stable_tsc(x);
	version = primary(x, 0)->version;
	xen_window(x, 1);
	x->state[0].irqs = true;
	xen_prepare(x, 0, STEP_SPIN);
	xen_start(x, 0);
	x->state[1].irqs = true;
	xen_prepare_call(x, 1, guest_read_clock, XEN_SHINFO + 32, 0, 0);
	xen_start(x, 1);

	while (xen_real_ns(CLOCK_MONOTONIC) < end || sets <= 100) {
		/* However long this thread had to wait, it is forward. */
		sets++;
		xen_set_now(x, UPTIME + sets * 10 * SEC);
	}

	WRITE_ONCE(race->stop, 1);
	stop = xen_wait(x, 1, xen_ms(5000));
	xen_expect(x, 1, stop, XEN_RETURNED);
	TEST_ASSERT(!xen_result(x, 1), "back by %lu ns", xen_result(x, 1));
	xen_expect(x, 0, xen_interrupt(x, 0), XEN_SIGNALLED);
	TEST_ASSERT(race->reads > 100 && primary(x, 0)->version - version > 10,
		    "%u reads, %u changes", race->reads, sets);
	ksft_print_msg("%u reads, %u changes\n", race->reads, sets);
	xen_vm_free(x);
}

/* Attributes of shared_info are no reason for the clock to change. */
static void shared_info_does_not_matter(void)
{
	struct xen_vm *x = xen_vm_new(2, XEN_64, XEN_S);
	struct race *race = xen_hva(x, XEN_SPARE);
	struct xen_time_info time[2];
	enum xen_stop stop;
	int i;

	/* A vCPU that runs for the first time is a reason. */
	for (i = 0; i < 4; i++) {
		xen_window(x, i % 2);
		time[i % 2] = *primary(x, i % 2);
	}
	x->state[1].irqs = true;
	xen_prepare_call(x, 1, guest_read_clock, XEN_SHINFO + 64 + 32, 0, 0);
	xen_start(x, 1);
	for (i = 0; i < 1000; i++) {
		xen_set(x, SHARED_INFO, shared_info.gfn, XEN_SHINFO >> 12);
		if (i % 10 == 0)
			xen_set(x, LONG_MODE, long_mode, 1);
	}
	WRITE_ONCE(race->stop, 1);
	stop = xen_wait(x, 1, xen_ms(5000));
	xen_expect(x, 1, stop, XEN_RETURNED);
	TEST_ASSERT(!xen_result(x, 1), "back by %lu ns", xen_result(x, 1));

	for (i = 0; i < 2; i++) {
		xen_window(x, i);
		TEST_ASSERT_EQ(primary(x, i)->tsc_timestamp, time[i].tsc_timestamp);
		TEST_ASSERT_EQ(primary(x, i)->system_time, time[i].system_time);
	}
	xen_vm_free(x);
}

static void time_area_disabled(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	u8 *area = xen_hva(x, XEN_TIME);
	int i;

	set_time_area(x, XEN_TIME);
	xen_window(x, 0);
	set_time_area(x, KVM_XEN_INVALID_GPA);
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, VCPU_TIME_INFO, gpa), KVM_XEN_INVALID_GPA);
	memset(area, GARBAGE, 32);
	xen_set_now(x, UPTIME);
	xen_window(x, 0);
	for (i = 0; i < 32; i++)
		TEST_ASSERT_EQ(area[i], GARBAGE);
	TEST_ASSERT(primary(x, 0)->system_time >= UPTIME, "first copy not published");
	xen_vm_free(x);
}

static unsigned long bit(u64 gpa)
{
	return BIT((gpa - XEN_BASE) >> 12);
}

static void marks_pages_dirty(void)
{
	static const u64 area[] = { XEN_TIME, XEN_SPARE };
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	unsigned long dirty;
	int i;

	/* Away from shared_info, which is exempt. */
	xen_put_vcpu_info(x, 0, XEN_VINFO);
	xen_vcpu_set(x, 0, VCPU_INFO, gpa, XEN_VINFO);
	vm_mem_region_set_flags(x->vm, XEN_SLOT, KVM_MEM_LOG_DIRTY_PAGES);
	/* The pages that are written now, not those from before. */
	for (i = 0; i < 4; i++) {
		kvm_vm_get_dirty_log(x->vm, XEN_SLOT, &dirty);
		set_time_area(x, area[i % 2]);
		xen_set_now(x, UPTIME);
		xen_window(x, 0);
		kvm_vm_get_dirty_log(x->vm, XEN_SLOT, &dirty);
		TEST_ASSERT(dirty & bit(XEN_VINFO), "dirty log %#lx", dirty);
		TEST_ASSERT(dirty & bit(area[i % 2]), "dirty log %#lx", dirty);
		TEST_ASSERT(!(dirty & bit(area[!(i % 2)])), "dirty log %#lx", dirty);
		TEST_ASSERT(!(dirty & bit(XEN_SHINFO)), "shared_info is dirty");
	}
	xen_vm_free(x);
}

/* The dirty ring belongs to vCPUs, and of those there are none. */
static void dirty_ring_without_vcpu(void)
{
	struct kvm_xen_hvm_attr attr = {
		.type = KVM_XEN_ATTR_TYPE_SHARED_INFO,
		.u.shared_info.gfn = XEN_SHINFO >> 12,
	};
	struct kvm_vm *vm;

	TEST_REQUIRE(kvm_has_cap(KVM_CAP_DIRTY_LOG_RING) ||
		     kvm_has_cap(KVM_CAP_DIRTY_LOG_RING_ACQ_REL));
	vm = vm_create_barebones();
	vm_enable_dirty_ring(vm, 4096 * sizeof(struct kvm_dirty_gfn));
	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, XEN_BASE, XEN_SLOT, XEN_NR_PAGES,
				    KVM_MEM_LOG_DIRTY_PAGES);
	vm_ioctl(vm, KVM_XEN_HVM_SET_ATTR, &attr);
	attr.type = KVM_XEN_ATTR_TYPE_LONG_MODE;
	attr.u.long_mode = 1;
	vm_ioctl(vm, KVM_XEN_HVM_SET_ATTR, &attr);
	kvm_vm_free(vm);
}

/* Wallclock. */

static u32 sec_hi(struct xen_vm *x)
{
	return *(u32 *)(x->shinfo + (x->long_mode ? 0xc0c : 0x924));
}

static void wallclock_is_right(struct xen_vm *x)
{
	struct xen_wallclock *wc = xen_wallclock(x);
	u64 before, utc, after;

	TEST_ASSERT(wc->version && !(wc->version & 1), "version %u", wc->version);
	TEST_ASSERT(wc->nsec < NSEC_PER_SEC, "%u ns", wc->nsec);
	before = xen_real_ns(CLOCK_REALTIME);
	utc = (wc->sec | (u64)sec_hi(x) << 32) * SEC + wc->nsec + xen_now(x);
	after = xen_real_ns(CLOCK_REALTIME);
	TEST_ASSERT((s64)(utc - before) > -(s64)SEC && (s64)(utc - after) < (s64)SEC,
		    "wrong by %ld to %ld ns", (s64)(utc - after), (s64)(utc - before));
}

static void wallclock(enum xen_mode mode)
{
	struct xen_vm *x = xen_vm_new(1, mode, XEN_CFG);
	u32 wc = mode == XEN_64 ? 0xc00 : 0x900, hi = mode == XEN_64 ? 0xc0c : 0x924;
	u8 *page = x->shinfo;
	u32 i;

	memset(page, GARBAGE, 0x1000);
	xen_setup(x, XEN_SI);
	wallclock_is_right(x);
	TEST_ASSERT_EQ(*(u32 *)(page + hi), 0);
	for (i = 0; i < 0x1000; i++)
		TEST_ASSERT(page[i] == GARBAGE || (i >= wc && i < wc + 12) ||
			    (i >= hi && i < hi + 4), "byte %#x was written", i);
	xen_vm_free(x);
}

IN_64_BIT(wallclock)
IN_32_BIT(wallclock)

static void wallclock_version(enum xen_mode mode)
{
	struct xen_vm *x = xen_vm_new(1, mode, XEN_S);
	struct xen_wallclock *wc = xen_wallclock(x);

	wc->version = 7;
	xen_set(x, SHARED_INFO, shared_info.gfn, XEN_SHINFO >> 12);
	TEST_ASSERT_EQ(wc->version, 10);
	xen_set(x, SHARED_INFO, shared_info.gfn, XEN_SHINFO >> 12);
	TEST_ASSERT_EQ(wc->version, 12);
	/* Also if that is no change. */
	xen_set(x, LONG_MODE, long_mode, mode == XEN_64);
	TEST_ASSERT_EQ(wc->version, 14);
	wallclock_is_right(x);

	/* Nothing is written on the way out. */
	xen_set(x, SHARED_INFO, shared_info.gfn, KVM_XEN_INVALID_GFN);
	xen_set(x, LONG_MODE, long_mode, mode == XEN_64);
	TEST_ASSERT_EQ(wc->version, 14);
	xen_vm_free(x);
}

IN_64_BIT(wallclock_version)
IN_32_BIT(wallclock_version)

static void wallclock_moves(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	struct xen_wallclock old = *xen_wallclock(x);

	x->long_mode = false;
	TEST_ASSERT_EQ(xen_wallclock(x)->version, 0);
	xen_set(x, LONG_MODE, long_mode, 0);
	wallclock_is_right(x);
	TEST_ASSERT(!memcmp(x->shinfo + 0xc00, &old, sizeof(old)), "old place was written");

	x->long_mode = true;
	xen_wallclock(x)->sec = 0;
	xen_set(x, LONG_MODE, long_mode, 1);
	wallclock_is_right(x);
	xen_vm_free(x);
}

static void wallclock_by_hva(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG | XEN_VI);

	x->long_mode = true;
	xen_set(x, LONG_MODE, long_mode, 1);
	xen_set(x, SHARED_INFO_HVA, shared_info.hva, (u64)xen_hva(x, XEN_SHINFO));
	wallclock_is_right(x);
	xen_vm_free(x);
}

static void wallclock_follows_clock(enum xen_mode mode)
{
	/* The last one is ahead of UTC, and the wallclock negative. */
	static const u64 set[] = { UPTIME, 5 * SEC, 123 * UPTIME, BIT_ULL(62) };
	struct xen_vm *x = xen_vm_new(1, mode, XEN_S);
	u32 version;
	int i;

	for (i = 0; i < ARRAY_SIZE(set); i++) {
		version = xen_wallclock(x)->version;
		xen_set_now(x, set[i]);
		wallclock_is_right(x);
		TEST_ASSERT_EQ(xen_wallclock(x)->version, version + 2);
		xen_window(x, 0);
		wallclock_is_right(x);
	}
	xen_vm_free(x);
}

IN_64_BIT(wallclock_follows_clock)
IN_32_BIT(wallclock_follows_clock)

/* If shared_info was out of reach, as soon as it is back. */
static void wallclock_without_memory(enum xen_mode mode)
{
	struct xen_vm *x = xen_vm_new(1, mode, XEN_S);
	void *page = fill_hole(x);
	struct xen_wallclock old;
	int i;

	x->shinfo = page;
	xen_set(x, SHARED_INFO, shared_info.gfn, XEN_HOLE >> 12);
	for (i = 1; i < 4; i++) {
		wallclock_is_right(x);
		old = *xen_wallclock(x);
		set_hole(x, page, false);
		xen_set_now(x, i * UPTIME);
		TEST_ASSERT(!memcmp(xen_wallclock(x), &old, sizeof(old)),
			    "written without a memslot");
		set_hole(x, page, true);
		xen_window(x, 0);
		wallclock_is_right(x);
	}
	xen_vm_free(x);
}

IN_64_BIT(wallclock_without_memory)
IN_32_BIT(wallclock_without_memory)

static bool write_sysfs(const char *name, const char *text)
{
	int fd = open(name, O_WRONLY);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

/*
 * What the kernel does before and after it sleeps, but for the sleep.  It stops all other
 * programs for that moment, too.
 */
static void host_sleeps(void)
{
	static const char test[] = "/sys/power/pm_test";
	static const char delay[] = "/sys/module/suspend/parameters/pm_test_delay";
	bool slept;
	int i;

	if (!write_sysfs(test, "freezer"))
		ksft_exit_skip("SKIP no access to %s (CONFIG_PM_DEBUG)\n", test);
	write_sysfs(delay, "0");
	/* Something may just have woken it. */
	for (slept = false, i = 0; !slept && i < 5; i++) {
		xen_sleep_ms(100 * i);
		slept = write_sysfs("/sys/power/state", "freeze");
	}
	write_sysfs(delay, "5");
	write_sysfs(test, "none");
	TEST_ASSERT(slept, "the host does not sleep");
}

static void wallclock_after_sleep(enum xen_mode mode)
{
	struct xen_vm *x = xen_vm_new(2, mode, XEN_S);
	struct xen_wallclock *wc = xen_wallclock(x);
	void *page = fill_hole(x);
	u32 version;
	int n;

	for (n = 0; n < 2; n++)
		xen_window(x, n);
	version = wc->version;
	wc->sec = 5;
	host_sleeps();
	/* It is the vCPU's thread that has the memory of the guest. */
	TEST_ASSERT_EQ(wc->sec, 5);
	xen_window(x, 1);
	wallclock_is_right(x);
	TEST_ASSERT_EQ(wc->version, version + 2);

	/* Once is enough. */
	xen_window(x, 0);
	TEST_ASSERT_EQ(wc->version, version + 2);

	/* Out of reach when the vCPU wants to write it: without memory, or without a memslot. */
	x->shinfo = page;
	xen_set(x, SHARED_INFO, shared_info.gfn, XEN_HOLE >> 12);
	wc = xen_wallclock(x);
	for (n = 0; n < 2; n++) {
		wc->sec = 5;
		if (n)
			set_hole(x, page, false);
		else
			TEST_ASSERT(!mprotect(page, 0x1000, PROT_NONE), "mprotect");
		host_sleeps();
		xen_window(x, 0);
		if (n)
			set_hole(x, page, true);
		else
			TEST_ASSERT(!mprotect(page, 0x1000, PROT_READ | PROT_WRITE), "mprotect");
		TEST_ASSERT_EQ(wc->sec, 5);
		xen_window(x, n);
		wallclock_is_right(x);
	}
	xen_vm_free(x);
}

IN_64_BIT(wallclock_after_sleep)
IN_32_BIT(wallclock_after_sleep)

/* The pending bits of a 64-bit guest, which has perhaps @changed those at the wallclock's place. */
static void events_are(const u8 *page, u8 before, bool changed)
{
	int i;

	for (i = 0x800; i < 0xa00; i++)
		TEST_ASSERT(page[i] == before || (changed && i >= 0x900 && i < 0x928),
			    "byte %#x is %#x, was %#x", i, page[i], before);
}

/*
 * shared_info before the mode: the wallclock goes where a 64-bit guest has its
 * pending bits.  They are put back, unless the guest has changed them since.
 */
static void wallclock_over_events(u8 before, bool changed)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG | XEN_VI);
	u8 *page = x->shinfo;

	memset(page + 0x800, before, 0x200);
	xen_set(x, SHARED_INFO, shared_info.gfn, XEN_SHINFO >> 12);
	x->long_mode = false;
	wallclock_is_right(x);
	/* More than once. */
	xen_set_now(x, UPTIME);
	if (changed)
		page[0x904] ^= 0x10;
	xen_set(x, LONG_MODE, long_mode, 1);
	x->long_mode = true;
	wallclock_is_right(x);
	events_are(page, before, changed);
	xen_vm_free(x);
}

/* What is put back is what was in this page, not in one that shared_info was before. */
static void wallclock_over_events_moved(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG | XEN_VI);
	u8 *page = xen_hva(x, XEN_SPARE);
	int by_hva;

	for (by_hva = 0; by_hva < 2; by_hva++) {
		xen_set(x, LONG_MODE, long_mode, 0);
		memset(xen_hva(x, XEN_SHINFO) + 0x800, 0x5c, 0x200);
		xen_set(x, SHARED_INFO, shared_info.gfn, XEN_SHINFO >> 12);
		memset(page + 0x800, GARBAGE, 0x200);
		if (by_hva)
			xen_set(x, SHARED_INFO_HVA, shared_info.hva, (u64)page);
		else
			xen_set(x, SHARED_INFO, shared_info.gfn, XEN_SPARE >> 12);
		xen_set(x, LONG_MODE, long_mode, 1);
		events_are(page, GARBAGE, false);
	}

	/* Away and back: what is in the page then is KVM's own. */
	xen_set(x, LONG_MODE, long_mode, 0);
	xen_set(x, SHARED_INFO, shared_info.gfn, KVM_XEN_INVALID_GFN);
	xen_set(x, SHARED_INFO, shared_info.gfn, XEN_SPARE >> 12);
	xen_set(x, SHARED_INFO, shared_info.gfn, KVM_XEN_INVALID_GFN);
	xen_set(x, SHARED_INFO, shared_info.gfn, XEN_SPARE >> 12);
	xen_set(x, LONG_MODE, long_mode, 1);
	events_are(page, GARBAGE, false);
	xen_vm_free(x);
}

static void wallclock_over_no_events(void)
{
	wallclock_over_events(0, false);
}

static void wallclock_over_some_events(void)
{
	wallclock_over_events(GARBAGE, false);
}

static void wallclock_over_changed_events(void)
{
	wallclock_over_events(0, true);
}

/* Each time it is what was there just before. */
static void wallclock_over_events_again(void)
{
	static const u8 before[] = { GARBAGE, 0, 0x5c };
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	u8 *page = x->shinfo;
	int i;

	for (i = 0; i < ARRAY_SIZE(before); i++) {
		memset(page + 0x800, before[i], 0x200);
		xen_set(x, LONG_MODE, long_mode, x->long_mode = false);
		wallclock_is_right(x);
		xen_set(x, LONG_MODE, long_mode, x->long_mode = true);
		wallclock_is_right(x);
		events_are(page, before[i], false);
	}
	xen_vm_free(x);
}

/* CPUID. */

struct cpuid_regs {
	u32 eax, ebx, ecx, edx;
};

static struct cpuid_regs guest_cpuid(struct xen_vm *x, u32 function, u32 index)
{
	struct kvm_regs regs;

	xen_prepare(x, 0, STEP_CPUID);
	vcpu_regs_get(x->vcpu[0], &regs);
	regs.rax = function;
	regs.rcx = index;
	vcpu_regs_set(x->vcpu[0], &regs);
	xen_expect(x, 0, xen_run(x, 0), XEN_RETURNED);
	vcpu_regs_get(x->vcpu[0], &regs);
	return (struct cpuid_regs) { regs.rax, regs.rbx, regs.rcx, regs.rdx };
}

static void add_entry(struct kvm_cpuid2 *cpuid, struct kvm_cpuid_entry2 entry)
{
	cpuid->entries[cpuid->nent++] = entry;
}

#define INDEXED	KVM_CPUID_FLAG_SIGNIFCANT_INDEX

/* Xen's leaves up to @last, with these time leaves, in place of KVM's. */
static void set_cpuid(struct xen_vm *x, u32 base, u32 last, const struct kvm_cpuid_entry2 *time,
		      int nr)
{
	const struct kvm_cpuid_entry2 other = { CPUID_BASE, 0, 0, CPUID_BASE + 5, 0x12345678 };
	const struct kvm_cpuid_entry2 xen[] = {
		{ base, 0, 0, last, 0x566e6558, 0x65584d4d, 0x4d4d566e },
		{ base + 1, 0, 0, 0x40011 },
		{ base + 2, 0, 0, 1, XEN_HCALL_MSR },
		{ base + 4, 0, 0, 8 },
	};
	const struct kvm_cpuid2 *all = kvm_get_supported_cpuid();
	struct kvm_cpuid2 *cpuid = allocate_kvm_cpuid2(all->nent + nr + 8);
	struct kvm_cpuid2 *got = allocate_kvm_cpuid2(all->nent + nr + 8);
	int i;

	cpuid->nent = 0;
	for (i = 0; i < all->nent; i++) {
		if ((all->entries[i].function & 0xf0000000) != CPUID_BASE)
			add_entry(cpuid, all->entries[i]);
	}
	if (base != CPUID_BASE)
		add_entry(cpuid, other);
	for (i = 0; i < ARRAY_SIZE(xen); i++) {
		if (xen[i].function <= last)
			add_entry(cpuid, xen[i]);
	}
	for (i = 0; i < nr; i++)
		add_entry(cpuid, time[i]);
	vcpu_init_cpuid(x->vcpu[0], cpuid);
	xen_window(x, 0);

	/* The table stays as the VMM has set it. */
	vcpu_ioctl(x->vcpu[0], KVM_GET_CPUID2, got);
	TEST_ASSERT_EQ(got->nent, cpuid->nent);
	for (i = 0; i < cpuid->nent; i++) {
		if ((cpuid->entries[i].function & 0xf0000000) == CPUID_BASE)
			TEST_ASSERT(!memcmp(&got->entries[i], &cpuid->entries[i],
					    sizeof(got->entries[i])),
				    "KVM_GET_CPUID2: leaf %#x.%u has changed",
				    cpuid->entries[i].function, cpuid->entries[i].index);
	}
	free(cpuid);
	free(got);
}

static void is(struct cpuid_regs got, u32 eax, u32 ebx, u32 ecx, u32 edx)
{
	TEST_ASSERT(got.eax == eax && got.ebx == ebx && got.ecx == ecx && got.edx == edx,
		    "%#x %#x %#x %#x, not %#x %#x %#x %#x", got.eax, got.ebx, got.ecx, got.edx,
		    eax, ebx, ecx, edx);
}

static void time_leaves(u32 base, u32 last)
{
	const struct kvm_cpuid_entry2 time[] = {
		{ base + 3, 0, INDEXED, 6, 2, 1234567, 9 },
		{ base + 3, 1, INDEXED, 0x11111111, 0x22222222, 3, 4 },
		{ base + 3, 2, INDEXED, 5, 6, 7, 8 },
		{ base + 3, 3, INDEXED, 10, 11, 12, 13 },
	};
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	struct cpuid_regs khz;
	u32 guest_khz;

	set_cpuid(x, base, last, time, ARRAY_SIZE(time));
	guest_khz = __vcpu_ioctl(x->vcpu[0], KVM_GET_TSC_KHZ, NULL);

	is(guest_cpuid(x, base + 3, 0), 6, 2, 1234567, 9);
	is(guest_cpuid(x, base + 3, 1), 0x11111111, 0x22222222, primary(x, 0)->mul,
	   primary(x, 0)->shift);
	khz = guest_cpuid(x, base + 3, 2);
	TEST_ASSERT(khz.eax > guest_khz - 10 && khz.eax < guest_khz + 10, "%u kHz, not %u",
		    khz.eax, guest_khz);
	is(khz, khz.eax, 6, 7, 8);
	is(guest_cpuid(x, base + 3, 3), 10, 11, 12, 13);
	if (last > base + 3)
		is(guest_cpuid(x, base + 4, 0), 8, 0, 0, 0);
	xen_vm_free(x);
}

static void cpuid_time_leaves(void)
{
	time_leaves(CPUID_BASE, CPUID_BASE + 4);
}

static void cpuid_time_leaves_at_end(void)
{
	time_leaves(CPUID_BASE, CPUID_BASE + 3);
}

static void cpuid_time_leaves_behind_hyperv(void)
{
	time_leaves(CPUID_BASE + 0x100, CPUID_BASE + 0x104);
}

/* The VMM has sub-leaf 0 only. */
static void cpuid_one_time_leaf(void)
{
	const struct kvm_cpuid_entry2 time[] = {
		{ CPUID_BASE + 3, 0, INDEXED, 6, 2, 1234567, 9 },
	};
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);

	set_cpuid(x, CPUID_BASE, CPUID_BASE + 4, time, ARRAY_SIZE(time));
	is(guest_cpuid(x, CPUID_BASE + 3, 0), 6, 2, 1234567, 9);
	is(guest_cpuid(x, CPUID_BASE + 3, 1), 0, 0, 0, 0);
	is(guest_cpuid(x, CPUID_BASE + 3, 2), 0, 0, 0, 0);
	xen_vm_free(x);
}

/* And, as QEMU does, does not say that it is a sub-leaf. */
static void cpuid_time_leaf_without_index(void)
{
	const struct kvm_cpuid_entry2 time[] = {
		{ CPUID_BASE + 3, 0, 0, 6, 2, 1234567, 9 },
	};
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);

	set_cpuid(x, CPUID_BASE, CPUID_BASE + 4, time, ARRAY_SIZE(time));
	is(guest_cpuid(x, CPUID_BASE + 3, 0), 6, 2, 1234567, 9);
	xen_vm_free(x);
}

#define TSC_UNSTABLE	KVM_XEN_HVM_CONFIG_PVCLOCK_TSC_UNSTABLE
#define BY_HVA		KVM_XEN_HVM_CONFIG_SHARED_INFO_HVA

static const struct xen_case cases[] = {
	{ "PV1 DT34: published in vcpu_info", in_64_bit_publishes },
	{ "PV1: published in vcpu_info, 32-bit", in_32_bit_publishes },
	{ "PV2: published in the second area", publishes_second_copy },
	{ "PV3 PV4: places of the second area", time_area_places },
	{ "PV5: tells the time", tells_the_time },
	{ "PV5: the guest sets its TSC", guest_sets_tsc },
	{ "PV1 PV5: the clock is set while vcpu_info is out of reach", set_without_vcpu_info },
	{ "PV2 PV5: the clock is set while the second area is out of reach",
	  set_without_time_area },
	{ "PV6 PV7 FX8 RG30: hides that the TSC is stable", hides_stable_tsc, TSC_UNSTABLE },
	{ "PV8 FX8 DT37 RG28: never says that the guest was stopped", was_never_stopped },
	{ "PV9: reading races with KVM_SET_CLOCK", read_races_with_set_clock },
	{ "PV10 FX3 RG25: SHARED_INFO and LONG_MODE do not change it",
	  shared_info_does_not_matter },
	{ "PV11: second area disabled", time_area_disabled },
	{ "PV2 RG6: dirty log", marks_pages_dirty },
	{ "RG1: dirty ring without a vCPU", dirty_ring_without_vcpu },
	{ "WC1: wallclock", in_64_bit_wallclock },
	{ "WC2: wallclock, 32-bit", in_32_bit_wallclock },
	{ "WC3: version of the wallclock", in_64_bit_wallclock_version },
	{ "WC3: version of the wallclock, 32-bit", in_32_bit_wallclock_version },
	{ "WC4: wallclock moves with the mode", wallclock_moves },
	{ "WC1: wallclock, SHARED_INFO_HVA", wallclock_by_hva, BY_HVA },
	{ "MG4 DT19: wallclock follows KVM_SET_CLOCK", in_64_bit_wallclock_follows_clock },
	{ "MG4 DT19: wallclock follows KVM_SET_CLOCK, 32-bit", in_32_bit_wallclock_follows_clock },
	{ "MG4: wallclock, KVM_SET_CLOCK while shared_info is out of reach",
	  in_64_bit_wallclock_without_memory },
	{ "MG4: wallclock, KVM_SET_CLOCK while shared_info is out of reach, 32-bit",
	  in_32_bit_wallclock_without_memory },
	{ "wallclock after the host has slept", in_64_bit_wallclock_after_sleep },
	{ "wallclock after the host has slept, 32-bit", in_32_bit_wallclock_after_sleep },
	{ "MG6 DT25: mode after shared_info", wallclock_over_no_events },
	{ "MG6 DT25: mode after shared_info with events", wallclock_over_some_events },
	{ "MG6: mode after shared_info, events since", wallclock_over_changed_events },
	{ "MG6 WC4: mode to and fro, events change", wallclock_over_events_again },
	{ "MG6 WC4: mode after shared_info was moved", wallclock_over_events_moved, BY_HVA },
	{ "CP1 FX9 DT26: CPUID time leaves", cpuid_time_leaves },
	{ "CP1: CPUID time leaves are the last ones", cpuid_time_leaves_at_end },
	{ "CP1 FX9 DT26: CPUID time leaves behind Hyper-V's", cpuid_time_leaves_behind_hyperv },
	{ "CP2: only the first CPUID time leaf", cpuid_one_time_leaf },
	{ "CP2 M14: CPUID time leaf without an index", cpuid_time_leaf_without_index },
};

int main(int argc, char *argv[])
{
	return xen_run_cases(argc, argv, cases, ARRAY_SIZE(cases));
}
