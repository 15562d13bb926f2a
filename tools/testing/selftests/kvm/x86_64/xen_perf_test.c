// SPDX-License-Identifier: GPL-2.0-only
/*
 * What hypercalls and events of Xen guests cost.
 *
 * Every case prints one line "# NAME VALUE UNIT".  Unless the unit is ns, the value
 * is in ticks of the TSC per operation: cycles on real hardware, and executed
 * instructions on an emulator that counts those.  It is the best of several batches,
 * so that what else the host does meanwhile (a timer tick, say) hardly counts.
 *
 * Names that begin with "host" are measured by the VMM, the others by the guest
 * itself.  What is in turns between two vCPUs is the time of a whole round trip.
 *
 * A case fails only if it cannot do its work; numbers are not judged here.
 */
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "xen.h"

#define BATCHES		10
#define REPS		200		/* per batch */
#define ROUNDS		(BATCHES * REPS)
#define LATE_REPS	100

#define GSI		24
#define PORT(n)		(200 + (n))	/* of vCPU n, in a word of no other port */
#define EVENTFD_PORT	100
#define FAR		(3600 * 1000 * NSEC_PER_MSEC)
#define ALL		(XEN_S | XEN_ID | XEN_TM)
#define SEND		KVM_XEN_HVM_CONFIG_EVTCHN_SEND
#define FIFO		(SEND | KVM_XEN_HVM_CONFIG_EVTCHN_FIFO)

/* Ticks per repetition of @stmt, in the best batch. */
#define MEASURE(stmt)						\
({								\
	u64 __best = -1ULL, __ticks;				\
	int __batch, __rep;					\
								\
	for (__batch = 0; __batch < BATCHES; __batch++) {	\
		__ticks = rdtsc();				\
		for (__rep = 0; __rep < REPS; __rep++)		\
			stmt;					\
		__ticks = (rdtsc() - __ticks) / REPS;		\
		if (__ticks < __best)				\
			__best = __ticks;			\
	}							\
	__best;							\
})

static void report(const char *name, u64 value, const char *unit)
{
	printf("%s %lu %s\n", name, value, unit);
}

/* Without so many CPUs the threads would wait for each other, not work at once. */
static void need_cpus(int nr)
{
	if (sysconf(_SC_NPROCESSORS_ONLN) < nr)
		ksft_exit_skip("needs %d CPUs\n", nr);
}

static struct xen_vm *new_vm(int nr_vcpus)
{
	struct xen_vm *x = xen_vm_new(nr_vcpus, XEN_64, ALL);
	int i;

	xen_set(x, XEN_VERSION, xen_version, 0x40011);
	for (i = 0; i < nr_vcpus; i++) {
		xen_assign(x, EVTCHN_IPI, PORT(i), PORT(i), i);
		*(u32 *)xen_hva(x, XEN_ARG(i)) = PORT(i);
	}
	return x;
}

static void opt_in_to_fifo(struct xen_vm *x)
{
	xen_config(x, KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL | FIFO, XEN_HCALL_MSR);
}

/* ---- in the guest ------------------------------------------------------- */

static u64 guest_cpuid(u64 unused, u64 unused2, u64 unused3)
{
	u32 a, b, c, d;

	return MEASURE(cpuid(0, &a, &b, &c, &d));
}

static u64 guest_hcall(u64 nr, u64 a0, u64 a1)
{
	return MEASURE(xen_guest_hcall(nr, a0, a1, 0, 0, 0, 0));
}

/* Raise an event as the guest's kernel does, having consumed the last one. */
static void guest_send(struct xen_shared_info64 *info, u32 n)
{
	__sync_fetch_and_and(&info->pending[PORT(n) / 64], ~BIT_ULL(PORT(n) % 64));
	__sync_fetch_and_and(&info->vcpu_info[n].pending_sel, ~BIT_ULL(PORT(n) / 64));
	xen_guest_hcall(HCALL_EVTCHN, EVTCHNOP_SEND, XEN_ARG(n), 0, 0, 0, 0);
}

static u64 guest_sends(struct xen_shared_info64 *info, u64 n, u64 irqs)
{
	u64 ticks;

	if (irqs)
		asm volatile("sti");
	ticks = MEASURE(guest_send(info, n));
	asm volatile("cli");
	return ticks;
}

static u64 guest_sends_for_ever(struct xen_shared_info64 *info, u64 n, u64 unused)
{
	asm volatile("sti");		/* see struct xen_vcpu */
	for (;;)
		guest_send(info, n);
	return 0;
}

static u64 guest_spin(u64 unused, u64 unused2, u64 unused3)
{
	asm volatile("sti");
	for (;;)
		cpu_relax();
	return 0;
}

/* Send to vCPU 1, which spins, and see its handler run. */
static void send_and_watch(struct xen_shared_info64 *info, struct xen_cpu *other)
{
	u32 nr = READ_ONCE(other->nr);

	guest_send(info, 1);
	/* It counts before it clears the flag, without which the next event is not told. */
	while (READ_ONCE(other->nr) == nr || READ_ONCE(info->vcpu_info[1].upcall_pending))
		cpu_relax();
}

static u64 guest_to_running(struct xen_shared_info64 *info, struct xen_cpu *other, u64 unused)
{
	return MEASURE(send_and_watch(info, other));
}

/* In turns: the one who was sent to sends back.  Each sleeps meanwhile. */
static void wait_halted(struct xen_cpu *cpu)
{
	while (!READ_ONCE(cpu->nr))
		asm volatile("sti; hlt; cli" : : : "memory");
	cpu->nr = 0;
}

static void halt_turn(struct xen_shared_info64 *info, u64 other, struct xen_cpu *cpu)
{
	guest_send(info, other);
	wait_halted(cpu);
}

static u64 guest_halt_first(struct xen_shared_info64 *info, u64 other, struct xen_cpu *cpu)
{
	return MEASURE(halt_turn(info, other, cpu));
}

static u64 guest_halt_second(struct xen_shared_info64 *info, u64 other, struct xen_cpu *cpu)
{
	int i;

	for (i = 0; i < ROUNDS; i++) {
		wait_halted(cpu);
		guest_send(info, other);
	}
	return 0;
}

/* The same with SCHEDOP_poll; both ports are masked. */
static void wait_polling(struct xen_shared_info64 *info, u32 n, u64 poll)
{
	while (!(READ_ONCE(info->pending[PORT(n) / 64]) & BIT_ULL(PORT(n) % 64)))
		xen_guest_hcall(HCALL_SCHED, SCHEDOP_POLL, poll, 0, 0, 0, 0);
	__sync_fetch_and_and(&info->pending[PORT(n) / 64], ~BIT_ULL(PORT(n) % 64));
}

static void poll_send(u32 n)
{
	xen_guest_hcall(HCALL_EVTCHN, EVTCHNOP_SEND, XEN_ARG(n), 0, 0, 0, 0);
}

static void poll_turn(struct xen_shared_info64 *info, u64 poll)
{
	poll_send(1);
	wait_polling(info, 0, poll);
}

static u64 guest_poll_first(struct xen_shared_info64 *info, u64 poll, u64 unused)
{
	return MEASURE(poll_turn(info, poll));
}

static u64 guest_poll_second(struct xen_shared_info64 *info, u64 poll, u64 unused)
{
	int i;

	for (i = 0; i < ROUNDS; i++) {
		wait_polling(info, 1, poll);
		poll_send(0);
	}
	return 0;
}

/* From the deadline to the end of the upcall, in nanoseconds. */
static u64 guest_lateness(struct xen_vcpu_info64 *info, struct xen_singleshot *arg,
			  struct xen_cpu *cpu)
{
	u64 late, best = -1ULL;
	int i;

	for (i = 0; i < LATE_REPS; i++) {
		((struct xen_shared_info64 *)info)->pending[0] = 0;
		info->pending_sel = 0;
		arg->timeout = xen_guest_now(&info->time) + NSEC_PER_MSEC;
		xen_guest_hcall(HCALL_VCPU, VCPUOP_SET_SINGLESHOT, XEN_VCPU_ID(0), (u64)arg,
				0, 0, 0);
		wait_halted(cpu);
		late = xen_guest_now(&info->time) - arg->timeout;
		if (late < best)
			best = late;
	}
	return best;
}

/* One exit per turn; interrupts are on meanwhile. */
static u64 guest_exit_for_ever(u64 unused, u64 unused2, u64 unused3)
{
	asm volatile("sti");
	for (;;)
		xen_guest_hcall(55, 0, 0, 0, 0, 0, 0);
	return 0;
}

/* ---- exits and hypercalls ----------------------------------------------- */

static void cost_of_cpuid(const char *name, u32 what)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, what);

	report(name, xen_call(x, 0, guest_cpuid, 0, 0, 0), "ticks");
}

static void cpuid_no_xen(void)
{
	cost_of_cpuid("cpuid_no_xen", 0);
}

static void cpuid_idle(void)
{
	cost_of_cpuid("cpuid_xen_idle", XEN_CFG);
}

static void cpuid_active(void)
{
	cost_of_cpuid("cpuid_xen_active", ALL);
}

static void version(void)
{
	struct xen_vm *x = new_vm(1);

	report("xen_version", xen_call(x, 0, guest_hcall, HCALL_VERSION, XENVER_VERSION, 0),
	       "ticks");
}

static void set_timer(void)
{
	struct xen_vm *x = new_vm(1);

	report("set_timer", xen_call(x, 0, guest_hcall, HCALL_SET_TIMER, FAR, 0), "ticks");
}

static u64 guest_singleshot(u64 op, u64 arg, u64 unused)
{
	return MEASURE(xen_guest_hcall(HCALL_VCPU, op, XEN_VCPU_ID(0), arg, 0, 0, 0));
}

static void singleshot(void)
{
	struct xen_vm *x = new_vm(1);

	report("singleshot", xen_call(x, 0, guest_singleshot, VCPUOP_SET_SINGLESHOT,
				      xen_put_singleshot(x, 0, FAR, 0), 0), "ticks");
}

static void vmm_hcall(void)
{
	struct xen_vm *x = new_vm(1);

	xen_prepare_call(x, 0, guest_hcall, 55, 0, 0);
	while (xen_run(x, 0) == XEN_EXITED)
		x->vcpu[0]->run->xen.u.hcall.result = 0;
	xen_expect(x, 0, x->state[0].stop, XEN_RETURNED);
	report("vmm_hypercall", xen_result(x, 0), "ticks");
}

/* ---- sending ------------------------------------------------------------ */

static void report_masked_send(struct xen_vm *x, const char *name)
{
	xen_put_mask(x, PORT(0), true);
	report(name, xen_call(x, 0, guest_sends, XEN_SHINFO, 0, 0), "ticks");
	TEST_ASSERT(xen_pending(x, PORT(0)), "the port is not pending");
	TEST_ASSERT_EQ(xen_cpu(x, 0)->nr, 0);
}

static void send_masked(void)
{
	report_masked_send(new_vm(1), "send_masked");
}

static void send_upcall(void)
{
	struct xen_vm *x = new_vm(1);

	report("send_upcall", xen_call(x, 0, guest_sends, XEN_SHINFO, 0, 1), "ticks");
	TEST_ASSERT_EQ(xen_count(x, 0, XEN_VECTOR), ROUNDS);
}

static void send_lapic(void)
{
	struct xen_vm *x = new_vm(1);

	xen_set(x, UPCALL_VECTOR, vector, 0);
	xen_setup(x, XEN_LV);
	report("send_upcall_lapic", xen_call(x, 0, guest_sends, XEN_SHINFO, 0, 1), "ticks");
	TEST_ASSERT_EQ(xen_count(x, 0, XEN_LAPIC_VECTOR(0)), ROUNDS);
}

static void send_eventfd(void)
{
	struct xen_vm *x = new_vm(1);
	int fd = eventfd(0, EFD_NONBLOCK);
	u64 value;

	TEST_ASSERT_EQ(xen_try_eventfd(x, EVENTFD_PORT, fd), 0);
	*(u32 *)xen_hva(x, XEN_ARG(0)) = EVENTFD_PORT;
	report("send_eventfd", xen_call(x, 0, guest_hcall, HCALL_EVTCHN, EVTCHNOP_SEND,
					XEN_ARG(0)), "ticks");
	TEST_ASSERT(read(fd, &value, sizeof(value)) == sizeof(value) && value == ROUNDS,
		    "the eventfd was not signalled as often");
}

/* Ports that are assigned, but not sent to, must not matter. */
static void assign_ports(struct xen_vm *x, int nr)
{
	int port;

	for (port = 1; nr; port++)
		if (port != PORT(0)) {
			xen_assign(x, EVTCHN_INTERDOMAIN, port, port, 0);
			nr--;
		}
}

static void send_64_ports(void)
{
	struct xen_vm *x = new_vm(1);

	assign_ports(x, 63);
	report_masked_send(x, "send_masked_64_ports");
}

static void send_4000_ports(void)
{
	struct xen_vm *x = new_vm(1);

	assign_ports(x, 3999);
	report_masked_send(x, "send_masked_4000_ports");
}

static void send_4_vcpus(void)
{
	report_masked_send(new_vm(4), "send_masked_4_vcpus");
}

/* Another thread maps and unmaps memory that is none of the guest's. */
static void *unmap_for_ever(void *page)
{
	for (;;) {
		WRITE_ONCE(*(u8 *)page, 1);
		madvise(page, 0x1000, MADV_DONTNEED);
	}
	return NULL;
}

static void send_invalidating(void)
{
	struct xen_vm *x = new_vm(1);
	pthread_t thread;
	void *page;

	need_cpus(2);
	page = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	TEST_ASSERT(!pthread_create(&thread, NULL, unmap_for_ever, page), "no thread");
	report_masked_send(x, "send_masked_invalidating");
}

static void send_two_senders(void)
{
	struct xen_vm *x = new_vm(2);

	need_cpus(2);
	xen_put_mask(x, PORT(1), true);
	xen_prepare_call(x, 1, guest_sends_for_ever, XEN_SHINFO, 1, 0);
	xen_start(x, 1);
	report_masked_send(x, "send_masked_two_senders");
	xen_expect(x, 1, xen_interrupt(x, 1), XEN_SIGNALLED);
}

/* ---- many ports at once, by either ABI ----------------------------------- */

#define WORD_MASKED	BIT(30)
#define WORD_LINKED	BIT(29)
#define WORD_LINK	GENMASK(16, 0)
#define WORD_PENDING	BIT(31)

/* What a guest's event handler works on; in guest memory. */
struct events {
	struct xen_shared_info64 *info;
	u64 mine[64];		/* ports that are this vCPU's */
	u32 word_idx, bit_idx;	/* where to go on the next time, to be fair */
	/* FIFO, or NULL */
	u32 *words;
	struct {
		u32 ready;
		u32 pad;
		u32 head[16];
	} *control;
	u32 next[16];
};

/* Both as Linux does it, in drivers/xen/events. */
static void drain_2level_word(struct events *e, int i, int bit)
{
	struct xen_shared_info64 *info = e->info;
	u64 active = READ_ONCE(info->pending[i]) & e->mine[i] & ~READ_ONCE(info->mask[i]);
	u64 bits;

	do {
		bits = active & (~0ULL << bit);
		if (!bits)
			break;

		bit = __builtin_ctzll(bits);
		__sync_fetch_and_and(&info->pending[i], ~BIT_ULL(bit));

		bit = (bit + 1) % 64;
		WRITE_ONCE(e->word_idx, bit ? i : (i + 1) % 64);
		WRITE_ONCE(e->bit_idx, bit);
	} while (bit);
}

static void drain_2level(struct events *e)
{
	u64 sel = __atomic_exchange_n(&e->info->vcpu_info[0].pending_sel, 0, __ATOMIC_SEQ_CST);
	int i;

	for (; sel; sel &= sel - 1) {
		i = __builtin_ctzll(sel);
		drain_2level_word(e, i, 0);
	}
}

static u32 unlink_word(u32 *word)
{
	u32 old = READ_ONCE(*word), seen;

	while ((seen = __sync_val_compare_and_swap(word, old, old & ~(WORD_LINKED | WORD_LINK))) !=
	       old)
		old = seen;
	return old;
}

static void drain_fifo(struct events *e)
{
	u32 ready = __atomic_exchange_n(&e->control->ready, 0, __ATOMIC_SEQ_CST);
	u32 port, word;
	int q;

	while (ready) {
		q = __builtin_ctz(ready);
		port = e->next[q] ?: READ_ONCE(e->control->head[q]);
		word = unlink_word(&e->words[port]);
		e->next[q] = word & WORD_LINK;
		if (!e->next[q])
			ready &= ~BIT(q);
		if ((word & (WORD_PENDING | WORD_MASKED)) == WORD_PENDING)
			__sync_fetch_and_and(&e->words[port], ~WORD_PENDING);
		ready |= __atomic_exchange_n(&e->control->ready, 0, __ATOMIC_SEQ_CST);
	}
}

/* Raise events on @nr ports, and handle them. */
static void deliver(struct events *e, u64 nr)
{
	u32 port;

	for (port = 1; port <= nr; port++) {
		WRITE_ONCE(*(u32 *)XEN_ARG(0), port);
		xen_guest_hcall(HCALL_EVTCHN, EVTCHNOP_SEND, XEN_ARG(0), 0, 0, 0, 0);
	}
	WRITE_ONCE(e->info->vcpu_info[0].upcall_pending, 0);
	if (e->words)
		drain_fifo(e);
	else
		drain_2level(e);
}

/* Ticks per event. */
static u64 guest_deliver(struct events *e, u64 nr, u64 reps)
{
	u64 ticks, best = -1ULL;
	int i, rep;

	for (i = 0; i < BATCHES; i++) {
		ticks = rdtsc();
		for (rep = 0; rep < reps; rep++)
			deliver(e, nr);
		ticks = (rdtsc() - ticks) / (reps * nr);
		if (ticks < best)
			best = ticks;
	}
	return best;
}

/* The same with an interrupt for each event; its handler only clears the flag. */
static void send_and_drain(struct events *e)
{
	xen_guest_hcall(HCALL_EVTCHN, EVTCHNOP_SEND, XEN_ARG(0), 0, 0, 0, 0);
	if (e->words)
		drain_fifo(e);
	else
		drain_2level(e);
}

static u64 guest_upcalls(struct events *e, u64 unused, u64 unused2)
{
	u64 ticks;

	asm volatile("sti");
	ticks = MEASURE(send_and_drain(e));
	asm volatile("cli");
	return ticks;
}

static void assign_many(struct xen_vm *x, int nr, bool fifo)
{
	struct kvm_xen_hvm_attr attr = {
		.type = KVM_XEN_ATTR_TYPE_EVTCHN,
		.u.evtchn.type = EVTCHN_IPI,
	};
	int port;

	for (port = 1; port <= nr; port++) {
		attr.u.evtchn.send_port = port;
		attr.u.evtchn.deliver.port.port = port;
		attr.u.evtchn.deliver.port.priority = fifo && nr <= 16 ? port - 1 : XEN_2LEVEL;
		vm_ioctl(x->vm, KVM_XEN_HVM_SET_ATTR, &attr);
	}
	*(u32 *)xen_hva(x, XEN_ARG(0)) = 1;
}

/* A VM whose guest has @nr ports, in FIFO mode 16 of them one of each priority. */
static struct xen_vm *new_events_vm(int nr, bool fifo, u64 *events)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, ALL);
	struct kvm_xen_hvm_attr attr = { .type = KVM_XEN_ATTR_TYPE_EVTCHN_ARRAY };
	struct events *e;
	u64 words;
	int i;

	*events = vm_vaddr_alloc_page(x->vm);
	e = addr_gva2hva(x->vm, *events);
	e->info = (void *)XEN_SHINFO;
	memset(e->mine, 0xff, sizeof(e->mine));
	if (fifo) {
		if (!(kvm_check_cap(KVM_CAP_XEN_HVM) & KVM_XEN_HVM_CONFIG_EVTCHN_FIFO))
			ksft_exit_skip("no FIFO event channels\n");
		opt_in_to_fifo(x);
		words = vm_vaddr_alloc_pages(x->vm, 4);
		e->words = (void *)words;
		e->control = (void *)vm_vaddr_alloc_page(x->vm);
		xen_vcpu_set(x, 0, EVTCHN_CONTROL, gpa, addr_gva2gpa(x->vm, (u64)e->control));
		for (i = 0; i < 4; i++) {
			attr.u.evtchn_array.index = i;
			attr.u.evtchn_array.gfn = addr_gva2gpa(x->vm, words + i * 0x1000) >> 12;
			vm_ioctl(x->vm, KVM_XEN_HVM_SET_ATTR, &attr);
		}
		xen_set(x, EVTCHN_ABI, evtchn_abi.abi, KVM_XEN_EVTCHN_ABI_FIFO);
	}
	assign_many(x, nr, fifo);
	return x;
}

static void report_upcalls(const char *name, bool fifo)
{
	struct xen_vm *x;
	u64 events;

	x = new_events_vm(1, fifo, &events);
	report(name, xen_call(x, 0, guest_upcalls, events, 0, 0), "ticks");
	TEST_ASSERT_EQ(xen_count(x, 0, XEN_VECTOR), ROUNDS);
}

/* In the end, nothing is left over. */
static void report_delivery(const char *name, int nr, bool fifo)
{
	struct xen_vm *x;
	struct events *e;
	u64 events;
	u32 *words;
	int port;

	x = new_events_vm(nr, fifo, &events);
	report(name, xen_call(x, 0, guest_deliver, events, nr, nr < 1000 ? 2000 / nr : 1), "ticks");

	e = addr_gva2hva(x->vm, events);
	words = fifo ? addr_gva2hva(x->vm, (u64)e->words) : NULL;
	for (port = 1; port <= nr; port++)
		TEST_ASSERT(fifo ? !words[port] : !xen_pending(x, port), "port %d", port);
}

#define DELIVERY(nr)							\
static void deliver_##nr(void)						\
{									\
	report_delivery("deliver_" #nr "_ports", nr, false);		\
}									\
static void deliver_##nr##_fifo(void)					\
{									\
	report_delivery("fifo_deliver_" #nr "_ports", nr, true);	\
}

DELIVERY(1)
DELIVERY(16)
DELIVERY(256)
DELIVERY(4095)

static void deliver_upcall(void)
{
	report_upcalls("deliver_upcall", false);
}

static void deliver_upcall_fifo(void)
{
	report_upcalls("fifo_deliver_upcall", true);
}

/* ---- to another vCPU ---------------------------------------------------- */

static void send_to_running(void)
{
	struct xen_vm *x = new_vm(2);

	need_cpus(2);
	xen_prepare_call(x, 1, guest_spin, 0, 0, 0);
	xen_start(x, 1);
	x->state[0].irqs = true;	/* see struct xen_vcpu */
	report("upcall_of_running_vcpu", xen_call(x, 0, guest_to_running, XEN_SHINFO,
						  XEN_CPU(1), 0), "ticks");
	xen_expect(x, 1, xen_interrupt(x, 1), XEN_SIGNALLED);
}

static void send_to_blocked(void)
{
	struct xen_vm *x = new_vm(2);

	xen_prepare_call(x, 1, guest_halt_second, XEN_SHINFO, 0, XEN_CPU(1));
	xen_start(x, 1);
	report("turns_halted", xen_call(x, 0, guest_halt_first, XEN_SHINFO, 1, XEN_CPU(0)),
	       "ticks");
	xen_expect(x, 1, xen_wait(x, 1, xen_ms(5000)), XEN_RETURNED);
}

static void poll_turns(void)
{
	struct xen_vm *x = new_vm(2);
	u64 poll[2];
	u32 port;
	int i;

	for (i = 0; i < 2; i++) {
		port = PORT(i);
		xen_put_mask(x, port, true);
		poll[i] = XEN_SPARE + i * 0x1000;
		*(u32 *)xen_hva(x, poll[i] + 64) = port;
		*(struct xen_poll64 *)xen_hva(x, poll[i]) = (struct xen_poll64) {
			.ports = poll[i] + 64, .nr_ports = 1,
		};
	}
	xen_prepare_call(x, 1, guest_poll_second, XEN_SHINFO, poll[1], 0);
	xen_start(x, 1);
	report("turns_polling", xen_call(x, 0, guest_poll_first, XEN_SHINFO, poll[0], 0), "ticks");
	xen_expect(x, 1, xen_wait(x, 1, xen_ms(5000)), XEN_RETURNED);
}

static void lateness(void)
{
	struct xen_vm *x = new_vm(1);

	report("timer_lateness", xen_call(x, 0, guest_lateness, XEN_SHINFO, XEN_ARG(0), XEN_CPU(0)),
	       "ns");
}

/* ---- from the VMM ------------------------------------------------------- */

static void host_ioctl(void)
{
	int fd = open_kvm_dev_path_or_exit();

	report("host_ioctl_empty", MEASURE(ioctl(fd, KVM_GET_API_VERSION, 0)), "ticks");
}

static void host_send_once(struct xen_vm *x, struct kvm_irq_routing_xen_evtchn *event)
{
	xen_put_pending(x, PORT(0), false);
	__vm_ioctl(x->vm, KVM_XEN_HVM_EVTCHN_SEND, event);
}

static void host_send(void)
{
	struct xen_vm *x = new_vm(1);
	struct kvm_irq_routing_xen_evtchn event = {
		.port = PORT(0), .vcpu = 0, .priority = XEN_2LEVEL,
	};

	xen_put_mask(x, PORT(0), true);
	report("host_send_masked", MEASURE(host_send_once(x, &event)), "ticks");
	TEST_ASSERT(xen_pending(x, PORT(0)), "the port is not pending");
}

/* Signal the eventfd, enter the guest, take the upcall, and exit. */
static void host_irqfd_once(struct xen_vm *x, int fd)
{
	eventfd_write(fd, 1);
	xen_run(x, 0);
	xen_put_pending(x, PORT(0), false);
	xen_put_sel(x, 0, 0);
}

static void host_irqfd(void)
{
	struct kvm_irq_routing *routing = kvm_gsi_routing_create();
	struct kvm_irqfd irqfd = { .fd = eventfd(0, 0), .gsi = GSI };
	struct xen_vm *x = new_vm(1);

	routing->nr = 1;
	routing->entries[0] = (struct kvm_irq_routing_entry) {
		.gsi = GSI,
		.type = KVM_IRQ_ROUTING_XEN_EVTCHN,
		.u.xen_evtchn = { .port = PORT(0), .vcpu = 0, .priority = XEN_2LEVEL },
	};
	kvm_gsi_routing_write(x->vm, routing);
	vm_ioctl(x->vm, KVM_IRQFD, &irqfd);

	xen_prepare_call(x, 0, guest_exit_for_ever, 0, 0, 0);
	report("host_irqfd_upcall_exit", MEASURE(host_irqfd_once(x, irqfd.fd)), "ticks");
	TEST_ASSERT_EQ(x->state[0].stop, XEN_EXITED);
	TEST_ASSERT_EQ(xen_count(x, 0, XEN_VECTOR), ROUNDS);
}

static u64 reset_ticks(struct xen_vm *x)
{
	u64 ticks = rdtsc();

	TEST_ASSERT_EQ(xen_try_evtchn(x, KVM_XEN_EVTCHN_RESET, 0, 0, 0, 0), 0);
	return rdtsc() - ticks;
}

static u64 host_reset(struct xen_vm *x, int nr, int batches)
{
	u64 best = -1ULL;
	int i;

	for (i = 0; i < batches; i++) {
		assign_ports(x, nr);
		best = min(best, reset_ticks(x));
	}
	return best;
}

static void host_reset_500(void)
{
	report("host_reset_500_ports", host_reset(new_vm(1), 500, BATCHES), "ticks");
}

static void host_reset_4000(void)
{
	report("host_reset_4000_ports", host_reset(new_vm(1), 4000, BATCHES), "ticks");
}

/* More ports than the 2-level ABI has. */
static struct xen_vm *new_vm_with_fifo(void)
{
	struct xen_vm *x = new_vm(1);

	opt_in_to_fifo(x);
	return x;
}

static void host_reset_10000(void)
{
	report("host_reset_10000_ports", host_reset(new_vm_with_fifo(), 10000, 2), "ticks");
}

static void host_reset_100000(void)
{
	report("host_reset_100000_ports", host_reset(new_vm_with_fifo(), 100000, 2), "ticks");
}

struct resetter {
	struct xen_vm *x;
	bool begun, done;
};

static void *reset_once(void *data)
{
	struct resetter *r = data;

	WRITE_ONCE(r->begun, true);
	reset_ticks(r->x);
	WRITE_ONCE(r->done, true);
	return NULL;
}

/* How long a send takes while another thread resets many ports. */
static void host_send_in_reset(void)
{
	struct resetter r = { .x = new_vm_with_fifo() };
	struct kvm_irq_routing_xen_evtchn event = {
		.port = PORT(0), .vcpu = 0, .priority = XEN_2LEVEL,
	};
	pthread_t thread;
	u64 ticks, nr;

	need_cpus(2);
	xen_put_mask(r.x, PORT(0), true);
	assign_ports(r.x, 100000);
	TEST_ASSERT(!pthread_create(&thread, NULL, reset_once, &r), "no thread");
	while (!READ_ONCE(r.begun))
		cpu_relax();
	ticks = rdtsc();
	for (nr = 0; !READ_ONCE(r.done); nr++)
		host_send_once(r.x, &event);
	ticks = rdtsc() - ticks;
	pthread_join(thread, NULL);
	TEST_ASSERT(nr > 1000, "only %lu sends", nr);
	report("host_send_masked_in_reset", ticks / nr, "ticks");
}

static const struct xen_case cases[] = {
	{ "exit of a VM without Xen", cpuid_no_xen },
	{ "exit of a Xen guest that is idle", cpuid_idle },
	{ "exit of a Xen guest with pages and vector", cpuid_active, SEND },
	{ "hypercall, version", version, SEND },
	{ "hypercall to the VMM", vmm_hcall, SEND },
	{ "set_timer_op", set_timer, SEND },
	{ "singleshot timer", singleshot, SEND },
	{ "singleshot timer, lateness", lateness, SEND },
	{ "send to own port, masked", send_masked, SEND },
	{ "send to own port, upcall by VM-wide vector", send_upcall, SEND },
	{ "send to own port, upcall by per-vCPU vector", send_lapic, SEND },
	{ "send to an eventfd", send_eventfd, SEND },
	{ "send with 64 ports", send_64_ports, SEND },
	{ "send with 4000 ports", send_4000_ports, SEND },
	{ "send with 4 vCPUs", send_4_vcpus, SEND },
	{ "send while the VMM invalidates other memory", send_invalidating, SEND },
	{ "send while another vCPU sends", send_two_senders, SEND },
	{ "events with an upcall each", deliver_upcall, SEND },
	{ "events with an upcall each, FIFO", deliver_upcall_fifo, SEND },
	{ "events of 1 port", deliver_1, SEND },
	{ "events of 1 port, FIFO", deliver_1_fifo, SEND },
	{ "events of 16 ports", deliver_16, SEND },
	{ "events of 16 ports, FIFO, as many priorities", deliver_16_fifo, SEND },
	{ "events of 256 ports", deliver_256, SEND },
	{ "events of 256 ports, FIFO", deliver_256_fifo, SEND },
	{ "events of 4095 ports", deliver_4095, SEND },
	{ "events of 4095 ports, FIFO", deliver_4095_fifo, SEND },
	{ "upcall of a running vCPU", send_to_running, SEND },
	{ "upcalls of halted vCPUs, in turns", send_to_blocked, SEND },
	{ "polls, in turns", poll_turns, SEND },
	{ "empty ioctl", host_ioctl },
	{ "send by the VMM, masked", host_send, SEND },
	{ "irqfd, upcall and exit", host_irqfd, SEND },
	{ "reset of 500 ports", host_reset_500, SEND },
	{ "reset of 4000 ports", host_reset_4000, SEND },
	{ "reset of 10000 ports", host_reset_10000, FIFO },
	{ "reset of 100000 ports", host_reset_100000, FIFO },
	{ "send by the VMM during a reset of 100000 ports", host_send_in_reset, FIFO },
};

int main(int argc, char *argv[])
{
	/* What a case prints is the purpose. */
	setenv("XEN_TEST_VERBOSE", "1", 1);
	return xen_run_cases(argc, argv, cases, ARRAY_SIZE(cases));
}
