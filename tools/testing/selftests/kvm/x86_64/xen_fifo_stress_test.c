// SPDX-License-Identifier: GPL-2.0-only
/*
 * Xen guests: FIFO event channels, everything at once.
 *
 * Two vCPUs receive events from four sources each: the other vCPU's hypercalls, the VMM,
 * irqfds, and their own timer.  Each source has several ports, and all of them share
 * two queues per vCPU.  The guest looks at its queues only if an upcall tells it to.
 * Meanwhile the VMM changes something all the time, a different thing in each case.
 *
 * A source counts an event (sent) before it raises it, and waits until a vCPU has found
 * the port pending and noted that count (seen).  So each single event matters, and one that
 * is lost, or an upcall that is, stops its source for good.  Moreover:
 *
 *   - no port is found pending more often than it was raised, no timer early;
 *   - every word that a vCPU takes off a queue is LINKED, so none is on two queues, or
 *     twice on one;
 *   - where nothing moves them, the events of a source come in its order;
 *   - at the end all words are 0: none is LINKED and on no queue, none is BUSY.
 *
 * In other cases all sources raise the same ports, without waiting; then what was sent
 * last has to be seen in the end.  Where a guest spoils its queues, events may be lost,
 * but every call has to return soon, no other memory may change, and all has to be well
 * after a reset.
 */
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "xen.h"

#define FIFO		KVM_XEN_HVM_CONFIG_EVTCHN_FIFO
#define UNMASK		(FIFO | KVM_XEN_HVM_CONFIG_MORE_HCALLS)

#define NR_VCPUS	2

#define HCALL_PAUSE	127		/* not Xen's */
#define NR_PORTS	4		/* of a source, to a vCPU */

enum { BY_GUEST, BY_VMM, BY_IRQFD, BY_TIMER, NR_SOURCES };

#define EVENT(source, n, i)	(((source) * NR_VCPUS + (n)) * NR_PORTS + (i))
#define NR_EVENTS		EVENT(NR_SOURCES, 0, 0)
#define SOURCE(event)		((event) / NR_PORTS / NR_VCPUS)
#define VCPU(event)		((event) / NR_PORTS % NR_VCPUS)

/* In two pages of the array, at no distance that is a multiple of anything. */
#define PORT(event)		(5 + (event) * 39)
#define NR_PAGES		2
#define PRIORITY(event)		((event) % 2 ? 3 : 7)
#define GSI(event)		(32 + (event) - EVENT(BY_IRQFD, 0, 0))

/* Without any progress for so long, an event is lost. */
#define LOST_MS			xen_ms(20000)
/* However slow the machine, a call that takes longer does not end by itself. */
#define LATE_NS			(xen_ms(10000) * NSEC_PER_MSEC)

/* Where KVM looks for control blocks and words in some cases: a memslot per page. */
#define ALIAS_SLOT		(XEN_FIFO_SLOT + 1)
#define ALIAS(gpa)		((gpa) + 0x100000)

struct event {
	u32 sent;		/* by the source, before it raises */
	u32 raised;		/* by a guest, whose sends may be refused */
	u32 seen;		/* @sent, when the event was handled */
	u32 taken;		/* how often the port was found pending */
	u32 order;		/* the source's number of this event */
	u32 unmasks;		/* by hypercall, which may raise it again */
	u64 deadline;
};

/* What the guest and the VMM's threads tell each other; at XEN_SPARE. */
struct control {
	u64 stop;
	u64 quiet;		/* finish what was begun */
	u64 saw_quiet[NR_VCPUS];
	u64 blind;		/* do not look at the queues, they may not be there */
	u64 flood;		/* all sources raise all ports, and do not wait */
	u64 ordered;
	u64 masks;		/* mask ports while they are handled, and at other times */
	u64 pauses;		/* let the VMM use the vCPU's ioctls now and then */
	u64 worst;		/* the longest send, in ticks */
	u64 nr_sends;
	u32 last_order[NR_VCPUS][XEN_FIFO_NR_QUEUES][NR_SOURCES];
	u32 next_order[NR_VCPUS];
	struct guest_random_state random[NR_VCPUS];
	struct xen_fifo_consumer consumer[NR_VCPUS];
	struct event events[NR_EVENTS];
};

kvm_static_assert(sizeof(struct control) < 0x2000);

#define CONTROL		((struct control *)XEN_SPARE)
#define WORDS		((u32 *)XEN_FIFO_ARRAY(0))

struct load {
	struct xen_vm *x;
	struct control *control;
	struct guest_random_state random;
	int irqfd[NR_EVENTS];
	u32 vcpu[NR_EVENTS];
	u32 priority[NR_EVENTS];
	pthread_t threads[NR_VCPUS + 2];
	bool stopped;		/* the last two of them */
	bool may_exit;		/* sends may be left to the VMM, as in 2-level mode */
	u64 alias;		/* 0, or the distance of where KVM looks */
	u64 worst_ns;
	u32 nr_resets;
	struct guest_random_state pause_random[NR_VCPUS];
	u32 last_seen[NR_EVENTS];
	u64 last_time[NR_EVENTS];
};

/* ---- the guest ---------------------------------------------------------- */

static u64 guest_now(u64 n)
{
	return xen_guest_now((void *)XEN_TIME + n * sizeof(struct xen_time_info));
}

static bool all_seen(struct event *e)
{
	return READ_ONCE(e->seen) == READ_ONCE(e->sent);
}

static void guest_mask(u32 port)
{
	__sync_fetch_and_or(&WORDS[port], XEN_FIFO_MASKED);
}

/* As Linux does it: a word that is BUSY keeps MASKED, a pending one takes a hypercall. */
static void guest_unmask(u64 n, u32 port)
{
	u32 *arg = (u32 *)(XEN_ARG(n) + 0xa00), word;

	for (;;) {
		word = READ_ONCE(WORDS[port]);
		if (word & XEN_FIFO_PENDING)
			break;
		if (word & XEN_FIFO_BUSY)
			cpu_relax();
		else if (__sync_bool_compare_and_swap(&WORDS[port], word,
						      word & ~XEN_FIFO_MASKED))
			return;
	}
	*arg = port;
	__sync_fetch_and_add(&CONTROL->events[(port - PORT(0)) / (PORT(1) - PORT(0))].unmasks, 1);
	GUEST_ASSERT_EQ(xen_guest_hcall(HCALL_EVTCHN, EVTCHNOP_UNMASK, (u64)arg, 0, 0, 0, 0), 0);
}

static void check_order(u64 n, int q, int event)
{
	u32 *last = &CONTROL->last_order[n][q][SOURCE(event)];
	u32 order = READ_ONCE(CONTROL->events[event].order);

	__GUEST_ASSERT(order > *last, "vCPU %lu, queue %d: event %u of source %d after %u", n, q,
		       order, SOURCE(event), *last);
	*last = order;
}

static void guest_handle(void *arg, u32 port, int q)
{
	u64 n = (u64)arg, now;
	int event = (port - PORT(0)) / (PORT(1) - PORT(0));
	struct event *e = &CONTROL->events[event];
	bool mask = CONTROL->masks && guest_random_bool(&CONTROL->random[n]);
	u32 sent, seen;

	__GUEST_ASSERT(event < NR_EVENTS && port == PORT(event), "port %u on queue %d of %lu",
		       port, q, n);
	if (CONTROL->ordered)
		check_order(n, q, event);
	if (SOURCE(event) == BY_TIMER && !CONTROL->flood) {
		now = guest_now(n);
		__GUEST_ASSERT(now >= e->deadline, "timer of vCPU %lu is early by %lu ns", n,
			       e->deadline - now);
	}
	if (mask)
		guest_mask(port);
	/* By one vCPU only: somebody else may have moved the port to the other. */
	if (__sync_fetch_and_and(&WORDS[port], ~XEN_FIFO_PENDING) & XEN_FIFO_PENDING) {
		__sync_fetch_and_add(&e->taken, 1);
		sent = READ_ONCE(e->sent);
		do {
			seen = READ_ONCE(e->seen);
		} while (seen < sent && !__sync_bool_compare_and_swap(&e->seen, seen, sent));
	}
	if (mask)
		guest_unmask(n, port);
}

/* The handler has cleared evtchn_upcall_pending; the consumer does so once more. */
static void guest_consume(u64 n, u32 *nr)
{
	struct xen_cpu *cpu = (void *)XEN_CPU(n);

	if (READ_ONCE(cpu->nr) == *nr || READ_ONCE(CONTROL->blind))
		return;

	*nr = READ_ONCE(cpu->nr);
	xen_fifo_consume(&CONTROL->consumer[n], guest_handle, (void *)n);
}

static void guest_send_port(u64 n, struct event *e, u32 port)
{
	u32 *arg = (u32 *)(XEN_ARG(n) + 0x800);
	u64 ticks;

	*arg = port;
	ticks = rdtsc();
	if (!xen_guest_hcall(HCALL_EVTCHN, EVTCHNOP_SEND, (u64)arg, 0, 0, 0, 0))
		WRITE_ONCE(e->raised, e->sent);
	ticks = rdtsc() - ticks;
	CONTROL->nr_sends++;
	if (ticks > CONTROL->worst)
		CONTROL->worst = ticks;
}

static void guest_send(u64 n, u32 random)
{
	struct event *e;
	int i;

	if (CONTROL->flood) {
		i = random % NR_EVENTS;
		if (READ_ONCE(CONTROL->quiet))
			return;
		__sync_fetch_and_add(&CONTROL->events[i].sent, 1);
		guest_send_port(n, &CONTROL->events[i], PORT(i));
		return;
	}
	for (i = 0; i < NR_PORTS; i++) {
		e = &CONTROL->events[EVENT(BY_GUEST, !n, i)];
		if (e->raised == e->sent && all_seen(e) && !READ_ONCE(CONTROL->quiet)) {
			WRITE_ONCE(e->order, ++CONTROL->next_order[!n]);
			WRITE_ONCE(e->sent, e->sent + 1);
		}
		if (e->raised != e->sent)
			guest_send_port(n, e, PORT(EVENT(BY_GUEST, !n, i)));
	}
}

static void guest_arm(u64 n, u32 random)
{
	struct event *e = &CONTROL->events[EVENT(BY_TIMER, n, 0)];
	u64 deadline = guest_now(n) + random % NSEC_PER_MSEC;

	if (READ_ONCE(CONTROL->quiet) || CONTROL->flood || !all_seen(e))
		return;

	e->deadline = deadline;
	WRITE_ONCE(e->order, e->order + 1);
	WRITE_ONCE(e->sent, e->sent + 1);
	GUEST_ASSERT_EQ(xen_guest_hcall(HCALL_SET_TIMER, deadline, 0, 0, 0, 0, 0), 0);
}

static void guest_poll(u64 n, u32 random)
{
	struct xen_poll64 *poll = (void *)XEN_ARG(n);

	poll->nr_ports = random & 1 ? 1 : NR_EVENTS;
	poll->timeout = guest_now(n) + random % NSEC_PER_MSEC;
	GUEST_ASSERT_EQ(xen_guest_hcall(HCALL_SCHED, SCHEDOP_POLL, (u64)poll, 0, 0, 0, 0), 0);
}

static u64 guest_loop(u64 n, u64 unused0, u64 unused1)
{
	u32 random, port, nr = 0;

	while (!READ_ONCE(CONTROL->stop)) {
		WRITE_ONCE(CONTROL->saw_quiet[n], READ_ONCE(CONTROL->quiet));
		random = guest_random_u32(&CONTROL->random[n]);
		guest_consume(n, &nr);
		guest_send(n, random >> 8);
		guest_arm(n, random);
		if (random % 8 == 1)
			guest_poll(n, random >> 5);
		if (random % 4 == 3 && CONTROL->pauses)
			xen_guest_hcall(HCALL_PAUSE, 0, 0, 0, 0, 0, 0);
		if (random % 4 == 2 && CONTROL->masks) {
			port = PORT((random >> 5) % NR_EVENTS);
			guest_mask(port);
			guest_unmask(n, port);
		}
	}
	return 0;
}

/* ---- the VMM's threads -------------------------------------------------- */

/*
 * A vCPU that is out of the guest does a part of EVTCHNOP_reset or _init_control; the other
 * one and all others go on.
 */
static void reset_step(struct load *l, int n)
{
	u32 random = guest_random_u32(&l->pause_random[n]), tails[XEN_FIFO_NR_QUEUES];

	switch (random % 4) {
	case 0:
		TEST_ASSERT_EQ(xen_fifo_try_abi(l->x, KVM_XEN_EVTCHN_ABI_2LEVEL, 0), 0);
		__sync_fetch_and_add(&l->nr_resets, 1);
		break;
	case 1:
		TEST_ASSERT_EQ(xen_fifo_try_abi(l->x, KVM_XEN_EVTCHN_ABI_FIFO,
						random & 0x100 ? KVM_XEN_EVTCHN_ABI_CARRY : 0), 0);
		break;
	case 2:
		xen_fifo_tails(l->x, n, tails);
		break;
	}
	xen_vcpu_set(l->x, n, EVTCHN_CONTROL, gpa, XEN_FIFO_CONTROL(n));
}

struct vcpu_args {
	struct load *l;
	int n;
};

static void *vcpu_thread(void *data)
{
	struct vcpu_args args = *(struct vcpu_args *)data;
	struct load *l = args.l;
	struct kvm_run *run = l->x->vcpu[args.n]->run;
	enum xen_stop stop;

	free(data);
	while ((stop = xen_run(l->x, args.n)) == XEN_EXITED) {
		if (run->xen.u.hcall.input == HCALL_PAUSE) {
			run->xen.u.hcall.result = 0;
			reset_step(l, args.n);
			continue;
		}
		TEST_ASSERT(READ_ONCE(l->may_exit), "hypercall %llu %llu left to the VMM",
			    run->xen.u.hcall.input, run->xen.u.hcall.params[0]);
		run->xen.u.hcall.result = -ENOENT;
	}
	xen_expect(l->x, args.n, stop, XEN_RETURNED);
	return NULL;
}

static void vmm_send(struct load *l, int event)
{
	TEST_ASSERT_EQ(xen_try_send_priority(l->x, PORT(event), READ_ONCE(l->vcpu[event]),
					     READ_ONCE(l->priority[event])), 0);
}

static void irqfd_send(struct load *l, int event)
{
	u64 one = 1;

	TEST_ASSERT_EQ(write(l->irqfd[event], &one, sizeof(one)), sizeof(one));
}

static void timed_send(struct load *l, int event, void (*send)(struct load *l, int event))
{
	u64 ns = xen_real_ns(CLOCK_MONOTONIC);

	send(l, event);
	ns = xen_real_ns(CLOCK_MONOTONIC) - ns;
	if (ns > l->worst_ns)
		l->worst_ns = ns;
}

/* One event of each port that may have another one. */
static void send_all(struct load *l, int source, u32 *order,
		     void (*send)(struct load *l, int event))
{
	struct event *e;
	bool idle = true;
	int i, event;

	for (i = 0; i < NR_PORTS * NR_VCPUS; i++) {
		event = EVENT(source, 0, i);
		e = &l->control->events[event];
		if (!all_seen(e))
			continue;
		idle = false;
		WRITE_ONCE(e->order, ++order[VCPU(event)]);
		WRITE_ONCE(e->sent, e->sent + 1);
		timed_send(l, event, send);
	}
	if (idle)
		usleep(50);
}

static void *sender_thread(struct load *l, int source, void (*send)(struct load *l, int event))
{
	struct guest_random_state random = new_guest_random_state(guest_random_seed + source);
	u32 order[NR_VCPUS] = {}, event;

	while (!READ_ONCE(l->control->quiet)) {
		if (!l->control->flood) {
			send_all(l, source, order, send);
			continue;
		}
		event = guest_random_u32(&random) % NR_EVENTS;
		__sync_fetch_and_add(&l->control->events[event].sent, 1);
		timed_send(l, event, send);
	}
	return NULL;
}

static void *vmm_thread(void *l)
{
	return sender_thread(l, BY_VMM, vmm_send);
}

static void *irqfd_thread(void *l)
{
	return sender_thread(l, BY_IRQFD, irqfd_send);
}

/* ---- setup -------------------------------------------------------------- */

static void set_routes(struct load *l)
{
	struct kvm_irq_routing *routing = kvm_gsi_routing_create();
	int event;

	for (event = 0; event < NR_EVENTS; event++) {
		if (!l->irqfd[event])
			continue;
		routing->entries[routing->nr++] = (struct kvm_irq_routing_entry) {
			.gsi = GSI(event),
			.type = KVM_IRQ_ROUTING_XEN_EVTCHN,
			.u.xen_evtchn = {
				.port = PORT(event),
				.vcpu = l->vcpu[event],
				.priority = l->priority[event],
			},
		};
	}
	vm_ioctl(l->x->vm, KVM_SET_GSI_ROUTING, routing);
	free(routing);
}

/* Whom an event goes to by now. */
static void bind_port(struct load *l, int event, u32 flags)
{
	u32 port = PORT(event), vcpu = l->vcpu[event], priority = l->priority[event];

	TEST_ASSERT_EQ(xen_try_evtchn_priority(l->x, flags, port, EVTCHN_IPI, port, vcpu,
					       priority), 0);
	TEST_ASSERT_EQ(xen_try_set_port(l->x, port, STATUS_IPI, vcpu, priority), 0);
}

static void add_irqfd(struct load *l, int event)
{
	struct kvm_irqfd irqfd = { .fd = eventfd(0, 0), .gsi = GSI(event) };

	vm_ioctl(l->x->vm, KVM_IRQFD, &irqfd);
	l->irqfd[event] = irqfd.fd;
}

static void set_alias(struct load *l, u64 gpa, bool on)
{
	gpa &= ~0xfffULL;
	vm_set_user_memory_region(l->x->vm, ALIAS_SLOT + (gpa - XEN_FIFO_BASE) / 0x1000, 0,
				  ALIAS(gpa), on ? 0x1000 : 0, xen_hva(l->x, gpa));
}

/* As xen_fifo_enter(), perhaps at other addresses. */
static void enter(struct load *l)
{
	int i;

	for (i = 0; i < NR_VCPUS; i++)
		xen_vcpu_set(l->x, i, EVTCHN_CONTROL, gpa, XEN_FIFO_CONTROL(i) + l->alias);
	TEST_ASSERT_EQ(xen_fifo_try_abi(l->x, KVM_XEN_EVTCHN_ABI_FIFO, KVM_XEN_EVTCHN_ABI_CARRY),
		       0);
	for (i = 0; i < NR_PAGES; i++)
		TEST_ASSERT_EQ(xen_fifo_try_array(l->x, i, (XEN_FIFO_ARRAY(i) + l->alias) >> 12),
			       0);
}

static void setup_vcpu(struct load *l, int n)
{
	struct xen_fifo_consumer *c = &l->control->consumer[n];
	u32 ports[NR_EVENTS];
	int i;

	for (i = 0; i < NR_EVENTS; i++)
		ports[i] = PORT(i);
	xen_put_poll(l->x, n, 0, NR_EVENTS, ports);
	xen_vcpu_set(l->x, n, VCPU_TIME_INFO, gpa, XEN_TIME + 32 * n);
	TEST_ASSERT_EQ(xen_try_set_timer(l->x, n, PORT(EVENT(BY_TIMER, n, 0)),
					 PRIORITY(EVENT(BY_TIMER, n, 0)), 0), 0);
	c->flag = (u8 *)XEN_SHINFO + 64 * n;
	c->control = (void *)XEN_FIFO_CONTROL(n);
	c->words = WORDS;
	l->control->random[n] = new_guest_random_state(guest_random_u32(&l->random));
	l->pause_random[n] = new_guest_random_state(guest_random_u32(&l->random));
}

static struct load *load_new(bool alias)
{
	struct load *l = calloc(1, sizeof(*l));
	int i;

	l->random = new_guest_random_state(guest_random_seed);
	l->x = xen_vm_new(NR_VCPUS, XEN_64,
			  XEN_ID | (guest_random_bool(&l->random) ? XEN_SL : XEN_S));
	xen_fifo_opt_in(l->x);
	xen_fifo_add_memory(l->x);
	l->control = xen_hva(l->x, XEN_SPARE);
	if (alias) {
		l->alias = ALIAS(0);
		for (i = 0; i < NR_VCPUS; i++)
			set_alias(l, XEN_FIFO_CONTROL(i), true);
		for (i = 0; i < NR_PAGES; i++)
			set_alias(l, XEN_FIFO_ARRAY(i), true);
	}
	for (i = 0; i < NR_EVENTS; i++) {
		l->vcpu[i] = VCPU(i);
		l->priority[i] = PRIORITY(i);
		bind_port(l, i, 0);
		if (SOURCE(i) == BY_IRQFD)
			add_irqfd(l, i);
	}
	set_routes(l);
	for (i = 0; i < NR_VCPUS; i++)
		setup_vcpu(l, i);
	return l;
}

/* All sources raise all ports. */
static void set_flood(struct load *l)
{
	int i;

	l->control->flood = true;
	for (i = 0; i < NR_EVENTS; i++)
		if (!l->irqfd[i])
			add_irqfd(l, i);
	set_routes(l);
}

/* ---- accounting --------------------------------------------------------- */

static u64 now_ms(void)
{
	return xen_real_ns(CLOCK_MONOTONIC) / NSEC_PER_MSEC;
}

static const char *describe(struct load *l, int event)
{
	static char text[400];
	struct xen_fifo_control *c;
	int n, len = 0;

	len += sprintf(text + len, "word %08x", *xen_fifo_word(l->x, PORT(event)));
	for (n = 0; n < NR_VCPUS; n++) {
		c = xen_fifo_control(l->x, n);
		len += sprintf(text + len,
			       "; vCPU %d: flag %u ready %x head3 %u head7 %u next3 %u next7 %u", n,
			       xen_flag(l->x, n), c->ready, c->head[3], c->head[7],
			       l->control->consumer[n].next[3], l->control->consumer[n].next[7]);
	}
	return text;
}

/* Returns whether all events have been seen; fails if one cannot be any more. */
static bool watch(struct load *l)
{
	bool all = true;
	int i;

	for (i = 0; i < NR_EVENTS; i++) {
		struct event *e = &l->control->events[i];
		u32 seen = READ_ONCE(e->seen);

		if (seen == READ_ONCE(e->sent) || seen != l->last_seen[i]) {
			l->last_seen[i] = seen;
			l->last_time[i] = now_ms();
		}
		TEST_ASSERT(now_ms() - l->last_time[i] < LOST_MS,
			    "port %u (source %d to vCPU %d): event %u seen, %u sent is lost; %s",
			    PORT(i), SOURCE(i), VCPU(i), seen, e->sent, describe(l, i));
		all &= seen == READ_ONCE(e->sent);
	}
	return all;
}

/* @fn is what vCPU 1 does, with @arg. */
static void start_vcpus(struct load *l, void *fn, u64 arg)
{
	struct vcpu_args *args;
	int n, err = 0;

	for (n = 0; n < NR_VCPUS; n++) {
		args = malloc(sizeof(*args));
		*args = (struct vcpu_args) { l, n };
		l->x->state[n].irqs = true;
		xen_prepare_call(l->x, n, n ? fn : guest_loop, n ? arg : 0, 0, 0);
		err |= pthread_create(&l->threads[n], NULL, vcpu_thread, args);
	}
	TEST_ASSERT(!err, "no thread");
}

static void load_start_with(struct load *l, void *fn, u64 arg)
{
	int n, err = 0;

	for (n = 0; n < NR_EVENTS; n++)
		l->last_time[n] = now_ms();
	start_vcpus(l, fn, arg);
	err |= pthread_create(&l->threads[NR_VCPUS], NULL, vmm_thread, l);
	err |= pthread_create(&l->threads[NR_VCPUS + 1], NULL, irqfd_thread, l);
	TEST_ASSERT(!err, "no thread");
}

static void load_start(struct load *l)
{
	load_start_with(l, guest_loop, 1);
}

static void check_counts(struct load *l)
{
	struct event *e;
	u32 total = 0;
	int i;

	for (i = 0; i < NR_EVENTS; i++) {
		e = &l->control->events[i];
		/* A port that is handled while it is unmasked gets pending again, as in Xen. */
		TEST_ASSERT(e->taken <= e->sent + e->unmasks && (l->control->flood ||
								 e->taken >= e->sent),
			    "port %u: %u events, pending %u times", PORT(i), e->sent, e->taken);
		total += e->taken;
	}
	TEST_ASSERT(total, "no events");
	ksft_print_msg("%u events, VMM's slowest took %lu us\n", total, l->worst_ns / 1000);
}

static void stop_senders(struct load *l)
{
	if (l->stopped)
		return;
	l->stopped = true;
	WRITE_ONCE(l->control->quiet, 1);
	pthread_join(l->threads[NR_VCPUS], NULL);
	pthread_join(l->threads[NR_VCPUS + 1], NULL);
}

static void stop_vcpus(struct load *l)
{
	int n;

	WRITE_ONCE(l->control->stop, 1);
	for (n = 0; n < NR_VCPUS; n++)
		pthread_join(l->threads[n], NULL);
}

static void load_free(struct load *l)
{
	int i;

	xen_vm_free(l->x);
	for (i = 0; i < NR_EVENTS; i++)
		if (l->irqfd[i])
			close(l->irqfd[i]);
	free(l);
}

/* An event may have been counted by the time that the last one was handled. */
static void handle_rest(void *arg, u32 port, int q)
{
	struct load *l = arg;
	struct event *e = &l->control->events[(port - PORT(0)) / (PORT(1) - PORT(0))];

	TEST_ASSERT(l->control->flood || e->unmasks, "one more event of port %u", port);
	__sync_fetch_and_and(xen_fifo_word(l->x, port), ~XEN_FIFO_PENDING);
	e->taken++;
}

/* Everything is in force as load_new() has left it, and pages are there. */
static void load_end(struct load *l)
{
	u32 *words = xen_fifo_word(l->x, 0);
	struct xen_fifo_consumer *c;
	int i;

	stop_senders(l);
	/* Now no vCPU begins anything; what it has begun is watched. */
	for (i = 0; i < NR_VCPUS; i++)
		while (!READ_ONCE(l->control->saw_quiet[i]))
			usleep(1000);
	while (!watch(l))
		usleep(1000);
	stop_vcpus(l);

	for (i = 0; i < NR_VCPUS; i++) {
		c = &l->control->consumer[i];
		c->flag = &l->x->state[i].info->upcall_pending;
		c->control = xen_fifo_control(l->x, i);
		c->words = words;
		xen_fifo_consume(c, handle_rest, l);
		TEST_ASSERT(!c->nr_bad, "vCPU %d: %u words were not LINKED", i, c->nr_bad);
	}
	for (i = 0; i < NR_PAGES * XEN_FIFO_PER_PAGE; i++)
		TEST_ASSERT(!words[i], "word %d is %08x", i, words[i]);
	check_counts(l);
	load_free(l);
}

static void stress(struct load *l, void (*change)(struct load *l))
{
	u64 end = now_ms() + xen_case_ms();
	u32 changes = 0;

	load_start(l);
	while (now_ms() < end) {
		change(l);
		watch(l);
		changes++;
	}
	ksft_print_msg("%u changes\n", changes);
}

/* ---- what changes meanwhile --------------------------------------------- */

static void change_nothing(struct load *l)
{
	usleep(1000);
}

static void test_plain(void)
{
	struct load *l = load_new(false);

	l->control->ordered = true;
	enter(l);
	stress(l, change_nothing);
	load_end(l);
}

static void test_masks(void)
{
	struct load *l = load_new(false);

	l->control->masks = true;
	enter(l);
	stress(l, change_nothing);
	load_end(l);
}

static void change_port(struct load *l, bool priority, bool vcpu)
{
	int event = guest_random_u32(&l->random) % EVENT(BY_TIMER, 0, 0);

	if (priority)
		WRITE_ONCE(l->priority[event], guest_random_bool(&l->random) ? 3 : 7);
	if (vcpu)
		WRITE_ONCE(l->vcpu[event], guest_random_u32(&l->random) % NR_VCPUS);
	bind_port(l, event, KVM_XEN_EVTCHN_UPDATE);
	if (l->irqfd[event])
		set_routes(l);
}

static void change_priority(struct load *l)
{
	change_port(l, true, false);
}

static void change_vcpu(struct load *l)
{
	change_port(l, false, true);
}

static void change_both(struct load *l)
{
	change_port(l, true, true);
}

static void test_priority(void)
{
	struct load *l = load_new(false);

	enter(l);
	stress(l, change_priority);
	load_end(l);
}

static void test_vcpu(void)
{
	struct load *l = load_new(false);

	enter(l);
	stress(l, change_vcpu);
	load_end(l);
}

static void send_each(struct load *l)
{
	int i;

	for (i = 0; i < NR_EVENTS; i++) {
		__sync_fetch_and_add(&l->control->events[i].sent, 1);
		vmm_send(l, i);
	}
}

static u64 nr_dropped(struct load *l)
{
	u64 dropped, all = 0;
	int i;

	for (i = 0; i < NR_VCPUS; i++)
		if (xen_try_stat(l->x, i, "xen_events_dropped", &dropped))
			all += dropped;
	ksft_print_msg("%lu events were dropped\n", all);
	return all;
}

/*
 * An event may be dropped, if three times in a row somebody else has moved its port.  If one
 * is missing, there have to be such, and one more of each brings it.
 */
static void resend(struct load *l)
{
	u64 end;

	stop_senders(l);
	end = now_ms() + LOST_MS / 2;
	while (!watch(l) && now_ms() < end)
		usleep(1000);
	if (watch(l))
		return;

	stop_vcpus(l);
	TEST_ASSERT(nr_dropped(l), "an event was lost");
	WRITE_ONCE(l->control->stop, 0);
	start_vcpus(l, guest_loop, 1);
	send_each(l);
}

static void flood(void (*change)(struct load *l), bool masks)
{
	struct load *l = load_new(false);

	set_flood(l);
	l->control->masks = masks;
	enter(l);
	stress(l, change);
	if (change != change_nothing)
		resend(l);
	load_end(l);
}

static void test_flood(void)
{
	flood(change_nothing, false);
}

static void test_flood_priority(void)
{
	flood(change_priority, false);
}

static void test_flood_both(void)
{
	flood(change_both, true);
}

/* ---- memory ------------------------------------------------------------- */

static u64 some_page(struct load *l)
{
	u32 i = guest_random_u32(&l->random) % (NR_VCPUS + NR_PAGES);

	return i < NR_VCPUS ? XEN_FIFO_CONTROL(i) & ~0xfffUL : XEN_FIFO_ARRAY(i - NR_VCPUS);
}

static void replace_slot(struct load *l)
{
	u64 page = some_page(l), other = some_page(l);

	set_alias(l, page, false);
	if (other != page)
		set_alias(l, other, false);
	usleep(guest_random_u32(&l->random) % 2000);
	if (other != page)
		set_alias(l, other, true);
	set_alias(l, page, true);
	usleep(guest_random_u32(&l->random) % 2000);
}

static void test_slots(void)
{
	struct load *l = load_new(true);

	enter(l);
	stress(l, replace_slot);
	load_end(l);
}

static void drop_page(struct load *l)
{
	TEST_ASSERT(!madvise(xen_hva(l->x, some_page(l)), 0x1000, MADV_DONTNEED), "madvise");
	usleep(guest_random_u32(&l->random) % 500);
}

static void drop(bool ordered)
{
	struct load *l = load_new(false);

	l->control->ordered = ordered;
	enter(l);
	stress(l, drop_page);
	load_end(l);
}

static void test_drop(void)
{
	drop(false);
}

/* Those that wait for a page to be mapped are not overtaken. */
static void test_drop_ordered(void)
{
	drop(true);
}

/* ---- resets ------------------------------------------------------------- */

static void clear_fifo(struct load *l)
{
	int n;

	memset(xen_fifo_word(l->x, 0), 0, NR_PAGES * 0x1000);
	for (n = 0; n < NR_VCPUS; n++) {
		memset(xen_fifo_control(l->x, n), 0, sizeof(struct xen_fifo_control));
		memset(l->control->consumer[n].next, 0, sizeof(l->control->consumer[n].next));
	}
}

/* EVTCHNOP_expand_array all the time: it succeeds, or the page is there already. */
static void *expand_thread(void *data)
{
	struct load *l = data;
	u32 i;
	int err;

	for (i = 0; !READ_ONCE(l->control->quiet) && READ_ONCE(l->control->blind); i++) {
		err = xen_fifo_try_array(l->x, i % NR_PAGES, XEN_FIFO_ARRAY(i % NR_PAGES) >> 12);
		TEST_ASSERT(!err || err == EEXIST, "EVTCHN_ARRAY: %s", strerror(err));
		usleep(i % 64);
	}
	return NULL;
}

/* Forget what came before, but not the ports. */
static void begin_anew(struct load *l)
{
	struct control *c = l->control;
	int i;

	TEST_ASSERT_EQ(xen_fifo_try_abi(l->x, KVM_XEN_EVTCHN_ABI_2LEVEL, 0), 0);
	memset(l->x->shinfo + offsetof(struct xen_shared_info64, pending), 0, 0x200);
	for (i = 0; i < NR_EVENTS; i++) {
		c->events[i].seen = c->events[i].sent;
		c->events[i].taken = 0;
	}
	for (i = 0; i < NR_VCPUS; i++)
		xen_put_flag(l->x, i, 0);
	clear_fifo(l);
	c->blind = false;
	c->pauses = false;
	c->quiet = false;
	memset(c->saw_quiet, 0, sizeof(c->saw_quiet));
	c->stop = false;
	l->stopped = false;
	l->may_exit = false;
}

/* Nobody looks at the queues while this goes on: what they have is not to be relied on. */
static void test_reset(void)
{
	struct load *l = load_new(false);
	u64 end = now_ms() + xen_case_ms() / 2;
	pthread_t expander;

	set_flood(l);
	l->control->blind = true;
	l->control->pauses = true;
	l->may_exit = true;
	enter(l);
	load_start(l);
	TEST_ASSERT(!pthread_create(&expander, NULL, expand_thread, l), "no thread");
	/* A slow machine needs some time for a few of them. */
	while (now_ms() < end || (READ_ONCE(l->nr_resets) < 4 && now_ms() < end + LOST_MS))
		usleep(1000);
	stop_senders(l);
	stop_vcpus(l);
	pthread_join(expander, NULL);
	ksft_print_msg("%u resets\n", l->nr_resets);
	TEST_ASSERT(l->nr_resets >= 4, "only %u resets", l->nr_resets);

	/* Events of 2-level mode are carried over, and everything works again. */
	begin_anew(l);
	send_each(l);
	enter(l);
	end = now_ms() + xen_case_ms() / 2;
	load_start(l);
	while (now_ms() < end) {
		usleep(1000);
		watch(l);
	}
	load_end(l);
}

/* ---- hostile guests ----------------------------------------------------- */

enum { SPOIL_TAILS, SPOIL_ALL, TOGGLE_MASKS };

static void spoil_tail(u32 random, u32 random2)
{
	u32 *word = &WORDS[PORT(random % NR_EVENTS)];

	/* Now unlinked, to be appended; now linked to anywhere, to have something appended. */
	if (random & BIT(31))
		WRITE_ONCE(*word, random & BIT(30) ? 0 : random2);
	else
		WRITE_ONCE(*word, XEN_FIFO_LINKED | random2);
}

static void spoil_anything(u32 random, u32 random2)
{
	struct xen_fifo_control *c = (void *)XEN_FIFO_CONTROL(random >> 8 & 1);

	switch (random % 4) {
	case 0:
		WRITE_ONCE(WORDS[(random >> 8) % (NR_PAGES * XEN_FIFO_PER_PAGE)], random2);
		break;
	case 1:
		WRITE_ONCE(((u32 *)c)[(random >> 9) % (sizeof(*c) / 4)], random2);
		break;
	case 2:
		WRITE_ONCE(((u32 *)XEN_SHINFO)[(random >> 8) % (NR_VCPUS * 16)], random2);
		break;
	default:
		spoil_tail(random >> 2, random2);
		break;
	}
}

/* Without any regard to BUSY. */
static void toggle_mask(u32 random)
{
	u32 *word = &WORDS[PORT(random % NR_EVENTS)];

	if (random >> 30)
		__sync_fetch_and_xor(word, XEN_FIFO_MASKED);
	else
		__sync_fetch_and_and(word, ~(XEN_FIFO_LINKED | XEN_FIFO_LINK | XEN_FIFO_PENDING));
}

static u64 guest_spoil(u64 how, u64 unused0, u64 unused1)
{
	struct guest_random_state *random = &CONTROL->random[1];
	u32 a, b;

	while (!READ_ONCE(CONTROL->stop)) {
		a = guest_random_u32(random);
		b = guest_random_u32(random);
		if (how == SPOIL_TAILS)
			spoil_tail(a, b);
		else if (how == SPOIL_ALL)
			spoil_anything(a, b);
		else
			toggle_mask(a);
	}
	return 0;
}

#define GUARD	0x5a

/* Pages that are nobody's, next to those that are in use. */
static u64 guard_page(int i)
{
	u64 pages[] = { XEN_FIFO_CONTROL(2) & ~0xfffUL, XEN_FIFO_CONTROL(3) & ~0xfffUL,
			XEN_FIFO_ARRAY(NR_PAGES), XEN_VINFO, XEN_RUNSTATE };

	return i < ARRAY_SIZE(pages) ? pages[i] : 0;
}

static void check_guards(struct load *l)
{
	u8 *bits = l->x->shinfo + offsetof(struct xen_shared_info64, pending), *page;
	int i, byte;

	for (i = 0; guard_page(i); i++) {
		page = xen_hva(l->x, guard_page(i));
		for (byte = 0; byte < 0x1000; byte++)
			TEST_ASSERT(page[byte] == GUARD, "0x%lx was changed",
				    guard_page(i) + byte);
	}
	for (byte = 0; byte < 0x400; byte++)
		TEST_ASSERT(!bits[byte], "bits of shared_info were changed");
}

static void check_latency(struct load *l)
{
	u64 khz = __vcpu_ioctl(l->x->vcpu[0], KVM_GET_TSC_KHZ, NULL);
	u64 guest_ns = l->control->worst * 1000000 / khz;

	ksft_print_msg("%lu sends by the guest, the slowest took %lu us, the VMM's %lu us\n",
		       l->control->nr_sends, guest_ns / 1000, l->worst_ns / 1000);
	TEST_ASSERT(guest_ns < LATE_NS && l->worst_ns < LATE_NS, "a send took too long");
}

/* A reset, and each port's event is found. */
static void check_recovery(struct load *l)
{
	begin_anew(l);
	enter(l);
	send_each(l);
	load_start(l);
	load_end(l);
}

/* Everybody sends, vCPU 1 spoils what it can. */
static void spoil(int how)
{
	struct load *l = load_new(false);
	u64 end;
	int i;

	set_flood(l);
	l->control->blind = true;
	for (i = 0; guard_page(i); i++)
		memset(xen_hva(l->x, guard_page(i)), GUARD, 0x1000);
	enter(l);
	load_start_with(l, guest_spoil, how);
	end = now_ms() + xen_case_ms();
	while (now_ms() < end || READ_ONCE(l->control->nr_sends) <= 10)
		usleep(1000);
	stop_senders(l);
	stop_vcpus(l);
	check_guards(l);
	check_latency(l);
	for (i = 0; how == TOGGLE_MASKS && i < NR_PAGES * XEN_FIFO_PER_PAGE; i++)
		TEST_ASSERT(!(*xen_fifo_word(l->x, i) & XEN_FIFO_BUSY), "word %d is BUSY", i);
	check_recovery(l);
}

static void test_spoil_tails(void)
{
	spoil(SPOIL_TAILS);
}

static void test_spoil_all(void)
{
	spoil(SPOIL_ALL);
}

static void test_toggle_masks(void)
{
	spoil(TOGGLE_MASKS);
}

/* ---- polls -------------------------------------------------------------- */

/* vCPU 0 polls, without a timeout, for what vCPU 1 sends just then; the port is masked. */
static u64 guest_poller(u64 unused0, u64 unused1, u64 unused2)
{
	struct event *e = &CONTROL->events[0];
	struct xen_poll64 *poll = (void *)XEN_ARG(0);

	poll->nr_ports = 1;
	poll->timeout = 0;
	while (!READ_ONCE(CONTROL->stop)) {
		GUEST_ASSERT_EQ(xen_guest_hcall(HCALL_SCHED, SCHEDOP_POLL, (u64)poll, 0, 0, 0, 0),
				0);
		if (__sync_fetch_and_and(&WORDS[PORT(0)], ~XEN_FIFO_PENDING) & XEN_FIFO_PENDING) {
			e->taken++;
			WRITE_ONCE(e->seen, READ_ONCE(e->sent));
		}
	}
	return 0;
}

static u64 guest_waker(u64 unused0, u64 unused1, u64 unused2)
{
	struct event *e = &CONTROL->events[0];
	u32 i;

	while (!READ_ONCE(CONTROL->stop)) {
		if (!all_seen(e)) {
			cpu_relax();
			continue;
		}
		for (i = guest_random_u32(&CONTROL->random[1]) % 2048; i; i--)
			asm volatile("");
		WRITE_ONCE(e->sent, e->sent + 1);
		guest_send_port(1, e, PORT(0));
	}
	return 0;
}

static void test_poll(void)
{
	struct load *l = load_new(false);
	struct event *e = &l->control->events[0];
	enum xen_stop stop;
	u64 end;
	int i;

	enter(l);
	*xen_fifo_word(l->x, PORT(0)) = XEN_FIFO_MASKED;
	for (i = 0; i < NR_EVENTS; i++)
		l->last_time[i] = now_ms();
	for (i = 0; i < NR_VCPUS; i++) {
		l->x->state[i].irqs = true;
		xen_prepare_call(l->x, i, i ? guest_waker : guest_poller, 0, 0, 0);
		xen_start(l->x, i);
	}
	end = now_ms() + xen_case_ms();
	while (now_ms() < end || READ_ONCE(e->taken) <= 10) {
		usleep(1000);
		watch(l);
	}
	WRITE_ONCE(l->control->stop, 1);
	xen_expect(l->x, 1, xen_wait(l->x, 1, LOST_MS), XEN_RETURNED);
	end = now_ms() + LOST_MS;
	do {
		vmm_send(l, 0);
		stop = xen_wait(l->x, 0, 1);
	} while (stop == XEN_RUNNING_YET && now_ms() < end);
	xen_expect(l->x, 0, stop, XEN_RETURNED);
	ksft_print_msg("%u rounds\n", e->taken);
	load_free(l);
}

/* ---- the end ------------------------------------------------------------ */

static u64 stop_signalling;

static void *signal_thread(void *data)
{
	int *fds = data, i;
	u64 one = 1;

	for (i = 0; !READ_ONCE(stop_signalling); i++)
		TEST_ASSERT_EQ(write(fds[i % NR_EVENTS], &one, sizeof(one)), sizeof(one));
	return NULL;
}

/* The end of a VM for which irqfds raise, timers run, and events are kept. */
static void end_vm(struct guest_random_state *random, int *fds)
{
	struct xen_vm *x = xen_vm_new(NR_VCPUS, XEN_64, XEN_SL | XEN_ID);
	struct load l = { .x = x };
	int i;

	xen_fifo_opt_in(x);
	xen_fifo_add_memory(x);
	for (i = 0; i < NR_EVENTS; i++) {
		struct kvm_irqfd irqfd = { .fd = fds[i], .gsi = GSI(i) };

		l.irqfd[i] = fds[i];
		l.vcpu[i] = VCPU(i);
		l.priority[i] = guest_random_u32(random) % 16;
		vm_ioctl(x->vm, KVM_IRQFD, &irqfd);
	}
	set_routes(&l);
	/* With all of the array, half of it, or none. */
	xen_fifo_enter(x, guest_random_u32(random) % 3);
	for (i = 0; i < NR_VCPUS; i++)
		xen_set_timer(x, i, PORT(EVENT(BY_TIMER, i, 0)),
			      xen_now(x) + guest_random_u32(random) % (2 * NSEC_PER_MSEC));
	if (guest_random_bool(random))
		madvise(xen_hva(x, XEN_FIFO_ARRAY(0)), 0x1000, MADV_DONTNEED);
	if (guest_random_bool(random))
		vm_set_user_memory_region(x->vm, ALIAS_SLOT, 0, ALIAS(XEN_FIFO_BASE), 0x1000,
					  x->shinfo);
	usleep(guest_random_u32(random) % 3000);
	if (guest_random_bool(random))
		TEST_ASSERT_EQ(xen_fifo_try_abi(x, KVM_XEN_EVTCHN_ABI_2LEVEL, 0), 0);
	xen_vm_free(x);
}

static void test_end(void)
{
	struct guest_random_state random = new_guest_random_state(guest_random_seed);
	u64 end = now_ms() + xen_case_ms();
	int fds[NR_EVENTS], i;
	pthread_t thread;

	for (i = 0; i < NR_EVENTS; i++)
		fds[i] = eventfd(0, EFD_NONBLOCK);
	TEST_ASSERT(!pthread_create(&thread, NULL, signal_thread, fds), "no thread");
	for (i = 0; now_ms() < end; i++)
		end_vm(&random, fds);
	WRITE_ONCE(stop_signalling, 1);
	pthread_join(thread, NULL);
	ksft_print_msg("%d VMs\n", i);
}

static const struct xen_case cases[] = {
	{ "FI33 X9: two vCPUs, the VMM, irqfds and timers; nothing lost, in order", test_plain,
	  FIFO },
	{ "FI33 FI39 XC6 X9: ports are masked and unmasked", test_masks, UNMASK },
	{ "FI34 XC4 X9: priorities change", test_priority, FIFO },
	{ "FI35 XC4 X9: vCPUs change", test_vcpu, FIFO },
	{ "FI33 X9: all sources raise all ports", test_flood, FIFO },
	{ "FI34 X9: all sources raise all ports, priorities change", test_flood_priority, FIFO },
	{ "FI34 FI35 FI39 X9: all ports, everything changes", test_flood_both, UNMASK },
	{ "FI43: memslots come and go", test_slots, FIFO },
	{ "FI44: pages are dropped", test_drop, FIFO },
	{ "FI44: pages are dropped, events keep their order", test_drop_ordered, FIFO },
	{ "RE6 RE11 X9 XSA343 XSA358 XSA359 XSA505: resets", test_reset, FIFO },
	{ "FI36 X2 XC6 XSA295: the guest rewrites tails", test_spoil_tails, FIFO },
	{ "X2 XSA295: the guest rewrites everything", test_spoil_all, FIFO },
	{ "FI39: the guest masks without regard to BUSY", test_toggle_masks, FIFO },
	{ "XC2 FI25 X9: sends race with polls", test_poll, FIFO },
	{ "X7: VMs end while events are raised", test_end, FIFO },
};

int main(int argc, char *argv[])
{
	xen_seconds = 30;
	return xen_run_cases(argc, argv, cases, ARRAY_SIZE(cases));
}
