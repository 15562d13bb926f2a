// SPDX-License-Identifier: GPL-2.0-only
/*
 * Xen guests: everything at once.
 *
 * Two vCPUs receive events from four sources each: the other vCPU's hypercalls, the VMM,
 * an irqfd, and their own timer.  They consume events as guests do, and poll.  Meanwhile
 * the VMM changes something all the time, a different thing in each case.
 *
 * A source counts an event (sent) before it raises it, and waits until a vCPU has found
 * the port pending and noted that count (seen).  So each single event matters, and one
 * that is lost stops its source for good.  (A wakeup that is lost does not, as other
 * events follow; xen_poll_test looks at those.)  Moreover:
 *
 *   - no port becomes pending more often than it was raised, no timer early;
 *   - after a change has returned, nothing is delivered to the old vCPU, eventfd or page;
 *   - of the pages around the shared ones, and of all fields that are nobody's, no byte
 *     is changed.
 *
 * What the ABI leaves open is no failure: the VMM's sends are refused while there is no
 * shared_info, the guest's go to the VMM while their port is not assigned, and after a
 * change of the mode the guest does not rely on selector bits.
 *
 * Linux 6.12 loses timers while there is no shared_info, leaves the guest's sends to the VMM
 * while the memslot is away, and writes to the memory of a VMM that is gone.
 */
#include <linux/userfaultfd.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "userfaultfd_util.h"
#include "xen.h"

#define NR_VCPUS	2

enum { BY_GUEST, BY_VMM, BY_IRQFD, BY_TIMER, NR_SOURCES };

#define NR_EVENTS	(NR_SOURCES * NR_VCPUS)
#define EVENT(source, n) ((source) * NR_VCPUS + (n))

/* Each in a word, hence a selector bit, of its own; in both modes. */
#define PORT(event)	(5 + (event) * 65)
#define GSI(n)		(32 + (n))

#define HCALL_PAUSE	127	/* not Xen's: the VMM may use the vCPU's ioctls */

/* Without any progress for so long, an event is lost. */
#define LOST_MS		xen_ms(20000)

/*
 * The shared pages, and pages around them that are nobody's.  The guest sees them at
 * AREA, KVM looks for them at ALIAS, which may be away.
 */
#define AREA		(XEN_BASE + 0x100000)
#define AREA_SLOT	(XEN_SLOT + 1)
#define ALIAS		(XEN_BASE + 0x200000)
#define ALIAS_SLOT	(XEN_SLOT + 2)
#define SHINFO(i)	(0x1000 + 0x2000 * (i))
#define VINFO(n, i)	(0x5080 + 0x100 * (n) + 0x40 * (i))
#define RUNSTATE(n)	(0x7080 + 0x100 * (n))
#define AREA_SIZE	0x9000
#define NOWHERE		-1

struct event {
	u32 sent;		/* by the source, before it raises */
	u32 raised;		/* by a guest, whose sends may be refused */
	u32 seen;		/* @sent, when the event was consumed */
	u32 taken;		/* how often the port was found pending */
	u32 sels[NR_VCPUS];	/* how often a vCPU found its selector bit */
	u64 deadline;
};

/* What the guest and the VMM's threads tell each other; at XEN_SPARE. */
struct control {
	u64 stop;
	u64 quiet;		/* finish what was begun */
	u64 any_selector;	/* selector bits do not count */
	u64 moves;		/* what is pending in an old shared_info ends no poll */
	u32 rounds[NR_VCPUS];	/* odd while a vCPU consumes events */
	struct guest_random_state random[NR_VCPUS];
	struct event events[NR_EVENTS];
};

#define CONTROL		((struct control *)XEN_SPARE)

struct load {
	struct xen_vm *x;
	struct control *control;
	struct guest_random_state random, pause_random[NR_VCPUS];
	u8 *area;		/* what KVM uses ... */
	u8 *mirror;		/* ... the same memory, out of everybody's way ... */
	u8 expected[AREA_SIZE];	/* ... and as it was at first */
	int irqfd[NR_VCPUS];
	pthread_t threads[NR_VCPUS + 2];
	void (*pause)(struct load *l, int n);
	bool guest_refused;	/* sends may be */
	bool vmm_refused;
	bool mode_flips;
	int shinfo;		/* which of two, or NOWHERE */
	int vinfo[NR_VCPUS];
	struct xen_vcpu_info64 old_vinfo[NR_VCPUS][2];
	int target[NR_VCPUS];	/* of EVENT(BY_GUEST, n) */
	int route[NR_VCPUS];	/* of EVENT(BY_IRQFD, n) */
	u32 last_seen[NR_EVENTS];
	u64 last_time[NR_EVENTS];
};

/* ---- the guest ---------------------------------------------------------- */

static u64 guest_now(u64 n)
{
	return xen_guest_now((void *)XEN_TIME + n * sizeof(struct xen_time_info));
}

static bool take_bit(u64 shinfo, u32 port)
{
	u64 *word = (u64 *)(AREA + shinfo + 0x800) + port / 64;

	return __sync_fetch_and_and(word, ~BIT_ULL(port % 64)) & BIT_ULL(port % 64);
}

static void guest_take(struct event *e, u32 port)
{
	u32 sent, seen;

	/* Not "||": an event before a move of shared_info, another one after it. */
	if (!(take_bit(SHINFO(0), port) | take_bit(SHINFO(1), port)))
		return;

	__sync_fetch_and_add(&e->taken, 1);
	sent = READ_ONCE(e->sent);
	do {
		seen = READ_ONCE(e->seen);
	} while (seen < sent && !__sync_bool_compare_and_swap(&e->seen, seen, sent));
}

static void guest_consume(u64 n)
{
	struct event *timer = &CONTROL->events[EVENT(BY_TIMER, n)];
	u32 taken = timer->taken;
	u64 sel = 0, now;
	int i;

	WRITE_ONCE(CONTROL->rounds[n], CONTROL->rounds[n] + 1);
	for (i = 0; i < 2; i++) {
		struct xen_vcpu_info64 *info = (void *)AREA + VINFO(n, i);

		__atomic_exchange_n(&info->upcall_pending, 0, __ATOMIC_SEQ_CST);
		sel |= __atomic_exchange_n(&info->pending_sel, 0, __ATOMIC_SEQ_CST);
	}
	for (i = 0; i < NR_EVENTS; i++) {
		struct event *e = &CONTROL->events[i];

		if (sel & BIT_ULL(PORT(i) / 64))
			WRITE_ONCE(e->sels[n], e->sels[n] + 1);
		else if (!CONTROL->any_selector)
			continue;
		guest_take(e, PORT(i));
	}
	WRITE_ONCE(CONTROL->rounds[n], CONTROL->rounds[n] + 1);
	if (timer->taken != taken) {
		now = guest_now(n);
		__GUEST_ASSERT(now >= timer->deadline, "timer of vCPU %lu is early by %lu ns", n,
			       timer->deadline - now);
	}
}

static bool all_seen(struct event *e)
{
	return READ_ONCE(e->seen) == READ_ONCE(e->sent);
}

static void guest_send(u64 n)
{
	struct event *e = &CONTROL->events[EVENT(BY_GUEST, !n)];
	u32 *port = (u32 *)(XEN_ARG(n) + 0x800);

	*port = PORT(EVENT(BY_GUEST, !n));
	if (e->raised == e->sent && all_seen(e) && !READ_ONCE(CONTROL->quiet))
		WRITE_ONCE(e->sent, e->sent + 1);
	if (e->raised != e->sent &&
	    !xen_guest_hcall(HCALL_EVTCHN, EVTCHNOP_SEND, (u64)port, 0, 0, 0, 0))
		WRITE_ONCE(e->raised, e->sent);
}

static void guest_arm(u64 n, u32 random)
{
	struct event *e = &CONTROL->events[EVENT(BY_TIMER, n)];
	struct xen_singleshot *arg = (void *)XEN_ARG(n) + 0x900;
	s64 r;

	if (!all_seen(e) || READ_ONCE(CONTROL->quiet))
		return;

	e->deadline = guest_now(n) + random % NSEC_PER_MSEC;
	arg->timeout = e->deadline;
	arg->flags = 0;
	WRITE_ONCE(e->sent, e->sent + 1);
	if (random & BIT(31))
		r = xen_guest_hcall(HCALL_VCPU, VCPUOP_SET_SINGLESHOT, XEN_VCPU_ID(n), (u64)arg,
				    0, 0, 0);
	else
		r = xen_guest_hcall(HCALL_SET_TIMER, e->deadline, 0, 0, 0, 0, 0);
	GUEST_ASSERT_EQ(r, 0);
}

/* Without a timeout only if whatever comes must end it, and no send has to be repeated. */
static void guest_poll(u64 n, u32 random)
{
	struct event *e = &CONTROL->events[EVENT(BY_GUEST, !n)];
	struct xen_poll64 *poll = (void *)XEN_ARG(n);

	poll->nr_ports = random & BIT(0) ? 1 : NR_EVENTS;
	poll->timeout = 0;
	if (random & 3 || CONTROL->moves || e->raised != e->sent)
		poll->timeout = guest_now(n) + random % NSEC_PER_MSEC;
	GUEST_ASSERT_EQ(xen_guest_hcall(HCALL_SCHED, SCHEDOP_POLL, (u64)poll, 0, 0, 0, 0), 0);
}

static u64 guest_loop(u64 n, u64 unused0, u64 unused1)
{
	u32 random;

	while (!READ_ONCE(CONTROL->stop)) {
		random = guest_random_u32(&CONTROL->random[n]);
		guest_consume(n);
		guest_send(n);
		guest_arm(n, random);
		if (random % 32 == 0)
			xen_guest_hcall(HCALL_PAUSE, 0, 0, 0, 0, 0, 0);
		else if (random % 4 == 1)
			guest_poll(n, random >> 5);
	}
	return 0;
}

/* ---- the VMM's threads -------------------------------------------------- */

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
		run->xen.u.hcall.result = 0;
		if (run->xen.u.hcall.input != HCALL_PAUSE) {
			TEST_ASSERT(READ_ONCE(l->guest_refused), "hypercall %llu left to the VMM",
				    run->xen.u.hcall.input);
			run->xen.u.hcall.result = -ENOENT;
		} else if (l->pause) {
			l->pause(l, args.n);
		}
	}
	xen_expect(l->x, args.n, stop, XEN_RETURNED);
	return NULL;
}

static void *sender_thread(struct load *l, int source, void (*send)(struct load *l, int n))
{
	struct event *e;
	int n;

	for (n = 0; !READ_ONCE(l->control->quiet); n = !n) {
		e = &l->control->events[EVENT(source, n)];
		if (all_seen(e)) {
			WRITE_ONCE(e->sent, e->sent + 1);
			send(l, n);
		} else {
			usleep(50);
		}
	}
	return NULL;
}

static void vmm_send(struct load *l, int n)
{
	int err;

	while ((err = xen_try_send(l->x, PORT(EVENT(BY_VMM, n)), n))) {
		TEST_ASSERT(READ_ONCE(l->vmm_refused) && (err == EINVAL || err == EFAULT),
			    "KVM_XEN_HVM_EVTCHN_SEND: %s", strerror(err));
		usleep(50);
	}
}

static void *vmm_thread(void *l)
{
	return sender_thread(l, BY_VMM, vmm_send);
}

static void irqfd_send(struct load *l, int n)
{
	u64 one = 1;

	TEST_ASSERT_EQ(write(l->irqfd[n], &one, sizeof(one)), sizeof(one));
}

static void *irqfd_thread(void *l)
{
	return sender_thread(l, BY_IRQFD, irqfd_send);
}

/* ---- accounting --------------------------------------------------------- */

static u64 now_ms(void)
{
	return xen_real_ns(CLOCK_MONOTONIC) / NSEC_PER_MSEC;
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
			    "port %u (source %d to vCPU %d): event %u seen, %u sent is lost",
			    PORT(i), i / NR_VCPUS, i % NR_VCPUS, seen, e->sent);
		all &= seen == READ_ONCE(e->sent);
	}
	return all;
}

static void clear_pending(u8 *shinfo, u32 port)
{
	shinfo[0x800 + port / 8] &= ~BIT(port % 8);
}

static bool is_pending(struct load *l, int event)
{
	return READ_ONCE(l->mirror[SHINFO(0) + 0x800 + PORT(event) / 8]) & BIT(PORT(event) % 8);
}

/* These bytes may have any value. */
static void anything(struct load *l, u8 *now, u32 offset, u32 len)
{
	memcpy(now + offset, l->expected + offset, len);
}

static void check_memory(struct load *l)
{
	static u8 now[AREA_SIZE];
	int i, n;

	memcpy(now, l->mirror, AREA_SIZE);
	for (i = 0; i < 2; i++) {
		for (n = 0; n < NR_EVENTS; n++)
			clear_pending(now + SHINFO(i), PORT(n));
		anything(l, now, SHINFO(i) + 0xc00, 16);
		if (l->mode_flips) {
			anything(l, now, SHINFO(i) + 0x900, 12);
			anything(l, now, SHINFO(i) + 0x924, 4);
		}
		for (n = 0; n < NR_VCPUS; n++)
			anything(l, now, VINFO(n, i), sizeof(struct xen_vcpu_info64));
	}
	for (n = 0; n < NR_VCPUS; n++)
		anything(l, now, RUNSTATE(n), sizeof(struct xen_runstate64));
	for (i = 0; i < AREA_SIZE; i++)
		TEST_ASSERT(now[i] == l->expected[i], "byte 0x%x was changed from 0x%x to 0x%x", i,
			    l->expected[i], now[i]);
}

/* A page that is shared_info no more: guests consume what there is, and nothing else. */
static void check_unused_shinfo(struct load *l, int i, const u8 *before)
{
	const u8 *now = l->mirror + SHINFO(i);
	int byte;

	for (byte = 0; byte < 0x1000; byte++) {
		u8 may_go = byte >= 0x800 && byte < 0xa00 ? before[byte] : 0;

		TEST_ASSERT(!((now[byte] ^ before[byte]) & ~may_go),
			    "byte 0x%x of an old shared_info was changed", byte);
	}
}

/* How often a selector bit of vCPU @n has been set because of @event. */
static u32 nr_delivered(struct load *l, int event, int n)
{
	struct xen_vcpu_info64 *info = (void *)l->mirror + VINFO(n, 0);
	u32 round, nr;

	for (;;) {
		round = READ_ONCE(l->control->rounds[n]);
		nr = READ_ONCE(l->control->events[event].sels[n]) +
		     !!(READ_ONCE(info->pending_sel) & BIT_ULL(PORT(event) / 64));
		if (round % 2 == 0 && round == READ_ONCE(l->control->rounds[n]))
			return nr;
		usleep(10);
	}
}

/* After a change of the target has returned, @old gets nothing from @event any more. */
static void check_old_target(struct load *l, int event, int old)
{
	u32 nr = nr_delivered(l, event, old);

	usleep(guest_random_u32(&l->random) % 3000);
	TEST_ASSERT_EQ(nr_delivered(l, event, old), nr);
}

/* ---- setup -------------------------------------------------------------- */

static void set_routes(struct load *l)
{
	struct kvm_irq_routing *routing = kvm_gsi_routing_create();
	int n;

	routing->nr = NR_VCPUS;
	for (n = 0; n < NR_VCPUS; n++)
		routing->entries[n] = (struct kvm_irq_routing_entry) {
			.gsi = GSI(n),
			.type = KVM_IRQ_ROUTING_XEN_EVTCHN,
			.u.xen_evtchn = {
				.port = PORT(EVENT(BY_IRQFD, n)),
				.vcpu = l->route[n],
				.priority = XEN_2LEVEL,
			},
		};
	vm_ioctl(l->x->vm, KVM_SET_GSI_ROUTING, routing);
	free(routing);
}

static void set_alias(struct load *l, bool on)
{
	vm_set_user_memory_region(l->x->vm, ALIAS_SLOT, 0, ALIAS, on ? AREA_SIZE : 0, l->area);
}

/* @way: 0 and 1 by frame, 2 and 3 by host address; for NOWHERE just not both */
static void set_shinfo(struct load *l, int way)
{
	int i = way < 4 ? way % 2 : NOWHERE;

	if (i == NOWHERE)
		xen_set(l->x, SHARED_INFO, shared_info.gfn, KVM_XEN_INVALID_GFN);
	else if (way < 2)
		xen_set(l->x, SHARED_INFO, shared_info.gfn, (ALIAS + SHINFO(i)) >> 12);
	else
		xen_set(l->x, SHARED_INFO_HVA, shared_info.hva, (u64)l->area + SHINFO(i));
	l->shinfo = i;
}

static void set_vinfo(struct load *l, int n, int way)
{
	int i = way < 4 ? way % 2 : NOWHERE;

	if (i == NOWHERE)
		xen_vcpu_set(l->x, n, VCPU_INFO, gpa, KVM_XEN_INVALID_GPA);
	else if (way < 2)
		xen_vcpu_set(l->x, n, VCPU_INFO, gpa, ALIAS + VINFO(n, i));
	else
		xen_vcpu_set(l->x, n, VCPU_INFO_HVA, hva, (u64)l->area + VINFO(n, i));
	if (i != NOWHERE)
		xen_cpu(l->x, n)->vcpu_info = AREA + VINFO(n, i);
	l->vinfo[n] = i;
}

static void assign(struct load *l, int n)
{
	u32 port = PORT(EVENT(BY_GUEST, n));

	xen_assign(l->x, EVTCHN_IPI, port, port, l->target[n]);
}

/* The memory can be used by several processes, the VM by the one that starts it. */
static struct load *load_new(void)
{
	struct load *l = calloc(1, sizeof(*l));
	int fd = memfd_create("shared pages", 0), i;

	TEST_ASSERT(l && fd >= 0 && !ftruncate(fd, AREA_SIZE), "no memory");
	l->random = new_guest_random_state(guest_random_seed);
	l->area = mmap(NULL, AREA_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	l->mirror = mmap(NULL, AREA_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	TEST_ASSERT(l->area != MAP_FAILED && l->mirror != MAP_FAILED, "no memory");
	close(fd);
	memset(l->mirror, 0xa5, AREA_SIZE);
	for (i = 0; i < 2; i++) {
		memset(l->mirror + SHINFO(i) + 0x800, 0, 0x400);
		memset(l->mirror + VINFO(0, i), 0, sizeof(struct xen_vcpu_info64));
		memset(l->mirror + VINFO(1, i), 0, sizeof(struct xen_vcpu_info64));
		l->irqfd[i] = eventfd(0, 0);
	}
	memcpy(l->expected, l->mirror, AREA_SIZE);
	return l;
}

static void load_vm(struct load *l)
{
	bool lapic = guest_random_bool(&l->random);
	struct xen_vm *x = xen_vm_new(NR_VCPUS, XEN_64,
				      XEN_CFG | XEN_ID | (lapic ? XEN_LV : XEN_UV));
	u32 runstate = kvm_check_cap(KVM_CAP_XEN_HVM) & KVM_XEN_HVM_CONFIG_RUNSTATE;
	u32 ports[NR_EVENTS];
	int n;

	for (n = 0; n < NR_EVENTS; n++)
		ports[n] = PORT(n);

	l->x = x;
	l->control = xen_hva(x, XEN_SPARE);
	vm_set_user_memory_region(x->vm, AREA_SLOT, 0, AREA, AREA_SIZE, l->area);
	virt_map(x->vm, AREA, AREA, AREA_SIZE / 0x1000);
	set_alias(l, true);
	xen_set(x, LONG_MODE, long_mode, 1);
	set_shinfo(l, 0);
	for (n = 0; n < NR_VCPUS; n++) {
		struct kvm_irqfd irqfd = { .fd = l->irqfd[n], .gsi = GSI(n) };

		set_vinfo(l, n, 0);
		xen_vcpu_set(x, n, VCPU_TIME_INFO, gpa, XEN_TIME + 32 * n);
		if (runstate)
			xen_vcpu_set(x, n, RUNSTATE_ADDR, gpa, ALIAS + RUNSTATE(n));
		xen_set_timer(x, n, PORT(EVENT(BY_TIMER, n)), 0);
		l->target[n] = n;
		l->route[n] = n;
		assign(l, n);
		vm_ioctl(x->vm, KVM_IRQFD, &irqfd);
		xen_put_poll(x, n, 0, NR_EVENTS, ports);
		l->control->random[n] = new_guest_random_state(guest_random_u32(&l->random));
		l->pause_random[n] = new_guest_random_state(guest_random_u32(&l->random));
	}
	set_routes(l);
}

static void load_start(struct load *l)
{
	struct vcpu_args *args;
	int n, err = 0;

	for (n = 0; n < NR_EVENTS; n++)
		l->last_time[n] = now_ms();
	for (n = 0; n < NR_VCPUS; n++) {
		args = malloc(sizeof(*args));
		*args = (struct vcpu_args) { l, n };
		l->x->state[n].irqs = true;
		xen_prepare_call(l->x, n, guest_loop, n, 0, 0);
		err |= pthread_create(&l->threads[n], NULL, vcpu_thread, args);
	}
	err |= pthread_create(&l->threads[NR_VCPUS], NULL, vmm_thread, l);
	err |= pthread_create(&l->threads[NR_VCPUS + 1], NULL, irqfd_thread, l);
	TEST_ASSERT(!err, "no thread");
}

/* The attributes are as load_vm() has set them. */
static void load_end(struct load *l)
{
	struct control *c = l->control;
	u32 total = 0;
	int n;

	WRITE_ONCE(c->quiet, 1);
	pthread_join(l->threads[NR_VCPUS], NULL);
	pthread_join(l->threads[NR_VCPUS + 1], NULL);
	while (!watch(l))
		usleep(1000);

	/* A vCPU may be polling: events that do not count make it look. */
	WRITE_ONCE(c->stop, 1);
	for (n = 0; n < NR_VCPUS; n++) {
		while (pthread_tryjoin_np(l->threads[n], NULL)) {
			xen_send(l->x, PORT(EVENT(BY_VMM, n)), n);
			usleep(1000);
			clear_pending(l->mirror + SHINFO(0), PORT(EVENT(BY_VMM, n)));
		}
	}
	check_memory(l);
	for (n = 0; n < NR_EVENTS; n++) {
		TEST_ASSERT(c->events[n].taken <= c->events[n].sent || n / NR_VCPUS == BY_VMM,
			    "port %u: %u events, pending %u times", PORT(n), c->events[n].sent,
			    c->events[n].taken);
		total += c->events[n].sent;
	}
	TEST_ASSERT(total, "no events");
	ksft_print_msg("%u events\n", total);
	xen_vm_free(l->x);
}

static void stress(struct load *l, void (*change)(struct load *l))
{
	u64 end = now_ms() + xen_case_ms();
	u32 changes = 0;

	load_start(l);
	while (now_ms() < end) {
		change(l);
		watch(l);
		check_memory(l);
		changes++;
	}
	ksft_print_msg("%u changes\n", changes);
}

/* ---- what changes meanwhile --------------------------------------------- */

static void move_shinfo(struct load *l)
{
	static u8 before[2][0x1000];
	int i;

	set_shinfo(l, guest_random_u32(&l->random) % 5);
	for (i = 0; i < 2; i++)
		memcpy(before[i], l->mirror + SHINFO(i), 0x1000);
	usleep(guest_random_u32(&l->random) % 2000);
	for (i = 0; i < 2; i++)
		if (i != l->shinfo)
			check_unused_shinfo(l, i, before[i]);
}

static void move_vinfo(struct load *l, int n)
{
	struct xen_vcpu_info64 *now[] = {
		(void *)l->mirror + VINFO(n, 0),
		(void *)l->mirror + VINFO(n, 1),
	};
	struct xen_vcpu_info64 *before = l->old_vinfo[n];
	int i;

	/* The guest has cleared what it has consumed, and nothing else has happened. */
	for (i = 0; i < 2; i++) {
		if (i == l->vinfo[n])
			continue;
		TEST_ASSERT(!(now[i]->pending_sel & ~before[i].pending_sel) &&
			    !(now[i]->upcall_pending & ~before[i].upcall_pending) &&
			    !memcmp(&now[i]->time, &before[i].time, sizeof(before[i].time)),
			    "an old vcpu_info of vCPU %d was changed", n);
	}
	set_vinfo(l, n, guest_random_u32(&l->pause_random[n]) % 5);
	for (i = 0; i < 2; i++)
		before[i] = *now[i];
}

static void test_move(void)
{
	struct load *l = load_new();

	l->pause = move_vinfo;
	l->guest_refused = true;
	l->vmm_refused = true;
	load_vm(l);
	l->control->moves = 1;
	stress(l, move_shinfo);
	set_shinfo(l, 0);
	load_end(l);
}

/* The contents stay in the file. */
static void drop(struct load *l, u64 offset, u64 len)
{
	TEST_ASSERT(!madvise(l->area + offset, len, MADV_DONTNEED), "madvise");
}

static void drop_pages(struct load *l)
{
	u32 random = guest_random_u32(&l->random);
	u64 page = (random & 7) * 0x1000;

	drop(l, page, page ? 0x1000 : AREA_SIZE);
	usleep(random % 300);
}

/* Pages may take their time, which widens the window of whoever needs one. */
static bool hold_pages;
static u32 nr_faults;

static int serve_fault(int mode, int uffd, struct uffd_msg *msg)
{
	struct uffdio_continue c = {
		.range = { msg->arg.pagefault.address & ~0xfffULL, 0x1000 },
	};

	__sync_fetch_and_add(&nr_faults, 1);
	do {
		usleep(random() % 2000);
	} while (READ_ONCE(hold_pages));
	return ioctl(uffd, UFFDIO_CONTINUE, &c) && errno != EEXIST ? -1 : 0;
}

static struct uffd_desc *serve_slowly(struct load *l)
{
	int fd = syscall(__NR_userfaultfd, O_CLOEXEC);

	if (fd < 0)
		ksft_exit_skip("SKIP no userfaultfd\n");
	close(fd);
	return uffd_setup_demand_paging(UFFDIO_REGISTER_MODE_MINOR, 0, l->area, AREA_SIZE, 1,
					serve_fault);
}

static void flip_mode(struct load *l)
{
	xen_set(l->x, LONG_MODE, long_mode, guest_random_bool(&l->random));
	usleep(guest_random_u32(&l->random) % 500);
}

static void test_mode(void)
{
	struct load *l = load_new();

	l->mode_flips = true;
	load_vm(l);
	l->control->any_selector = 1;
	stress(l, flip_mode);
	load_end(l);
}

static void update_port(struct load *l, int n)
{
	u32 port = PORT(EVENT(BY_GUEST, n));
	int old = l->target[n], err;

	l->target[n] = !old;
	err = xen_try_evtchn(l->x, KVM_XEN_EVTCHN_UPDATE, port, EVTCHN_IPI, port, !old);
	TEST_ASSERT_EQ(err, 0);
	check_old_target(l, EVENT(BY_GUEST, n), old);
}

/* An irqfd does not wait for a page: its event may be kept, and come late. */
static void update_route(struct load *l, int n)
{
	struct event *e = &l->control->events[EVENT(BY_IRQFD, n)];
	int old = l->route[n];
	u32 sent;

	l->route[n] = !old;
	set_routes(l);
	sent = READ_ONCE(e->sent);
	while ((s32)(READ_ONCE(e->seen) - sent) < 0) {
		watch(l);
		usleep(10);
	}
	check_old_target(l, EVENT(BY_IRQFD, n), old);
}

static void deassign_port(struct load *l, int n)
{
	TEST_ASSERT_EQ(xen_try_evtchn(l->x, KVM_XEN_EVTCHN_DEASSIGN, PORT(EVENT(BY_GUEST, n)),
				      0, 0, 0), 0);
	check_old_target(l, EVENT(BY_GUEST, n), l->target[n]);
	assign(l, n);
}

static void reset_ports(struct load *l)
{
	TEST_ASSERT_EQ(xen_try_evtchn(l->x, KVM_XEN_EVTCHN_RESET, 0, 0, 0, 0), 0);
	check_old_target(l, EVENT(BY_GUEST, 0), l->target[0]);
	check_old_target(l, EVENT(BY_GUEST, 1), l->target[1]);
	assign(l, 0);
	assign(l, 1);
}

static void lend_port(struct load *l, int n)
{
	struct event *e = &l->control->events[EVENT(BY_GUEST, n)];
	u32 port = PORT(EVENT(BY_GUEST, n));
	struct pollfd pfd = { .events = POLLIN };
	u64 count;

	pfd.fd = eventfd(0, EFD_NONBLOCK);
	TEST_ASSERT_EQ(xen_try_evtchn(l->x, KVM_XEN_EVTCHN_DEASSIGN, port, 0, 0, 0), 0);
	TEST_ASSERT_EQ(xen_try_eventfd(l->x, port, pfd.fd), 0);
	TEST_ASSERT(poll(&pfd, 1, LOST_MS) == 1, "no signal");
	TEST_ASSERT_EQ(xen_try_evtchn(l->x, KVM_XEN_EVTCHN_DEASSIGN, port, 0, 0, 0), 0);
	TEST_ASSERT_EQ(read(pfd.fd, &count, sizeof(count)), sizeof(count));
	WRITE_ONCE(e->seen, READ_ONCE(e->sent));
	usleep(guest_random_u32(&l->random) % 2000);
	TEST_ASSERT(read(pfd.fd, &count, sizeof(count)) < 0, "signal after DEASSIGN");
	close(pfd.fd);
	assign(l, n);
}

static void change_port(struct load *l)
{
	int n = guest_random_u32(&l->random) % NR_VCPUS;

	/* Let senders that have found the old target wait for the page. */
	drop(l, SHINFO(0), 0x1000);
	usleep(guest_random_u32(&l->random) % 300);
	switch (guest_random_u32(&l->random) % 5) {
	case 0:
		update_port(l, n);
		break;
	case 1:
		update_route(l, n);
		break;
	case 2:
		deassign_port(l, n);
		break;
	case 3:
		reset_ports(l);
		break;
	case 4:
		lend_port(l, n);
		break;
	}
}

static void test_ports(void)
{
	struct load *l = load_new();
	struct uffd_desc *uffd = serve_slowly(l);

	l->guest_refused = true;
	load_vm(l);
	stress(l, change_port);
	load_end(l);
	uffd_stop_demand_paging(uffd);
}

/*
 * Saved and restored, expired or not, while the page may be away.  A timer that has been
 * read goes on, so when it is stopped its event may have come.
 */
static void resave_timer(struct load *l, int n)
{
	u32 port = PORT(EVENT(BY_TIMER, n));
	u64 expires = xen_vcpu_get(l->x, n, TIMER, timer.expires_ns);

	xen_set_timer(l->x, n, port, 0);
	if (expires && !is_pending(l, EVENT(BY_TIMER, n))) {
		usleep(guest_random_u32(&l->pause_random[n]) % 1000);
		xen_set_timer(l->x, n, port, expires);
	}
}

static void test_drop(void)
{
	struct load *l = load_new();

	l->pause = resave_timer;
	load_vm(l);
	stress(l, drop_pages);
	load_end(l);
}

static void replace_slot(struct load *l)
{
	static u8 before[2][0x1000];
	int i;

	set_alias(l, false);
	for (i = 0; i < 2; i++)
		memcpy(before[i], l->mirror + SHINFO(i), 0x1000);
	usleep(guest_random_u32(&l->random) % 1000);
	for (i = 0; i < 2; i++)
		check_unused_shinfo(l, i, before[i]);
	set_alias(l, true);
	usleep(guest_random_u32(&l->random) % 1000);
}

static void test_slot(void)
{
	struct load *l = load_new();

	l->pause = resave_timer;
	l->vmm_refused = true;
	load_vm(l);
	stress(l, replace_slot);
	load_end(l);
}

/* ---- pages that are out ------------------------------------------------- */

static void test_slow(void)
{
	struct load *l = load_new();
	struct uffd_desc *uffd = serve_slowly(l);

	l->pause = resave_timer;
	load_vm(l);
	stress(l, drop_pages);
	load_end(l);
	TEST_ASSERT(nr_faults > 10, "only %u faults", nr_faults);
	uffd_stop_demand_paging(uffd);
}

static void *send_thread(void *l)
{
	vmm_send(l, 0);
	return NULL;
}

/*
 * Events of all sources while shared_info, or vcpu_info, or both are out.  A sleeping
 * vCPU, in whose context the first fault occurs, gets its upcall when they are back.
 */
static void page_out(u64 offset, u64 len)
{
	struct load *l = load_new();
	struct uffd_desc *uffd = serve_slowly(l);
	struct xen_vcpu_info64 *info = (void *)l->mirror + VINFO(0, 0);
	u64 sel = BIT(BY_VMM * 2) | BIT(BY_IRQFD * 2) | BIT(BY_TIMER * 2);
	bool shinfo = offset <= SHINFO(0);
	pthread_t thread;
	u64 deadline, end;
	u8 vector;
	int i;

	load_vm(l);
	vector = xen_cpu(l->x, 0)->flags & XEN_CPU_EOI ? XEN_LAPIC_VECTOR(0) : XEN_VECTOR;
	deadline = xen_in_ms(l->x, 1000);
	xen_set_timer(l->x, 0, PORT(EVENT(BY_TIMER, 0)), deadline);
	xen_prepare(l->x, 0, STEP_HLT);
	xen_start(l->x, 0);
	TEST_ASSERT_EQ(xen_wait(l->x, 0, 30), XEN_RUNNING_YET);

	nr_faults = 0;
	hold_pages = true;
	drop(l, offset, len);
	irqfd_send(l, 0);
	TEST_ASSERT(!pthread_create(&thread, NULL, send_thread, l), "no thread");
	end = now_ms() + LOST_MS;
	while (xen_now(l->x) < deadline + 100 * NSEC_PER_MSEC ||
	       (now_ms() < end && !(nr_faults && (shinfo || is_pending(l, EVENT(BY_TIMER, 0))))))
		TEST_ASSERT_EQ(xen_wait(l->x, 0, 10), XEN_RUNNING_YET);
	TEST_ASSERT(nr_faults, "no page fault");
	for (i = BY_VMM; i < NR_SOURCES; i++)
		TEST_ASSERT(is_pending(l, EVENT(i, 0)) == !shinfo,
			    "event of source %d is%s pending", i, shinfo ? "" : " not");
	TEST_ASSERT(!info->pending_sel && !info->upcall_pending, "page that is out was written");

	WRITE_ONCE(hold_pages, false);
	pthread_join(thread, NULL);
	xen_expect(l->x, 0, xen_wait(l->x, 0, LOST_MS), XEN_RETURNED);
	TEST_ASSERT(xen_count(l->x, 0, vector), "no upcall");
	/* What came last may still be on its way; whoever asks for a timer waits for it. */
	xen_window(l->x, 0);
	TEST_ASSERT_EQ(xen_vcpu_get(l->x, 0, TIMER, timer.expires_ns), 0);
	xen_window(l->x, 0);
	for (i = BY_VMM; i < NR_SOURCES; i++)
		TEST_ASSERT(is_pending(l, EVENT(i, 0)), "event of source %d was lost", i);
	TEST_ASSERT_EQ(info->pending_sel, sel);
	check_memory(l);
	xen_vm_free(l->x);
	uffd_stop_demand_paging(uffd);
}

static void test_shinfo_out(void)
{
	page_out(SHINFO(0), 0x1000);
}

static void test_vinfo_out(void)
{
	page_out(VINFO(0, 0) & ~0xfffULL, 0x1000);
}

static void test_both_out(void)
{
	page_out(0, AREA_SIZE);
}

/* ---- the end ------------------------------------------------------------ */

/* The VMM is killed; its VM goes with it, or stays for a while if we hold on to it. */
static void kill_vmm(struct load *l, int *shared_fd, bool hold)
{
	int i, status, pidfd, vm_fd = -1;
	pid_t pid;

	*shared_fd = -1;
	pid = fork();
	TEST_ASSERT(pid >= 0, "fork");
	if (!pid) {
		load_vm(l);
		load_start(l);
		WRITE_ONCE(*shared_fd, l->x->vm->fd);
		for (;;)
			pause();
	}
	for (i = 0; i < LOST_MS && READ_ONCE(*shared_fd) < 0; i++)
		usleep(1000);
	TEST_ASSERT(*shared_fd >= 0, "the VMM does not start");
	if (hold) {
		pidfd = syscall(__NR_pidfd_open, pid, 0);
		vm_fd = syscall(__NR_pidfd_getfd, pidfd, *shared_fd, 0);
		TEST_ASSERT(vm_fd >= 0, "pidfd_getfd: %s", strerror(errno));
		close(pidfd);
	}
	for (i = guest_random_u32(&l->random) % 100; i; i--) {
		irqfd_send(l, i % NR_VCPUS);
		usleep(100);
	}
	kill(pid, SIGKILL);
	irqfd_send(l, 0);
	TEST_ASSERT(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status), "status %x", status);
	check_memory(l);

	/* Nothing is pending, so any event would show. */
	memcpy(l->mirror, l->expected, AREA_SIZE);
	for (i = 0; i < 20; i++) {
		irqfd_send(l, i % NR_VCPUS);
		usleep(200);
	}
	TEST_ASSERT(!memcmp(l->mirror, l->expected, AREA_SIZE),
		    "memory of a VMM that is gone was written");
	if (hold)
		close(vm_fd);
}

static void test_kill(void)
{
	struct load *l = load_new();
	u64 end = now_ms() + xen_case_ms();
	int *shared_fd = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			      -1, 0);

	while (now_ms() < end)
		kill_vmm(l, shared_fd, guest_random_bool(&l->random));
}

#define HVA	KVM_XEN_HVM_CONFIG_SHARED_INFO_HVA

static const struct xen_case cases[] = {
	{ "AP32 RG2 RG3 RG10: shared_info and vcpu_info move", test_move, HVA },
	{ "RG17: mode flips", test_mode },
	{ "AP31 RG39 RG40 KF5: ports and routes change", test_ports },
	{ "RG4 X5: memslot goes and comes, timers are restored", test_slot },
	{ "pages are dropped, timers are restored", test_drop },
	{ "pages come back slowly", test_slow },
	{ "shared_info is out", test_shinfo_out },
	{ "vcpu_info is out", test_vinfo_out },
	{ "both are out", test_both_out },
	{ "the VMM is killed", test_kill },
};

int main(int argc, char *argv[])
{
	xen_seconds = 30;
	return xen_run_cases(argc, argv, cases, ARRAY_SIZE(cases));
}
