// SPDX-License-Identifier: GPL-2.0-only
/*
 * Xen guests: save and restore, in every order that a VMM may use.
 *
 * What a VM has at some moment, including events that KVM could not deliver yet
 * (EVTCHN_DEFERRED), is saved and restored in a fresh VM.  An order is a string of
 * letters, one for each step of the VMM, see restore_one().  Whatever it is, the
 * guest has to see all events, and its timer has to expire on time by the guest's
 * clock.  That is checked strictly towards "early", generously towards "late".
 *
 * Linux 6.12 fails DT20, DT24, X5 and KVM_SET_LAPIC.  It has nothing to save the events
 * of MG10 with.
 */
#include <errno.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "xen.h"

#define MSEC		NSEC_PER_MSEC
#define SEC		((u64)NSEC_PER_SEC)
#define UPTIME		(1000 * SEC)

#define PROMPT_MS	xen_ms(10000)
#define QUIET_MS	60
#define CLOCK_ERROR_NS	20000

#define LOW		5		/* a port of any guest */
#define HIGH		3000		/* one of a 64-bit guest */
#define PORT		XEN_TIMER_PORT(0)
#define GSI		32

struct saved {
	u64 clock;
	u64 tsc;
	struct kvm_xen_vcpu_attr timer;
	struct kvm_xen_vcpu_attr deferred[8];
	int nr_deferred;
	struct kvm_lapic_state lapic;
	u8 shinfo[0x1000];
};

static int get_deferred(struct xen_vm *x, u32 from, struct kvm_xen_vcpu_attr *attr)
{
	*attr = (struct kvm_xen_vcpu_attr) {
		.type = KVM_XEN_VCPU_ATTR_TYPE_EVTCHN_DEFERRED,
		.u.deferred.port = from,
	};
	return xen_errno(__vcpu_ioctl(x->vcpu[0], KVM_XEN_VCPU_GET_ATTR, attr));
}

static int set_deferred_priority(struct xen_vm *x, u32 port, u32 priority, u64 sel)
{
	struct kvm_xen_vcpu_attr attr = {
		.type = KVM_XEN_VCPU_ATTR_TYPE_EVTCHN_DEFERRED,
		.u.deferred = { .port = port, .priority = priority, .pending_sel = sel },
	};

	return xen_errno(__vcpu_ioctl(x->vcpu[0], KVM_XEN_VCPU_SET_ATTR, &attr));
}

static int set_deferred(struct xen_vm *x, u32 port, u64 sel)
{
	return set_deferred_priority(x, port, 0, sel);
}

static void needs_deferred(struct xen_vm *x)
{
	struct kvm_xen_vcpu_attr attr;

	if (get_deferred(x, 0, &attr))
		ksft_exit_skip("KVM has no attribute for deferred events\n");
}

/* The vCPU does not run, and nothing raises events any more. */
static void save(struct xen_vm *x, struct saved *s)
{
	struct kvm_xen_vcpu_attr *attr;
	u32 port = 0;

	s->clock = xen_now(x);
	s->tsc = vcpu_get_msr(x->vcpu[0], MSR_IA32_TSC);
	s->timer.type = KVM_XEN_VCPU_ATTR_TYPE_TIMER;
	vcpu_ioctl(x->vcpu[0], KVM_XEN_VCPU_GET_ATTR, &s->timer);
	for (s->nr_deferred = 0; ; port++) {
		TEST_ASSERT(s->nr_deferred < ARRAY_SIZE(s->deferred), "too many ports");
		attr = &s->deferred[s->nr_deferred];
		if (get_deferred(x, port, attr))
			break;
		s->nr_deferred++;
		TEST_ASSERT(!attr->u.deferred.port || attr->u.deferred.port >= port, "port %u",
			    attr->u.deferred.port);
		port = attr->u.deferred.port;
		if (!port)
			break;
	}
	vcpu_ioctl(x->vcpu[0], KVM_GET_LAPIC, &s->lapic);
	memcpy(s->shinfo, x->shinfo, sizeof(s->shinfo));
}

static void restore_one(struct xen_vm *x, struct saved *s, char what)
{
	int i;

	switch (what) {
	case 'A':
		vcpu_ioctl(x->vcpu[0], KVM_SET_LAPIC, &s->lapic);
		break;
	case 'C':
		xen_set_now(x, s->clock);
		break;
	case 'D':
		for (i = 0; i < s->nr_deferred; i++)
			vcpu_ioctl(x->vcpu[0], KVM_XEN_VCPU_SET_ATTR, &s->deferred[i]);
		break;
	case 'L':
		xen_set(x, LONG_MODE, long_mode, x->long_mode);
		break;
	case 'S':
		xen_set(x, SHARED_INFO, shared_info.gfn, XEN_SHINFO >> 12);
		break;
	case 'T':
		vcpu_ioctl(x->vcpu[0], KVM_XEN_VCPU_SET_ATTR, &s->timer);
		break;
	case 'U':
		xen_vcpu_set(x, 0, UPCALL_VECTOR, vector, XEN_LAPIC_VECTOR(0));
		break;
	case 'V':
		xen_vcpu_set(x, 0, VCPU_INFO, gpa, XEN_SHINFO);
		break;
	default:
		TEST_FAIL("'%c' in an order", what);
	}
}

static struct xen_vm *restore(struct saved *s, enum xen_mode mode, const char *order)
{
	bool lapic = strchr(order, 'U');
	struct xen_vm *x = xen_vm_new(1, mode, XEN_CFG | (lapic ? 0 : XEN_UV));

	x->long_mode = mode == XEN_64;
	if (lapic)
		xen_cpu(x, 0)->flags |= XEN_CPU_EOI;
	memcpy(x->shinfo, s->shinfo, sizeof(s->shinfo));
	for (; *order; order++)
		restore_one(x, s, *order);
	return x;
}

static void guest_sees(struct xen_vm *x, u32 port, u8 vector, const char *order)
{
	struct kvm_xen_vcpu_attr attr;

	xen_window(x, 0);
	TEST_ASSERT(xen_pending(x, port), "%s: port %u is not pending", order, port);
	TEST_ASSERT(xen_sel(x, 0) & xen_sel_bit(x, port), "%s: selector %#lx has not port %u",
		    order, xen_sel(x, 0), port);
	TEST_ASSERT(xen_count(x, 0, vector) == 1 && xen_cpu(x, 0)->nr == 1,
		    "%s: %u upcalls, %u interrupts", order, xen_count(x, 0, vector),
		    xen_cpu(x, 0)->nr);
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, TIMER, timer.expires_ns), 0);
	if (!get_deferred(x, 0, &attr))
		TEST_ASSERT(!attr.u.deferred.port && !attr.u.deferred.pending_sel,
			    "%s: port %u, selector %#llx still deferred", order,
			    attr.u.deferred.port, attr.u.deferred.pending_sel);
}

/*
 * Restore in all orders of four steps, which follow @first.  Only, events may not
 * be delivered while the mode is the wrong one: it must not come last.
 */
static void in_all_orders(struct saved *s, enum xen_mode mode, const char *first,
			  const char *steps, const u32 *ports, int nr)
{
	u8 vector = strchr(steps, 'U') ? XEN_LAPIC_VECTOR(0) : XEN_VECTOR;
	int len = strlen(first), i, j, used;
	struct xen_vm *x;
	char order[16];

	snprintf(order, sizeof(order), "%s....", first);
	for (i = 0; i < 256; i++) {
		for (j = 0, used = 0; j < 4; j++) {
			used |= 1 << (i >> 2 * j & 3);
			order[len + j] = steps[i >> 2 * j & 3];
		}
		if (used != 15)
			continue;
		if (mode == XEN_64 && strchr(steps, 'D') && order[len + 3] == 'L')
			continue;
		x = restore(s, mode, order);
		for (j = 0; j < nr; j++)
			guest_sees(x, ports[j], vector, order);
		xen_vm_free(x);
	}
}

/* Routing. */

static int set_route(struct xen_vm *x, u32 port, u32 vcpu)
{
	struct kvm_irq_routing *routing = kvm_gsi_routing_create();
	struct kvm_irqfd irqfd = { .fd = eventfd(0, 0), .gsi = GSI };

	routing->nr = 1;
	routing->entries[0] = (struct kvm_irq_routing_entry) {
		.gsi = GSI,
		.type = KVM_IRQ_ROUTING_XEN_EVTCHN,
		.u.xen_evtchn = { .port = port, .vcpu = vcpu, .priority = XEN_2LEVEL },
	};
	vm_ioctl(x->vm, KVM_SET_GSI_ROUTING, routing);
	free(routing);
	vm_ioctl(x->vm, KVM_IRQFD, &irqfd);
	return irqfd.fd;
}

static void signal_fd(int fd)
{
	u64 one = 1;

	TEST_ASSERT_EQ(write(fd, &one, sizeof(one)), sizeof(one));
}

static void event_within(struct xen_vm *x, u32 port, u64 ms)
{
	u64 end = xen_real_ns(CLOCK_MONOTONIC) + ms * MSEC;

	while (!xen_pending(x, port)) {
		TEST_ASSERT(xen_real_ns(CLOCK_MONOTONIC) < end, "no event on port %u", port);
		xen_sleep_ms(1);
	}
}

static void event_at(struct xen_vm *x, u32 port, u64 deadline)
{
	u64 now;

	event_within(x, port, PROMPT_MS);
	now = xen_now(x);
	TEST_ASSERT(now + CLOCK_ERROR_NS >= deadline, "early by %lu ns", deadline - now);
}

/* Clock and timer. */

static void clock_and_timer(bool clock_first, enum xen_mode mode)
{
	struct xen_vm *x = xen_vm_new(1, mode, XEN_S | XEN_ID);
	u64 deadline = UPTIME + (clock_first ? xen_ms(300) : 50) * MSEC, got;
	enum xen_stop stop;
	bool early;

	if (clock_first)
		xen_set_now(x, UPTIME);
	xen_set_timer(x, 0, PORT, deadline);
	got = xen_vcpu_get(x, 0, TIMER, timer.expires_ns);
	early = xen_pending(x, PORT);
	if (xen_now(x) + CLOCK_ERROR_NS < deadline) {
		TEST_ASSERT_EQ(got, deadline);
		TEST_ASSERT(!early, "early");
	}
	if (!clock_first)
		xen_set_now(x, UPTIME);
	xen_prepare(x, 0, STEP_HLT);
	xen_start(x, 0);
	event_at(x, PORT, deadline);
	stop = xen_wait(x, 0, PROMPT_MS);
	xen_expect(x, 0, stop, XEN_RETURNED);
	guest_sees(x, PORT, XEN_VECTOR, "HLT");
	xen_vm_free(x);
}

static void timer_then_clock(void)
{
	clock_and_timer(false, XEN_64);
}

static void timer_then_clock_32(void)
{
	clock_and_timer(false, XEN_32);
}

static void clock_then_timer(void)
{
	clock_and_timer(true, XEN_64);
}

static void clock_then_timer_32(void)
{
	clock_and_timer(true, XEN_32);
}

static void clock_stood_still(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S | XEN_ID);
	u64 deadline = UPTIME + xen_ms(3000) * MSEC, clock;
	bool early;

	xen_set_now(x, UPTIME);
	xen_window(x, 0);
	xen_set_timer(x, 0, PORT, deadline);
	clock = xen_now(x);
	xen_sleep_ms(1000);
	early = xen_pending(x, PORT);
	TEST_ASSERT(!early || xen_now(x) + CLOCK_ERROR_NS >= deadline,
		    "event while the VM was stopped");
	xen_set_now(x, clock);
	xen_step(x, 0, STEP_HLT);
	TEST_ASSERT(xen_now(x) + CLOCK_ERROR_NS >= deadline, "early by %lu ns",
		    deadline - xen_now(x));
	guest_sees(x, PORT, XEN_VECTOR, "stopped");
	xen_vm_free(x);
}

static void overdue_timer(void)
{
	static struct saved s;
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);

	/* It could not be delivered, so it is saved as it was set. */
	x->long_mode = true;
	xen_set(x, LONG_MODE, long_mode, 1);
	xen_set_timer(x, 0, HIGH, 1);
	xen_step(x, 0, STEP_RETURN);
	save(x, &s);
	TEST_ASSERT_EQ(s.timer.u.timer.port, HIGH);
	TEST_ASSERT_EQ(s.timer.u.timer.expires_ns, 1);
	xen_vm_free(x);
	in_all_orders(&s, XEN_64, "", "LSVT", (u32[]) { HIGH }, 1);
}

/* Wait for both the clock and shared_info. */
static void overdue_timer_and_clock(void)
{
	static struct saved s = {
		.clock = UPTIME,
		.timer.type = KVM_XEN_VCPU_ATTR_TYPE_TIMER,
		.timer.u.timer = { .port = LOW, .priority = XEN_2LEVEL, .expires_ns = UPTIME - 1 },
	};

	in_all_orders(&s, XEN_64, "L", "SVTC", (u32[]) { LOW }, 1);
	in_all_orders(&s, XEN_32, "L", "SVTC", (u32[]) { LOW }, 1);
}

/* The order of QEMU: shared_info, mode, vCPU, timer; later MSRs, at last the clock. */
static void order_of_qemu(void)
{
	static struct saved s;
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S | XEN_ID);
	u64 deadline = UPTIME + xen_ms(3000) * MSEC;
	struct kvm_xen_exit *exit;

	xen_set_now(x, UPTIME);
	xen_assign(x, EVTCHN_IPI, 9, 9, 0);
	xen_put_mask(x, 7, true);
	xen_send(x, LOW, 0);
	xen_send(x, 7, 0);
	xen_send(x, HIGH, 0);
	xen_set_timer(x, 0, PORT, deadline);
	save(x, &s);
	TEST_ASSERT_EQ(s.timer.u.timer.expires_ns, deadline);
	xen_vm_free(x);

	x = restore(&s, XEN_64, "SLVT");
	xen_vcpu_set(x, 0, VCPU_ID, vcpu_id, XEN_VCPU_ID(0));
	xen_vcpu_set(x, 0, VCPU_TIME_INFO, gpa, XEN_TIME);
	vcpu_set_msr(x->vcpu[0], MSR_IA32_TSC, s.tsc);
	restore_one(x, &s, 'C');
	__vcpu_ioctl(x->vcpu[0], KVM_KVMCLOCK_CTRL, NULL);

	xen_window(x, 0);
	TEST_ASSERT_EQ(xen_count(x, 0, XEN_VECTOR), 1);
	TEST_ASSERT(xen_pending(x, LOW) && xen_pending(x, 7) && xen_pending(x, HIGH), "lost");
	TEST_ASSERT(xen_masked(x, 7), "mask was lost");
	TEST_ASSERT_EQ(xen_sel(x, 0), xen_sel_bit(x, LOW) | xen_sel_bit(x, HIGH));
	TEST_ASSERT(!xen_pending(x, PORT), "timer expired early");
	xen_clear_events(x);

	/* Sends are the VMM's now. */
	*(u32 *)xen_hva(x, XEN_ARG(0)) = 9;
	exit = xen_hcall_exits(x, 0, HCALL_EVTCHN, EVTCHNOP_SEND, XEN_ARG(0));
	exit->u.hcall.result = 0;
	xen_expect(x, 0, xen_run(x, 0), XEN_RETURNED);

	xen_step(x, 0, STEP_HLT);
	TEST_ASSERT(xen_now(x) + CLOCK_ERROR_NS >= deadline, "timer expired early");
	guest_sees(x, PORT, XEN_VECTOR, "QEMU");
	xen_vm_free(x);
}

/* Limits that depend on what is restored earlier. */

static void route_first(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG | XEN_UV);
	int fd = set_route(x, HIGH, 1);

	x->long_mode = true;
	xen_set(x, LONG_MODE, long_mode, 1);
	xen_set(x, SHARED_INFO, shared_info.gfn, XEN_SHINFO >> 12);
	x->vcpu[1] = vm_vcpu_add(x->vm, 1, NULL);
	x->nr_vcpus = 2;
	xen_put_vcpu_info(x, 1, XEN_SHINFO + 64);
	xen_vcpu_set(x, 1, VCPU_INFO, gpa, XEN_SHINFO + 64);
	signal_fd(fd);
	event_within(x, HIGH, PROMPT_MS);
	xen_sleep_ms(QUIET_MS);
	TEST_ASSERT_EQ(xen_flag(x, 1), 1);
	TEST_ASSERT_EQ(xen_sel(x, 1), xen_sel_bit(x, HIGH));
	TEST_ASSERT_EQ(xen_sel(x, 0), 0);
	xen_vm_free(x);
}

static void port_before_mode(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG | XEN_UV);

	TEST_ASSERT_EQ(xen_try_evtchn(x, 0, 2000, EVTCHN_IPI, 2000, 0), EINVAL);
	TEST_ASSERT_EQ(xen_try_evtchn(x, 0, 9, EVTCHN_INTERDOMAIN, 2000, 0), EINVAL);
	xen_setup(x, XEN_SI | XEN_VI);
	xen_assign(x, EVTCHN_IPI, 2000, 2000, 0);
	*(u32 *)xen_hva(x, XEN_ARG(0)) = 2000;
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_EVTCHN, EVTCHNOP_SEND, XEN_ARG(0)), 0);
	guest_sees(x, 2000, XEN_VECTOR, "assigned");
	xen_vm_free(x);
}

static void runstate_before_clock(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	struct xen_runstate64 *area = xen_hva(x, XEN_RUNSTATE);
	struct kvm_xen_vcpu_attr attr = {
		.type = KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_DATA,
		.u.runstate = {
			.state = XEN_RUNNING, .state_entry_time = 900 * SEC,
			.time_running = 400 * SEC, .time_runnable = 100 * SEC,
			.time_blocked = 300 * SEC, .time_offline = 100 * SEC,
		},
	};

	TEST_ASSERT_EQ(xen_errno(__vcpu_ioctl(x->vcpu[0], KVM_XEN_VCPU_SET_ATTR, &attr)), EINVAL);
	attr.type = KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_ADJUST;
	TEST_ASSERT_EQ(xen_errno(__vcpu_ioctl(x->vcpu[0], KVM_XEN_VCPU_SET_ATTR, &attr)), EINVAL);
	attr.type = KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_DATA;
	xen_set_now(x, UPTIME);
	vcpu_ioctl(x->vcpu[0], KVM_XEN_VCPU_SET_ATTR, &attr);
	xen_vcpu_set(x, 0, RUNSTATE_ADDR, gpa, XEN_RUNSTATE);
	xen_window(x, 0);
	TEST_ASSERT_EQ(area->time[XEN_BLOCKED], 300 * SEC);
	TEST_ASSERT_EQ(area->time[XEN_OFFLINE], 100 * SEC);
	TEST_ASSERT(area->entry_time >= 900 * SEC, "entered at %lu", area->entry_time);
	xen_vm_free(x);
}

/* Events that wait. */

static void deferred_attribute(void)
{
	static const u32 ports[] = { 1, LOW, 63, 64, 1024, HIGH, 4095 };
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);
	struct kvm_xen_vcpu_attr attr;
	u32 i, from;

	needs_deferred(x);
	for (i = 0; i < ARRAY_SIZE(ports); i++)
		TEST_ASSERT_EQ(set_deferred(x, ports[i], BIT_ULL(i * 10)), 0);
	TEST_ASSERT_EQ(set_deferred(x, 0, 0), 0);
	TEST_ASSERT_EQ(set_deferred(x, 4096, BIT(1)), EINVAL);
	TEST_ASSERT_EQ(set_deferred(x, -1U, BIT(1)), EINVAL);
	xen_step(x, 0, STEP_RETURN);
	for (i = 0, from = 0; i < ARRAY_SIZE(ports); from = ports[i++] + 1) {
		TEST_ASSERT_EQ(get_deferred(x, from, &attr), 0);
		TEST_ASSERT_EQ(attr.u.deferred.port, ports[i]);
		TEST_ASSERT_EQ(attr.u.deferred.pending_sel, 0x1004010040100401ULL);
		TEST_ASSERT_EQ(get_deferred(x, ports[i], &attr), 0);
		TEST_ASSERT_EQ(attr.u.deferred.port, ports[i]);
	}
	TEST_ASSERT_EQ(get_deferred(x, 4096, &attr), 0);
	TEST_ASSERT_EQ(attr.u.deferred.port, 0);
	xen_vm_free(x);
}

/* 2-level events, and those that only the FIFO ABI can deliver: in the order of ports. */
static void deferred_of_both_kinds(void)
{
	static const struct {
		u32 port;
		u32 priority;
	} events[] = {
		{ 3, 0 }, { LOW, XEN_2LEVEL }, { 64, 15 }, { HIGH, XEN_2LEVEL }, { 4096, 7 },
		{ 100000, 2 }, { 0, XEN_2LEVEL },
	};
	static struct saved s;
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);
	int i;

	xen_fifo_opt_in(x);
	xen_set(x, LONG_MODE, long_mode, 1);
	for (i = ARRAY_SIZE(events) - 1; i--;)
		TEST_ASSERT_EQ(set_deferred_priority(x, events[i].port, events[i].priority, 0), 0);
	xen_step(x, 0, STEP_RETURN);
	save(x, &s);
	TEST_ASSERT_EQ(s.nr_deferred, ARRAY_SIZE(events));
	for (i = 0; i < ARRAY_SIZE(events); i++) {
		TEST_ASSERT_EQ(s.deferred[i].u.deferred.port, events[i].port);
		TEST_ASSERT_EQ(s.deferred[i].u.deferred.priority, events[i].priority);
	}
	xen_vm_free(x);
}

/* A port that only a 64-bit guest has waits until the guest is one. */
static void deferred_before_mode(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG | XEN_UV);
	struct kvm_xen_vcpu_attr attr;

	needs_deferred(x);
	xen_set(x, SHARED_INFO, shared_info.gfn, XEN_SHINFO >> 12);
	xen_vcpu_set(x, 0, VCPU_INFO, gpa, XEN_SHINFO);
	TEST_ASSERT_EQ(set_deferred(x, HIGH, 0), 0);
	xen_step(x, 0, STEP_RETURN);
	TEST_ASSERT_EQ(get_deferred(x, 0, &attr), 0);
	TEST_ASSERT_EQ(attr.u.deferred.port, HIGH);
	x->long_mode = true;
	xen_set(x, LONG_MODE, long_mode, true);
	guest_sees(x, HIGH, XEN_VECTOR, "mode last");
	xen_vm_free(x);
}

static void without_vcpu_info(enum xen_mode mode, const char *first, const char *steps)
{
	static struct saved s;
	struct xen_vm *x = xen_vm_new(1, mode, XEN_CFG | XEN_SI);
	u32 ports[] = { LOW, mode == XEN_64 ? HIGH : 1000 };

	needs_deferred(x);
	if (strchr(steps, 'A'))
		xen_lapic_enable(x, 0, true);
	xen_send(x, ports[0], 0);
	xen_send(x, ports[1], 0);
	xen_step(x, 0, STEP_RETURN);
	save(x, &s);
	TEST_ASSERT_EQ(s.nr_deferred, 1);
	TEST_ASSERT_EQ(s.deferred[0].u.deferred.port, 0);
	TEST_ASSERT_EQ(s.deferred[0].u.deferred.pending_sel,
		       xen_sel_bit(x, ports[0]) | xen_sel_bit(x, ports[1]));
	TEST_ASSERT_EQ(xen_flag(x, 0), 0);
	xen_vm_free(x);
	in_all_orders(&s, mode, first, steps, ports, 2);
}

static void without_vcpu_info_64(void)
{
	without_vcpu_info(XEN_64, "", "LSVD");
}

static void without_vcpu_info_32(void)
{
	without_vcpu_info(XEN_32, "", "LSVD");
}

static void without_vcpu_info_lapic(void)
{
	without_vcpu_info(XEN_64, "LS", "VDAU");
}

static void without_shared_info(enum xen_mode mode)
{
	static struct saved s;
	struct xen_vm *x = xen_vm_new(1, mode, XEN_S);
	u32 ports[] = { LOW, mode == XEN_64 ? HIGH : 1000 };
	int i;

	needs_deferred(x);
	xen_set(x, SHARED_INFO, shared_info.gfn, KVM_XEN_INVALID_GFN);
	for (i = 0; i < 2; i++) {
		int fd = set_route(x, ports[i], 0);

		signal_fd(fd);
		xen_sleep_ms(QUIET_MS);
		vm_ioctl(x->vm, KVM_IRQFD, &((struct kvm_irqfd) {
			.fd = fd, .gsi = GSI, .flags = KVM_IRQFD_FLAG_DEASSIGN }));
	}
	xen_step(x, 0, STEP_RETURN);
	save(x, &s);
	TEST_ASSERT_EQ(s.nr_deferred, 3);
	for (i = 0; i < 3; i++) {
		TEST_ASSERT_EQ(s.deferred[i].u.deferred.port, i < 2 ? ports[i] : 0);
		TEST_ASSERT_EQ(s.deferred[i].u.deferred.pending_sel, 0);
	}
	TEST_ASSERT(!xen_pending(x, LOW), "memory that is not shared_info was written");
	xen_vm_free(x);
	in_all_orders(&s, mode, "", "LSVD", ports, 2);
}

static void without_shared_info_64(void)
{
	without_shared_info(XEN_64);
}

static void without_shared_info_32(void)
{
	without_shared_info(XEN_32);
}

/* The state of a local APIC that knows nothing of an upcall replaces one that does. */
static void lapic_after_upcall(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_SL);
	struct kvm_lapic_state lapic;
	int i;

	vcpu_ioctl(x->vcpu[0], KVM_GET_LAPIC, &lapic);
	vcpu_ioctl(x->vcpu[0], KVM_SET_LAPIC, &lapic);
	xen_window(x, 0);
	TEST_ASSERT_EQ(xen_cpu(x, 0)->nr, 0);
	for (i = 0; i < 3; i++) {
		xen_send(x, LOW, 0);
		TEST_ASSERT(xen_irr(x, 0, XEN_LAPIC_VECTOR(0)), "vector was not raised");
		if (i == 1)	/* with it, and only then without it */
			vcpu_ioctl(x->vcpu[0], KVM_SET_LAPIC, &((struct kvm_lapic_state) { 0 }));
		vcpu_ioctl(x->vcpu[0], KVM_SET_LAPIC, &lapic);
		guest_sees(x, LOW, XEN_LAPIC_VECTOR(0), "KVM_SET_LAPIC");
		xen_clear_events(x);
	}
	xen_vm_free(x);
}

/*
 * The memory of shared_info, and of vcpu_info or not, goes away, an irqfd is
 * signalled, and the memory comes back.  The vCPU has not run meanwhile, or it has.
 */
static void memory_comes_back(enum xen_step step, bool both)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG | XEN_UV);
	void *page = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	u64 end;
	int fd, i;

	x->long_mode = true;
	x->shinfo = page;
	vm_set_user_memory_region(x->vm, XEN_SLOT + 1, 0, XEN_HOLE, 0x1000, page);
	virt_pg_map(x->vm, XEN_HOLE, XEN_HOLE);
	xen_set(x, LONG_MODE, long_mode, 1);
	xen_set(x, SHARED_INFO, shared_info.gfn, XEN_HOLE >> 12);
	xen_put_vcpu_info(x, 0, XEN_VINFO);
	if (both) {
		xen_cpu(x, 0)->vcpu_info = XEN_HOLE;
		x->state[0].info = page;
	}
	xen_vcpu_set(x, 0, VCPU_INFO, gpa, both ? XEN_HOLE : XEN_VINFO);
	fd = set_route(x, HIGH, 0);
	x->state[0].irqs = step == STEP_SPIN;

	for (i = 0; i < 5; i++) {
		xen_clear_events(x);
		if (step != STEP_RETURN) {
			xen_prepare(x, 0, step);
			xen_start(x, 0);
			TEST_ASSERT_EQ(xen_wait(x, 0, 20), XEN_RUNNING_YET);
		}
		vm_set_user_memory_region(x->vm, XEN_SLOT + 1, 0, XEN_HOLE, 0, NULL);
		signal_fd(fd);
		xen_sleep_ms(20);
		TEST_ASSERT(!xen_pending(x, HIGH), "memory that is gone was written");
		TEST_ASSERT_EQ(xen_cpu(x, 0)->nr, 0);
		vm_set_user_memory_region(x->vm, XEN_SLOT + 1, 0, XEN_HOLE, 0x1000, page);

		end = xen_real_ns(CLOCK_MONOTONIC) + PROMPT_MS * MSEC;
		/* Let the handler, which counts first, do all of its work. */
		while (step != STEP_RETURN && (!READ_ONCE(xen_cpu(x, 0)->nr) || xen_flag(x, 0))) {
			TEST_ASSERT(xen_real_ns(CLOCK_MONOTONIC) < end, "round %d: no upcall", i);
			xen_sleep_ms(1);
		}
		if (step == STEP_HLT)
			xen_expect(x, 0, xen_wait(x, 0, PROMPT_MS), XEN_RETURNED);
		else if (step == STEP_SPIN)
			xen_expect(x, 0, xen_interrupt(x, 0), XEN_SIGNALLED);
		guest_sees(x, HIGH, XEN_VECTOR, "memory");
	}
	xen_vm_free(x);
}

/* Who looks at guest memory next, finds what was deferred: the vCPU need not run. */
static void vcpu_info_is_set(void)
{
	struct xen_vm *x = xen_vm_new(2, XEN_64, XEN_CFG | XEN_SI | XEN_UV);
	int n;

	needs_deferred(x);
	for (n = 0; n < 2; n++) {
		xen_send(x, LOW + n, n);
		if (n)
			xen_vcpu_set(x, n, VCPU_INFO_HVA, hva, (u64)x->state[n].info);
		else
			xen_vcpu_set(x, n, VCPU_INFO, gpa, XEN_SHINFO);
		TEST_ASSERT_EQ(xen_flag(x, n), 1);
		TEST_ASSERT_EQ(xen_sel(x, n), xen_sel_bit(x, LOW + n));
	}
	xen_vm_free(x);
}

/* A selector bit stands for other ports then: any may be meant. */
static void mode_changes(void)
{
	struct xen_vm *x = xen_vm_new(2, XEN_64, XEN_CFG | XEN_SI);
	struct kvm_xen_vcpu_attr attr = { .type = KVM_XEN_VCPU_ATTR_TYPE_EVTCHN_DEFERRED };
	int n;

	needs_deferred(x);
	for (n = 0; n < 2; n++)
		xen_send(x, LOW + n, n);
	xen_set(x, LONG_MODE, long_mode, 0);
	for (n = 0; n < 2; n++) {
		vcpu_ioctl(x->vcpu[n], KVM_XEN_VCPU_GET_ATTR, &attr);
		TEST_ASSERT_EQ(attr.u.deferred.pending_sel, -1ULL);
		xen_vcpu_set(x, n, VCPU_INFO, gpa, XEN_SHINFO + 64 * n);
		x->long_mode = false;
		TEST_ASSERT_EQ(xen_sel(x, n), 0xffffffff);
		TEST_ASSERT_EQ(xen_flag(x, n), 1);
	}
	xen_vm_free(x);
}

/* So does who reads any attribute of the vCPU, say, to save it. */
static void attribute_is_read(void)
{
	void *page = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG | XEN_ID);
	int fd, i;

	needs_deferred(x);
	x->long_mode = true;
	x->shinfo = page;
	x->state[0].info = page;
	vm_set_user_memory_region(x->vm, XEN_SLOT + 1, 0, XEN_HOLE, 0x1000, page);
	xen_set(x, LONG_MODE, long_mode, 1);
	xen_set(x, SHARED_INFO, shared_info.gfn, XEN_HOLE >> 12);
	xen_vcpu_set(x, 0, VCPU_INFO, gpa, XEN_HOLE);
	fd = set_route(x, HIGH, 0);
	for (i = 0; i < 3; i++) {
		xen_clear_events(x);
		vm_set_user_memory_region(x->vm, XEN_SLOT + 1, 0, XEN_HOLE, 0, NULL);
		signal_fd(fd);
		xen_sleep_ms(QUIET_MS);
		vm_set_user_memory_region(x->vm, XEN_SLOT + 1, 0, XEN_HOLE, 0x1000, page);
		TEST_ASSERT(!xen_pending(x, HIGH), "delivered by nobody");
		if (i == 0)
			TEST_ASSERT_EQ(xen_vcpu_get(x, 0, VCPU_ID, vcpu_id), XEN_VCPU_ID(0));
		else if (i == 1)
			TEST_ASSERT_EQ(xen_vcpu_get(x, 0, UPCALL_VECTOR, vector), 0);
		else
			TEST_ASSERT_EQ(xen_vcpu_get(x, 0, EVTCHN_DEFERRED, deferred.port), 0);
		TEST_ASSERT(xen_pending(x, HIGH), "not delivered");
		TEST_ASSERT_EQ(xen_sel(x, 0), xen_sel_bit(x, HIGH));
		TEST_ASSERT_EQ(xen_flag(x, 0), 1);
	}
	xen_vm_free(x);
}

/* The page itself is set when the vCPU sleeps, and that has tried in vain. */
static void shared_info_comes_back(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	int fd = set_route(x, HIGH, 0);

	xen_set(x, SHARED_INFO, shared_info.gfn, KVM_XEN_INVALID_GFN);
	xen_prepare(x, 0, STEP_HLT);
	xen_start(x, 0);
	/* KVM wakes a new vCPU once to correct its clock. */
	TEST_ASSERT(xen_sleeps(x, 0, xen_ms(300)), "does not sleep");
	signal_fd(fd);
	TEST_ASSERT(xen_sleeps(x, 0, QUIET_MS), "does not sleep");
	xen_set(x, SHARED_INFO, shared_info.gfn, XEN_SHINFO >> 12);
	xen_expect(x, 0, xen_wait(x, 0, PROMPT_MS), XEN_RETURNED);
	guest_sees(x, HIGH, XEN_VECTOR, "SHARED_INFO");
	xen_vm_free(x);
}

static void memory_back_stopped(void)
{
	memory_comes_back(STEP_RETURN, false);
	memory_comes_back(STEP_RETURN, true);
}

static void memory_back_halted(void)
{
	memory_comes_back(STEP_HLT, false);
	memory_comes_back(STEP_HLT, true);
}

static void memory_back_running(void)
{
	memory_comes_back(STEP_SPIN, false);
	memory_comes_back(STEP_SPIN, true);
}

#define RUNSTATE	KVM_XEN_HVM_CONFIG_RUNSTATE

static const struct xen_case cases[] = {
	{ "MG1 DT20: timer before clock", timer_then_clock },
	{ "MG1 DT20: timer before clock, 32-bit", timer_then_clock_32 },
	{ "MG2: clock before timer", clock_then_timer },
	{ "MG2: clock before timer, 32-bit", clock_then_timer_32 },
	{ "MG3 DT20: clock stands still while the VM is stopped", clock_stood_still },
	{ "MG5 DT20: order of QEMU", order_of_qemu },
	{ "MG7 RG18: route before mode and vCPU", route_first },
	{ "MG8 XSA342: EVTCHN before mode", port_before_mode },
	{ "MG9: runstate before clock", runstate_before_clock, RUNSTATE },
	{ "RG34 DT24: overdue timer, all orders with the mode", overdue_timer },
	{ "RG34 DT24: overdue timer, all orders with the clock", overdue_timer_and_clock },
	{ "MG10 DE24: EVTCHN_DEFERRED", deferred_attribute },
	{ "MG10 FI48: EVTCHN_DEFERRED, events of both ABIs", deferred_of_both_kinds,
	  KVM_XEN_HVM_CONFIG_EVTCHN_FIFO },
	{ "MG10 DE24: EVTCHN_DEFERRED before the mode", deferred_before_mode },
	{ "MG10 DE24: saved without vcpu_info, all orders", without_vcpu_info_64 },
	{ "MG10 DE24: saved without vcpu_info, all orders, 32-bit", without_vcpu_info_32 },
	{ "MG10 DE24: saved without vcpu_info, all orders, LAPIC", without_vcpu_info_lapic },
	{ "MG10 L13 DE22: saved without shared_info, all orders", without_shared_info_64 },
	{ "MG10 L13 DE22: saved without shared_info, all orders, 32-bit", without_shared_info_32 },
	{ "KVM_SET_LAPIC after an upcall", lapic_after_upcall },
	{ "X5 DE22: event while memory is away, vCPU stopped", memory_back_stopped },
	{ "X5 DE22: event while memory is away, vCPU halted", memory_back_halted },
	{ "X5 DE22: event while memory is away, vCPU running", memory_back_running },
	{ "X5 DE22: event before shared_info, vCPU halted", shared_info_comes_back },
	{ "X5 DE24: event while memory is away, an attribute is read", attribute_is_read },
	{ "MG6 DE24: event before vcpu_info, and the mode changes", mode_changes },
	{ "X5 DE24: event before vcpu_info, vCPU stopped", vcpu_info_is_set,
	  KVM_XEN_HVM_CONFIG_SHARED_INFO_HVA },
};

int main(int argc, char *argv[])
{
	return xen_run_cases(argc, argv, cases, ARRAY_SIZE(cases));
}
