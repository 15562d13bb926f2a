// SPDX-License-Identifier: GPL-2.0-only
/*
 * Xen guests: the order of single accesses to what is shared with the guest.
 *
 * In each case one processor raises events, the other one is in the guest and does what
 * may go wrong at the very moment, again and again: it unmasks a port, takes an event off a
 * queue, or sends to the same port.  A mistake shows for good: an event that nobody is told
 * of, a word that is not LINKED, one that stays BUSY.  Nothing is ever injected, so a vCPU
 * need not leave the guest, and a round takes about a thousand instructions.
 *
 * It needs processors that run at the same time, or take turns after 5 instructions, as
 * those of Bochs do.  Where they take turns after milliseconds, hardly anything races.
 *
 * In some cases one processor is enough, if the kernel can be preempted where it matters: a
 * thread of higher priority comes in at any instruction, and does all that it has to.
 */
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "xen.h"

#define FIFO		KVM_XEN_HVM_CONFIG_EVTCHN_FIFO
#define MORE_HCALLS	KVM_XEN_HVM_CONFIG_MORE_HCALLS
#define UNMASK		(KVM_XEN_HVM_CONFIG_EVTCHN_SEND | MORE_HCALLS)

#define PORT_A		5
#define PORT_B		6
#define PORT_C		7
#define BIT_A		BIT_ULL(PORT_A)
#define GSI		32

/* What an event has to be told in, however slow the machine. */
#define LOST_MS		xen_ms(10000)

/* What the guest and the VMM tell each other; at XEN_SPARE. */
struct control {
	u64 stop;
	u64 patience;		/* LOST_MS in ticks */
	u32 sent, seen;
	u64 rounds;
	u64 turns;
	struct guest_random_state random;
	struct xen_fifo_consumer consumer;
};

#define CONTROL		((struct control *)XEN_SPARE)
#define WORDS		((u32 *)XEN_FIFO_ARRAY(0))

/* For some instructions more or less, so that nothing is in step with anything. */
static void pause_for(struct guest_random_state *random, u32 max)
{
	u32 n;

	for (n = guest_random_u32(random) % max; n; n--)
		asm volatile("");
}

/* ---- the guest ---------------------------------------------------------- */

static s64 guest_evtchn(u32 cmd, u32 port)
{
	u32 *arg = (u32 *)XEN_ARG(0);

	WRITE_ONCE(*arg, port);
	return xen_guest_hcall(HCALL_EVTCHN, cmd, (u64)arg, 0, 0, 0, 0);
}

static bool guest_is_late(u64 since)
{
	return rdtsc() - since > CONTROL->patience;
}

/* From now on the port is masked, and nothing is pending but what comes just then. */
static void guest_masks(void)
{
	struct xen_shared_info64 *shinfo = (void *)XEN_SHINFO;
	struct xen_vcpu_info64 *info = &shinfo->vcpu_info[0];

	__sync_fetch_and_or(&shinfo->mask[0], BIT_A);
	__atomic_exchange_n(&info->upcall_pending, 0, __ATOMIC_SEQ_CST);
	__atomic_exchange_n(&info->pending_sel, 0, __ATOMIC_SEQ_CST);
	__sync_fetch_and_and(&shinfo->pending[0], ~BIT_A);
}

static bool guest_has_event(void)
{
	struct xen_shared_info64 *shinfo = (void *)XEN_SHINFO;

	return READ_ONCE(shinfo->pending[0]) & BIT_A;
}

static void guest_is_told(void)
{
	struct xen_vcpu_info64 *info = (void *)XEN_SHINFO;
	u64 since;

	for (since = rdtsc(); !READ_ONCE(info->upcall_pending);)
		__GUEST_ASSERT(!guest_is_late(since), "event is pending, but was not told");
	CONTROL->rounds++;
}

/* Unmask while an event comes: if the port was not pending then, the event is told. */
static u64 guest_unmasks(u64 by_hypercall, u64 unused0, u64 unused1)
{
	struct xen_shared_info64 *shinfo = (void *)XEN_SHINFO;

	while (!READ_ONCE(CONTROL->stop)) {
		guest_masks();
		/* All in all for about as long as the VMM needs for an event. */
		pause_for(&CONTROL->random, by_hypercall ? 128 : 1024);

		if (by_hypercall) {
			GUEST_ASSERT_EQ(guest_evtchn(EVTCHNOP_UNMASK, PORT_A), 0);
		} else {
			__sync_fetch_and_and(&shinfo->mask[0], ~BIT_A);
			if (guest_has_event())
				continue;
		}
		while (!guest_has_event())
			if (READ_ONCE(CONTROL->stop))
				return 0;
		guest_is_told();
	}
	return 0;
}

/* The event may come at any moment, or not at all. */
static u64 guest_keeps_unmasking(u64 unused0, u64 unused1, u64 unused2)
{
	while (!READ_ONCE(CONTROL->stop)) {
		guest_masks();
		GUEST_ASSERT_EQ(guest_evtchn(EVTCHNOP_UNMASK, PORT_A), 0);
		if (guest_has_event())
			guest_is_told();
		WRITE_ONCE(CONTROL->turns, CONTROL->turns + 1);
	}
	return 0;
}

static void guest_handle(void *arg, u32 port, int q)
{
	u64 since = rdtsc();

	__sync_fetch_and_and(&WORDS[port], ~XEN_FIFO_PENDING);
	while (READ_ONCE(WORDS[port]) & XEN_FIFO_BUSY)
		__GUEST_ASSERT(!guest_is_late(since), "port %u stays BUSY", port);
	WRITE_ONCE(CONTROL->seen, CONTROL->seen + 1);
	CONTROL->rounds++;
}

static void guest_consume(void)
{
	xen_fifo_consume(&CONTROL->consumer, guest_handle, NULL);
	__GUEST_ASSERT(!CONTROL->consumer.nr_bad, "a word is not LINKED, round %lu",
		       CONTROL->rounds);
}

/* As soon as a queue is ready, its head is the event that is on it. */
static u64 guest_looks(u64 unused0, u64 unused1, u64 unused2)
{
	struct xen_fifo_control *control = CONTROL->consumer.control;
	u32 head;

	for (;;) {
		while (!READ_ONCE(control->ready)) {
			if (READ_ONCE(CONTROL->stop)) {
				guest_consume();
				return 0;
			}
		}
		head = READ_ONCE(control->head[7]);
		__GUEST_ASSERT(READ_ONCE(WORDS[head]) & XEN_FIFO_LINKED, "port %u is an old head",
			       head);
		guest_consume();
	}
}

static u64 guest_consumes(u64 unused0, u64 unused1, u64 unused2)
{
	while (!READ_ONCE(CONTROL->stop)) {
		pause_for(&CONTROL->random, 1024);
		guest_consume();
	}
	guest_consume();
	return 0;
}

/* The VMM does the same, for other queues. */
static u64 guest_sends(u64 unused0, u64 unused1, u64 unused2)
{
	u32 port;

	while (!READ_ONCE(CONTROL->stop)) {
		for (port = PORT_A; port <= PORT_C; port++) {
			pause_for(&CONTROL->random, 32);
			GUEST_ASSERT_EQ(guest_evtchn(EVTCHNOP_SEND, port), 0);
		}
		pause_for(&CONTROL->random, 1024);
		guest_consume();
	}
	guest_consume();
	return 0;
}

/* All to one queue, from which the VMM takes them. */
static u64 guest_keeps_sending(u64 unused0, u64 unused1, u64 unused2)
{
	while (!READ_ONCE(CONTROL->stop)) {
		GUEST_ASSERT_EQ(guest_evtchn(EVTCHNOP_SEND, PORT_A), 0);
		WRITE_ONCE(CONTROL->turns, CONTROL->turns + 1);
	}
	return 0;
}

/* The next event.  Its word is LINKED before the queue leads to it. */
static u32 guest_next(u32 *ready)
{
	struct xen_fifo_consumer *c = &CONTROL->consumer;
	u64 since;

	for (since = rdtsc(); !*ready; *ready = xen_fifo_take_ready(c))
		__GUEST_ASSERT(!guest_is_late(since), "an event is on no queue");
	return xen_fifo_dequeue(c, __builtin_ctz(*ready), ready);
}

/* Two events, of which the first is kept for a while, arrive in their order. */
static u64 guest_compares(u64 unused0, u64 unused1, u64 unused2)
{
	u32 ready = 0, first;

	while (!READ_ONCE(CONTROL->stop)) {
		if (!(READ_ONCE(WORDS[PORT_A]) & READ_ONCE(WORDS[PORT_B]) & XEN_FIFO_LINKED))
			continue;
		first = guest_next(&ready);
		__GUEST_ASSERT(first == PORT_A, "port %u came first", first);
		GUEST_ASSERT_EQ(guest_next(&ready), PORT_B);
		WRITE_ONCE(WORDS[PORT_A], 0);
		WRITE_ONCE(WORDS[PORT_B], 0);
		CONTROL->rounds++;
		WRITE_ONCE(CONTROL->seen, CONTROL->seen + 1);
	}
	return 0;
}

/* ---- the VMM ------------------------------------------------------------ */

static struct guest_random_state vmm_random;

static struct xen_vm *order_vm(bool fifo)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG | XEN_SI | XEN_VI);
	struct control *c = xen_hva(x, XEN_SPARE);

	c->patience = LOST_MS * (u64)__vcpu_ioctl(x->vcpu[0], KVM_GET_TSC_KHZ, NULL);
	c->random = new_guest_random_state(guest_random_seed);
	vmm_random = new_guest_random_state(guest_random_seed + 1);
	if (fifo) {
		xen_fifo_opt_in(x);
		xen_fifo_add_memory(x);
		xen_fifo_enter(x, 1);
		c->consumer.flag = (u8 *)XEN_SHINFO;
		c->consumer.control = (void *)XEN_FIFO_CONTROL(0);
		c->consumer.words = WORDS;
	}
	return x;
}

static void race_start(struct xen_vm *x, void *fn, u64 arg)
{
	x->state[0].irqs = true;
	xen_prepare_call(x, 0, fn, arg, 0, 0);
	xen_start(x, 0);
}

static bool race_goes_on(struct xen_vm *x, u64 end)
{
	struct control *c = xen_hva(x, XEN_SPARE);

	return xen_real_ns(CLOCK_MONOTONIC) < end || !READ_ONCE(c->rounds);
}

static void race_end(struct xen_vm *x)
{
	struct control *c = xen_hva(x, XEN_SPARE);

	WRITE_ONCE(c->stop, 1);
	xen_expect(x, 0, xen_wait(x, 0, 2 * LOST_MS), XEN_RETURNED);
	ksft_print_msg("%lu rounds in %lu turns\n", c->rounds, c->turns);
}

/* Call @send until the time is over, while the guest is in @fn. */
static void race(struct xen_vm *x, void *fn, u64 arg, void (*send)(struct xen_vm *x))
{
	u64 end = xen_real_ns(CLOCK_MONOTONIC) + xen_case_ms() * NSEC_PER_MSEC;
	int i;

	race_start(x, fn, arg);
	while (race_goes_on(x, end))
		for (i = 0; i < 16; i++) {
			pause_for(&vmm_random, 32);
			send(x);
		}
	race_end(x);
}

/*
 * The same, but @send interrupts the vCPU's thread, at any instruction, and on any machine
 * about as often as the guest can do anything meanwhile.
 */
static void preempt(struct xen_vm *x, void *fn, void (*send)(struct xen_vm *x))
{
	const struct sched_param param = { .sched_priority = 1 };
	u64 end = xen_real_ns(CLOCK_MONOTONIC) + xen_case_ms() * NSEC_PER_MSEC;
	struct timespec time = {};
	struct control *c = xen_hva(x, XEN_SPARE);
	u64 ns = 50000, turns = 0;
	cpu_set_t cpu;

	CPU_ZERO(&cpu);
	CPU_SET(sched_getcpu(), &cpu);
	TEST_ASSERT(!sched_setaffinity(0, sizeof(cpu), &cpu), "cannot stay on a CPU");
	race_start(x, fn, 0);
	TEST_ASSERT(!sched_setscheduler(0, SCHED_FIFO, &param), "no real-time scheduling");
	while (race_goes_on(x, end)) {
		time.tv_nsec = ns / 2 + guest_random_u32(&vmm_random) % ns;
		nanosleep(&time, NULL);
		send(x);
		ns = READ_ONCE(c->turns) == turns ? min(2 * ns, 10 * (u64)NSEC_PER_MSEC) :
						    max(ns - ns / 32, 1000UL);
		turns = READ_ONCE(c->turns);
	}
	race_end(x);
}

static void send_a(struct xen_vm *x)
{
	xen_send(x, PORT_A, 0);
}

static void test_unmask(void)
{
	struct xen_vm *x = order_vm(false);

	race(x, guest_unmasks, false, send_a);
	xen_vm_free(x);
}

static struct xen_vm *unmask_vm(void)
{
	struct xen_vm *x = order_vm(false);

	xen_config(x, KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL | UNMASK, XEN_HCALL_MSR);
	xen_set_port(x, PORT_A, STATUS_IPI, 0);
	return x;
}

static void test_unmask_hypercall(void)
{
	struct xen_vm *x = unmask_vm();

	race(x, guest_unmasks, true, send_a);
	xen_vm_free(x);
}

static void test_unmask_preempted(void)
{
	struct xen_vm *x = unmask_vm();

	preempt(x, guest_keeps_unmasking, send_a);
	xen_vm_free(x);
}

static void send_fifo(struct xen_vm *x, u32 port, u32 priority)
{
	TEST_ASSERT_EQ(xen_try_send_priority(x, port, 0, priority), 0);
}

/* To one queue; the next one only when all have been taken off. */
static void send_one(struct xen_vm *x)
{
	struct control *c = xen_hva(x, XEN_SPARE);

	if (READ_ONCE(c->seen) != c->sent)
		return;
	send_fifo(x, ++c->sent % 2 ? PORT_A : PORT_B, 7);
}

static void send_both(struct xen_vm *x)
{
	send_fifo(x, PORT_A, 7);
	send_fifo(x, PORT_B, 7);
}

static void send_elsewhere(struct xen_vm *x)
{
	u32 port;

	for (port = PORT_A; port <= PORT_C; port++)
		send_fifo(x, port, guest_random_bool(&vmm_random) ? 3 : 5);
}

/* The guest has consumed everything there is: what is left was lost. */
static void end_fifo(struct xen_vm *x)
{
	u32 port;

	for (port = PORT_A; port <= PORT_C; port++)
		TEST_ASSERT(!*xen_fifo_word(x, port), "word %u is 0x%x at the end", port,
			    *xen_fifo_word(x, port));
	xen_vm_free(x);
}

static void test_head(void)
{
	struct xen_vm *x = order_vm(true);

	race(x, guest_looks, 0, send_one);
	end_fifo(x);
}

static void test_link(void)
{
	struct xen_vm *x = order_vm(true);

	race(x, guest_consumes, 0, send_both);
	end_fifo(x);
}

static struct xen_vm *move_vm(void)
{
	struct xen_vm *x = order_vm(true);
	u32 port;

	for (port = PORT_A; port <= PORT_C; port++) {
		TEST_ASSERT_EQ(xen_try_evtchn_priority(x, 0, port, EVTCHN_IPI, port, 0, 7), 0);
		TEST_ASSERT_EQ(xen_try_set_port(x, port, STATUS_IPI, 0, 7), 0);
	}
	return x;
}

static void test_move(void)
{
	struct xen_vm *x = move_vm();

	race(x, guest_sends, 0, send_elsewhere);
	end_fifo(x);
}

static struct xen_fifo_consumer vmm_consumer;
static int b_is_on;

static void vmm_handle(void *arg, u32 port, int q)
{
	struct xen_vm *x = arg;
	struct control *c = xen_hva(x, XEN_SPARE);

	__sync_fetch_and_and(xen_fifo_word(x, port), ~XEN_FIFO_PENDING);
	if (port == PORT_B)
		TEST_ASSERT(q == b_is_on, "event is on queue %d instead of %d, round %lu", q,
			    b_is_on, c->rounds);
	c->rounds++;
}

static void vmm_consume(struct xen_vm *x)
{
	xen_fifo_consume(&vmm_consumer, vmm_handle, x);
	TEST_ASSERT(!vmm_consumer.nr_bad, "a word is not LINKED");
}

/*
 * Move a port whose event the vCPU may be about to append elsewhere, and take it off again.
 * What follows on that queue must not get behind the event of the vCPU.
 */
static void move_a(struct xen_vm *x)
{
	struct control *c = xen_hva(x, XEN_SPARE);

	b_is_on = c->sent % 2 ? 3 : 5;
	send_fifo(x, PORT_B, b_is_on);
	vmm_consume(x);
	c->sent++;
	xen_try_send_priority(x, PORT_A, 0, c->sent % 2 ? 3 : 5);
	vmm_consume(x);
}

static void test_move_preempted(void)
{
	struct xen_vm *x = move_vm();

	vmm_consumer.flag = &x->state[0].info->upcall_pending;
	vmm_consumer.control = xen_fifo_control(x, 0);
	vmm_consumer.words = xen_fifo_word(x, 0);
	preempt(x, guest_keeps_sending, move_a);
	vmm_consume(x);
	end_fifo(x);
}

static int irqfd;

static void send_kept(struct xen_vm *x)
{
	struct control *c = xen_hva(x, XEN_SPARE);
	u64 one = 1;

	if (READ_ONCE(c->seen) != c->sent)
		return;
	c->sent++;
	TEST_ASSERT(!madvise(xen_hva(x, XEN_FIFO_ARRAY(0)), 0x1000, MADV_DONTNEED), "madvise");
	TEST_ASSERT_EQ(write(irqfd, &one, sizeof(one)), sizeof(one));
	/* Meanwhile the vCPU leaves the guest and delivers it. */
	pause_for(&vmm_random, 8192);
	send_fifo(x, PORT_B, 7);
}

static void test_kept(void)
{
	struct xen_vm *x = order_vm(true);
	struct kvm_irq_routing *routing = kvm_gsi_routing_create();
	struct kvm_irqfd arg = { .gsi = GSI };

	routing->nr = 1;
	routing->entries[0] = (struct kvm_irq_routing_entry) {
		.gsi = GSI,
		.type = KVM_IRQ_ROUTING_XEN_EVTCHN,
		.u.xen_evtchn = { .port = PORT_A, .vcpu = 0, .priority = 7 },
	};
	vm_ioctl(x->vm, KVM_SET_GSI_ROUTING, routing);
	free(routing);
	irqfd = eventfd(0, 0);
	arg.fd = irqfd;
	vm_ioctl(x->vm, KVM_IRQFD, &arg);
	race(x, guest_compares, 0, send_kept);
	close(irqfd);
	xen_vm_free(x);
}

static const struct xen_case cases[] = {
	{ "T16: a guest unmasks a port while an event comes", test_unmask },
	{ "T17: the same by EVTCHNOP_unmask", test_unmask_hypercall, MORE_HCALLS },
	{ "T17: EVTCHNOP_unmask is preempted by an event", test_unmask_preempted, MORE_HCALLS },
	{ "FI12: an empty queue gets a new head", test_head, FIFO },
	{ "FI33 FI39: the last event is taken while another one comes", test_link, FIFO },
	{ "FI33 FI34: two send to the same ports for three queues", test_move, FIFO | MORE_HCALLS },
	{ "FI33 FI34: a send is preempted by one that moves its port", test_move_preempted,
	  FIFO | MORE_HCALLS },
	{ "FI44: an event comes while one before it is delivered", test_kept, FIFO },
};

int main(int argc, char *argv[])
{
	xen_seconds = 6;
	return xen_run_cases(argc, argv, cases, ARRAY_SIZE(cases));
}
