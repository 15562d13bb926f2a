// SPDX-License-Identifier: GPL-2.0-only
/*
 * Xen guests: hypercalls that the kernel answers only for VMMs that ask for it, with
 * KVM_XEN_HVM_CONFIG_MORE_HCALLS, and the attribute that fills the hypercall page.
 *
 * These are EVTCHNOP_unmask and EVTCHNOP_status, which need the VMM to describe the
 * guest's ports (EVTCHN_PORT), the periodic timer, VCPUOP_get_runstate_info and
 * SCHEDOP_block.  Here, ports are 2-level ones; xen_fifo_test has the others.
 *
 * What should happen has a few seconds to do so, as the machine may be slow.  What
 * should not is watched for a while.  Periods are checked by the number of events,
 * which must not be larger than the time allows.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

#include "apic.h"
#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "xen.h"

#define MORE_HCALLS	KVM_XEN_HVM_CONFIG_MORE_HCALLS
#define HCALL_PAGE	KVM_XEN_HVM_CONFIG_HYPERCALL_PAGE
#define SEND		(KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL | KVM_XEN_HVM_CONFIG_EVTCHN_SEND)

#define ALL		(XEN_S | XEN_ID | XEN_TM)
#define ALL_LAPIC	(XEN_SL | XEN_ID | XEN_TM)

#define PORT_A		5	/* bound to vCPU 0 */
#define PORT_B		6	/* bound to vCPU 1 */
#define PORT_OTHER	100	/* in another word than the above */
#define TIMER		XEN_TIMER_PORT(0)

#define DOMID_SELF	0x7ff0
#define GARBAGE		0xa5
#define NO_VCPU		77

#define MSEC		NSEC_PER_MSEC
#define SEC		((u64)NSEC_PER_SEC)
#define UPTIME		(1000 * SEC)
#define CLOCK_ERROR_NS	20000

#define PROMPT_MS	xen_ms(5000)
#define QUIET_MS	150
#define RACE_MS		2000

static struct xen_vm *more_vm(int nr_vcpus, enum xen_mode mode, u32 what)
{
	struct xen_vm *x = xen_vm_new(nr_vcpus, mode, what);

	xen_config(x, SEND | MORE_HCALLS, XEN_HCALL_MSR);
	xen_set_now(x, UPTIME);
	return x;
}

static s64 evtchn_op(struct xen_vm *x, int n, u32 cmd, u32 port)
{
	*(u32 *)xen_hva(x, XEN_ARG(n)) = port;
	return xen_hcall(x, n, HCALL_EVTCHN, cmd, XEN_ARG(n));
}

static void evtchn_op_exits(struct xen_vm *x, u32 cmd, u32 port)
{
	*(u32 *)xen_hva(x, XEN_ARG(0)) = port;
	xen_hcall_exits(x, 0, HCALL_EVTCHN, cmd, XEN_ARG(0));
}

static s64 unmask(struct xen_vm *x, int n, u32 port)
{
	return evtchn_op(x, n, EVTCHNOP_UNMASK, port);
}

static s64 vcpu_op(struct xen_vm *x, int n, u32 cmd, int target, u64 arg)
{
	return xen_hcall(x, n, HCALL_VCPU, cmd, XEN_VCPU_ID(target), arg);
}

static void vcpu_op_exits(struct xen_vm *x, u32 cmd, u32 id)
{
	*(u64 *)xen_hva(x, XEN_ARG(0)) = 10 * MSEC;
	xen_hcall_exits(x, 0, HCALL_VCPU, cmd, id, XEN_ARG(0));
}

static u64 stat(struct xen_vm *x, int n, const char *name)
{
	u64 value;

	TEST_ASSERT(xen_try_stat(x, n, name, &value), "no statistic %s", name);
	return value;
}

/* A page of its own at XEN_HOLE. */
static void *new_page(struct xen_vm *x, u32 flags)
{
	void *page = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	TEST_ASSERT(page != MAP_FAILED, "mmap");
	memset(page, GARBAGE, 0x1000);
	vm_set_user_memory_region(x->vm, XEN_SLOT + 1, flags, XEN_HOLE, 0x1000, page);
	virt_pg_map(x->vm, XEN_HOLE, XEN_HOLE);
	return page;
}

static bool all_bytes(const u8 *p, u8 value, int size)
{
	while (size && *p++ == value)
		size--;
	return !size;
}

/* ---- opting in ---------------------------------------------------------- */

static void capability(void)
{
	u32 caps = kvm_check_cap(KVM_CAP_XEN_HVM);
	struct xen_vm *x = xen_vm_new(1, XEN_64, ALL);
	struct kvm_xen_hvm_config config = {
		.flags = SEND | MORE_HCALLS | HCALL_PAGE, .msr = XEN_HCALL_MSR,
	};

	TEST_ASSERT(caps & HCALL_PAGE, "flags 0x%x", caps);
	/* There is nothing to opt in to. */
	TEST_ASSERT_EQ(xen_errno(__vm_ioctl(x->vm, KVM_XEN_HVM_CONFIG, &config)), EINVAL);
	config.flags = SEND | HCALL_PAGE;
	TEST_ASSERT_EQ(xen_errno(__vm_ioctl(x->vm, KVM_XEN_HVM_CONFIG, &config)), EINVAL);
	TEST_ASSERT_EQ(xen_try_set_port(x, PORT_A, STATUS_IPI, 0, XEN_2LEVEL), EOPNOTSUPP);
	xen_vm_free(x);
}

static void more_calls_exit(struct xen_vm *x)
{
	evtchn_op_exits(x, EVTCHNOP_UNMASK, PORT_A);
	evtchn_op_exits(x, EVTCHNOP_STATUS, PORT_A);
	vcpu_op_exits(x, VCPUOP_GET_RUNSTATE, XEN_VCPU_ID(0));
	vcpu_op_exits(x, VCPUOP_SET_PERIODIC, XEN_VCPU_ID(0));
	vcpu_op_exits(x, VCPUOP_STOP_PERIODIC, XEN_VCPU_ID(0));
	xen_hcall_exits(x, 0, HCALL_SCHED, SCHEDOP_BLOCK);
}

static void opt_in(enum xen_mode mode)
{
	struct xen_vm *x = xen_vm_new(1, mode, ALL);
	u8 *flag_and_mask = (u8 *)x->state[0].info;

	flag_and_mask[1] = 1;
	xen_put_mask(x, PORT_A, true);
	more_calls_exit(x);
	TEST_ASSERT_EQ(xen_try_set_port(x, PORT_A, STATUS_IPI, 0, XEN_2LEVEL), EOPNOTSUPP);
	TEST_ASSERT_EQ(xen_vcpu_try_set(x, 0, PERIODIC_TIMER, periodic_timer.period_ns, SEC),
		       EOPNOTSUPP);
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, PERIODIC_TIMER, periodic_timer.period_ns), 0);

	xen_config(x, SEND | MORE_HCALLS, XEN_HCALL_MSR);
	xen_set_port(x, PORT_A, STATUS_IPI, 0);

	/* What is known of the port stays, but is not used. */
	xen_config(x, SEND, XEN_HCALL_MSR);
	more_calls_exit(x);
	TEST_ASSERT_EQ(flag_and_mask[1], 1);
	TEST_ASSERT(xen_masked(x, PORT_A), "unmasked");
	xen_config(x, SEND | MORE_HCALLS, XEN_HCALL_MSR);
	TEST_ASSERT_EQ(unmask(x, 0, PORT_A), 0);
	TEST_ASSERT_EQ(vcpu_op(x, 0, VCPUOP_GET_RUNSTATE, 0, XEN_SPARE), 0);
	TEST_ASSERT_EQ(vcpu_op(x, 0, VCPUOP_STOP_PERIODIC, 0, 0), 0);
	xen_vm_free(x);
}

IN_64_BIT(opt_in)
IN_32_BIT(opt_in)

/* ---- EVTCHN_PORT -------------------------------------------------------- */

static struct kvm_xen_hvm_attr get_port(struct xen_vm *x, u32 port)
{
	struct kvm_xen_hvm_attr attr = {
		.type = KVM_XEN_ATTR_TYPE_EVTCHN_PORT,
		.u.evtchn_port = { port, -1, -1, -1, { -1, -1 } },
	};

	vm_ioctl(x->vm, KVM_XEN_HVM_GET_ATTR, &attr);
	return attr;
}

static void put_port(struct xen_vm *x, u32 port, u32 type, u32 vcpu, u32 priority, u32 data0,
		     u32 data1)
{
	struct kvm_xen_hvm_attr attr = {
		.type = KVM_XEN_ATTR_TYPE_EVTCHN_PORT,
		.u.evtchn_port = { port, type, vcpu, priority, { data0, data1 } },
	};

	vm_ioctl(x->vm, KVM_XEN_HVM_SET_ATTR, &attr);
}

static void port_is(struct xen_vm *x, u32 port, u32 type, u32 vcpu, u32 priority, u32 data0,
		    u32 data1)
{
	struct kvm_xen_hvm_attr attr = get_port(x, port);

	TEST_ASSERT_EQ(attr.u.evtchn_port.port, port);
	TEST_ASSERT_EQ(attr.u.evtchn_port.type, type);
	TEST_ASSERT_EQ(attr.u.evtchn_port.vcpu, vcpu);
	TEST_ASSERT_EQ(attr.u.evtchn_port.priority, priority);
	TEST_ASSERT_EQ(attr.u.evtchn_port.data[0], data0);
	TEST_ASSERT_EQ(attr.u.evtchn_port.data[1], data1);
}

/* In any order with the rest: without mode and shared_info, and for any vCPU. */
static void port_attribute(void)
{
	static const u32 ports[] = { 1, 31, 32, 1023, 1024, 4095, 4096, 131071 };
	u32 last_vcpu = kvm_check_cap(KVM_CAP_MAX_VCPU_ID) - 1, type;
	struct xen_vm *x = more_vm(1, XEN_64, XEN_CFG);
	int i;

	for (i = 0; i < ARRAY_SIZE(ports); i++) {
		port_is(x, ports[i], STATUS_CLOSED, 0, 0, 0, 0);
		for (type = STATUS_UNBOUND; type <= STATUS_IPI; type++) {
			put_port(x, ports[i], type, i, XEN_2LEVEL, i + 1, ~type);
			port_is(x, ports[i], type, i, XEN_2LEVEL, i + 1, ~type);
		}
		put_port(x, ports[i], STATUS_IPI, last_vcpu, i * 2 + 1, -1, 0);
		port_is(x, ports[i], STATUS_IPI, last_vcpu, i * 2 + 1, -1, 0);
		put_port(x, ports[i], STATUS_IPI, 0, 0, 0, 0);
		port_is(x, ports[i], STATUS_IPI, 0, 0, 0, 0);
	}
	/* Of closed ports nothing else matters. */
	put_port(x, ports[1], STATUS_CLOSED, -1, 99, 5, 6);
	for (i = 0; i < ARRAY_SIZE(ports); i++)
		port_is(x, ports[i], i == 1 ? STATUS_CLOSED : STATUS_IPI, 0, 0, 0, 0);
	xen_vm_free(x);
}

static void port_attribute_errors(void)
{
	static const u32 bad[] = { 0, 131072, BIT(31), -1U };
	struct xen_vm *x = more_vm(1, XEN_64, XEN_CFG);
	struct kvm_xen_hvm_attr attr;
	int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		TEST_ASSERT_EQ(xen_try_set_port(x, bad[i], STATUS_IPI, 0, XEN_2LEVEL), EINVAL);
		TEST_ASSERT_EQ(xen_try_set_port(x, bad[i], STATUS_CLOSED, 0, XEN_2LEVEL), EINVAL);
		attr.type = KVM_XEN_ATTR_TYPE_EVTCHN_PORT;
		attr.u.evtchn_port.port = bad[i];
		TEST_ASSERT_EQ(xen_errno(__vm_ioctl(x->vm, KVM_XEN_HVM_GET_ATTR, &attr)), EINVAL);
	}
	put_port(x, PORT_A, STATUS_VIRQ, 1, 3, 5, 0);
	TEST_ASSERT_EQ(xen_try_set_port(x, PORT_A, STATUS_IPI + 1, 0, XEN_2LEVEL), EINVAL);
	TEST_ASSERT_EQ(xen_try_set_port(x, PORT_A, -1, 0, XEN_2LEVEL), EINVAL);
	TEST_ASSERT_EQ(xen_try_set_port(x, PORT_A, STATUS_IPI, kvm_check_cap(KVM_CAP_MAX_VCPU_ID),
					XEN_2LEVEL), EINVAL);
	TEST_ASSERT_EQ(xen_try_set_port(x, PORT_A, STATUS_IPI, -1, XEN_2LEVEL), EINVAL);
	TEST_ASSERT_EQ(xen_try_set_port(x, PORT_A, STATUS_IPI, 0, 16), EINVAL);
	TEST_ASSERT_EQ(xen_try_set_port(x, PORT_A, STATUS_IPI, 0, XEN_2LEVEL - 1), EINVAL);
	port_is(x, PORT_A, STATUS_VIRQ, 1, 3, 5, 0);
	xen_vm_free(x);
}

static void port_before_vcpu(void)
{
	struct xen_vm *x = more_vm(1, XEN_64, ALL);

	xen_set_port(x, PORT_B, STATUS_IPI, 1);
	xen_put_mask(x, PORT_B, true);
	xen_put_pending(x, PORT_B, true);
	evtchn_op_exits(x, EVTCHNOP_UNMASK, PORT_B);
	TEST_ASSERT(xen_masked(x, PORT_B), "unmasked");

	x->vcpu[1] = vm_vcpu_add(x->vm, 1, NULL);
	x->nr_vcpus = 2;
	xen_put_vcpu_info(x, 1, XEN_SHINFO + 64);
	xen_vcpu_set(x, 1, VCPU_INFO, gpa, XEN_SHINFO + 64);
	TEST_ASSERT_EQ(unmask(x, 0, PORT_B), 0);
	TEST_ASSERT_EQ(xen_flag(x, 1), 1);
	TEST_ASSERT_EQ(xen_sel(x, 1), xen_sel_bit(x, PORT_B));
	TEST_ASSERT_EQ(xen_flag(x, 0), 0);
	xen_vm_free(x);
}

/* ---- EVTCHNOP_unmask ---------------------------------------------------- */

/* Masked, and pending or not. */
static void put_port_state(struct xen_vm *x, u32 port, bool masked, bool pending)
{
	xen_put_mask(x, port, masked);
	xen_put_pending(x, port, pending);
}

/* Of all pending and mask bits, only that one changes. */
static void unmask_only(struct xen_vm *x, int n, u32 port)
{
	bool masked = xen_masked(x, port);
	static u8 before[0x800];

	memcpy(before, x->shinfo + 0x800, 0x800);
	TEST_ASSERT_EQ(unmask(x, n, port), 0);
	TEST_ASSERT(!xen_masked(x, port), "port %u is still masked", port);
	xen_put_mask(x, port, masked);
	TEST_ASSERT(!memcmp(before, x->shinfo + 0x800, 0x800), "port %u: other bits", port);
	xen_put_mask(x, port, false);
}

static void unmask_pending(enum xen_mode mode)
{
	struct xen_vm *x = more_vm(1, mode, ALL);
	u32 port, last = xen_nr_ports(x) - 1;

	for (port = 1; port <= last; port = port < last ? min(port * 2 + 1, last) : last + 1) {
		xen_set_port(x, port, STATUS_IPI, 0);
		put_port_state(x, port, true, true);
		unmask_only(x, 0, port);
		TEST_ASSERT_EQ(xen_sel(x, 0), xen_sel_bit(x, port));
		TEST_ASSERT_EQ(xen_flag(x, 0), 1);
		xen_window(x, 0);
		TEST_ASSERT_EQ(xen_count(x, 0, XEN_VECTOR), 1);
		xen_clear_events(x);
	}
	xen_vm_free(x);
}

IN_64_BIT(unmask_pending)
IN_32_BIT(unmask_pending)
IN_COMPAT(unmask_pending)

static void nothing_was_signalled(struct xen_vm *x, int n)
{
	TEST_ASSERT_EQ(xen_flag(x, n), 0);
	xen_window(x, n);
	TEST_ASSERT_EQ(xen_cpu(x, n)->nr, 0);
}

static void unmask_not_pending(enum xen_mode mode)
{
	struct xen_vm *x = more_vm(1, mode, ALL);

	xen_set_port(x, PORT_A, STATUS_VIRQ, 0);
	/* Not even if all others are. */
	memset(x->shinfo + 0x800, 0xff, xen_nr_ports(x) / 8);
	put_port_state(x, PORT_A, true, false);
	unmask_only(x, 0, PORT_A);
	TEST_ASSERT_EQ(xen_sel(x, 0), 0);
	nothing_was_signalled(x, 0);
	xen_vm_free(x);
}

IN_64_BIT(unmask_not_pending)
IN_32_BIT(unmask_not_pending)

static void unmask_not_masked(enum xen_mode mode)
{
	struct xen_vm *x = more_vm(1, mode, ALL);

	xen_set_port(x, PORT_A, STATUS_INTERDOMAIN, 0);
	put_port_state(x, PORT_A, false, true);
	unmask_only(x, 0, PORT_A);
	TEST_ASSERT_EQ(xen_sel(x, 0), 0);
	nothing_was_signalled(x, 0);
	xen_vm_free(x);
}

IN_64_BIT(unmask_not_masked)
IN_32_BIT(unmask_not_masked)

static void unmask_selector_set(enum xen_mode mode)
{
	struct xen_vm *x = more_vm(1, mode, ALL);

	xen_set_port(x, PORT_A, STATUS_PIRQ, 0);
	put_port_state(x, PORT_A, true, true);
	xen_put_sel(x, 0, xen_sel_bit(x, PORT_A));
	unmask_only(x, 0, PORT_A);
	TEST_ASSERT_EQ(xen_sel(x, 0), xen_sel_bit(x, PORT_A));
	nothing_was_signalled(x, 0);
	xen_vm_free(x);
}

IN_64_BIT(unmask_selector_set)
IN_32_BIT(unmask_selector_set)

/* The other vCPU is halted, or not run at all. */
static void unmask_for_other_vcpu(enum xen_mode mode, u32 what, u8 vector)
{
	struct xen_vm *x = more_vm(2, mode, what);

	xen_set_port(x, PORT_B, STATUS_IPI, 1);
	put_port_state(x, PORT_B, true, true);
	unmask_only(x, 0, PORT_B);
	TEST_ASSERT_EQ(xen_flag(x, 1), 1);
	TEST_ASSERT_EQ(xen_sel(x, 1), xen_sel_bit(x, PORT_B));
	xen_window(x, 1);
	TEST_ASSERT_EQ(xen_count(x, 1, vector), 1);
	xen_clear_events(x);

	put_port_state(x, PORT_B, true, true);
	xen_prepare(x, 1, STEP_HLT);
	xen_start(x, 1);
	TEST_ASSERT(xen_sleeps(x, 1, QUIET_MS), "does not sleep");
	TEST_ASSERT_EQ(unmask(x, 0, PORT_B), 0);
	xen_expect(x, 1, xen_wait(x, 1, PROMPT_MS), XEN_RETURNED);
	TEST_ASSERT_EQ(xen_count(x, 1, vector), 1);
	nothing_was_signalled(x, 0);
	TEST_ASSERT_EQ(xen_sel(x, 0), 0);

	/* To whom it is bound by now. */
	xen_clear_events(x);
	xen_set_port(x, PORT_B, STATUS_IPI, 0);
	put_port_state(x, PORT_B, true, true);
	TEST_ASSERT_EQ(unmask(x, 1, PORT_B), 0);
	TEST_ASSERT_EQ(xen_flag(x, 0), 1);
	TEST_ASSERT_EQ(xen_flag(x, 1), 0);
	xen_vm_free(x);
}

static void unmask_other_64(void)
{
	unmask_for_other_vcpu(XEN_64, ALL, XEN_VECTOR);
}

static void unmask_other_32(void)
{
	unmask_for_other_vcpu(XEN_32, ALL, XEN_VECTOR);
}

static void unmask_other_lapic(void)
{
	unmask_for_other_vcpu(XEN_64, ALL_LAPIC, XEN_LAPIC_VECTOR(1));
}

/* Of these the VMM knows. */
static void unmask_exits(enum xen_mode mode)
{
	struct xen_vm *x = more_vm(1, mode, ALL);
	u32 nr = xen_nr_ports(x);
	const u32 bad[] = { 0, PORT_A, 63, nr, nr + 1, 4096, 131071, 131072, BIT(31), -1U };
	static u8 before[0x800];
	int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++)
		if (bad[i] && bad[i] != PORT_A && bad[i] < 131072 && bad[i] >= nr)
			xen_set_port(x, bad[i], STATUS_IPI, 0);
	/* Closed again. */
	xen_set_port(x, 63, STATUS_IPI, 0);
	xen_set_port(x, 63, STATUS_CLOSED, 0);
	memset(x->shinfo + 0x800, 0xff, nr / 4);
	memcpy(before, x->shinfo + 0x800, 0x800);
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		evtchn_op_exits(x, EVTCHNOP_UNMASK, bad[i]);
	TEST_ASSERT(!memcmp(before, x->shinfo + 0x800, 0x800), "some bit has changed");
	TEST_ASSERT_EQ(xen_sel(x, 0), 0);
	nothing_was_signalled(x, 0);
	xen_vm_free(x);
}

IN_64_BIT(unmask_exits)
IN_32_BIT(unmask_exits)

static void unmask_argument(enum xen_mode mode)
{
	struct xen_vm *x = more_vm(1, mode, ALL);
	u64 bad[] = { XEN_HOLE, XEN_HOLE - 1, XEN_HOLE - 3 }, at = XEN_SPARE + 0x1000 - 3;
	u32 port = PORT_A;
	int i;

	xen_set_port(x, PORT_A, STATUS_IPI, 0);
	put_port_state(x, PORT_A, true, true);
	memcpy(xen_hva(x, XEN_HOLE - 3), &port, 3);
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_EVTCHN, EVTCHNOP_UNMASK, bad[i]), -EFAULT);
	TEST_ASSERT(xen_masked(x, PORT_A), "unmasked");

	memcpy(xen_hva(x, at), &port, sizeof(port));
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_EVTCHN, EVTCHNOP_UNMASK, at), 0);
	TEST_ASSERT(!xen_masked(x, PORT_A), "still masked");
	TEST_ASSERT_EQ(xen_flag(x, 0), 1);

	memcpy(xen_hva(x, XEN_HOLE - 4), &port, sizeof(port));
	xen_put_mask(x, PORT_A, true);
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_EVTCHN, EVTCHNOP_UNMASK, XEN_HOLE - 4), 0);
	TEST_ASSERT(!xen_masked(x, PORT_A), "still masked");
	xen_vm_free(x);
}

IN_64_BIT(unmask_argument)
IN_32_BIT(unmask_argument)

/* Pending is what a port became before: pollers have been told. */
static void unmask_and_poll(void)
{
	static const u32 list[] = { PORT_B, PORT_OTHER };
	struct xen_vm *x = more_vm(2, XEN_64, ALL);

	xen_set_port(x, PORT_A, STATUS_IPI, 0);
	xen_set_port(x, PORT_B, STATUS_IPI, 1);
	put_port_state(x, PORT_A, true, true);
	put_port_state(x, PORT_B, true, false);
	xen_hcall_start(x, 1, HCALL_SCHED, SCHEDOP_POLL, xen_put_poll(x, 1, 0, 2, list));
	TEST_ASSERT(xen_sleeps(x, 1, QUIET_MS), "does not poll");
	TEST_ASSERT_EQ(unmask(x, 0, PORT_A), 0);
	TEST_ASSERT_EQ(unmask(x, 0, PORT_B), 0);
	TEST_ASSERT_EQ(xen_flag(x, 0), 1);
	TEST_ASSERT(xen_wait(x, 1, QUIET_MS) == XEN_RUNNING_YET, "the poll ended");
	xen_send(x, PORT_B, 1);
	xen_expect(x, 1, xen_wait(x, 1, PROMPT_MS), XEN_RETURNED);
	xen_vm_free(x);
}

struct race {
	u32 stop_sending;
	u32 stop;
	u32 sent;
	u32 handled;
};

#define RACE		((struct race *)XEN_SPARE)

/* By the hypercall, or as Linux does, who makes it only if there is an event. */
static void guest_unmask(struct xen_shared_info64 *info, bool call)
{
	if (!call) {
		__sync_fetch_and_and(&info->mask[0], ~BIT_ULL(PORT_A));
		if (!(READ_ONCE(info->pending[0]) & BIT_ULL(PORT_A)))
			return;
		__sync_fetch_and_or(&info->mask[0], BIT_ULL(PORT_A));
	}
	GUEST_ASSERT_EQ(xen_guest_hcall(HCALL_EVTCHN, EVTCHNOP_UNMASK, XEN_ARG(0), 0, 0, 0, 0), 0);
}

/* Looks for events only after an upcall. */
static u64 guest_receive(struct xen_shared_info64 *info, struct xen_cpu *cpu, u64 unused)
{
	/* The first upcall may have come before this. */
	u32 round, seen = 0;

	for (round = 0; !READ_ONCE(RACE->stop); round++) {
		__sync_fetch_and_or(&info->mask[0], BIT_ULL(PORT_A));
		guest_unmask(info, round & 1);
		if (READ_ONCE(cpu->nr) == seen)
			continue;
		seen = READ_ONCE(cpu->nr);
		__sync_lock_test_and_set(&info->vcpu_info[0].pending_sel, 0);
		if (__sync_fetch_and_and(&info->pending[0], ~BIT_ULL(PORT_A)) & BIT_ULL(PORT_A))
			WRITE_ONCE(RACE->handled, RACE->handled + 1);
	}
	return round;
}

static u64 guest_send(u64 unused0, u64 unused1, u64 unused2)
{
	u32 sent;

	for (sent = 0; !READ_ONCE(RACE->stop_sending); ) {
		WRITE_ONCE(RACE->sent, ++sent);
		GUEST_ASSERT_EQ(xen_guest_hcall(HCALL_EVTCHN, EVTCHNOP_SEND, XEN_ARG(1), 0, 0, 0,
						0), 0);
		while (READ_ONCE(RACE->handled) != sent)
			cpu_relax();
	}
	return sent;
}

static void unmask_race(void)
{
	struct xen_vm *x = more_vm(2, XEN_64, ALL);
	struct race *race = xen_hva(x, XEN_SPARE);
	int i;

	xen_assign(x, EVTCHN_IPI, PORT_A, PORT_A, 0);
	xen_set_port(x, PORT_A, STATUS_IPI, 0);
	for (i = 0; i < 2; i++) {
		*(u32 *)xen_hva(x, XEN_ARG(i)) = PORT_A;
		x->state[i].irqs = true;
	}
	xen_prepare_call(x, 0, guest_receive, XEN_SHINFO, XEN_CPU(0), 0);
	xen_prepare_call(x, 1, guest_send, 0, 0, 0);
	xen_start(x, 0);
	xen_start(x, 1);
	xen_sleep_ms(RACE_MS);
	WRITE_ONCE(race->stop_sending, 1);
	TEST_ASSERT(xen_wait(x, 1, PROMPT_MS) == XEN_RETURNED, "event %u is never seen",
		    race->sent);
	WRITE_ONCE(race->stop, 1);
	xen_expect(x, 0, xen_wait(x, 0, PROMPT_MS), XEN_RETURNED);
	TEST_ASSERT_EQ(race->handled, race->sent);
	TEST_ASSERT(race->sent > 10, "only %u events", race->sent);
	printf("%u events, %lu rounds\n", race->sent, xen_result(x, 0));
	xen_vm_free(x);
}

/* ---- EVTCHNOP_status ---------------------------------------------------- */

struct status {
	u16 dom;
	u16 pad;
	u32 port;
	u32 status;
	u32 vcpu;
	union {
		u16 dom16;
		u32 word[2];
	};
};

kvm_static_assert(sizeof(struct status) == 24);

/* What the caller does not fill in. */
static struct status ask(u32 port)
{
	struct status s;

	memset(&s, GARBAGE, sizeof(s));
	s.dom = DOMID_SELF;
	s.port = port;
	return s;
}

static s64 status_at(struct xen_vm *x, u64 addr, u32 port)
{
	struct status s = ask(port);

	memcpy(xen_hva(x, addr), &s, sizeof(s));
	return xen_hcall(x, 0, HCALL_EVTCHN, EVTCHNOP_STATUS, addr);
}

static bool status_is(struct xen_vm *x, u64 addr, struct status want)
{
	return !memcmp(xen_hva(x, addr), &want, sizeof(want));
}

static void status(enum xen_mode mode)
{
	struct xen_vm *x = more_vm(2, mode, ALL);
	u32 type, last = xen_nr_ports(x) - 1;
	struct status s;

	for (type = STATUS_UNBOUND; type <= STATUS_IPI; type++) {
		put_port(x, last - type, type, type % 2, XEN_2LEVEL, 0x1234, 77);
		s = ask(last - type);
		s.status = type;
		s.vcpu = XEN_VCPU_ID(type % 2);
		if (type == STATUS_UNBOUND || type == STATUS_INTERDOMAIN)
			s.dom16 = 0x1234;
		if (type == STATUS_INTERDOMAIN)
			s.word[1] = 77;
		if (type == STATUS_PIRQ || type == STATUS_VIRQ)
			s.word[0] = 0x1234;
		TEST_ASSERT_EQ(status_at(x, XEN_ARG(0), s.port), 0);
		TEST_ASSERT(status_is(x, XEN_ARG(0), s), "type %u", type);
		/* Nothing behind it. */
		TEST_ASSERT_EQ(*(u8 *)xen_hva(x, XEN_ARG(0) + sizeof(s)), 0);
	}
	xen_vm_free(x);
}

IN_64_BIT(status)
IN_32_BIT(status)
IN_COMPAT(status)

static void status_exits(enum xen_mode mode)
{
	static const u16 doms[] = { 0, 1, DOMID_SELF + 1, DOMID_SELF - 1, 0xffff };
	static const u32 ports[] = { 0, PORT_OTHER, 63, 131072, -1U };
	struct xen_vm *x = more_vm(2, mode, ALL & ~XEN_ID);
	struct status *s = xen_hva(x, XEN_ARG(0)), want;
	int i;

	xen_vcpu_set(x, 0, VCPU_ID, vcpu_id, XEN_VCPU_ID(0));
	xen_set_port(x, PORT_A, STATUS_IPI, 0);
	xen_set_port(x, 63, STATUS_IPI, 0);
	xen_set_port(x, 63, STATUS_CLOSED, 0);
	for (i = 0; i < ARRAY_SIZE(ports); i++) {
		*s = want = ask(ports[i]);
		xen_hcall_exits(x, 0, HCALL_EVTCHN, EVTCHNOP_STATUS, XEN_ARG(0));
		TEST_ASSERT(status_is(x, XEN_ARG(0), want), "port %u", ports[i]);
	}
	for (i = 0; i < ARRAY_SIZE(doms); i++) {
		*s = ask(PORT_A);
		s->dom = doms[i];
		xen_hcall_exits(x, 0, HCALL_EVTCHN, EVTCHNOP_STATUS, XEN_ARG(0));
	}

	/* Bound to vCPUs whose ids are not known, or that do not exist. */
	xen_set_port(x, PORT_B, STATUS_IPI, 1);
	*s = ask(PORT_B);
	xen_hcall_exits(x, 0, HCALL_EVTCHN, EVTCHNOP_STATUS, XEN_ARG(0));
	xen_set_port(x, PORT_B, STATUS_IPI, 3);
	xen_hcall_exits(x, 0, HCALL_EVTCHN, EVTCHNOP_STATUS, XEN_ARG(0));
	TEST_ASSERT_EQ(status_at(x, XEN_ARG(0), PORT_A), 0);
	xen_vm_free(x);
}

IN_64_BIT(status_exits)
IN_32_BIT(status_exits)

static void status_on_two_pages(enum xen_mode mode)
{
	struct xen_vm *x = more_vm(1, mode, ALL);
	struct status s = ask(PORT_A);
	int i;

	xen_set_port(x, PORT_A, STATUS_IPI, 0);
	s.status = STATUS_IPI;
	s.vcpu = XEN_VCPU_ID(0);
	for (i = 0; i <= sizeof(s); i++) {
		TEST_ASSERT_EQ(status_at(x, XEN_SPARE + 0x1000 - i, PORT_A), 0);
		TEST_ASSERT(status_is(x, XEN_SPARE + 0x1000 - i, s), "offset -%d", i);
	}
	/* Up to the end of memory, and beyond. */
	TEST_ASSERT_EQ(status_at(x, XEN_HOLE - sizeof(s), PORT_A), 0);
	for (i = 0; i < sizeof(s); i++)
		TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_EVTCHN, EVTCHNOP_STATUS, XEN_HOLE - i),
			       -EFAULT);
	xen_vm_free(x);
}

IN_64_BIT(status_on_two_pages)
IN_32_BIT(status_on_two_pages)

/* Memory that the guest cannot write, or a page that it may not. */
static void status_read_only(enum xen_mode mode)
{
	struct xen_vm *x = more_vm(1, mode, ALL);
	struct status s = ask(PORT_A), *page = new_page(x, KVM_MEM_READONLY);
	struct kvm_sregs sregs;

	xen_set_port(x, PORT_A, STATUS_IPI, 0);
	*page = s;
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_EVTCHN, EVTCHNOP_STATUS, XEN_HOLE), -EFAULT);
	TEST_ASSERT(!memcmp(page, &s, sizeof(s)), "read-only memory was written");
	if (mode == XEN_32)
		return;

	vcpu_sregs_get(x->vcpu[0], &sregs);
	sregs.cr0 |= X86_CR0_WP;
	vcpu_sregs_set(x->vcpu[0], &sregs);
	*vm_get_page_table_entry(x->vm, XEN_SPARE) &= ~2ULL;
	TEST_ASSERT_EQ(status_at(x, XEN_SPARE, PORT_A), -EFAULT);
	TEST_ASSERT(status_is(x, XEN_SPARE, s), "a read-only page was written");
	xen_vm_free(x);
}

IN_64_BIT(status_read_only)
IN_32_BIT(status_read_only)

/* ---- the periodic timer ------------------------------------------------- */

#define MIN_PERIOD	MSEC
#define MAX_PERIOD	0x3fffffffffffffffULL
#define PERIOD		(20 * MSEC)
#define LONG_PERIOD	(500 * SEC)
#define COUNT_MS	xen_ms(400)

static s64 set_periodic(struct xen_vm *x, int n, int target, u64 period)
{
	*(u64 *)xen_hva(x, XEN_ARG(n)) = period;
	return vcpu_op(x, n, VCPUOP_SET_PERIODIC, target, XEN_ARG(n));
}

static u64 period_of(struct xen_vm *x, int n)
{
	return xen_vcpu_get(x, n, PERIODIC_TIMER, periodic_timer.period_ns);
}

static u64 next_of(struct xen_vm *x, int n)
{
	return xen_vcpu_get(x, n, PERIODIC_TIMER, periodic_timer.next_ns);
}

static int try_put_periodic(struct xen_vm *x, int n, u64 period, u64 next)
{
	struct kvm_xen_vcpu_attr attr = {
		.type = KVM_XEN_VCPU_ATTR_TYPE_PERIODIC_TIMER,
		.u.periodic_timer = { .period_ns = period, .next_ns = next },
	};

	return xen_errno(__vcpu_ioctl(x->vcpu[n], KVM_XEN_VCPU_SET_ATTR, &attr));
}

/*
 * The port of the timer is masked, so that there is just the pending bit, which tells
 * of an event each time that it is taken away.
 */
static struct xen_vm *periodic_vm(int nr_vcpus, enum xen_mode mode)
{
	struct xen_vm *x = more_vm(nr_vcpus, mode, ALL);
	int i;

	for (i = 0; i < nr_vcpus; i++) {
		xen_put_mask(x, XEN_TIMER_PORT(i), true);
		x->state[i].irqs = true;
	}
	/* The vCPU has seen its clock. */
	xen_window(x, 0);
	return x;
}

static u32 count_events(struct xen_vm *x, u32 port, u64 ms)
{
	u64 end = xen_real_ns(CLOCK_MONOTONIC) + ms * MSEC;
	u32 nr = 0;

	while (xen_real_ns(CLOCK_MONOTONIC) < end) {
		if (xen_pending(x, port)) {
			xen_put_pending(x, port, false);
			nr++;
		}
		usleep(500);
	}
	return nr;
}

/* Events come, but not more than the period allows and one that was due. */
static void events_come(struct xen_vm *x, u32 port, u64 period)
{
	u64 start = xen_real_ns(CLOCK_MONOTONIC), end = start + PROMPT_MS * MSEC, max;
	u32 nr = 0;

	do {
		nr += count_events(x, port, COUNT_MS);
	} while (nr < 3 && xen_real_ns(CLOCK_MONOTONIC) < end);
	max = (xen_real_ns(CLOCK_MONOTONIC) - start) / period + 2;
	TEST_ASSERT(nr >= 3 && nr <= max, "%u events, at most %lu are possible", nr, max);
}

static void event_within(struct xen_vm *x, u32 port, u64 ms)
{
	u64 end = xen_real_ns(CLOCK_MONOTONIC) + ms * MSEC;

	while (!xen_pending(x, port)) {
		TEST_ASSERT(xen_real_ns(CLOCK_MONOTONIC) < end, "no event");
		xen_sleep_ms(1);
	}
	xen_put_pending(x, port, false);
}

static void no_events(struct xen_vm *x, u32 port)
{
	u32 nr;

	xen_put_pending(x, port, false);
	nr = count_events(x, port, QUIET_MS);
	TEST_ASSERT(!nr, "%u events", nr);
}

static void spin(struct xen_vm *x, int n)
{
	xen_prepare(x, n, STEP_SPIN);
	xen_start(x, n);
}

static void stop_spinning(struct xen_vm *x, int n)
{
	xen_expect(x, n, xen_interrupt(x, n), XEN_SIGNALLED);
}

static void periodic(enum xen_mode mode)
{
	struct xen_vm *x = periodic_vm(1, mode);
	u64 fires = stat(x, 0, "xen_timer_fires"), next;

	TEST_ASSERT_EQ(period_of(x, 0), 0);
	TEST_ASSERT_EQ(set_periodic(x, 0, 0, PERIOD), 0);
	TEST_ASSERT_EQ(period_of(x, 0), PERIOD);
	/* The last event was long ago. */
	TEST_ASSERT(xen_pending(x, TIMER), "no event at once");
	TEST_ASSERT(stat(x, 0, "xen_timer_fires") > fires, "no event counted");

	spin(x, 0);
	events_come(x, TIMER, PERIOD);
	stop_spinning(x, 0);
	next = next_of(x, 0);
	TEST_ASSERT(next <= xen_now(x) + PERIOD + CLOCK_ERROR_NS, "next at %lu", next);

	TEST_ASSERT_EQ(vcpu_op(x, 0, VCPUOP_STOP_PERIODIC, 0, XEN_HOLE), 0);
	TEST_ASSERT_EQ(period_of(x, 0), 0);
	xen_put_pending(x, TIMER, false);
	spin(x, 0);
	no_events(x, TIMER);
	stop_spinning(x, 0);
	TEST_ASSERT_EQ(vcpu_op(x, 0, VCPUOP_STOP_PERIODIC, 0, XEN_HOLE), 0);
	xen_vm_free(x);
}

IN_64_BIT(periodic)
IN_32_BIT(periodic)
IN_COMPAT(periodic)

/* Unmasked, the events are interrupts. */
static void periodic_upcalls(void)
{
	struct xen_vm *x = periodic_vm(1, XEN_64);
	u64 end = xen_real_ns(CLOCK_MONOTONIC) + PROMPT_MS * MSEC;

	xen_put_mask(x, TIMER, false);
	TEST_ASSERT_EQ(set_periodic(x, 0, 0, PERIOD), 0);
	spin(x, 0);
	while (xen_count(x, 0, XEN_VECTOR) < 4) {
		TEST_ASSERT(xen_real_ns(CLOCK_MONOTONIC) < end, "%u upcalls",
			    xen_count(x, 0, XEN_VECTOR));
		xen_put_sel(x, 0, 0);
		xen_put_pending(x, TIMER, false);
		xen_sleep_ms(1);
	}
	stop_spinning(x, 0);
	xen_vm_free(x);
}

static void periodic_errors(enum xen_mode mode)
{
	static const u64 bad[] = { 0, 1, MIN_PERIOD - 1, MAX_PERIOD + 1, BIT_ULL(63), -1ULL };
	struct xen_vm *x = periodic_vm(2, mode);
	u64 at = XEN_SPARE + 0x1000 - 5, period = MAX_PERIOD;
	int i;

	TEST_ASSERT_EQ(set_periodic(x, 0, 0, 2 * SEC), 0);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		TEST_ASSERT_EQ(set_periodic(x, 0, 0, bad[i]), -EINVAL);
		TEST_ASSERT_EQ(set_periodic(x, 0, 1, bad[i]), -EINVAL);
	}
	*(u64 *)xen_hva(x, XEN_HOLE - 8) = 0;
	for (i = 0; i < 8; i++)
		TEST_ASSERT_EQ(vcpu_op(x, 0, VCPUOP_SET_PERIODIC, 0, XEN_HOLE - i), -EFAULT);
	TEST_ASSERT_EQ(vcpu_op(x, 0, VCPUOP_SET_PERIODIC, 0, XEN_HOLE - 8), -EINVAL);
	TEST_ASSERT_EQ(period_of(x, 0), 2 * SEC);
	TEST_ASSERT_EQ(period_of(x, 1), 0);

	TEST_ASSERT_EQ(set_periodic(x, 0, 0, MIN_PERIOD), 0);
	TEST_ASSERT_EQ(period_of(x, 0), MIN_PERIOD);
	memcpy(xen_hva(x, at), &period, sizeof(period));
	TEST_ASSERT_EQ(vcpu_op(x, 0, VCPUOP_SET_PERIODIC, 0, at), 0);
	TEST_ASSERT_EQ(period_of(x, 0), MAX_PERIOD);
	xen_put_pending(x, TIMER, false);
	spin(x, 0);
	no_events(x, TIMER);
	stop_spinning(x, 0);
	xen_vm_free(x);
}

IN_64_BIT(periodic_errors)
IN_32_BIT(periodic_errors)

static void no_vcpu_or_port(enum xen_mode mode)
{
	static const u32 cmds[] = { VCPUOP_SET_PERIODIC, VCPUOP_STOP_PERIODIC };
	static const u32 ids[] = { NO_VCPU, XEN_VCPU_ID(1), -1U };
	struct xen_vm *x = more_vm(2, mode, ALL & ~XEN_ID);
	int i, j;

	/* The other vCPU has a port, but no id; then an id, but no port. */
	xen_vcpu_set(x, 0, VCPU_ID, vcpu_id, XEN_VCPU_ID(0));
	TEST_ASSERT_EQ(set_periodic(x, 0, 0, SEC), 0);
	for (i = 0; i < ARRAY_SIZE(cmds); i++)
		for (j = 0; j < ARRAY_SIZE(ids); j++)
			vcpu_op_exits(x, cmds[i], ids[j]);
	xen_vcpu_set(x, 1, VCPU_ID, vcpu_id, XEN_VCPU_ID(1));
	TEST_ASSERT_EQ(set_periodic(x, 0, 1, SEC), 0);
	xen_set_timer(x, 1, 0, 0);
	for (i = 0; i < ARRAY_SIZE(cmds); i++)
		vcpu_op_exits(x, cmds[i], XEN_VCPU_ID(1));
	TEST_ASSERT_EQ(period_of(x, 0), SEC);
	TEST_ASSERT_EQ(period_of(x, 1), SEC);

	for (j = 0; j < ARRAY_SIZE(ids); j++)
		if (ids[j] != XEN_VCPU_ID(1))
			vcpu_op_exits(x, VCPUOP_GET_RUNSTATE, ids[j]);
	xen_vm_free(x);
}

IN_64_BIT(no_vcpu_or_port)
IN_32_BIT(no_vcpu_or_port)

static void periodic_of_other_vcpu(void)
{
	struct xen_vm *x = periodic_vm(2, XEN_64);
	u32 port = XEN_TIMER_PORT(1);

	/* One that never ran, and then does. */
	TEST_ASSERT_EQ(set_periodic(x, 0, 1, PERIOD), 0);
	no_events(x, port);
	spin(x, 1);
	events_come(x, port, PERIOD);
	TEST_ASSERT_EQ(vcpu_op(x, 0, VCPUOP_STOP_PERIODIC, 1, 0), 0);
	no_events(x, port);
	/* One that runs. */
	TEST_ASSERT_EQ(set_periodic(x, 0, 1, PERIOD), 0);
	events_come(x, port, PERIOD);
	stop_spinning(x, 1);
	TEST_ASSERT(!xen_pending(x, TIMER), "event for the caller");
	TEST_ASSERT_EQ(period_of(x, 0), 0);
	xen_vm_free(x);
}

/* Asleep in the kernel for more than two periods, then woken by an event. */
static void periodic_asleep(struct xen_vm *x, u64 op)
{
	u64 period = xen_ms(400) * MSEC, resumed, fires;
	u32 port = PORT_OTHER;
	bool late;

	TEST_ASSERT_EQ(set_periodic(x, 0, 0, period), 0);
	xen_clear_events(x);
	fires = stat(x, 0, "xen_timer_fires");
	if (op == -1ULL)
		xen_prepare(x, 0, STEP_HLT);
	else
		xen_prepare_hcall(x, 0, HCALL_SCHED,
				  (u64[6]) { op, xen_put_poll(x, 0, 0, 1, &port) });
	xen_start(x, 0);
	TEST_ASSERT(xen_sleeps(x, 0, 0), "does not sleep");
	/* One that was due before it slept. */
	late = xen_pending(x, TIMER);
	xen_put_pending(x, TIMER, false);
	TEST_ASSERT_EQ(xen_wait(x, 0, xen_ms(1000)), XEN_RUNNING_YET);
	TEST_ASSERT(!xen_pending(x, TIMER), "event while asleep");

	resumed = xen_now(x);
	xen_send(x, PORT_A, 0);
	xen_expect(x, 0, xen_wait(x, 0, PROMPT_MS), XEN_RETURNED);
	TEST_ASSERT(xen_pending(x, TIMER), "nothing on resumption");
	TEST_ASSERT(next_of(x, 0) + CLOCK_ERROR_NS >= resumed + period, "phase is the old one");
	/* Of all that it missed it gets one. */
	fires = stat(x, 0, "xen_timer_fires") - fires;
	if (!late && xen_now(x) < resumed + period)
		TEST_ASSERT_EQ(fires, 1);
	TEST_ASSERT_EQ(vcpu_op(x, 0, VCPUOP_STOP_PERIODIC, 0, 0), 0);
	xen_clear_events(x);
}

static void periodic_not_while_asleep(void)
{
	struct xen_vm *x = periodic_vm(1, XEN_64);

	periodic_asleep(x, -1ULL);
	periodic_asleep(x, SCHEDOP_BLOCK);
	periodic_asleep(x, SCHEDOP_POLL);
	xen_vm_free(x);
}

static void periodic_attribute(void)
{
	static const u64 bad[] = { 1, MIN_PERIOD - 1, MAX_PERIOD + 1, -1ULL };
	struct xen_vm *x = periodic_vm(1, XEN_64);
	int i;

	TEST_ASSERT_EQ(try_put_periodic(x, 0, SEC, UPTIME + 500 * SEC), 0);
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		TEST_ASSERT_EQ(try_put_periodic(x, 0, bad[i], 0), EINVAL);
	TEST_ASSERT_EQ(period_of(x, 0), SEC);
	TEST_ASSERT_EQ(next_of(x, 0), UPTIME + 500 * SEC);
	TEST_ASSERT_EQ(try_put_periodic(x, 0, MIN_PERIOD, 1), 0);
	TEST_ASSERT_EQ(period_of(x, 0), MIN_PERIOD);
	TEST_ASSERT_EQ(next_of(x, 0), 1);
	TEST_ASSERT_EQ(try_put_periodic(x, 0, MAX_PERIOD, 0), 0);
	TEST_ASSERT_EQ(period_of(x, 0), MAX_PERIOD);

	TEST_ASSERT_EQ(try_put_periodic(x, 0, 0, 0), 0);
	TEST_ASSERT_EQ(period_of(x, 0), 0);
	spin(x, 0);
	no_events(x, TIMER);
	stop_spinning(x, 0);
	xen_vm_free(x);
}

/* The next event is at @next, or soon if that is past. */
static void next_event_at(struct xen_vm *x, u64 next)
{
	u64 now;

	spin(x, 0);
	event_within(x, TIMER, PROMPT_MS);
	now = xen_now(x);
	TEST_ASSERT(now + CLOCK_ERROR_NS >= next, "early by %lu ns", next - now);
	events_come(x, TIMER, PERIOD);
	stop_spinning(x, 0);
	TEST_ASSERT_EQ(period_of(x, 0), PERIOD);
}

/* Into a fresh VM whose clock is to be @now, before or after it is. */
static void restore_periodic(u64 period, u64 next, u64 now, bool clock_first)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, ALL);

	xen_put_mask(x, TIMER, true);
	x->state[0].irqs = true;
	xen_config(x, SEND | MORE_HCALLS, XEN_HCALL_MSR);
	if (clock_first)
		xen_set_now(x, now);
	TEST_ASSERT_EQ(try_put_periodic(x, 0, period, next), 0);
	if (!clock_first)
		xen_set_now(x, now);
	TEST_ASSERT_EQ(period_of(x, 0), period);
	TEST_ASSERT_EQ(next_of(x, 0), next);
	TEST_ASSERT(!xen_pending(x, TIMER), "event while the vCPU does not run");
	next_event_at(x, next);
	xen_vm_free(x);
}

static void periodic_restored(void)
{
	struct xen_vm *x = periodic_vm(1, XEN_64);
	u64 period, next, now;

	TEST_ASSERT_EQ(set_periodic(x, 0, 0, PERIOD), 0);
	spin(x, 0);
	events_come(x, TIMER, PERIOD);
	stop_spinning(x, 0);
	period = period_of(x, 0);
	next = next_of(x, 0);
	now = xen_now(x);
	xen_vm_free(x);

	restore_periodic(period, next, now, true);
	restore_periodic(period, next, now, false);
	/* Some time before it is due, and long after. */
	restore_periodic(period, next, next - period + MSEC, true);
	restore_periodic(period, next, next - period + MSEC, false);
	restore_periodic(period, next, next + SEC, true);
	restore_periodic(period, next, next + SEC, false);
}

/* The first event may be further away than a period. */
static void periodic_starts_later(void)
{
	struct xen_vm *x = periodic_vm(1, XEN_64);
	u64 next = xen_now(x) + 300 * MSEC;

	TEST_ASSERT_EQ(try_put_periodic(x, 0, PERIOD, next), 0);
	next_event_at(x, next);
	xen_vm_free(x);
}

/*
 * Times that only a confused VMM can mean.  Those from 2^63 on have passed; none makes the
 * host set a timer in the past, which would keep its CPU busy for ever.
 */
static void periodic_extreme_times(void)
{
	static const u64 times[] = {
		0xa000000000000000, BIT_ULL(63), BIT_ULL(63) - 1, ~0ULL, 1,
	};
	static const u64 periods[] = { 0x3fffffffffffffff, MSEC };
	struct xen_vm *x = periodic_vm(1, XEN_64);
	u32 port = XEN_TIMER_PORT(0);
	int i, j, ms;
	bool due;

	for (i = 0; i < ARRAY_SIZE(times); i++)
		for (j = 0; j < ARRAY_SIZE(periods); j++) {
			TEST_ASSERT_EQ(try_put_periodic(x, 0, periods[j], times[i]), 0);
			due = times[i] != BIT_ULL(63) - 1;
			xen_prepare(x, 0, STEP_SPIN);
			xen_start(x, 0);
			for (ms = 0; ms < (due ? PROMPT_MS : 20) && !xen_pending(x, port); ms++)
				xen_sleep_ms(1);
			xen_expect(x, 0, xen_interrupt(x, 0), XEN_SIGNALLED);
			TEST_ASSERT(xen_pending(x, port) == due, "period %lx, next %lx",
				    periods[j], times[i]);
			xen_put_pending(x, port, false);
		}
	xen_vm_free(x);
}

/* Time is what goes by, not what the clock says. */
static void periodic_and_clock(void)
{
	static const u64 times[] = { UPTIME + 5000 * SEC, UPTIME, SEC, UPTIME + SEC };
	struct xen_vm *x = periodic_vm(1, XEN_64);
	int i;

	TEST_ASSERT_EQ(set_periodic(x, 0, 0, PERIOD), 0);
	spin(x, 0);
	for (i = 0; i < ARRAY_SIZE(times); i++) {
		xen_set_now(x, times[i]);
		events_come(x, TIMER, PERIOD);
	}
	stop_spinning(x, 0);
	TEST_ASSERT_EQ(period_of(x, 0), PERIOD);
	TEST_ASSERT(next_of(x, 0) < times[i - 1] + PROMPT_MS * MSEC, "next at %lu", next_of(x, 0));

	/* Also if the vCPU does not run meanwhile. */
	for (i = 0; i < ARRAY_SIZE(times); i++) {
		xen_set_now(x, times[i]);
		spin(x, 0);
		events_come(x, TIMER, PERIOD);
		stop_spinning(x, 0);
	}
	xen_vm_free(x);
}

/* The clock is set back while there is no period, as when a VM is reset. */
static void periodic_stopped_and_clock(void)
{
	struct xen_vm *x = periodic_vm(1, XEN_64);

	TEST_ASSERT_EQ(set_periodic(x, 0, 0, PERIOD), 0);
	spin(x, 0);
	events_come(x, TIMER, PERIOD);
	stop_spinning(x, 0);
	TEST_ASSERT_EQ(try_put_periodic(x, 0, 0, 0), 0);
	xen_set_now(x, SEC);
	TEST_ASSERT_EQ(set_periodic(x, 0, 0, PERIOD), 0);
	TEST_ASSERT(next_of(x, 0) <= xen_now(x) + PERIOD + CLOCK_ERROR_NS, "next at %lu",
		    next_of(x, 0));
	spin(x, 0);
	events_come(x, TIMER, PERIOD);
	stop_spinning(x, 0);

	/* What a VM that was saved meanwhile had. */
	TEST_ASSERT_EQ(try_put_periodic(x, 0, 0, SEC / 2), 0);
	TEST_ASSERT_EQ(next_of(x, 0), SEC / 2);
	TEST_ASSERT_EQ(try_put_periodic(x, 0, PERIOD, 0), 0);
	TEST_ASSERT_EQ(next_of(x, 0), SEC / 2 + PERIOD);
	xen_vm_free(x);
}

/* Also those that the guest does not notice, as it has not handled the last one. */
static void periodic_counts(void)
{
	struct xen_vm *x = periodic_vm(1, XEN_64);
	u64 end = xen_real_ns(CLOCK_MONOTONIC) + PROMPT_MS * MSEC;
	u64 before;

	xen_put_pending(x, TIMER, true);
	before = stat(x, 0, "xen_timer_fires");
	TEST_ASSERT_EQ(set_periodic(x, 0, 0, PERIOD), 0);
	spin(x, 0);
	xen_sleep_ms(5 * PERIOD / MSEC);
	stop_spinning(x, 0);
	while (stat(x, 0, "xen_timer_fires") < before + 3) {
		TEST_ASSERT(xen_real_ns(CLOCK_MONOTONIC) < end, "not counted");
		spin(x, 0);
		xen_sleep_ms(PERIOD / MSEC);
		stop_spinning(x, 0);
	}
	xen_vm_free(x);
}

/* The VM is no Xen guest for a while. */
static void periodic_and_config(void)
{
	struct xen_vm *x = periodic_vm(1, XEN_64);
	u32 nr;
	int i;

	TEST_ASSERT_EQ(set_periodic(x, 0, 0, PERIOD), 0);
	spin(x, 0);
	for (i = 0; i < 3; i++) {
		events_come(x, TIMER, PERIOD);
		xen_config(x, 0, 0);
		/* One may be on its way, and take long. */
		xen_put_pending(x, TIMER, false);
		nr = count_events(x, TIMER, QUIET_MS);
		TEST_ASSERT(nr <= 1, "%u events", nr);
		xen_config(x, SEND | MORE_HCALLS, XEN_HCALL_MSR);
	}
	stop_spinning(x, 0);
	xen_vm_free(x);
}

/* At a priority at which hardly anything else gets its CPU. */
static void spin_undisturbed(struct xen_vm *x, int n)
{
	const struct sched_param fifo = { .sched_priority = 1 }, other = {};

	TEST_ASSERT(!sched_setscheduler(0, SCHED_FIFO, &fifo), "no real-time scheduling");
	spin(x, n);
	TEST_ASSERT(!sched_setscheduler(0, SCHED_OTHER, &other), "no usual scheduling");
}

/* An event that is due by the new time does not wait until the host's timer rings. */
static void periodic_and_clock_forward(void)
{
	struct xen_vm *x = periodic_vm(1, XEN_64);
	u64 start;
	int i, prompt = 0;

	TEST_ASSERT_EQ(set_periodic(x, 0, 0, LONG_PERIOD), 0);
	xen_put_pending(x, TIMER, false);
	for (i = 0; prompt < 4; i++) {
		TEST_ASSERT(i < 6, "prompt only %d times", prompt);
		spin_undisturbed(x, 0);
		xen_sleep_ms(50);
		TEST_ASSERT(!xen_pending(x, TIMER), "early");
		xen_set_now(x, xen_now(x) + LONG_PERIOD);
		start = xen_real_ns(CLOCK_MONOTONIC);
		event_within(x, TIMER, PROMPT_MS);
		prompt += xen_real_ns(CLOCK_MONOTONIC) - start < xen_ms(800) * MSEC;
		stop_spinning(x, 0);
	}
	xen_vm_free(x);
}

/* Of a vCPU that runs; the next event is due a new period after the last one. */
static void periodic_shortened(void)
{
	u32 port = XEN_TIMER_PORT(1);
	struct xen_vm *x = periodic_vm(2, XEN_64);

	TEST_ASSERT_EQ(set_periodic(x, 0, 1, LONG_PERIOD), 0);
	spin(x, 1);
	event_within(x, port, PROMPT_MS);
	no_events(x, port);
	TEST_ASSERT_EQ(set_periodic(x, 0, 1, PERIOD), 0);
	events_come(x, port, PERIOD);
	stop_spinning(x, 1);

	/* Of one that does not: there is no event before it runs. */
	TEST_ASSERT_EQ(set_periodic(x, 0, 1, LONG_PERIOD), 0);
	TEST_ASSERT_EQ(set_periodic(x, 0, 1, PERIOD), 0);
	TEST_ASSERT(next_of(x, 1) <= xen_now(x) + PERIOD, "next at %lu", next_of(x, 1));
	xen_vm_free(x);
}

static u64 guest_set_periodic(u64 *period, u32 *stop, u64 unused)
{
	while (!READ_ONCE(*stop))
		GUEST_ASSERT_EQ(xen_guest_hcall(HCALL_VCPU, VCPUOP_SET_PERIODIC, XEN_VCPU_ID(0),
						(u64)period, 0, 0, 0), 0);
	return 0;
}

/* Set again and again, the period is the same, and the phase, too. */
static void periodic_set_often(void)
{
	struct xen_vm *x = periodic_vm(1, XEN_64);

	*(u64 *)xen_hva(x, XEN_ARG(0)) = PERIOD;
	xen_prepare_call(x, 0, guest_set_periodic, XEN_ARG(0), XEN_SPARE, 0);
	xen_start(x, 0);
	events_come(x, TIMER, PERIOD);
	WRITE_ONCE(*(u32 *)xen_hva(x, XEN_SPARE), 1);
	xen_expect(x, 0, xen_wait(x, 0, PROMPT_MS), XEN_RETURNED);
	xen_vm_free(x);
}

/* A VMM that has stopped the vCPU may rely on the guest's memory. */
static void periodic_not_while_stopped(void)
{
	struct xen_vm *x = periodic_vm(1, XEN_64);
	int i;

	TEST_ASSERT_EQ(set_periodic(x, 0, 0, PERIOD), 0);
	for (i = 0; i < 4; i++) {
		spin(x, 0);
		event_within(x, TIMER, PROMPT_MS);
		event_within(x, TIMER, PROMPT_MS);
		stop_spinning(x, 0);
		no_events(x, TIMER);
	}
	xen_vm_free(x);
}

/* The event is kept: the next one is far away. */
static void periodic_without_shared_info(enum xen_mode mode)
{
	struct xen_vm *x = periodic_vm(1, mode);
	u64 next;

	TEST_ASSERT_EQ(set_periodic(x, 0, 0, LONG_PERIOD), 0);
	xen_put_pending(x, TIMER, false);
	xen_set(x, SHARED_INFO, shared_info.gfn, KVM_XEN_INVALID_GFN);
	xen_set_now(x, xen_now(x) + LONG_PERIOD);
	xen_window(x, 0);
	TEST_ASSERT(!xen_pending(x, TIMER), "event in memory that is not shared_info");
	next = next_of(x, 0);
	TEST_ASSERT(next > xen_now(x), "next at %lu", next);

	xen_set(x, SHARED_INFO, shared_info.gfn, XEN_SHINFO >> 12);
	xen_window(x, 0);
	TEST_ASSERT(xen_pending(x, TIMER), "the event is lost");
	TEST_ASSERT_EQ(next_of(x, 0), next);
	xen_vm_free(x);
}

IN_64_BIT(periodic_without_shared_info)
IN_32_BIT(periodic_without_shared_info)

/* With the timer, and its port masked or not, just when the events come. */
static void periodic_vm_destroyed(void)
{
	struct xen_vm *x;
	int i;

	for (i = 0; i < 20; i++) {
		x = periodic_vm(2, XEN_64);
		xen_put_mask(x, TIMER, i & 1);
		TEST_ASSERT_EQ(set_periodic(x, 0, 0, MIN_PERIOD), 0);
		TEST_ASSERT_EQ(set_periodic(x, 0, 1, MIN_PERIOD), 0);
		if (i & 2) {
			spin(x, 0);
			xen_sleep_ms(3);
			stop_spinning(x, 0);
		}
		usleep(i * 150);
		xen_vm_free(x);
	}
}

/* ---- VCPUOP_get_runstate_info ------------------------------------------- */

struct runstate {
	u64 state;
	u64 entry;
	u64 time[4];
};

static u32 runstate_size(struct xen_vm *x, int n)
{
	return xen_is_64(x, n) ? sizeof(struct xen_runstate64) : sizeof(struct xen_runstate32);
}

static struct runstate runstate_at(struct xen_vm *x, int n, u64 addr)
{
	struct xen_runstate64 a64;
	struct xen_runstate32 a32;
	struct runstate rs;

	if (xen_is_64(x, n)) {
		memcpy(&a64, xen_hva(x, addr), sizeof(a64));
		TEST_ASSERT_EQ(a64.pad, 0);
		rs = (struct runstate) { (u32)a64.state, a64.entry_time };
		memcpy(rs.time, a64.time, sizeof(rs.time));
	} else {
		memcpy(&a32, xen_hva(x, addr), sizeof(a32));
		rs = (struct runstate) { (u32)a32.state, a32.entry_time };
		memcpy(rs.time, a32.time, sizeof(rs.time));
	}
	return rs;
}

static u64 sum(struct runstate rs)
{
	return rs.time[0] + rs.time[1] + rs.time[2] + rs.time[3];
}

/* Of @target, as asked by @n.  All of its time is accounted for, up to now. */
static struct runstate get_runstate_at(struct xen_vm *x, int n, int target, u64 addr)
{
	u64 before = xen_now(x);
	struct runstate rs;

	TEST_ASSERT_EQ(vcpu_op(x, n, VCPUOP_GET_RUNSTATE, target, addr), 0);
	rs = runstate_at(x, n, addr);
	TEST_ASSERT(sum(rs) + CLOCK_ERROR_NS >= before && sum(rs) <= xen_now(x) + CLOCK_ERROR_NS,
		    "times are %lu, now is %lu", sum(rs), before);
	TEST_ASSERT(rs.entry <= sum(rs), "entry %lu, times %lu", rs.entry, sum(rs));
	return rs;
}

static struct runstate get_runstate(struct xen_vm *x, int n, int target)
{
	return get_runstate_at(x, n, target, XEN_ARG(n));
}

/* Everywhere around the end of a page, and nothing else is written. */
static void runstate_layout(enum xen_mode mode)
{
	struct xen_vm *x = more_vm(1, mode, ALL);
	u32 size = runstate_size(x, 0), i;
	u8 *memory = xen_hva(x, XEN_SPARE);
	struct runstate rs;

	xen_window(x, 0);
	for (i = 0x1000 - 0x34; i <= 0x1004; i++) {
		memset(memory, GARBAGE, 0x2000);
		rs = get_runstate_at(x, 0, 0, XEN_SPARE + i);
		TEST_ASSERT_EQ(rs.state, XEN_RUNNING);
		TEST_ASSERT(rs.entry >= UPTIME, "entry %lu", rs.entry);
		TEST_ASSERT(rs.time[XEN_OFFLINE] >= UPTIME, "offline %lu", rs.time[XEN_OFFLINE]);
		TEST_ASSERT_EQ(rs.time[XEN_BLOCKED], 0);
		TEST_ASSERT(all_bytes(memory, GARBAGE, i), "bytes before 0x%x", i);
		TEST_ASSERT(all_bytes(memory + i + size, GARBAGE, 0x2000 - i - size),
			    "bytes behind 0x%x", i + size);
	}
	xen_vm_free(x);
}

IN_64_BIT(runstate_layout)
IN_32_BIT(runstate_layout)
IN_COMPAT(runstate_layout)

static void runstate_fault(enum xen_mode mode)
{
	struct xen_vm *x = more_vm(1, mode, ALL);
	u32 size = runstate_size(x, 0), i;
	u8 *page;

	get_runstate_at(x, 0, 0, XEN_HOLE - size);
	for (i = 0; i < size; i++)
		TEST_ASSERT_EQ(vcpu_op(x, 0, VCPUOP_GET_RUNSTATE, 0, XEN_HOLE - i), -EFAULT);
	page = new_page(x, KVM_MEM_READONLY);
	TEST_ASSERT_EQ(vcpu_op(x, 0, VCPUOP_GET_RUNSTATE, 0, XEN_HOLE), -EFAULT);
	TEST_ASSERT(all_bytes(page, GARBAGE, 0x1000), "read-only memory was written");
	xen_vm_free(x);
}

IN_64_BIT(runstate_fault)
IN_32_BIT(runstate_fault)

/* Asked often in one go, entry_time is that of the area, and times are as of then. */
static u64 guest_own_runstate(struct xen_runstate64 *info, struct xen_time_info *time, u64 rounds)
{
	struct xen_runstate64 *area = (void *)XEN_RUNSTATE;
	u64 entry, before, after, sum, times[4], same = 0;

	while (rounds--) {
		entry = READ_ONCE(area->entry_time);
		before = xen_guest_now(time);
		GUEST_ASSERT_EQ(xen_guest_hcall(HCALL_VCPU, VCPUOP_GET_RUNSTATE, XEN_VCPU_ID(0),
						(u64)info, 0, 0, 0), 0);
		after = xen_guest_now(time);
		memcpy(times, area->time, sizeof(times));
		barrier();
		/* Was it preempted? */
		if (READ_ONCE(area->entry_time) != entry)
			continue;
		same++;
		GUEST_ASSERT_EQ(info->state, XEN_RUNNING);
		GUEST_ASSERT_EQ(info->entry_time, entry);
		sum = info->time[0] + info->time[1] + info->time[2] + info->time[3];
		GUEST_ASSERT(before <= sum + 1 && sum <= after + 1);
		GUEST_ASSERT_EQ(info->time[XEN_BLOCKED], times[XEN_BLOCKED]);
		GUEST_ASSERT_EQ(info->time[XEN_OFFLINE], times[XEN_OFFLINE]);
		GUEST_ASSERT(info->time[XEN_RUNNING] >= times[XEN_RUNNING]);
	}
	return same;
}

static void runstate_own(void)
{
	struct xen_vm *x = more_vm(1, XEN_64, ALL);
	u64 same;

	xen_vcpu_set(x, 0, RUNSTATE_ADDR, gpa, XEN_RUNSTATE);
	x->state[0].irqs = true;
	same = xen_call(x, 0, guest_own_runstate, XEN_SPARE,
			XEN_SHINFO + offsetof(struct xen_vcpu_info64, time), 1000);
	TEST_ASSERT(same >= 500, "only %lu of 1000", same);
	xen_vm_free(x);
}

static void runstate_of_others(enum xen_mode mode)
{
	struct xen_vm *x = more_vm(2, mode, ALL);
	struct runstate rs, old;

	/* It never ran. */
	rs = get_runstate(x, 0, 1);
	TEST_ASSERT_EQ(rs.state, XEN_OFFLINE);
	TEST_ASSERT_EQ(rs.entry, 0);
	TEST_ASSERT_EQ(rs.time[XEN_OFFLINE], sum(rs));

	/* Asleep. */
	xen_prepare(x, 1, STEP_HLT);
	xen_start(x, 1);
	TEST_ASSERT(xen_sleeps(x, 1, QUIET_MS), "does not sleep");
	old = get_runstate(x, 0, 1);
	TEST_ASSERT_EQ(old.state, XEN_BLOCKED);
	TEST_ASSERT(old.entry >= UPTIME, "entry %lu", old.entry);
	xen_sleep_ms(50);
	rs = get_runstate(x, 0, 1);
	TEST_ASSERT_EQ(rs.state, XEN_BLOCKED);
	TEST_ASSERT_EQ(rs.entry, old.entry);
	TEST_ASSERT(rs.time[XEN_BLOCKED] >= old.time[XEN_BLOCKED] + 50 * MSEC, "blocked %lu",
		    rs.time[XEN_BLOCKED]);
	TEST_ASSERT_EQ(rs.time[XEN_RUNNING], old.time[XEN_RUNNING]);
	TEST_ASSERT_EQ(rs.time[XEN_OFFLINE], old.time[XEN_OFFLINE]);
	xen_send(x, PORT_B, 1);
	xen_expect(x, 1, xen_wait(x, 1, PROMPT_MS), XEN_RETURNED);

	/* What the VMM says. */
	xen_vcpu_set(x, 1, RUNSTATE_CURRENT, runstate.state, XEN_OFFLINE);
	TEST_ASSERT_EQ(get_runstate(x, 0, 1).state, XEN_OFFLINE);
	xen_vcpu_set(x, 1, RUNSTATE_CURRENT, runstate.state, XEN_RUNNABLE);
	TEST_ASSERT_EQ(get_runstate(x, 0, 1).state, XEN_RUNNABLE);
	xen_vm_free(x);
}

IN_64_BIT(runstate_of_others)
IN_32_BIT(runstate_of_others)
IN_COMPAT(runstate_of_others)

/* It may have to wait for a CPU now and then, but not always. */
static void runstate_of_running(void)
{
	u64 end = xen_real_ns(CLOCK_MONOTONIC) + PROMPT_MS * MSEC;
	struct xen_vm *x = more_vm(2, XEN_64, ALL);
	struct runstate rs = {}, old;

	x->state[1].irqs = true;
	spin(x, 1);
	while (get_runstate(x, 0, 1).state == XEN_OFFLINE)
		TEST_ASSERT(xen_real_ns(CLOCK_MONOTONIC) < end, "never ran");
	do {
		old = rs;
		rs = get_runstate(x, 0, 1);
		TEST_ASSERT(rs.state == XEN_RUNNING || rs.state == XEN_RUNNABLE, "state %lu",
			    rs.state);
		TEST_ASSERT(xen_real_ns(CLOCK_MONOTONIC) < end, "never seen running");
		xen_sleep_ms(5);
	} while (rs.state != XEN_RUNNING || old.state != XEN_RUNNING || rs.entry != old.entry);
	TEST_ASSERT(rs.time[XEN_RUNNING] >= old.time[XEN_RUNNING] + 4 * MSEC,
		    "running %lu, then %lu", old.time[XEN_RUNNING], rs.time[XEN_RUNNING]);
	TEST_ASSERT_EQ(rs.time[XEN_RUNNABLE], old.time[XEN_RUNNABLE]);
	stop_spinning(x, 1);
	xen_vm_free(x);
}

/* What @rs has more than @old is what really went by. */
static void grew_at_most(struct runstate rs, struct runstate old, u64 elapsed)
{
	int i;

	TEST_ASSERT(rs.entry - old.entry <= elapsed, "entry %lu, was %lu", rs.entry, old.entry);
	for (i = 0; i < 4; i++)
		TEST_ASSERT(rs.time[i] - old.time[i] <= elapsed, "time[%d]: %lu, was %lu", i,
			    rs.time[i], old.time[i]);
}

/* The times stay until the clock is again where it was. */
static void runstate_clock_backwards(enum xen_mode mode)
{
	static const u64 back[] = { UPTIME / 2, SEC, 0 };
	struct xen_vm *x = more_vm(2, mode, ALL);
	struct runstate old[2];
	u64 start;
	int i, n;

	for (n = 0; n < 2; n++)
		xen_vcpu_set(x, n, RUNSTATE_ADDR, gpa, XEN_RUNSTATE + 0x100 * n);
	/* The other vCPU is in each of the states. */
	for (i = 0; i < 4 * ARRAY_SIZE(back); i++) {
		xen_set_now(x, UPTIME + 10 * i * SEC);
		start = xen_real_ns(CLOCK_MONOTONIC);
		for (n = 0; n < 2; n++)
			xen_window(x, n);
		xen_vcpu_set(x, 1, RUNSTATE_CURRENT, runstate.state, i % 4);
		for (n = 0; n < 2; n++)
			old[n] = runstate_at(x, n, XEN_RUNSTATE + 0x100 * n);
		xen_set_now(x, back[i / 4]);
		for (n = 0; n < 2; n++) {
			TEST_ASSERT_EQ(vcpu_op(x, 0, VCPUOP_GET_RUNSTATE, n, XEN_ARG(0)), 0);
			grew_at_most(runstate_at(x, 0, XEN_ARG(0)), old[n],
				     xen_real_ns(CLOCK_MONOTONIC) - start);
		}
	}
	xen_vm_free(x);
}

IN_64_BIT(runstate_clock_backwards)
IN_32_BIT(runstate_clock_backwards)

/* A thread that wants all of the CPU on which it and those after it are started. */
struct competitor {
	pthread_t thread;
	cpu_set_t all;
	bool stop;
};

static void *compete(void *arg)
{
	struct competitor *c = arg;

	while (!READ_ONCE(c->stop))
		;
	return NULL;
}

static void start_competitor(struct competitor *c)
{
	int cpu = sched_getcpu();
	cpu_set_t one;

	TEST_ASSERT(!sched_getaffinity(0, sizeof(c->all), &c->all), "no affinity");
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	TEST_ASSERT(!sched_setaffinity(0, sizeof(one), &one), "cannot stay on CPU %d", cpu);
	c->stop = false;
	TEST_ASSERT(!pthread_create(&c->thread, NULL, compete, c), "no thread");
}

static void stop_competitor(struct competitor *c)
{
	WRITE_ONCE(c->stop, true);
	pthread_join(c->thread, NULL);
	TEST_ASSERT(!sched_setaffinity(0, sizeof(c->all), &c->all), "cannot leave the CPU");
}

struct watch {
	struct xen_runstate64 now;
	u32 stop;
	u32 reads;
	u32 states;
	u32 bad;
	u64 last[6];
};

/* The last ones of entry_time, the sum of the times, and the times never decrease. */
static u64 guest_watch(struct watch *w, u64 id, u64 nr_values)
{
	u64 now[6];
	int i;

	while (!READ_ONCE(w->stop)) {
		GUEST_ASSERT_EQ(xen_guest_hcall(HCALL_VCPU, VCPUOP_GET_RUNSTATE, id, (u64)&w->now,
						0, 0, 0), 0);
		now[0] = w->now.entry_time;
		now[1] = 0;
		for (i = 0; i < 4; i++) {
			now[2 + i] = w->now.time[i];
			now[1] += w->now.time[i];
		}
		for (i = 0; i < nr_values; i++) {
			if (now[i] < w->last[i]) {
				w->bad = i + 1;
				return w->last[i] - now[i];
			}
			w->last[i] = now[i];
		}
		w->states |= BIT(w->now.state);
		w->reads++;
	}
	return 0;
}

/* Short of CPUs it may take a while until vCPU 1 comes to @state, or the guest to look. */
static void until_seen(struct xen_vm *x, struct watch *w, s32 state)
{
	int ms;

	for (ms = 0; ms < 10 || (READ_ONCE(w->now.state) != state && !READ_ONCE(w->bad)); ms++) {
		TEST_ASSERT(ms < PROMPT_MS, "state %d is not seen", state);
		TEST_ASSERT_EQ(xen_wait(x, 1, 1), XEN_RUNNING_YET);
	}
}

/* vCPU 1 sleeps, wakes up, runs, and is stopped by the VMM. */
static void live_for_a_while(struct xen_vm *x, struct watch *w)
{
	u64 end = xen_real_ns(CLOCK_MONOTONIC) + RACE_MS * MSEC;

	while (xen_real_ns(CLOCK_MONOTONIC) < end && !READ_ONCE(w->bad)) {
		/* The upcall comes behind HLT. */
		x->state[1].irqs = false;
		xen_prepare(x, 1, STEP_HLT);
		xen_start(x, 1);
		until_seen(x, w, XEN_BLOCKED);
		xen_send(x, PORT_B, 1);
		xen_expect(x, 1, xen_wait(x, 1, PROMPT_MS), XEN_RETURNED);
		xen_put_sel(x, 1, 0);
		xen_put_pending(x, PORT_B, false);
		x->state[1].irqs = true;
		spin(x, 1);
		until_seen(x, w, XEN_RUNNING);
		stop_spinning(x, 1);
	}
}

static u64 watch_gva(int n)
{
	return XEN_SPARE + n * sizeof(struct watch);
}

/* vCPU @n watches @target. */
static void start_watching(struct xen_vm *x, int n, int target, u32 nr_values)
{
	x->state[n].irqs = true;
	xen_prepare_call(x, n, guest_watch, watch_gva(n), XEN_VCPU_ID(target), nr_values);
	xen_start(x, n);
}

static struct watch *stop_watching(struct xen_vm *x, int n, u32 states)
{
	struct watch *w = xen_hva(x, watch_gva(n));

	WRITE_ONCE(w->stop, 1);
	xen_expect(x, n, xen_wait(x, n, PROMPT_MS), XEN_RETURNED);
	TEST_ASSERT(!w->bad, "value %d went back by %lu ns after %u reads", w->bad - 1,
		    xen_result(x, n), w->reads);
	TEST_ASSERT(w->reads > 20 && (w->states & states) == states, "%u reads, states 0x%x",
		    w->reads, w->states);
	return w;
}

static void runstate_monotonic(void)
{
	struct xen_vm *x = more_vm(2, XEN_64, ALL);

	xen_window(x, 1);
	start_watching(x, 0, 1, 6);
	live_for_a_while(x, xen_hva(x, watch_gva(0)));
	stop_watching(x, 0, BIT(XEN_BLOCKED) | BIT(XEN_RUNNING));
	xen_vm_free(x);
}

/* The thread of vCPU 1 often waits for a CPU, which it cannot say before it has one. */
static void watch_competing(u32 nr_values)
{
	struct xen_vm *x = more_vm(2, XEN_64, ALL);
	struct competitor c;

	xen_window(x, 1);
	start_watching(x, 0, 1, nr_values);
	start_competitor(&c);
	live_for_a_while(x, xen_hva(x, watch_gva(0)));
	stop_competitor(&c);
	stop_watching(x, 0, BIT(XEN_BLOCKED) | BIT(XEN_RUNNING));
	xen_vm_free(x);
}

static void runstate_competing_sum(void)
{
	watch_competing(2);
}

static void runstate_competing(void)
{
	watch_competing(6);
}

/* To itself a vCPU always runs, whatever the other one is told meanwhile. */
static void runstate_competing_own(void)
{
	struct xen_vm *x = more_vm(2, XEN_64, ALL);
	struct competitor c;

	start_watching(x, 1, 0, 6);
	start_competitor(&c);
	start_watching(x, 0, 0, 6);
	xen_sleep_ms(RACE_MS);
	stop_competitor(&c);
	TEST_ASSERT_EQ(stop_watching(x, 0, BIT(XEN_RUNNING))->states, BIT(XEN_RUNNING));
	stop_watching(x, 1, BIT(XEN_RUNNING));
	xen_vm_free(x);
}

/* ---- SCHEDOP_block ------------------------------------------------------ */

static void block(struct xen_vm *x, int n)
{
	/* There is no argument. */
	xen_hcall_start(x, n, HCALL_SCHED, SCHEDOP_BLOCK, XEN_HOLE);
}

static void still_blocked(struct xen_vm *x, int n, const char *what)
{
	TEST_ASSERT(xen_sleeps(x, n, QUIET_MS), "%s ended it", what);
}

static void starts_blocking(struct xen_vm *x, int n)
{
	block(x, n);
	still_blocked(x, n, "nothing");
}

static void block_returns(struct xen_vm *x, int n)
{
	enum xen_stop stop = xen_wait(x, n, PROMPT_MS);

	TEST_ASSERT(stop != XEN_RUNNING_YET, "vCPU %d still blocks", n);
	xen_expect(x, n, stop, XEN_RETURNED);
	TEST_ASSERT_EQ(xen_result(x, n), 0);
}

/* Interrupts are off: the upcall ends it, but is not taken. */
static void block_upcall(enum xen_mode mode, u32 what, u8 vector)
{
	struct xen_vm *x = more_vm(2, mode, what);

	xen_assign(x, EVTCHN_IPI, PORT_B, PORT_B, 1);
	starts_blocking(x, 1);
	TEST_ASSERT_EQ(evtchn_op(x, 0, EVTCHNOP_SEND, PORT_B), 0);
	block_returns(x, 1);
	TEST_ASSERT_EQ(xen_count(x, 1, vector), 0);
	TEST_ASSERT_EQ(xen_flag(x, 1), 1);
	TEST_ASSERT_EQ(xen_sel(x, 1), xen_sel_bit(x, PORT_B));
	xen_window(x, 1);
	TEST_ASSERT_EQ(xen_count(x, 1, vector), 1);
	xen_clear_events(x);

	/* Interrupts are on: it is taken, right behind the call. */
	x->state[1].irqs = true;
	starts_blocking(x, 1);
	TEST_ASSERT_EQ(evtchn_op(x, 0, EVTCHNOP_SEND, PORT_B), 0);
	block_returns(x, 1);
	TEST_ASSERT_EQ(xen_count(x, 1, vector), 1);
	xen_vm_free(x);
}

static void block_upcall_64(void)
{
	block_upcall(XEN_64, ALL, XEN_VECTOR);
}

static void block_upcall_32(void)
{
	block_upcall(XEN_32, ALL, XEN_VECTOR);
}

static void block_upcall_lapic(void)
{
	block_upcall(XEN_64, ALL_LAPIC, XEN_LAPIC_VECTOR(1));
}

/* EVTCHNOP_unmask and timers raise upcalls, too. */
static void block_other_upcalls(void)
{
	struct xen_vm *x = more_vm(2, XEN_64, ALL);

	xen_set_port(x, PORT_B, STATUS_IPI, 1);
	put_port_state(x, PORT_B, true, true);
	starts_blocking(x, 1);
	TEST_ASSERT_EQ(unmask(x, 0, PORT_B), 0);
	block_returns(x, 1);
	xen_clear_events(x);

	TEST_ASSERT_EQ(xen_singleshot(x, 1, xen_in_ms(x, 1500), 0), 0);
	block(x, 1);
	block_returns(x, 1);
	TEST_ASSERT(xen_pending(x, XEN_TIMER_PORT(1)), "no event");
	xen_vm_free(x);
}

static void block_interrupt(void)
{
	struct xen_vm *x = more_vm(1, XEN_64, ALL);

	xen_lapic_enable(x, 0, true);
	xen_cpu(x, 0)->flags |= XEN_CPU_EOI;
	x->state[0].irqs = true;
	starts_blocking(x, 0);
	xen_send_msi(x, 0, 0x77);
	block_returns(x, 0);
	TEST_ASSERT_EQ(xen_count(x, 0, 0x77), 1);

	/* An NMI, even if interrupts are off. */
	x->state[0].irqs = false;
	starts_blocking(x, 0);
	xen_send_msi(x, 0, 0x400);
	block_returns(x, 0);
	TEST_ASSERT_EQ(xen_count(x, 0, NMI_VECTOR), 1);
	xen_vm_free(x);
}

static void block_signal(void)
{
	struct xen_vm *x = more_vm(1, XEN_64, ALL);
	struct kvm_mp_state state;
	int i;

	for (i = 0; i < 2; i++) {
		x->state[0].irqs = i;
		starts_blocking(x, 0);
		xen_expect(x, 0, xen_interrupt(x, 0), XEN_SIGNALLED);
		vcpu_mp_state_get(x->vcpu[0], &state);
		TEST_ASSERT_EQ(state.mp_state, KVM_MP_STATE_RUNNABLE);
		TEST_ASSERT_EQ(xen_result(x, 0), 0);
		/* Behind the call. */
		xen_expect(x, 0, xen_run(x, 0), XEN_RETURNED);
		TEST_ASSERT_EQ(xen_result(x, 0), 0);
	}
	xen_vm_free(x);
}

/* Some of it twice, as interrupts may be off or on. */
static void block_not_ended(void)
{
	struct xen_vm *x = more_vm(2, XEN_64, ALL);
	int i;

	for (i = 0; i < 2; i++) {
		x->state[1].irqs = i;
		xen_put_mask(x, PORT_OTHER, true);
		starts_blocking(x, 1);
		xen_send(x, PORT_OTHER, 1);
		still_blocked(x, 1, "a masked event");
		xen_send(x, PORT_A, 0);
		still_blocked(x, 1, "an event of another vCPU");
		xen_put_pending(x, PORT_B, true);
		xen_send(x, PORT_B, 1);
		still_blocked(x, 1, "an event that is pending already");
		xen_put_pending(x, PORT_B, false);
		xen_put_sel(x, 1, xen_sel_bit(x, PORT_B));
		xen_send(x, PORT_B, 1);
		still_blocked(x, 1, "an event with its selector bit set");
		xen_put_pending(x, PORT_B, false);
		xen_put_sel(x, 1, 0);
		get_runstate(x, 0, 1);
		TEST_ASSERT_EQ(set_periodic(x, 0, 1, PERIOD), 0);
		still_blocked(x, 1, "a periodic timer");
		TEST_ASSERT_EQ(vcpu_op(x, 0, VCPUOP_STOP_PERIODIC, 1, 0), 0);
		TEST_ASSERT_EQ(get_runstate(x, 0, 1).state, XEN_BLOCKED);
		xen_send(x, PORT_B, 1);
		block_returns(x, 1);
		xen_clear_events(x);
	}
	xen_vm_free(x);
}

/* With the flag set already, no event makes it change. */
static void block_flag_set(void)
{
	struct xen_vm *x = more_vm(1, XEN_64, ALL);

	xen_put_flag(x, 0, 1);
	starts_blocking(x, 0);
	xen_send(x, PORT_A, 0);
	still_blocked(x, 0, "an event without an upcall");
	xen_put_flag(x, 0, 0);
	still_blocked(x, 0, "memory");
	xen_send(x, PORT_OTHER, 0);
	block_returns(x, 0);
	TEST_ASSERT_EQ(xen_cpu(x, 0)->nr, 0);
	xen_vm_free(x);
}

/* Interrupts are on, perhaps only from the next instruction on, and an upcall is due. */
static u64 guest_block_with_upcall_due(u64 vcpu_info, u64 on_before, u64 unused)
{
	u64 rax = HCALL_SCHED;

	if (on_before)
		asm volatile("sti; nop");
	WRITE_ONCE(*(u8 *)vcpu_info, 1);
	if (!on_before)
		asm volatile("sti");
	if (host_cpu_is_amd)
		asm volatile("vmmcall" : "+a" (rax) : "D" (SCHEDOP_BLOCK) : "memory");
	else
		asm volatile("vmcall" : "+a" (rax) : "D" (SCHEDOP_BLOCK) : "memory");
	asm volatile("cli");
	return rax;
}

/* A host interrupt may hit the instruction before the call; not always. */
static void block_with_upcall_due(void)
{
	struct xen_vm *x = more_vm(1, XEN_64, ALL);
	int i, missed = 0;

	for (i = 0; i < 40; i++) {
		xen_clear_events(x);
		xen_prepare_call(x, 0, guest_block_with_upcall_due, XEN_SHINFO, i % 2, 0);
		xen_start(x, 0);
		if (xen_sleeps(x, 0, QUIET_MS)) {
			missed++;
			xen_send(x, PORT_A, 0);
			block_returns(x, 0);
			continue;
		}
		TEST_ASSERT_EQ(xen_result(x, 0), 0);
		TEST_ASSERT_EQ(xen_count(x, 0, XEN_VECTOR), 1);
	}
	TEST_ASSERT(missed <= i / 2, "%d of %d calls blocked", missed, i);
	xen_vm_free(x);
}

/* An interrupt of the APIC that waits is as good. */
static u64 guest_block_with_interrupt(u64 vector, u64 unused0, u64 unused1)
{
	u64 rax = HCALL_SCHED;

	xapic_write_reg(APIC_ICR, APIC_DEST_SELF | APIC_INT_ASSERT | vector);
	if (host_cpu_is_amd)
		asm volatile("sti; vmmcall; cli" : "+a" (rax) : "D" (SCHEDOP_BLOCK) : "memory");
	else
		asm volatile("sti; vmcall; cli" : "+a" (rax) : "D" (SCHEDOP_BLOCK) : "memory");
	return rax;
}

static void block_with_interrupt(void)
{
	struct xen_vm *x = more_vm(1, XEN_64, ALL);

	xen_lapic_enable(x, 0, true);
	xen_cpu(x, 0)->flags |= XEN_CPU_EOI;
	xen_prepare_call(x, 0, guest_block_with_interrupt, 0x77, 0, 0);
	xen_start(x, 0);
	block_returns(x, 0);
	TEST_ASSERT_EQ(xen_count(x, 0, 0x77), 1);
	xen_vm_free(x);
}

static void block_clears_mask(void)
{
	struct xen_vm *x = more_vm(1, XEN_64, ALL);
	u8 *info = (u8 *)x->state[0].info;
	u64 rest = 0x1234567800000000ULL;
	int i;

	for (i = 0; i < 2; i++) {
		x->state[0].irqs = i;
		memcpy(info, &rest, sizeof(rest));
		info[1] = 0xff;
		info[2] = GARBAGE;
		starts_blocking(x, 0);
		TEST_ASSERT_EQ(info[1], 0);
		TEST_ASSERT_EQ(info[2], GARBAGE);
		xen_send(x, PORT_A, 0);
		block_returns(x, 0);
		TEST_ASSERT_EQ(info[1], 0);
		xen_clear_events(x);
	}
	xen_vm_free(x);
}

/* Also if KVM has to map the page for that. */
static void block_clears_unmapped_mask(void)
{
	struct xen_vm *x = more_vm(1, XEN_64, ALL_LAPIC);
	u8 *page = new_page(x, 0);

	memset(page, 0, 0x1000);
	x->state[0].info = (void *)page;
	xen_vcpu_set(x, 0, VCPU_INFO, gpa, XEN_HOLE);
	xen_lapic_enable(x, 0, true);
	xen_step(x, 0, STEP_RETURN);
	page[1] = 0xff;
	TEST_ASSERT(!madvise(page, 0x1000, MADV_DONTNEED), "madvise");
	starts_blocking(x, 0);
	TEST_ASSERT_EQ(page[1], 0);
	xen_send(x, PORT_A, 0);
	block_returns(x, 0);
	xen_vm_free(x);
}

/* ---- the hypercall page ------------------------------------------------- */

static int try_page(struct xen_vm *x, u64 value)
{
	return xen_vcpu_try_set(x, 0, HYPERCALL_PAGE, gpa, value);
}

static u32 wallclock_version(struct xen_vm *x, bool long_mode)
{
	struct xen_shared_info64 *info64 = x->shinfo;
	struct xen_shared_info32 *info32 = x->shinfo;

	return long_mode ? info64->wc.version : info32->wc.version;
}

static void fill_page(enum xen_mode mode)
{
	struct xen_vm *x = xen_vm_new(1, mode, XEN_CFG);
	u8 *page = xen_hva(x, XEN_HCALL_PAGE);
	bool long_mode = mode == XEN_64;
	static u8 by_msr[0x1000];
	u32 version;
	u64 log = 0;

	TEST_ASSERT_EQ(xen_wrmsr(x, 0, XEN_HCALL_MSR, XEN_HCALL_PAGE), 0);
	memcpy(by_msr, page, 0x1000);
	memset(page, GARBAGE, 0x1000);
	xen_set(x, SHARED_INFO, shared_info.gfn, XEN_SHINFO >> 12);
	xen_set(x, LONG_MODE, long_mode, !long_mode);
	version = wallclock_version(x, long_mode);
	vm_mem_region_set_flags(x->vm, XEN_SLOT, KVM_MEM_LOG_DIRTY_PAGES);

	TEST_ASSERT_EQ(try_page(x, XEN_HCALL_PAGE), 0);
	TEST_ASSERT(!memcmp(page, by_msr, 0x1000), "another page than by WRMSR");
	TEST_ASSERT_EQ(page[0], 0xb8);
	TEST_ASSERT(all_bytes(page + 0x1000, 0, 0x1000), "bytes behind the page");
	TEST_ASSERT_EQ(xen_get(x, LONG_MODE, long_mode), long_mode);
	TEST_ASSERT(wallclock_version(x, long_mode) != version, "the wallclock was not renewed");
	kvm_vm_get_dirty_log(x->vm, XEN_SLOT, &log);
	TEST_ASSERT(log & BIT((XEN_HCALL_PAGE - XEN_BASE) / 0x1000), "dirty log 0x%lx", log);

	version = wallclock_version(x, long_mode);
	TEST_ASSERT_EQ(try_page(x, XEN_HCALL_PAGE), 0);
	TEST_ASSERT_EQ(wallclock_version(x, long_mode), version + 2);
	xen_vm_free(x);
}

IN_64_BIT(fill_page)
IN_32_BIT(fill_page)
IN_COMPAT(fill_page)

static void page_errors(enum xen_mode mode)
{
	struct xen_vm *x = xen_vm_new(1, mode, XEN_CFG | XEN_SI);
	u8 *read_only = new_page(x, KVM_MEM_READONLY);
	u64 bad[] = { XEN_HOLE, XEN_HOLE + 0x1000, BIT_ULL(46), BIT_ULL(52), -0x1000ULL };
	bool other = mode != XEN_64;
	u32 version;
	u64 kb;
	int i;

	xen_set(x, LONG_MODE, long_mode, other);
	version = wallclock_version(x, other);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		TEST_ASSERT_EQ(try_page(x, bad[i]), ENXIO);
		TEST_ASSERT_EQ(try_page(x, bad[i] | 1), EINVAL);
	}
	TEST_ASSERT_EQ(try_page(x, XEN_HCALL_PAGE | 1), EINVAL);
	TEST_ASSERT_EQ(try_page(x, XEN_HCALL_PAGE | 0xfff), EINVAL);
	TEST_ASSERT(all_bytes(xen_hva(x, XEN_HCALL_PAGE), 0, 0x1000), "page was written");
	TEST_ASSERT(all_bytes(read_only, GARBAGE, 0x1000), "read-only page was written");
	TEST_ASSERT_EQ(xen_get(x, LONG_MODE, long_mode), other);
	TEST_ASSERT_EQ(wallclock_version(x, other), version);
	TEST_ASSERT_EQ(xen_vcpu_try_get(x, 0, HYPERCALL_PAGE), ENOENT);

	kb = xen_slab_kb();
	for (i = 0; i < 2000; i++)
		TEST_ASSERT_EQ(try_page(x, XEN_HOLE), ENXIO);
	kb = xen_slab_kb() - kb;
	TEST_ASSERT((s64)kb < 4096, "%ld KB of memory are gone", (s64)kb);
	xen_vm_free(x);
}

IN_64_BIT(page_errors)
IN_32_BIT(page_errors)

/* Pages of the VMM: two for 64-bit guests, of which one cannot be read, one for others. */
static void page_of_vmm(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, 0);
	u8 *blob = mmap(NULL, 0x3000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	u8 *page = xen_hva(x, XEN_HCALL_PAGE);
	struct kvm_xen_hvm_config config = {
		.msr = XEN_HCALL_MSR, .blob_addr_64 = (u64)blob, .blob_size_64 = 2,
		.blob_addr_32 = (u64)blob + 0x2000, .blob_size_32 = 1,
	};
	int i;

	/* Without a configuration there are none. */
	TEST_ASSERT_EQ(try_page(x, XEN_HCALL_PAGE), EINVAL);

	for (i = 0; i < 3; i++)
		memset(blob + i * 0x1000, i + 1, 0x1000);
	TEST_ASSERT(!mprotect(blob, 0x1000, PROT_NONE), "mprotect");
	vm_ioctl(x->vm, KVM_XEN_HVM_CONFIG, &config);
	TEST_ASSERT_EQ(try_page(x, XEN_HCALL_PAGE), EFAULT);
	TEST_ASSERT_EQ(try_page(x, XEN_HCALL_PAGE | 2), EINVAL);
	TEST_ASSERT(all_bytes(page, 0, 0x1000), "page was written");
	TEST_ASSERT_EQ(xen_get(x, LONG_MODE, long_mode), 0);
	TEST_ASSERT_EQ(try_page(x, XEN_HOLE | 1), ENXIO);
	TEST_ASSERT_EQ(try_page(x, XEN_HCALL_PAGE | 1), 0);
	TEST_ASSERT(all_bytes(page, 2, 0x1000), "not the second page");
	TEST_ASSERT_EQ(xen_get(x, LONG_MODE, long_mode), 1);
	TEST_ASSERT(!mprotect(blob, 0x1000, PROT_READ), "mprotect");
	TEST_ASSERT_EQ(try_page(x, XEN_HCALL_PAGE), 0);
	TEST_ASSERT(all_bytes(page, 1, 0x1000), "not the first page");

	xen_set_mode(x, 0, XEN_32);
	TEST_ASSERT_EQ(try_page(x, XEN_HCALL_PAGE | 1), EINVAL);
	TEST_ASSERT_EQ(try_page(x, XEN_HCALL_PAGE), 0);
	TEST_ASSERT(all_bytes(page, 3, 0x1000), "not the page for 32-bit guests");
	TEST_ASSERT_EQ(xen_get(x, LONG_MODE, long_mode), 0);
	xen_vm_free(x);
}

/* The guest's writes of the MSR go to the VMM. */
static void trap_msr(struct xen_vm *x)
{
	u64 denied = 0;
	struct kvm_msr_filter filter = {
		.flags = KVM_MSR_FILTER_DEFAULT_ALLOW,
		.ranges = {
			{
				.flags = KVM_MSR_FILTER_WRITE,
				.base = XEN_HCALL_MSR,
				.nmsrs = 1,
				.bitmap = (u8 *)&denied,
			},
		},
	};

	vm_enable_cap(x->vm, KVM_CAP_X86_USER_SPACE_MSR, KVM_MSR_EXIT_REASON_FILTER);
	vm_ioctl(x->vm, KVM_X86_SET_MSR_FILTER, &filter);
}

/* The VMM sees a write of @value, uses the attribute, and returns its errno. */
static int trapped_write(struct xen_vm *x, u64 value)
{
	struct kvm_run *run = x->vcpu[0]->run;
	struct kvm_regs regs;
	int err;

	xen_prepare(x, 0, STEP_WRMSR);
	vcpu_regs_get(x->vcpu[0], &regs);
	regs.rcx = XEN_HCALL_MSR;
	regs.rax = (u32)value;
	regs.rdx = value >> 32;
	vcpu_regs_set(x->vcpu[0], &regs);
	xen_expect(x, 0, xen_run(x, 0), XEN_OTHER);
	TEST_ASSERT_KVM_EXIT_REASON(x->vcpu[0], KVM_EXIT_X86_WRMSR);
	TEST_ASSERT_EQ(run->msr.index, XEN_HCALL_MSR);
	TEST_ASSERT_EQ(run->msr.data, value);

	err = try_page(x, run->msr.data);
	run->msr.error = !!err;
	xen_expect(x, 0, xen_run(x, 0), err ? XEN_FAULTED : XEN_RETURNED);
	if (err)
		TEST_ASSERT_EQ((u8)xen_result(x, 0), GP_VECTOR);
	return err;
}

static void page_of_trapped_msr(enum xen_mode mode)
{
	struct xen_vm *x = xen_vm_new(1, mode, ALL);
	u8 *page = xen_hva(x, XEN_HCALL_PAGE);
	struct kvm_regs regs;

	xen_set(x, LONG_MODE, long_mode, mode != XEN_64);
	trap_msr(x);
	TEST_ASSERT_EQ(trapped_write(x, XEN_HCALL_PAGE | 1), EINVAL);
	TEST_ASSERT_EQ(trapped_write(x, XEN_HOLE), ENXIO);
	TEST_ASSERT(all_bytes(page, 0, 0x1000), "page was written");
	TEST_ASSERT_EQ(xen_get(x, LONG_MODE, long_mode), mode != XEN_64);
	TEST_ASSERT_EQ(trapped_write(x, XEN_HCALL_PAGE), 0);
	TEST_ASSERT_EQ(xen_get(x, LONG_MODE, long_mode), mode == XEN_64);

	/* It works. */
	xen_prepare(x, 0, STEP_PAGE);
	vcpu_regs_get(x->vcpu[0], &regs);
	regs.rbp = XEN_HCALL_PAGE + HCALL_VERSION * 32;
	vcpu_regs_set(x->vcpu[0], &regs);
	xen_expect(x, 0, xen_run(x, 0), XEN_EXITED);
	TEST_ASSERT_EQ(x->vcpu[0]->run->xen.u.hcall.input, HCALL_VERSION);
	xen_vm_free(x);
}

IN_64_BIT(page_of_trapped_msr)
IN_32_BIT(page_of_trapped_msr)

static const struct xen_case cases[] = {
	{ "AP1 AP2 AP35: capability", capability, MORE_HCALLS },
	{ "VO16 SC16 AP35: not without being asked", in_64_bit_opt_in, MORE_HCALLS },
	{ "VO16 SC16 AP35: not without being asked, 32-bit", in_32_bit_opt_in, MORE_HCALLS },

	{ "AP33: EVTCHN_PORT", port_attribute, MORE_HCALLS },
	{ "AP34: EVTCHN_PORT, errors", port_attribute_errors, MORE_HCALLS },
	{ "AP33: EVTCHN_PORT, port before its vCPU", port_before_vcpu, MORE_HCALLS },

	{ "T10: unmask a pending port", in_64_bit_unmask_pending, MORE_HCALLS },
	{ "T10: unmask a pending port, 32-bit", in_32_bit_unmask_pending, MORE_HCALLS },
	{ "T10: unmask a pending port, compat", in_compat_unmask_pending, MORE_HCALLS },
	{ "T11: unmask an unmasked port", in_64_bit_unmask_not_masked, MORE_HCALLS },
	{ "T11: unmask an unmasked port, 32-bit", in_32_bit_unmask_not_masked, MORE_HCALLS },
	{ "T12: unmask a port without an event", in_64_bit_unmask_not_pending, MORE_HCALLS },
	{ "T12: unmask a port without an event, 32-bit", in_32_bit_unmask_not_pending,
	  MORE_HCALLS },
	{ "T13: unmask a port of another vCPU", unmask_other_64, MORE_HCALLS },
	{ "T13: unmask a port of another vCPU, 32-bit", unmask_other_32, MORE_HCALLS },
	{ "T13: unmask a port of another vCPU, LAPIC", unmask_other_lapic, MORE_HCALLS },
	{ "T14: unmask with the selector bit set", in_64_bit_unmask_selector_set, MORE_HCALLS },
	{ "T14: unmask with the selector bit set, 32-bit", in_32_bit_unmask_selector_set,
	  MORE_HCALLS },
	{ "T17: unmask races with send", unmask_race, MORE_HCALLS },
	{ "H5: unmask of ports that are not known", in_64_bit_unmask_exits, MORE_HCALLS },
	{ "H5: unmask of ports that are not known, 32-bit", in_32_bit_unmask_exits, MORE_HCALLS },
	{ "H5 H20: argument of unmask", in_64_bit_unmask_argument, MORE_HCALLS },
	{ "H5 H20: argument of unmask, 32-bit", in_32_bit_unmask_argument, MORE_HCALLS },
	{ "P25: unmask and poll", unmask_and_poll, MORE_HCALLS },

	{ "H14: status", in_64_bit_status, MORE_HCALLS },
	{ "H14: status, 32-bit", in_32_bit_status, MORE_HCALLS },
	{ "H14: status, compat", in_compat_status, MORE_HCALLS },
	{ "H14: status that is not known", in_64_bit_status_exits, MORE_HCALLS },
	{ "H14: status that is not known, 32-bit", in_32_bit_status_exits, MORE_HCALLS },
	{ "H19: status into read-only memory", in_64_bit_status_read_only, MORE_HCALLS },
	{ "H19: status into read-only memory, 32-bit", in_32_bit_status_read_only, MORE_HCALLS },
	{ "H20: status on two pages", in_64_bit_status_on_two_pages, MORE_HCALLS },
	{ "H20: status on two pages, 32-bit", in_32_bit_status_on_two_pages, MORE_HCALLS },

	{ "TM14: periodic timer", in_64_bit_periodic, MORE_HCALLS },
	{ "TM14: periodic timer, 32-bit", in_32_bit_periodic, MORE_HCALLS },
	{ "TM14: periodic timer, compat", in_compat_periodic, MORE_HCALLS },
	{ "TM14: periodic timer, upcalls", periodic_upcalls, MORE_HCALLS },
	{ "VO17: periodic timer, errors", in_64_bit_periodic_errors, MORE_HCALLS },
	{ "VO17: periodic timer, errors, 32-bit", in_32_bit_periodic_errors, MORE_HCALLS },
	{ "VO18: periodic timer, no vCPU or port", in_64_bit_no_vcpu_or_port, MORE_HCALLS },
	{ "VO18: periodic timer, no vCPU or port, 32-bit", in_32_bit_no_vcpu_or_port, MORE_HCALLS },
	{ "VO19: periodic timer, another vCPU's", periodic_of_other_vcpu, MORE_HCALLS },
	{ "TM15: periodic timer, not while asleep", periodic_not_while_asleep, MORE_HCALLS },
	{ "TM15: periodic timer, not while stopped", periodic_not_while_stopped, MORE_HCALLS },
	{ "TM14: periodic timer, shortened", periodic_shortened, MORE_HCALLS },
	{ "TM14: periodic timer, set often", periodic_set_often, MORE_HCALLS },
	{ "TM7: periodic timer, without shared_info", in_64_bit_periodic_without_shared_info,
	  MORE_HCALLS },
	{ "TM7: periodic timer, without shared_info, 32-bit",
	  in_32_bit_periodic_without_shared_info, MORE_HCALLS },
	{ "TM16: PERIODIC_TIMER", periodic_attribute, MORE_HCALLS },
	{ "TM17: PERIODIC_TIMER, restored", periodic_restored, MORE_HCALLS },
	{ "TM16: PERIODIC_TIMER, starts later", periodic_starts_later, MORE_HCALLS },
	{ "TM16: PERIODIC_TIMER, extreme times", periodic_extreme_times, MORE_HCALLS },
	{ "TM18: periodic timer, KVM_SET_CLOCK", periodic_and_clock, MORE_HCALLS },
	{ "TM18: periodic timer, stopped, and the clock set back", periodic_stopped_and_clock,
	  MORE_HCALLS },
	{ "periodic timer, statistics", periodic_counts, MORE_HCALLS },
	{ "periodic timer, no Xen guest for a while", periodic_and_config, MORE_HCALLS },
	{ "TM18: periodic timer, KVM_SET_CLOCK makes it due", periodic_and_clock_forward,
	  MORE_HCALLS },
	{ "TM13: VM ends while its periodic timer runs", periodic_vm_destroyed, MORE_HCALLS },

	{ "RS26: runstate, layout", in_64_bit_runstate_layout, MORE_HCALLS },
	{ "RS26: runstate, layout, 32-bit", in_32_bit_runstate_layout, MORE_HCALLS },
	{ "RS26: runstate, layout, compat", in_compat_runstate_layout, MORE_HCALLS },
	{ "RS27: runstate, bad pointers", in_64_bit_runstate_fault, MORE_HCALLS },
	{ "RS27: runstate, bad pointers, 32-bit", in_32_bit_runstate_fault, MORE_HCALLS },
	{ "RS28: runstate, one's own", runstate_own, MORE_HCALLS },
	{ "RS28 RS29: runstate, others'", in_64_bit_runstate_of_others, MORE_HCALLS },
	{ "RS28 RS29: runstate, others', 32-bit", in_32_bit_runstate_of_others, MORE_HCALLS },
	{ "RS28 RS29: runstate, others', compat", in_compat_runstate_of_others, MORE_HCALLS },
	{ "RS28 RS29: runstate, of one that runs", runstate_of_running, MORE_HCALLS },
	{ "RS17 RS28: runstate, clock backwards", in_64_bit_runstate_clock_backwards, MORE_HCALLS },
	{ "RS17 RS28: runstate, clock backwards, 32-bit", in_32_bit_runstate_clock_backwards,
	  MORE_HCALLS },
	{ "RS30: runstate, times do not decrease", runstate_monotonic, MORE_HCALLS },
	{ "RS30: runstate, one's own times do not decrease, short of CPUs", runstate_competing_own,
	  MORE_HCALLS },
	{ "RS30: runstate, their sum does not decrease, short of CPUs", runstate_competing_sum,
	  MORE_HCALLS },
	{ "RS30: runstate, times do not decrease, short of CPUs", runstate_competing, MORE_HCALLS },

	{ "U29 SC18: block, and an upcall", block_upcall_64, MORE_HCALLS },
	{ "U29: block, and an upcall, 32-bit", block_upcall_32, MORE_HCALLS },
	{ "U29: block, and an upcall, LAPIC", block_upcall_lapic, MORE_HCALLS },
	{ "U29: block, and upcalls by unmask and timer", block_other_upcalls, MORE_HCALLS },
	{ "SC18: block, and an interrupt or NMI", block_interrupt, MORE_HCALLS },
	{ "SC18: block, and a signal", block_signal, MORE_HCALLS },
	{ "SC19: block, what does not end it", block_not_ended, MORE_HCALLS },
	{ "SC19: block, the flag is set already", block_flag_set, MORE_HCALLS },
	{ "SC20: block, an upcall is due", block_with_upcall_due, MORE_HCALLS },
	{ "SC20: block, an interrupt is due", block_with_interrupt, MORE_HCALLS },
	{ "SC21: block clears the upcall mask", block_clears_mask, MORE_HCALLS },
	{ "SC21: block clears the upcall mask, page not mapped", block_clears_unmapped_mask,
	  MORE_HCALLS },

	{ "HC33: HYPERCALL_PAGE", in_64_bit_fill_page, HCALL_PAGE },
	{ "HC33: HYPERCALL_PAGE, 32-bit", in_32_bit_fill_page, HCALL_PAGE },
	{ "HC33: HYPERCALL_PAGE, compat", in_compat_fill_page, HCALL_PAGE },
	{ "HC34: HYPERCALL_PAGE, errors", in_64_bit_page_errors, HCALL_PAGE },
	{ "HC34: HYPERCALL_PAGE, errors, 32-bit", in_32_bit_page_errors, HCALL_PAGE },
	{ "HC35: HYPERCALL_PAGE, supplied by the VMM", page_of_vmm, HCALL_PAGE },
	{ "RG55 HC33 HC34: HYPERCALL_PAGE for a trapped MSR", in_64_bit_page_of_trapped_msr,
	  HCALL_PAGE },
	{ "RG55 HC33 HC34: HYPERCALL_PAGE for a trapped MSR, 32-bit", in_32_bit_page_of_trapped_msr,
	  HCALL_PAGE },
};

int main(int argc, char *argv[])
{
	TEST_REQUIRE(kvm_check_cap(KVM_CAP_XEN_HVM) & (MORE_HCALLS | HCALL_PAGE));
	return xen_run_cases(argc, argv, cases, ARRAY_SIZE(cases));
}
