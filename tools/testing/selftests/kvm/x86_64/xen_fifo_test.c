// SPDX-License-Identifier: GPL-2.0-only
/*
 * FIFO event channels of Xen guests: the attributes that stand for EVTCHNOP_init_control,
 * _expand_array and _reset, what raising a port does to words, control blocks and queues,
 * all that can raise one, polls, hostile values, memory that is out of reach, and what is
 * saved and restored.
 *
 * The examples are scripts: a step of the guest or the VMM, and everything that is to be
 * seen after it.  Upcalls go to each vCPU's local APIC, whose interrupt handler leaves
 * evtchn_upcall_pending as it is, so that each single upcall can be counted.
 *
 * A case fails when a word, a control block, a tail or the flag has another value than the
 * expected one, an upcall is missing or superfluous, or a call gives another result than
 * real Xen or KVM's API.  Linux 6.12 has no FIFO event channels.
 */
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "xen.h"

#define FIFO		KVM_XEN_HVM_CONFIG_EVTCHN_FIFO
#define UNMASK		(FIFO | KVM_XEN_HVM_CONFIG_MORE_HCALLS)

#define P		XEN_FIFO_PENDING
#define M		XEN_FIFO_MASKED
#define L		XEN_FIFO_LINKED
#define B		XEN_FIFO_BUSY

#define GSI(i)		(32 + (i))
#define DEFAULT		7		/* the priority of ports that have no other one */
#define HIGHEST		(XEN_FIFO_NR_PORTS - 1)

#define QUIET_MS	50
#define PROMPT_MS	xen_ms(10000)

/* Where KVM looks for memory that goes away: the same as at XEN_FIFO_BASE. */
#define ALIAS_SLOT	(XEN_FIFO_SLOT + 1)
#define ALIAS(gpa)	((gpa) + 0x100000)

enum sender { BY_GUEST, BY_OTHER_VCPU, BY_VMM, BY_IRQFD, NR_SENDERS };

struct port {
	u32 port;
	u32 vcpu;
	u32 priority;
	int fd;
};

struct fifo {
	struct xen_vm *x;
	enum sender by;
	int nr_ports;
	struct port ports[20];
	struct xen_fifo_consumer consumer[XEN_MAX_VCPUS];
	u32 upcalls[XEN_MAX_VCPUS];
};

/* ---- setup -------------------------------------------------------------- */

/* Upcalls by the local APIC, kept as they are: see above. */
static void setup_vcpu(struct fifo *f, int n)
{
	struct xen_vm *x = f->x;

	xen_cpu(x, n)->flags |= XEN_CPU_KEEP | XEN_CPU_EOI;
	f->consumer[n] = (struct xen_fifo_consumer) {
		.flag = &x->state[n].info->upcall_pending,
		.control = xen_fifo_control(x, n),
		.words = xen_fifo_word(x, 0),
	};
}

/* In 2-level mode yet. */
static struct fifo *new_2level(int nr_vcpus, enum xen_mode mode)
{
	struct fifo *f = calloc(1, sizeof(*f));
	int i;

	f->x = xen_vm_new(nr_vcpus, mode, XEN_SL | XEN_ID);
	xen_fifo_opt_in(f->x);
	xen_fifo_add_memory(f->x);
	for (i = 0; i < nr_vcpus; i++)
		setup_vcpu(f, i);
	return f;
}

static struct fifo *new_fifo(enum xen_mode mode)
{
	struct fifo *f = new_2level(2, mode);

	xen_fifo_enter(f->x, 1);
	return f;
}

static void free_fifo(struct fifo *f)
{
	int i;

	xen_vm_free(f->x);
	for (i = 0; i < f->nr_ports; i++)
		close(f->ports[i].fd);
	free(f);
}

static void set_routes(struct fifo *f)
{
	struct kvm_irq_routing *routing = kvm_gsi_routing_create();
	int i;

	routing->nr = f->nr_ports;
	for (i = 0; i < f->nr_ports; i++)
		routing->entries[i] = (struct kvm_irq_routing_entry) {
			.gsi = GSI(i),
			.type = KVM_IRQ_ROUTING_XEN_EVTCHN,
			.u.xen_evtchn = {
				.port = f->ports[i].port,
				.vcpu = f->ports[i].vcpu,
				.priority = f->ports[i].priority,
			},
		};
	vm_ioctl(f->x->vm, KVM_SET_GSI_ROUTING, routing);
	free(routing);
}

static struct port *find_port(struct fifo *f, u32 port)
{
	int i;

	for (i = 0; i < f->nr_ports; i++)
		if (f->ports[i].port == port)
			return &f->ports[i];
	return NULL;
}

static struct port *add_port(struct fifo *f, u32 port)
{
	struct kvm_irqfd irqfd = { .fd = eventfd(0, 0), .gsi = GSI(f->nr_ports) };
	struct port *p = &f->ports[f->nr_ports++];

	TEST_ASSERT(f->nr_ports <= ARRAY_SIZE(f->ports), "too many ports");
	p->port = port;
	p->fd = irqfd.fd;
	vm_ioctl(f->x->vm, KVM_IRQFD, &irqfd);
	return p;
}

/* The guest binds an IPI, or changes its vCPU or priority: tell KVM in all ways there are. */
static void bind(struct fifo *f, u32 port, u32 vcpu, u32 priority)
{
	struct port *p = find_port(f, port);
	u32 flags = p ? KVM_XEN_EVTCHN_UPDATE : 0;

	if (!p)
		p = add_port(f, port);
	p->vcpu = vcpu;
	p->priority = priority;
	TEST_ASSERT_EQ(xen_try_evtchn_priority(f->x, flags, port, EVTCHN_IPI, port, vcpu,
					       priority), 0);
	TEST_ASSERT_EQ(xen_try_set_port(f->x, port, STATUS_IPI, vcpu, priority), 0);
	set_routes(f);
}

/* ---- events ------------------------------------------------------------- */

static u32 word(struct fifo *f, u32 port)
{
	return READ_ONCE(*xen_fifo_word(f->x, port));
}

static void put_word(struct fifo *f, u32 port, u32 val)
{
	WRITE_ONCE(*xen_fifo_word(f->x, port), val);
}

static u32 tail(struct fifo *f, int n, int q)
{
	u32 tails[XEN_FIFO_NR_QUEUES];

	xen_fifo_tails(f->x, n, tails);
	return tails[q];
}

static u32 head(struct fifo *f, int n, int q)
{
	return READ_ONCE(xen_fifo_control(f->x, n)->head[q]);
}

static u32 ready(struct fifo *f, int n)
{
	return READ_ONCE(xen_fifo_control(f->x, n)->ready);
}

static int try_set_tails(struct xen_vm *x, int n, const u32 *tails)
{
	struct kvm_xen_vcpu_attr attr = { .type = KVM_XEN_VCPU_ATTR_TYPE_EVTCHN_TAILS };

	memcpy(attr.u.evtchn_tail, tails, sizeof(attr.u.evtchn_tail));
	return xen_errno(__vcpu_ioctl(x->vcpu[n], KVM_XEN_VCPU_SET_ATTR, &attr));
}

static int try_set_deferred(struct xen_vm *x, int n, u32 port, u32 priority, u64 sel)
{
	struct kvm_xen_vcpu_attr attr = {
		.type = KVM_XEN_VCPU_ATTR_TYPE_EVTCHN_DEFERRED,
		.u.deferred = { .port = port, .priority = priority, .pending_sel = sel },
	};

	return xen_errno(__vcpu_ioctl(x->vcpu[n], KVM_XEN_VCPU_SET_ATTR, &attr));
}

static struct kvm_xen_vcpu_attr get_deferred(struct xen_vm *x, int n, u32 from)
{
	struct kvm_xen_vcpu_attr attr = {
		.type = KVM_XEN_VCPU_ATTR_TYPE_EVTCHN_DEFERRED,
		.u.deferred.port = from,
	};

	vcpu_ioctl(x->vcpu[n], KVM_XEN_VCPU_GET_ATTR, &attr);
	return attr;
}

static u64 put_arg(struct fifo *f, int n, u32 port)
{
	*(u32 *)xen_hva(f->x, XEN_ARG(n)) = port;
	return XEN_ARG(n);
}

static s64 guest_send(struct fifo *f, int n, u32 port)
{
	return xen_hcall(f->x, n, HCALL_EVTCHN, EVTCHNOP_SEND, put_arg(f, n, port));
}

static s64 guest_unmask(struct fifo *f, int n, u32 port)
{
	return xen_hcall(f->x, n, HCALL_EVTCHN, EVTCHNOP_UNMASK, put_arg(f, n, port));
}

static void signal_fd(int fd)
{
	u64 one = 1;

	TEST_ASSERT_EQ(write(fd, &one, sizeof(one)), sizeof(one));
}

static void send_by(struct fifo *f, u32 port, enum sender by)
{
	struct port *p = find_port(f, port);

	switch (by) {
	case BY_GUEST:
	case BY_OTHER_VCPU:
		TEST_ASSERT_EQ(guest_send(f, by == BY_OTHER_VCPU, port), 0);
		break;
	case BY_VMM:
		TEST_ASSERT_EQ(xen_try_send_priority(f->x, port, p->vcpu, p->priority), 0);
		break;
	default:
		signal_fd(p->fd);
		break;
	}
}

static void send(struct fifo *f, u32 port)
{
	send_by(f, port, f->by);
}

/* Open a window for interrupts.  How many upcalls were there since the last one? */
static u32 upcalls(struct fifo *f, int n)
{
	u32 count, old = f->upcalls[n];

	xen_window(f->x, n);
	count = xen_count(f->x, n, XEN_LAPIC_VECTOR(n));
	TEST_ASSERT_EQ(count, xen_cpu(f->x, n)->nr);
	f->upcalls[n] = count;
	return count - old;
}

static void halt_start(struct fifo *f, int n)
{
	xen_prepare(f->x, n, STEP_HLT);
	xen_start(f->x, n);
}

static void halt(struct fifo *f, int n)
{
	halt_start(f, n);
	TEST_ASSERT(xen_sleeps(f->x, n, 0), "vCPU %d does not sleep", n);
}

static void halt_ends(struct fifo *f, int n)
{
	xen_expect(f->x, n, xen_wait(f->x, n, PROMPT_MS), XEN_RETURNED);
}

/* ---- the guest, step by step -------------------------------------------- */

/* The upcall: clear the flag, take all of ready. */
static u32 take(struct fifo *f, int n)
{
	xen_put_flag(f->x, n, 0);
	return xen_fifo_take_ready(&f->consumer[n]);
}

/* Take @port, which has to be the next one, off queue @q; true if more are linked to it. */
static bool dequeue(struct fifo *f, int n, int q, u32 port)
{
	u32 bits = BIT(q), got = xen_fifo_dequeue(&f->consumer[n], q, &bits);

	TEST_ASSERT(got == port, "queue %d of vCPU %d has port %u, not %u", q, n, got, port);
	return bits;
}

static void handle(struct fifo *f, u32 port)
{
	__sync_fetch_and_and(xen_fifo_word(f->x, port), ~P);
}

struct seen {
	int nr;
	u32 port[64];
	u8 queue[64];
	u32 *words;
};

static void note(void *arg, u32 port, int q)
{
	struct seen *s = arg;

	TEST_ASSERT(s->nr < ARRAY_SIZE(s->port), "too many events");
	s->port[s->nr] = port;
	s->queue[s->nr++] = q;
	__sync_fetch_and_and(&s->words[port], ~P);
}

static struct seen consume(struct fifo *f, int n)
{
	struct seen s = { .words = xen_fifo_word(f->x, 0) };

	xen_fifo_consume(&f->consumer[n], note, &s);
	return s;
}

/* vCPU @n finds these events, in this order, and no others. */
#define EXPECT_EVENTS(f, n, ...)						\
do {										\
	const u32 __want[] = { __VA_ARGS__ };					\
										\
	expect_events(f, n, __want, ARRAY_SIZE(__want));			\
} while (0)

static void expect_events(struct fifo *f, int n, const u32 *want, int nr)
{
	struct seen s = consume(f, n);
	int i;

	for (i = 0; i < nr && i < s.nr; i++)
		TEST_ASSERT(s.port[i] == want[i], "vCPU %d: event %d is port %u, not %u", n, i,
			    s.port[i], want[i]);
	TEST_ASSERT(s.nr == nr, "vCPU %d: %d events, not %d", n, s.nr, nr);
	TEST_ASSERT_EQ(f->consumer[n].nr_bad, 0);
}

static void expect_quiet(struct fifo *f, int n)
{
	TEST_ASSERT_EQ(xen_flag(f->x, n), 0);
	TEST_ASSERT_EQ(ready(f, n), 0);
	TEST_ASSERT_EQ(upcalls(f, n), 0);
}

/* ---- scripts ------------------------------------------------------------ */

enum action { DONE, BEFORE, SEND, TAKE, DEQUEUE, HANDLE, UNMASK_HCALL, SET_PRIORITY, SET_VCPU };

/* A step, with a port (TAKE: a vCPU) and sometimes one more, and what there is then. */
struct step {
	enum action action;
	u32 port;
	u32 arg;
	u32 word5;
	u32 word9;
	u32 word12;
	struct {
		u32 ready;
		u32 head3;
		u32 head7;
		u32 tail3;
		u32 tail7;
		u32 flag;
		u32 upcalls;
	} vcpu[2];
};

static void do_step(struct fifo *f, const struct step *s)
{
	struct port *p = find_port(f, s->port);

	switch (s->action) {
	case SEND:
		send(f, s->port);
		break;
	case TAKE:
		take(f, s->port);
		break;
	case DEQUEUE:
		dequeue(f, 0, DEFAULT, s->port);
		break;
	case HANDLE:
		handle(f, s->port);
		break;
	case UNMASK_HCALL:
		TEST_ASSERT_EQ(guest_unmask(f, 0, s->port), 0);
		break;
	case SET_PRIORITY:
		bind(f, s->port, p->vcpu, s->arg);
		break;
	case SET_VCPU:
		bind(f, s->port, s->arg, p->priority);
		break;
	default:
		break;
	}
}

static void check(const char *what, int n, int nr, u32 is, u32 want)
{
	TEST_ASSERT(is == want, "step %d, vCPU %d: %s is 0x%x, not 0x%x", nr, n, what, is, want);
}

static void check_vcpu(struct fifo *f, int n, const struct step *s, int nr)
{
	u32 tails[XEN_FIFO_NR_QUEUES], want, i;

	check("upcalls", n, nr, upcalls(f, n), s->vcpu[n].upcalls);
	check("the flag", n, nr, xen_flag(f->x, n), s->vcpu[n].flag);
	check("ready", n, nr, ready(f, n), s->vcpu[n].ready);
	check("the reserved word", n, nr, xen_fifo_control(f->x, n)->reserved, 0);
	xen_fifo_tails(f->x, n, tails);
	for (i = 0; i < XEN_FIFO_NR_QUEUES; i++) {
		want = i == 3 ? s->vcpu[n].head3 : i == 7 ? s->vcpu[n].head7 : 0;
		check("a head", n, nr, head(f, n, i), want);
		want = i == 3 ? s->vcpu[n].tail3 : i == 7 ? s->vcpu[n].tail7 : 0;
		check("a tail", n, nr, tails[i], want);
	}
}

/* All that can be seen, after each step. */
static void run_steps(struct fifo *f, const struct step *steps, enum sender by)
{
	static const u32 ports[] = { 5, 9, 12 };
	const struct step *s;
	u32 port, want;
	int n;

	f->by = by;
	for (n = 0; n < 3; n++)
		bind(f, ports[n], 0, XEN_2LEVEL);
	put_word(f, 5, steps->word5);
	put_word(f, 9, steps->word9);
	put_word(f, 12, steps->word12);
	for (s = steps; s->action != DONE; s++) {
		do_step(f, s);
		for (n = 0; n < 2; n++)
			check_vcpu(f, n, s, s - steps);
		for (port = 0; port < XEN_FIFO_PER_PAGE; port++) {
			want = port == 5 ? s->word5 : port == 9 ? s->word9 :
			       port == 12 ? s->word12 : 0;
			TEST_ASSERT(word(f, port) == want,
				    "sender %d, step %zu: word %u is 0x%x, not 0x%x", by,
				    s - steps, port, word(f, port), want);
		}
	}
}

static void run_script(const struct step *steps, enum xen_mode mode, enum sender by)
{
	struct fifo *f = new_fifo(mode);

	run_steps(f, steps, by);
	free_fifo(f);
}

/* By each sender; between them, the guest is as good as new. */
static void run_script_all(const struct step *steps)
{
	struct fifo *f = new_fifo(XEN_64);
	enum sender by;
	int n;

	for (by = 0; by < NR_SENDERS; by++) {
		run_steps(f, steps, by);
		TEST_ASSERT_EQ(xen_fifo_try_abi(f->x, KVM_XEN_EVTCHN_ABI_2LEVEL, 0), 0);
		for (n = 0; n < 2; n++) {
			xen_put_flag(f->x, n, 0);
			memset(xen_fifo_control(f->x, n), 0, sizeof(struct xen_fifo_control));
			memset(f->consumer[n].next, 0, sizeof(f->consumer[n].next));
		}
		xen_fifo_enter(f->x, 1);
	}
	free_fifo(f);
}

/* vcpu[]: ready, head[3], head[7], tail[3], tail[7], flag, upcalls. */
static const struct step example1[] = {
	{ BEFORE },
	{ SEND, 5, 0,		P | L, 0, 0,	{ { 0x80, 0, 5, 0, 5, 1, 1 } } },
	{ SEND, 5, 0,		P | L, 0, 0,	{ { 0x80, 0, 5, 0, 5, 1, 0 } } },
	{ DONE }
};

static const struct step example2[] = {
	{ BEFORE },
	{ SEND, 5, 0,		P | L, 0, 0,		{ { 0x80, 0, 5, 0, 5, 1, 1 } } },
	{ SEND, 5, 0,		P | L, 0, 0,		{ { 0x80, 0, 5, 0, 5, 1, 0 } } },
	{ SEND, 9, 0,		P | L | 9, P | L, 0,	{ { 0x80, 0, 5, 0, 9, 1, 0 } } },
	{ TAKE, 0, 0,		P | L | 9, P | L, 0,	{ { 0, 0, 5, 0, 9, 0, 0 } } },
	{ DEQUEUE, 5, 0,	P, P | L, 0,		{ { 0, 0, 5, 0, 9, 0, 0 } } },
	{ HANDLE, 5, 0,		0, P | L, 0,		{ { 0, 0, 5, 0, 9, 0, 0 } } },
	{ DEQUEUE, 9, 0,	0, P, 0,		{ { 0, 0, 5, 0, 9, 0, 0 } } },
	{ HANDLE, 9, 0,		0, 0, 0,		{ { 0, 0, 5, 0, 9, 0, 0 } } },
	{ DONE }
};

static const struct step example3[] = {
	{ BEFORE },
	{ SEND, 5, 0,		P | L, 0, 0,		{ { 0x80, 0, 5, 0, 5, 1, 1 } } },
	{ SEND, 9, 0,		P | L | 9, P | L, 0,	{ { 0x80, 0, 5, 0, 9, 1, 0 } } },
	{ TAKE, 0, 0,		P | L | 9, P | L, 0,	{ { 0, 0, 5, 0, 9, 0, 0 } } },
	{ DEQUEUE, 5, 0,	P, P | L, 0,		{ { 0, 0, 5, 0, 9, 0, 0 } } },
	{ HANDLE, 5, 0,		0, P | L, 0,		{ { 0, 0, 5, 0, 9, 0, 0 } } },
	{ DEQUEUE, 9, 0,	0, P, 0,		{ { 0, 0, 5, 0, 9, 0, 0 } } },
	{ HANDLE, 9, 0,		0, 0, 0,		{ { 0, 0, 5, 0, 9, 0, 0 } } },
	/* Its own old tail. */
	{ SEND, 9, 0,		0, P | L, 0,		{ { 0x80, 0, 9, 0, 9, 1, 1 } } },
	{ TAKE, 0, 0,		0, P | L, 0,		{ { 0, 0, 9, 0, 9, 0, 0 } } },
	{ DEQUEUE, 9, 0,	0, P, 0,		{ { 0, 0, 9, 0, 9, 0, 0 } } },
	{ HANDLE, 9, 0,		0, 0, 0,		{ { 0, 0, 9, 0, 9, 0, 0 } } },
	/* A tail that is not linked. */
	{ SEND, 5, 0,		P | L, 0, 0,		{ { 0x80, 0, 5, 0, 5, 1, 1 } } },
	{ DONE }
};

static const struct step example4[] = {
	{ BEFORE, 0, 0,		0, 0, M },
	{ SEND, 12, 0,		0, 0, P | M },
	{ SEND, 12, 0,		0, 0, P | M },
	{ UNMASK_HCALL, 12, 0,	0, 0, P | L,		{ { 0x80, 0, 12, 0, 12, 1, 1 } } },
	{ DONE }
};

static const struct step example5[] = {
	{ BEFORE },
	{ SEND, 5, 0,		P | L, 0, 0,		{ { 0x80, 0, 5, 0, 5, 1, 1 } } },
	{ SET_PRIORITY, 5, 3,	P | L, 0, 0,		{ { 0x80, 0, 5, 0, 5, 1, 0 } } },
	{ SEND, 5, 0,		P | L, 0, 0,		{ { 0x80, 0, 5, 0, 5, 1, 0 } } },
	{ TAKE, 0, 0,		P | L, 0, 0,		{ { 0, 0, 5, 0, 5, 0, 0 } } },
	{ DEQUEUE, 5, 0,	P, 0, 0,		{ { 0, 0, 5, 0, 5, 0, 0 } } },
	{ HANDLE, 5, 0,		0, 0, 0,		{ { 0, 0, 5, 0, 5, 0, 0 } } },
	/* It moves, and its old queue forgets it. */
	{ SEND, 5, 0,		P | L, 0, 0,		{ { 0x08, 5, 5, 5, 0, 1, 1 } } },
	{ SEND, 9, 0,		P | L, P | L, 0,	{ { 0x88, 5, 9, 5, 9, 1, 0 } } },
	{ DONE }
};

static const struct step example6[] = {
	{ BEFORE },
	{ SEND, 5, 0,		P | L, 0, 0,		{ { 0x80, 0, 5, 0, 5, 1, 1 } } },
	{ SEND, 9, 0,		P | L | 9, P | L, 0,	{ { 0x80, 0, 5, 0, 9, 1, 0 } } },
	{ SET_VCPU, 9, 1,	P | L | 9, P | L, 0,	{ { 0x80, 0, 5, 0, 9, 1, 0 } } },
	{ TAKE, 0, 0,		P | L | 9, P | L, 0,	{ { 0, 0, 5, 0, 9, 0, 0 } } },
	{ DEQUEUE, 5, 0,	P, P | L, 0,		{ { 0, 0, 5, 0, 9, 0, 0 } } },
	{ HANDLE, 5, 0,		0, P | L, 0,		{ { 0, 0, 5, 0, 9, 0, 0 } } },
	{ DEQUEUE, 9, 0,	0, P, 0,		{ { 0, 0, 5, 0, 9, 0, 0 } } },
	{ HANDLE, 9, 0,		0, 0, 0,		{ { 0, 0, 5, 0, 9, 0, 0 } } },
	{ SEND, 9, 0,		0, P | L, 0,
		{ { 0, 0, 5, 0, 0, 0, 0 }, { 0x80, 0, 9, 0, 9, 1, 1 } } },
	{ SEND, 5, 0,		P | L, P | L, 0,
		{ { 0x80, 0, 5, 0, 5, 1, 1 }, { 0x80, 0, 9, 0, 9, 1, 0 } } },
	{ DONE }
};

static const struct step example8[] = {
	{ BEFORE },
	{ SEND, 5, 0,		P | L, 0, 0,	{ { 0x80, 0, 5, 0, 5, 1, 1 } } },
	{ TAKE, 0, 0,		P | L, 0, 0,	{ { 0, 0, 5, 0, 5, 0, 0 } } },
	{ DEQUEUE, 5, 0,	P, 0, 0,	{ { 0, 0, 5, 0, 5, 0, 0 } } },
	{ SEND, 5, 0,		P | L, 0, 0,	{ { 0x80, 0, 5, 0, 5, 1, 1 } } },
	{ HANDLE, 5, 0,		L, 0, 0,	{ { 0x80, 0, 5, 0, 5, 1, 0 } } },
	{ TAKE, 0, 0,		L, 0, 0,	{ { 0, 0, 5, 0, 5, 0, 0 } } },
	{ DEQUEUE, 5, 0,	0, 0, 0,	{ { 0, 0, 5, 0, 5, 0, 0 } } },
	{ DONE }
};

static void test_example1(void)
{
	run_script_all(example1);
}

static void test_example2(void)
{
	run_script_all(example2);
}

static void test_example3(void)
{
	run_script_all(example3);
}

static void test_example4(void)
{
	run_script_all(example4);
}

static void test_example5(void)
{
	run_script_all(example5);
}

static void test_example6(void)
{
	run_script_all(example6);
}

static void test_example8(void)
{
	run_script_all(example8);
}

static void test_examples_32(void)
{
	run_script(example1, XEN_32, BY_GUEST);
	run_script(example2, XEN_32, BY_OTHER_VCPU);
	run_script(example3, XEN_32, BY_VMM);
	run_script(example4, XEN_32, BY_GUEST);
	run_script(example5, XEN_32, BY_IRQFD);
	run_script(example6, XEN_32, BY_OTHER_VCPU);
	run_script(example8, XEN_32, BY_GUEST);
}

/* With the vector of the VM instead, which the flag alone raises. */
static void test_vector(void)
{
	struct fifo *f = new_fifo(XEN_64);
	int i;

	xen_vcpu_set(f->x, 0, UPCALL_VECTOR, vector, 0);
	xen_set(f->x, UPCALL_VECTOR, vector, XEN_VECTOR);
	xen_cpu(f->x, 0)->flags = 0;
	bind(f, 5, 0, XEN_2LEVEL);
	for (i = 1; i <= 3; i++) {
		send(f, 5);
		send(f, 5);
		TEST_ASSERT_EQ(xen_flag(f->x, 0), 1);
		xen_window(f->x, 0);
		TEST_ASSERT_EQ(xen_count(f->x, 0, XEN_VECTOR), i);
		TEST_ASSERT_EQ(xen_cpu(f->x, 0)->nr, i);
		TEST_ASSERT_EQ(xen_flag(f->x, 0), 0);
		EXPECT_EVENTS(f, 0, 5);
	}
	free_fifo(f);
}

/* ---- polls -------------------------------------------------------------- */

static void poll_start(struct fifo *f, int n, u32 port, u64 timeout)
{
	xen_hcall_start(f->x, n, HCALL_SCHED, SCHEDOP_POLL,
			xen_put_poll(f->x, n, timeout, 1, &port));
}

static void poll_blocks(struct fifo *f, int n)
{
	TEST_ASSERT(xen_sleeps(f->x, n, QUIET_MS), "vCPU %d does not poll", n);
}

static void poll_returns(struct fifo *f, int n)
{
	xen_expect(f->x, n, xen_wait(f->x, n, PROMPT_MS), XEN_RETURNED);
	TEST_ASSERT_EQ((s32)xen_result(f->x, n), 0);
}

static s32 poll_now(struct fifo *f, int n, u32 port, u64 timeout)
{
	return xen_hcall(f->x, n, HCALL_SCHED, SCHEDOP_POLL,
			 xen_put_poll(f->x, n, timeout, 1, &port));
}

static void poll_times_out(struct fifo *f, int n, u32 port)
{
	u64 deadline = xen_now(f->x) + 20 * NSEC_PER_MSEC;

	TEST_ASSERT_EQ(poll_now(f, n, port, deadline), 0);
	TEST_ASSERT(xen_now(f->x) + 20000 >= deadline, "the poll of port %u ended early", port);
}

/* A masked port of vCPU 0, vCPU 1 polls it. */
static void poll_masked(enum xen_mode mode, enum sender by)
{
	struct fifo *f = new_fifo(mode);

	f->by = by;
	bind(f, 12, 0, XEN_2LEVEL);
	put_word(f, 12, M);
	poll_start(f, 1, 12, 0);
	poll_blocks(f, 1);
	send(f, 12);
	poll_returns(f, 1);
	TEST_ASSERT_EQ(word(f, 12), P | M);
	expect_quiet(f, 0);
	expect_quiet(f, 1);

	/* At entry: it is pending, and stays so. */
	TEST_ASSERT_EQ(poll_now(f, 1, 12, 0), 0);
	TEST_ASSERT_EQ(word(f, 12), P | M);

	/* An event that is merged ends no poll of anything else, nor does the unmask. */
	put_word(f, 12, P | M);
	poll_start(f, 1, 13, 0);
	poll_blocks(f, 1);
	send(f, 12);
	if (kvm_check_cap(KVM_CAP_XEN_HVM) & KVM_XEN_HVM_CONFIG_MORE_HCALLS)
		TEST_ASSERT_EQ(guest_unmask(f, 0, 12), 0);
	poll_blocks(f, 1);
	TEST_ASSERT_EQ(xen_try_send_priority(f->x, 13, 0, XEN_2LEVEL), 0);
	poll_returns(f, 1);
	free_fifo(f);
}

static void test_poll(void)
{
	poll_masked(XEN_64, BY_GUEST);
	poll_masked(XEN_64, BY_VMM);
	poll_masked(XEN_64, BY_IRQFD);
}

static void test_poll_32(void)
{
	poll_masked(XEN_32, BY_GUEST);
}

/* Ports that only FIFO has, with a word and without; bits in shared_info do not count. */
static void test_poll_high(void)
{
	struct fifo *f = new_2level(1, XEN_64);

	TEST_ASSERT_EQ(poll_now(f, 0, 4096, 0), -EINVAL);
	xen_fifo_enter(f->x, 5);
	put_word(f, 4096, P);
	TEST_ASSERT_EQ(poll_now(f, 0, 4096, 0), 0);
	put_word(f, 4096, (u32)~P);
	poll_times_out(f, 0, 4096);
	poll_times_out(f, 0, 5 * XEN_FIFO_PER_PAGE);
	poll_times_out(f, 0, HIGHEST);
	TEST_ASSERT_EQ(poll_now(f, 0, HIGHEST + 1, 0), -EINVAL);
	TEST_ASSERT_EQ(poll_now(f, 0, 0, 0), -EINVAL);
	xen_put_pending(f->x, 5, true);
	poll_times_out(f, 0, 5);
	free_fifo(f);
}

/* vCPU 1 polls an unmasked port of vCPU 0 while it becomes pending. */
static void poll_unmasked(struct fifo *f, u32 port, enum sender by, u32 nr_upcalls)
{
	poll_start(f, 1, port, 0);
	poll_blocks(f, 1);
	send_by(f, port, by);
	TEST_ASSERT_EQ(upcalls(f, 0), nr_upcalls);
	poll_returns(f, 1);
	TEST_ASSERT_EQ(word(f, port), P | L);
	EXPECT_EVENTS(f, 0, port);
}

/* The guest has handled the event, but not taken it off its queue. */
static void test_poll_linked(void)
{
	struct fifo *f = new_fifo(XEN_64);
	enum sender by;

	bind(f, 5, 0, XEN_2LEVEL);
	for (by = 0; by < NR_SENDERS; by++) {
		if (by == BY_OTHER_VCPU)	/* which polls */
			continue;
		send_by(f, 5, by);
		TEST_ASSERT_EQ(upcalls(f, 0), 1);
		handle(f, 5);
		poll_unmasked(f, 5, by, 0);
	}
	free_fifo(f);
}

/* ---- before the array page ---------------------------------------------- */

static void early_event(enum xen_mode mode, u32 init, enum sender by)
{
	struct fifo *f = new_fifo(mode);
	int i;

	f->by = by;
	bind(f, 1030, 0, XEN_2LEVEL);
	for (i = 0; i < XEN_FIFO_PER_PAGE; i++)
		put_word(f, XEN_FIFO_PER_PAGE + i, init);
	poll_start(f, 1, 1030, 0);
	poll_blocks(f, 1);
	send(f, 1030);
	poll_blocks(f, 1);
	TEST_ASSERT_EQ(word(f, 1030), init);
	expect_quiet(f, 0);

	TEST_ASSERT_EQ(xen_fifo_try_array(f->x, 1, XEN_FIFO_ARRAY(1) >> 12), 0);
	poll_returns(f, 1);
	for (i = 0; i < XEN_FIFO_PER_PAGE; i++)
		if (i != 1030 - XEN_FIFO_PER_PAGE)
			TEST_ASSERT_EQ(word(f, XEN_FIFO_PER_PAGE + i), init);
	if (init & M) {
		TEST_ASSERT_EQ(word(f, 1030), P | M);
		expect_quiet(f, 0);
		if (!(kvm_check_cap(KVM_CAP_XEN_HVM) & KVM_XEN_HVM_CONFIG_MORE_HCALLS))
			return;
		TEST_ASSERT_EQ(guest_unmask(f, 0, 1030), 0);
	}
	TEST_ASSERT_EQ(word(f, 1030), P | L);
	TEST_ASSERT_EQ(head(f, 0, DEFAULT), 1030);
	TEST_ASSERT_EQ(ready(f, 0), 0x80);
	TEST_ASSERT_EQ(tail(f, 0, DEFAULT), 1030);
	TEST_ASSERT_EQ(upcalls(f, 0), 1);
	EXPECT_EVENTS(f, 0, 1030);
	free_fifo(f);
}

static void test_early_masked(void)
{
	enum sender by;

	for (by = 0; by < NR_SENDERS; by++)
		if (by != BY_OTHER_VCPU)	/* which polls */
			early_event(XEN_64, M, by);
	early_event(XEN_32, M, BY_GUEST);
}

static void test_early_unmasked(void)
{
	early_event(XEN_64, 0, BY_GUEST);
	early_event(XEN_64, 0, BY_IRQFD);
	early_event(XEN_32, 0, BY_VMM);
}

/* Several of them, for several pages: each comes with its own page, in order. */
static void test_early_order(void)
{
	static const u32 ports[] = { 2050, 1030, 2049, 1025, 2048, 1030 };
	struct fifo *f = new_fifo(XEN_64);
	int i;

	for (i = 0; i < 5; i++)
		bind(f, ports[i], 0, XEN_2LEVEL);
	for (i = 0; i < ARRAY_SIZE(ports); i++)
		send_by(f, ports[i], i % NR_SENDERS);
	expect_quiet(f, 0);
	/* What was said of it last counts. */
	bind(f, 2049, 0, 3);
	bind(f, 1025, 1, 9);
	TEST_ASSERT_EQ(xen_fifo_try_array(f->x, 2, XEN_FIFO_ARRAY(2) >> 12), 0);
	TEST_ASSERT_EQ(head(f, 0, 3), 2049);
	EXPECT_EVENTS(f, 0, 2049, 2050, 2048);
	TEST_ASSERT_EQ(xen_fifo_try_array(f->x, 1, XEN_FIFO_ARRAY(1) >> 12), 0);
	EXPECT_EVENTS(f, 0, 1030);
	TEST_ASSERT_EQ(head(f, 1, 9), 1025);
	EXPECT_EVENTS(f, 1, 1025);
	free_fifo(f);
}

/* Kept twice: who and where is what was said with the last event, if not by EVTCHN_PORT. */
static void kept_twice(bool restored)
{
	struct fifo *f = new_fifo(XEN_64);
	struct kvm_xen_vcpu_attr attr;

	if (restored) {
		TEST_ASSERT_EQ(try_set_deferred(f->x, 0, 1030, 3, 0), 0);
		TEST_ASSERT_EQ(try_set_deferred(f->x, 1, 1030, 9, 0), 0);
	} else {
		TEST_ASSERT_EQ(xen_try_send_priority(f->x, 1030, 0, 3), 0);
		TEST_ASSERT_EQ(xen_try_send_priority(f->x, 1030, 1, 9), 0);
	}
	TEST_ASSERT_EQ(get_deferred(f->x, 0, 0).u.deferred.port, 0);
	attr = get_deferred(f->x, 1, 0);
	TEST_ASSERT_EQ(attr.u.deferred.port, 1030);
	TEST_ASSERT_EQ(attr.u.deferred.priority, 9);

	TEST_ASSERT_EQ(xen_fifo_try_array(f->x, 1, XEN_FIFO_ARRAY(1) >> 12), 0);
	TEST_ASSERT_EQ(head(f, 1, 9), 1030);
	TEST_ASSERT_EQ(upcalls(f, 1), 1);
	EXPECT_EVENTS(f, 1, 1030);
	TEST_ASSERT_EQ(head(f, 0, 3), 0);
	expect_quiet(f, 0);
	free_fifo(f);
}

static void test_kept_twice(void)
{
	kept_twice(false);
	kept_twice(true);
}

/* ---- queues ------------------------------------------------------------- */

static void test_priorities(void)
{
	struct fifo *f = new_fifo(XEN_64);
	struct seen s;
	int i;

	/* In no order. */
	for (i = 0; i < 16; i++)
		bind(f, 20 + i, 0, i);
	for (i = 0; i < 16; i++)
		send_by(f, 20 + (i * 7 + 3) % 16, i % NR_SENDERS);
	TEST_ASSERT_EQ(ready(f, 0), 0xffff);
	for (i = 0; i < 16; i++) {
		TEST_ASSERT_EQ(head(f, 0, i), 20 + i);
		TEST_ASSERT_EQ(tail(f, 0, i), 20 + i);
	}
	TEST_ASSERT_EQ(upcalls(f, 0), 1);
	s = consume(f, 0);
	TEST_ASSERT_EQ(s.nr, 16);
	for (i = 0; i < 16; i++)
		TEST_ASSERT(s.port[i] == 20 + i && s.queue[i] == i,
			    "event %d: port %u on queue %u", i, s.port[i], s.queue[i]);
	expect_quiet(f, 0);
	free_fifo(f);
}

static void test_order(void)
{
	static const u32 ports[] = { 3, 1, 4, 5, 2 };
	struct fifo *f = new_fifo(XEN_64);
	int i;

	for (i = 0; i < 5; i++)
		bind(f, ports[i], 0, XEN_2LEVEL);
	for (i = 0; i < 5; i++)
		send_by(f, ports[i], i % NR_SENDERS);
	for (i = 0; i < 5; i++)
		TEST_ASSERT_EQ(word(f, ports[i]), P | L | (i < 4 ? ports[i + 1] : 0));
	TEST_ASSERT_EQ(ready(f, 0), 0x80);
	TEST_ASSERT_EQ(upcalls(f, 0), 1);
	EXPECT_EVENTS(f, 0, 3, 1, 4, 5, 2);
	free_fifo(f);
}

static void test_other_vcpu(void)
{
	struct fifo *f = new_fifo(XEN_64);
	enum sender by;

	bind(f, 5, 1, XEN_2LEVEL);
	for (by = 0; by < NR_SENDERS; by++) {
		send_by(f, 5, by);
		TEST_ASSERT_EQ(head(f, 1, DEFAULT), 5);
		TEST_ASSERT_EQ(ready(f, 1), 0x80);
		TEST_ASSERT_EQ(upcalls(f, 1), 1);
		TEST_ASSERT_EQ(head(f, 0, DEFAULT), 0);
		expect_quiet(f, 0);
		EXPECT_EVENTS(f, 1, 5);
	}
	free_fifo(f);
}

static u64 stat_of(struct fifo *f, int n, const char *name)
{
	u64 value = 0;

	TEST_ASSERT(xen_try_stat(f->x, n, name, &value), "no statistic %s", name);
	return value;
}

/* Dropped for a vCPU without a control block; then it gets one. */
static void test_no_control(void)
{
	struct fifo *f = new_2level(2, XEN_64);
	enum sender by;

	xen_vcpu_set(f->x, 0, EVTCHN_CONTROL, gpa, XEN_FIFO_CONTROL(0));
	TEST_ASSERT_EQ(xen_fifo_try_abi(f->x, KVM_XEN_EVTCHN_ABI_FIFO, 0), 0);
	TEST_ASSERT_EQ(xen_fifo_try_array(f->x, 0, XEN_FIFO_ARRAY(0) >> 12), 0);
	bind(f, 5, 1, XEN_2LEVEL);
	poll_start(f, 1, 5, 0);
	poll_blocks(f, 1);
	for (by = 0; by < NR_SENDERS; by++) {
		if (by == BY_OTHER_VCPU)
			continue;
		send_by(f, 5, by);
		TEST_ASSERT_EQ(word(f, 5), 0);
	}
	poll_blocks(f, 1);
	xen_expect(f->x, 1, xen_interrupt(f->x, 1), XEN_SIGNALLED);
	TEST_ASSERT_EQ(stat_of(f, 1, "xen_events_dropped"), 3);
	TEST_ASSERT_EQ(stat_of(f, 1, "xen_events_delivered"), 0);
	expect_quiet(f, 1);
	expect_quiet(f, 0);

	xen_vcpu_set(f->x, 1, EVTCHN_CONTROL, gpa, XEN_FIFO_CONTROL(1));
	expect_quiet(f, 1);
	for (by = 0; by < NR_SENDERS; by++) {
		send_by(f, 5, by);
		TEST_ASSERT_EQ(upcalls(f, 1), 1);
		EXPECT_EVENTS(f, 1, 5);
	}

	/* Removed: no vCPU of a well-behaved VMM, but as if it never was. */
	send(f, 5);
	xen_vcpu_set(f->x, 1, EVTCHN_CONTROL, gpa, KVM_XEN_INVALID_GPA);
	TEST_ASSERT_EQ(xen_vcpu_get(f->x, 1, EVTCHN_CONTROL, gpa), KVM_XEN_INVALID_GPA);
	TEST_ASSERT_EQ(tail(f, 1, DEFAULT), 0);
	put_word(f, 5, 0);
	send(f, 5);
	TEST_ASSERT_EQ(word(f, 5), 0);
	free_fifo(f);
}

/* Nothing of the queues outlives the control block, of whatever priority they are. */
static void test_new_control(void)
{
	struct fifo *f = new_fifo(XEN_64);
	struct xen_fifo_control *control = xen_fifo_control(f->x, 2);
	int i;

	for (i = 0; i < XEN_FIFO_NR_QUEUES; i++) {
		TEST_ASSERT_EQ(xen_try_send_priority(f->x, 20 + i, 0, i), 0);
		TEST_ASSERT_EQ(tail(f, 0, i), 20 + i);
	}
	xen_vcpu_set(f->x, 0, EVTCHN_CONTROL, gpa, KVM_XEN_INVALID_GPA);
	xen_vcpu_set(f->x, 0, EVTCHN_CONTROL, gpa, XEN_FIFO_CONTROL(2));
	for (i = 0; i < XEN_FIFO_NR_QUEUES; i++) {
		TEST_ASSERT_EQ(tail(f, 0, i), 0);
		TEST_ASSERT_EQ(xen_try_send_priority(f->x, 40 + i, 0, i), 0);
		TEST_ASSERT_EQ(control->head[i], 40 + i);
		TEST_ASSERT_EQ(word(f, 20 + i), P | L);
	}
	TEST_ASSERT_EQ(control->ready, 0xffff);
	free_fifo(f);
}

/* It comes last, and an event waits for nothing else: it is raised at once. */
static void test_control_last(void)
{
	const u32 tails[XEN_FIFO_NR_QUEUES] = {};
	struct fifo *f;
	int known;

	for (known = 0; known < 2; known++) {
		f = new_2level(1, XEN_64);
		TEST_ASSERT_EQ(xen_fifo_try_abi(f->x, KVM_XEN_EVTCHN_ABI_FIFO, 0), 0);
		TEST_ASSERT_EQ(xen_fifo_try_array(f->x, 0, XEN_FIFO_ARRAY(0) >> 12), 0);
		if (known)
			TEST_ASSERT_EQ(try_set_tails(f->x, 0, tails), 0);
		TEST_ASSERT_EQ(try_set_deferred(f->x, 0, 5, 3, 0), 0);
		expect_quiet(f, 0);
		TEST_ASSERT_EQ(get_deferred(f->x, 0, 0).u.deferred.port, 5);
		TEST_ASSERT_EQ(word(f, 5), 0);
		xen_vcpu_set(f->x, 0, EVTCHN_CONTROL, gpa, XEN_FIFO_CONTROL(0));
		TEST_ASSERT_EQ(word(f, 5), P | L);
		TEST_ASSERT_EQ(head(f, 0, 3), 5);
		TEST_ASSERT_EQ(upcalls(f, 0), 1);
		EXPECT_EVENTS(f, 0, 5);
		free_fifo(f);
	}
}

static void test_late_vcpu(void)
{
	struct fifo *f = new_2level(1, XEN_64);
	struct xen_vm *x = f->x;

	xen_fifo_enter(x, 1);
	x->vcpu[1] = vm_vcpu_add(x->vm, 1, NULL);
	x->nr_vcpus = 2;
	xen_put_vcpu_info(x, 1, XEN_SHINFO + 64);
	xen_vcpu_set(x, 1, VCPU_INFO, gpa, XEN_SHINFO + 64);
	bind(f, 5, 1, XEN_2LEVEL);
	send(f, 5);
	send_by(f, 5, BY_VMM);
	send_by(f, 5, BY_IRQFD);
	TEST_ASSERT_EQ(word(f, 5), 0);
	TEST_ASSERT_EQ(xen_flag(x, 1), 0);
	xen_vcpu_set(x, 1, EVTCHN_CONTROL, gpa, XEN_FIFO_CONTROL(1));
	send(f, 5);
	TEST_ASSERT_EQ(word(f, 5), P | L);
	TEST_ASSERT_EQ(head(f, 1, DEFAULT), 5);
	TEST_ASSERT_EQ(xen_flag(x, 1), 1);
	free_fifo(f);
}

/* Taken along when there is no vCPU yet: for the first one. */
static void test_carry_before_vcpu(void)
{
	struct fifo *f = new_2level(0, XEN_64);
	struct xen_vm *x = f->x;

	xen_set(x, LONG_MODE, long_mode, 1);
	x->long_mode = true;
	xen_put_pending(x, 5, true);
	TEST_ASSERT_EQ(xen_fifo_try_abi(x, KVM_XEN_EVTCHN_ABI_FIFO, KVM_XEN_EVTCHN_ABI_CARRY), 0);
	x->vcpu[0] = vm_vcpu_add(x->vm, 0, NULL);
	x->nr_vcpus = 1;
	xen_put_vcpu_info(x, 0, XEN_SHINFO);
	xen_vcpu_set(x, 0, VCPU_INFO, gpa, XEN_SHINFO);
	TEST_ASSERT_EQ(get_deferred(x, 0, 0).u.deferred.port, 5);
	xen_vcpu_set(x, 0, EVTCHN_CONTROL, gpa, XEN_FIFO_CONTROL(0));
	TEST_ASSERT_EQ(xen_fifo_try_array(x, 0, XEN_FIFO_ARRAY(0) >> 12), 0);
	TEST_ASSERT_EQ(word(f, 5), P | L);
	TEST_ASSERT_EQ(head(f, 0, DEFAULT), 5);
	TEST_ASSERT_EQ(xen_flag(x, 0), 1);
	free_fifo(f);
}

/* ---- unmask ------------------------------------------------------------- */

/* Pending and unmasked, but not linked: unlike in 2-level mode, it is raised. */
static void unmask_unlinked(enum xen_mode mode)
{
	struct fifo *f = new_fifo(mode);

	bind(f, 5, 0, XEN_2LEVEL);
	put_word(f, 5, P);
	TEST_ASSERT_EQ(guest_unmask(f, 0, 5), 0);
	TEST_ASSERT_EQ(word(f, 5), P | L);
	TEST_ASSERT_EQ(ready(f, 0), 0x80);
	TEST_ASSERT_EQ(head(f, 0, DEFAULT), 5);
	TEST_ASSERT_EQ(upcalls(f, 0), 1);
	EXPECT_EVENTS(f, 0, 5);

	/* Not pending: no event. */
	put_word(f, 5, M);
	TEST_ASSERT_EQ(guest_unmask(f, 0, 5), 0);
	TEST_ASSERT_EQ(word(f, 5), 0);
	TEST_ASSERT_EQ(guest_unmask(f, 0, 5), 0);
	expect_quiet(f, 0);
	free_fifo(f);
}

static void test_unmask_unlinked(void)
{
	unmask_unlinked(XEN_64);
	unmask_unlinked(XEN_32);
}

static void test_unmask_linked(void)
{
	struct fifo *f = new_fifo(XEN_64);

	bind(f, 5, 0, XEN_2LEVEL);
	bind(f, 9, 0, XEN_2LEVEL);
	send(f, 5);
	send(f, 9);
	TEST_ASSERT_EQ(upcalls(f, 0), 1);
	put_word(f, 5, word(f, 5) | M);
	put_word(f, 9, word(f, 9) | M);
	TEST_ASSERT_EQ(guest_unmask(f, 0, 5), 0);
	TEST_ASSERT_EQ(word(f, 5), P | L | 9);
	TEST_ASSERT_EQ(guest_unmask(f, 0, 9), 0);
	TEST_ASSERT_EQ(word(f, 9), P | L);
	TEST_ASSERT_EQ(tail(f, 0, DEFAULT), 9);
	TEST_ASSERT_EQ(upcalls(f, 0), 0);
	EXPECT_EVENTS(f, 0, 5, 9);
	expect_quiet(f, 0);
	free_fifo(f);
}

/* By whomever, it is raised for the vCPU and with the priority that the port has now. */
static void test_unmask_other(void)
{
	struct fifo *f = new_fifo(XEN_64);

	bind(f, 5, 0, XEN_2LEVEL);
	put_word(f, 5, M);
	send(f, 5);
	bind(f, 5, 1, 2);
	TEST_ASSERT_EQ(guest_unmask(f, 0, 5), 0);
	TEST_ASSERT_EQ(word(f, 5), P | L);
	TEST_ASSERT_EQ(head(f, 1, 2), 5);
	TEST_ASSERT_EQ(ready(f, 1), BIT(2));
	TEST_ASSERT_EQ(upcalls(f, 1), 1);
	expect_quiet(f, 0);
	EXPECT_EVENTS(f, 1, 5);

	/* No word, nothing to be done; not even for an event that is kept. */
	bind(f, 5000, 0, XEN_2LEVEL);
	TEST_ASSERT_EQ(guest_unmask(f, 1, 5000), 0);
	send(f, 5000);
	TEST_ASSERT_EQ(guest_unmask(f, 1, 5000), 0);
	bind(f, HIGHEST, 0, XEN_2LEVEL);
	TEST_ASSERT_EQ(guest_unmask(f, 1, HIGHEST), 0);
	expect_quiet(f, 0);
	free_fifo(f);
}

/* ---- what the guest may have written ------------------------------------ */

static void test_ready_set(void)
{
	struct fifo *f = new_fifo(XEN_64);

	bind(f, 5, 0, XEN_2LEVEL);
	xen_fifo_control(f->x, 0)->ready = 0xffff;
	send(f, 5);
	TEST_ASSERT_EQ(word(f, 5), P | L);
	TEST_ASSERT_EQ(head(f, 0, DEFAULT), 5);
	TEST_ASSERT_EQ(ready(f, 0), 0xffff);
	TEST_ASSERT_EQ(xen_flag(f->x, 0), 0);
	TEST_ASSERT_EQ(upcalls(f, 0), 0);

	/* Other bits do not matter. */
	put_word(f, 5, 0);
	xen_fifo_control(f->x, 0)->ready = ~0x80;
	send(f, 5);
	TEST_ASSERT_EQ(ready(f, 0), ~0U);
	TEST_ASSERT_EQ(xen_flag(f->x, 0), 1);
	TEST_ASSERT_EQ(upcalls(f, 0), 1);
	free_fifo(f);
}

static void test_flag_set(void)
{
	struct fifo *f = new_fifo(XEN_64);
	u8 *info = (u8 *)f->x->state[0].info;

	bind(f, 5, 0, XEN_2LEVEL);
	memcpy(info, (u8[]) { 1, 1, 0xa5, 0x5a, 1, 2, 3, 4, 5 }, 9);
	send(f, 5);
	TEST_ASSERT_EQ(ready(f, 0), 0x80);
	TEST_ASSERT_EQ(upcalls(f, 0), 0);
	/* No selector, and the bytes beside the flag stay as they are. */
	TEST_ASSERT(!memcmp(info, (u8[]) { 1, 1, 0xa5, 0x5a, 1, 2, 3, 4, 5 }, 9), "vcpu_info");
	EXPECT_EVENTS(f, 0, 5);
	send(f, 5);
	TEST_ASSERT_EQ(upcalls(f, 0), 1);
	TEST_ASSERT(!memcmp(info, (u8[]) { 1, 1, 0xa5, 0x5a, 1, 2, 3, 4, 5 }, 9), "vcpu_info");
	free_fifo(f);
}

/* Nobody believes LINK: it is only written, in the tail. */
static void test_links(void)
{
	static const u32 links[] = { XEN_FIFO_LINK, 9, 5, 0x10000, 1024, 12 };
	struct fifo *f = new_fifo(XEN_64);
	int i;

	bind(f, 5, 0, XEN_2LEVEL);
	bind(f, 9, 0, XEN_2LEVEL);
	for (i = 0; i < ARRAY_SIZE(links); i++) {
		put_word(f, 5, links[i]);
		put_word(f, 9, links[i]);
		send_by(f, 9, i % NR_SENDERS);
		TEST_ASSERT_EQ(word(f, 9), P | L | links[i]);
		TEST_ASSERT_EQ(head(f, 0, DEFAULT), 9);
		put_word(f, 9, P | L | links[ARRAY_SIZE(links) - 1 - i]);
		send_by(f, 5, i % NR_SENDERS);
		TEST_ASSERT_EQ(word(f, 9), P | L | 5);
		TEST_ASSERT_EQ(word(f, 5), P | L | links[i]);
		TEST_ASSERT_EQ(tail(f, 0, DEFAULT), 5);
		TEST_ASSERT_EQ(upcalls(f, 0), 1);
		take(f, 0);
		put_word(f, 5, 0);
		put_word(f, 9, 0);
	}
	for (i = 0; i < XEN_FIFO_PER_PAGE; i++)
		TEST_ASSERT_EQ(word(f, i), 0);
	free_fifo(f);
}

static void test_linked_set(void)
{
	struct fifo *f = new_fifo(XEN_64);

	bind(f, 5, 0, XEN_2LEVEL);
	put_word(f, 5, L);
	send(f, 5);
	TEST_ASSERT_EQ(word(f, 5), P | L);
	TEST_ASSERT_EQ(head(f, 0, DEFAULT), 0);
	TEST_ASSERT_EQ(tail(f, 0, DEFAULT), 0);
	expect_quiet(f, 0);
	put_word(f, 5, P);
	send(f, 5);
	TEST_ASSERT_EQ(word(f, 5), P | L);
	TEST_ASSERT_EQ(upcalls(f, 0), 1);
	EXPECT_EVENTS(f, 0, 5);
	free_fifo(f);
}

/* Bits that are nobody's stay, in the tail and in what is appended. */
static void test_unused_bits(void)
{
	struct fifo *f = new_fifo(XEN_64);

	bind(f, 5, 0, XEN_2LEVEL);
	bind(f, 9, 0, XEN_2LEVEL);
	put_word(f, 9, 0x0ffe0000);
	put_word(f, 5, 0x0ffe0000);
	send(f, 9);
	TEST_ASSERT_EQ(word(f, 9), 0xaffe0000);
	send(f, 5);
	TEST_ASSERT_EQ(word(f, 9), 0xaffe0005);
	TEST_ASSERT_EQ(word(f, 5), 0xaffe0000);
	EXPECT_EVENTS(f, 0, 9, 5);
	TEST_ASSERT_EQ(word(f, 9), 0x0ffe0000);
	TEST_ASSERT_EQ(word(f, 5), 0x0ffe0000);
	free_fifo(f);
}

/* BUSY of the guest's own goes with the next link; a tail that is masked takes one, too. */
static void test_busy_set(void)
{
	struct fifo *f = new_fifo(XEN_64);

	bind(f, 5, 0, XEN_2LEVEL);
	bind(f, 9, 0, XEN_2LEVEL);
	put_word(f, 9, B);
	send(f, 9);
	TEST_ASSERT_EQ(word(f, 9), P | L | B);
	put_word(f, 9, P | M | L | B);
	send(f, 5);
	TEST_ASSERT_EQ(word(f, 9), P | M | L | 5);
	EXPECT_EVENTS(f, 0, 5);
	TEST_ASSERT_EQ(word(f, 9), P | M);
	free_fifo(f);
}

/*
 * An element other than the tail is taken out, and queued a second time: the guest's chain
 * is what it made of it.
 */
static void test_linked_cleared(void)
{
	struct fifo *f = new_fifo(XEN_64);

	bind(f, 5, 0, XEN_2LEVEL);
	bind(f, 9, 0, XEN_2LEVEL);
	send(f, 5);
	send(f, 9);
	put_word(f, 5, 0);
	send(f, 5);
	TEST_ASSERT_EQ(word(f, 9), P | L | 5);
	TEST_ASSERT_EQ(word(f, 5), P | L);
	TEST_ASSERT_EQ(tail(f, 0, DEFAULT), 5);
	/* The tail: an empty queue. */
	put_word(f, 5, 0);
	send(f, 9);
	TEST_ASSERT_EQ(word(f, 9), P | L | 5);
	put_word(f, 9, 0);
	send(f, 9);
	TEST_ASSERT_EQ(head(f, 0, DEFAULT), 9);
	TEST_ASSERT_EQ(word(f, 5), 0);
	free_fifo(f);
}

/* A control block among the words of the array. */
static void test_control_in_array(void)
{
	struct fifo *f = new_2level(2, XEN_64);
	u64 gpa = XEN_FIFO_ARRAY(0) + 16 * 4;
	enum sender by;
	int i;

	xen_vcpu_set(f->x, 0, EVTCHN_CONTROL, gpa, gpa);
	xen_vcpu_set(f->x, 1, EVTCHN_CONTROL, gpa, XEN_FIFO_CONTROL(1));
	TEST_ASSERT_EQ(xen_fifo_try_abi(f->x, KVM_XEN_EVTCHN_ABI_FIFO, 0), 0);
	TEST_ASSERT_EQ(xen_fifo_try_array(f->x, 0, XEN_FIFO_ARRAY(0) >> 12), 0);
	for (i = 0; i < 18; i++)
		bind(f, 16 + i, 0, i % 16);
	bind(f, 5, 1, XEN_2LEVEL);
	for (i = 0; i < 18 * NR_SENDERS * 3; i++)
		send_by(f, 16 + i % 18, i / 18 % NR_SENDERS);
	for (by = 0; by < NR_SENDERS; by++) {
		send_by(f, 5, by);
		EXPECT_EVENTS(f, 1, 5);
	}
	for (i = 0; i < XEN_FIFO_PER_PAGE; i++)
		TEST_ASSERT(i >= 16 && i < 34 ? 1 : !word(f, i), "word %d was written", i);
	free_fifo(f);
}

/* Both vCPUs with the same control block: their ready bits are one. */
static void test_shared_control(void)
{
	struct fifo *f = new_2level(2, XEN_64);
	enum sender by;

	xen_vcpu_set(f->x, 0, EVTCHN_CONTROL, gpa, XEN_FIFO_CONTROL(0));
	xen_vcpu_set(f->x, 1, EVTCHN_CONTROL, gpa, XEN_FIFO_CONTROL(0));
	TEST_ASSERT_EQ(xen_fifo_try_abi(f->x, KVM_XEN_EVTCHN_ABI_FIFO, 0), 0);
	TEST_ASSERT_EQ(xen_fifo_try_array(f->x, 0, XEN_FIFO_ARRAY(0) >> 12), 0);
	bind(f, 5, 0, XEN_2LEVEL);
	bind(f, 9, 1, XEN_2LEVEL);
	bind(f, 12, 1, 0);
	for (by = 0; by < NR_SENDERS; by++) {
		send_by(f, 5, by);
		TEST_ASSERT_EQ(head(f, 0, DEFAULT), 5);
		TEST_ASSERT_EQ(upcalls(f, 0), 1);
		send_by(f, 9, by);
		TEST_ASSERT_EQ(head(f, 0, DEFAULT), 9);
		TEST_ASSERT_EQ(upcalls(f, 1), 0);
		send_by(f, 12, by);
		TEST_ASSERT_EQ(upcalls(f, 1), 1);
		TEST_ASSERT_EQ(ready(f, 0), 0x81);
		TEST_ASSERT_EQ(tail(f, 0, DEFAULT), 5);
		TEST_ASSERT_EQ(tail(f, 1, DEFAULT), 9);
		take(f, 0);
		take(f, 1);
		put_word(f, 5, 0);
		put_word(f, 9, 0);
		put_word(f, 12, 0);
	}
	free_fifo(f);
}

/* Array pages that are shared_info, the page of a vcpu_info, or each other. */
static void test_shared_pages(void)
{
	struct fifo *f = new_2level(2, XEN_64);
	u32 ports[] = { 5, 70, 600, 1029, 2053, 2500, 3100, 4100, 5120 };
	u32 *shinfo = f->x->shinfo;
	int i, j;

	xen_vcpu_set(f->x, 1, VCPU_INFO, gpa, XEN_VINFO);
	for (i = 0; i < 2; i++)
		xen_vcpu_set(f->x, i, EVTCHN_CONTROL, gpa, XEN_VINFO + 0x400 + 0x100 * i);
	TEST_ASSERT_EQ(xen_fifo_try_abi(f->x, KVM_XEN_EVTCHN_ABI_FIFO, 0), 0);
	TEST_ASSERT_EQ(xen_fifo_try_array(f->x, 0, XEN_SHINFO >> 12), 0);
	TEST_ASSERT_EQ(xen_fifo_try_array(f->x, 1, XEN_FIFO_ARRAY(1) >> 12), 0);
	TEST_ASSERT_EQ(xen_fifo_try_array(f->x, 2, XEN_FIFO_ARRAY(1) >> 12), 0);
	TEST_ASSERT_EQ(xen_fifo_try_array(f->x, 3, XEN_VINFO >> 12), 0);
	TEST_ASSERT_EQ(xen_fifo_try_array(f->x, 4, XEN_SHINFO >> 12), 0);
	for (i = 0; i < ARRAY_SIZE(ports); i++)
		bind(f, ports[i], i % 2, i % 3);
	for (i = 0; i < ARRAY_SIZE(ports); i++)
		for (j = 0; j < NR_SENDERS * 3; j++)
			send_by(f, ports[i], j % NR_SENDERS);
	TEST_ASSERT_EQ(shinfo[600] & (P | L), P | L);
	/* Ports 1029 and 2053 have one word: it was pending and linked already. */
	TEST_ASSERT_EQ(word(f, 1029) & (P | L), P | L);
	TEST_ASSERT_EQ(word(f, 2053), 0);
	free_fifo(f);
}

/* ---- other senders ------------------------------------------------------ */

static void test_timer(void)
{
	struct fifo *f = new_fifo(XEN_64);

	bind(f, 9, 0, XEN_2LEVEL);
	send(f, 9);
	TEST_ASSERT_EQ(xen_try_set_timer(f->x, 0, 5, 3, 1), 0);
	upcalls(f, 0);
	TEST_ASSERT_EQ(word(f, 5), P | L);
	TEST_ASSERT_EQ(head(f, 0, 3), 5);
	TEST_ASSERT_EQ(ready(f, 0), 0x88);
	EXPECT_EVENTS(f, 0, 5, 9);

	TEST_ASSERT_EQ(xen_try_set_timer(f->x, 1, 5, 15, 0), 0);
	TEST_ASSERT_EQ(xen_set_timer_op(f->x, 1, xen_now(f->x) + 20 * NSEC_PER_MSEC), 0);
	xen_prepare(f->x, 1, STEP_HLT);
	xen_start(f->x, 1);
	xen_expect(f->x, 1, xen_wait(f->x, 1, PROMPT_MS), XEN_RETURNED);
	TEST_ASSERT_EQ(head(f, 1, 15), 5);
	EXPECT_EVENTS(f, 1, 5);
	TEST_ASSERT_EQ(xen_try_set_timer(f->x, 1, 5, 16, 0), EINVAL);
	free_fifo(f);
}

static void test_loopback(void)
{
	struct fifo *f = new_fifo(XEN_64);
	u64 nr;
	int fd;

	/* To another port, of another vCPU; there is no word of the sender's own. */
	TEST_ASSERT_EQ(xen_try_evtchn_priority(f->x, 0, 100000, EVTCHN_INTERDOMAIN, 21, 1, 2), 0);
	TEST_ASSERT_EQ(guest_send(f, 0, 100000), 0);
	TEST_ASSERT_EQ(word(f, 21), P | L);
	TEST_ASSERT_EQ(head(f, 1, 2), 21);
	TEST_ASSERT_EQ(upcalls(f, 1), 1);
	EXPECT_EVENTS(f, 1, 21);
	TEST_ASSERT_EQ(xen_try_evtchn_priority(f->x, KVM_XEN_EVTCHN_UPDATE, 100000,
					       EVTCHN_INTERDOMAIN, 21, 0, 16), EINVAL);
	TEST_ASSERT_EQ(xen_try_evtchn_priority(f->x, KVM_XEN_EVTCHN_UPDATE, 100000,
					       EVTCHN_INTERDOMAIN, 21, 0, 15), 0);
	TEST_ASSERT_EQ(guest_send(f, 1, 100000), 0);
	TEST_ASSERT_EQ(head(f, 0, 15), 21);
	TEST_ASSERT_EQ(upcalls(f, 0), 1);
	EXPECT_EVENTS(f, 0, 21);

	fd = eventfd(0, EFD_NONBLOCK);
	TEST_ASSERT_EQ(xen_try_eventfd(f->x, HIGHEST, fd), 0);
	TEST_ASSERT_EQ(guest_send(f, 0, HIGHEST), 0);
	TEST_ASSERT_EQ(read(fd, &nr, sizeof(nr)), sizeof(nr));
	expect_quiet(f, 0);
	TEST_ASSERT_EQ(xen_try_eventfd(f->x, HIGHEST + 1, fd), EINVAL);
	close(fd);
	free_fifo(f);
}

/* An interrupt line, and what the VMM says for a single event. */
static void test_line(void)
{
	struct fifo *f = new_fifo(XEN_64);

	bind(f, 5, 0, 4);
	kvm_irq_line(f->x->vm, GSI(0), 1);
	kvm_irq_line(f->x->vm, GSI(0), 0);
	TEST_ASSERT_EQ(head(f, 0, 4), 5);
	EXPECT_EVENTS(f, 0, 5);
	TEST_ASSERT_EQ(xen_try_send_priority(f->x, 5, 1, 0), 0);
	TEST_ASSERT_EQ(head(f, 1, 0), 5);
	EXPECT_EVENTS(f, 1, 5);
	TEST_ASSERT_EQ(xen_try_send_priority(f->x, 5, 1, 16), EINVAL);
	TEST_ASSERT_EQ(xen_try_send_priority(f->x, 5, 1, -2), EINVAL);
	TEST_ASSERT_EQ(xen_try_send_priority(f->x, HIGHEST + 1, 1, 0), EINVAL);
	TEST_ASSERT_EQ(xen_try_send_priority(f->x, 0, 1, 0), EINVAL);
	free_fifo(f);
}

/* The ends of the array's pages, and of the array. */
static void test_ends(void)
{
	static const u32 ports[] = { 1, 1023, 1024, 2047, 2048, HIGHEST - 1023, HIGHEST };
	struct fifo *f = new_2level(2, XEN_64);
	int i, j;

	xen_fifo_enter(f->x, XEN_FIFO_NR_PAGES);
	for (i = 0; i < ARRAY_SIZE(ports); i++) {
		bind(f, ports[i], 0, XEN_2LEVEL);
		for (j = 0; j < NR_SENDERS; j++) {
			send_by(f, ports[i], j);
			TEST_ASSERT_EQ(word(f, ports[i]), P | L);
			TEST_ASSERT_EQ(head(f, 0, DEFAULT), ports[i]);
			EXPECT_EVENTS(f, 0, ports[i]);
		}
	}
	/* A chain through many pages. */
	for (i = 0; i < ARRAY_SIZE(ports); i++)
		send_by(f, ports[i], i % NR_SENDERS);
	for (i = 0; i < ARRAY_SIZE(ports); i++)
		TEST_ASSERT_EQ(word(f, ports[i]),
			       P | L | (i + 1 < ARRAY_SIZE(ports) ? ports[i + 1] : 0));
	expect_events(f, 0, ports, ARRAY_SIZE(ports));
	for (i = 0; i < XEN_FIFO_NR_PORTS; i++)
		TEST_ASSERT(!word(f, i), "word %d was written", i);
	free_fifo(f);
}

/* ---- attributes --------------------------------------------------------- */

static u32 get_abi(struct xen_vm *x)
{
	return xen_get(x, EVTCHN_ABI, evtchn_abi.abi);
}

static int get_array(struct xen_vm *x, u32 index, u64 *gfn)
{
	struct kvm_xen_hvm_attr attr = {
		.type = KVM_XEN_ATTR_TYPE_EVTCHN_ARRAY,
		.u.evtchn_array.index = index,
	};
	int err = xen_errno(__vm_ioctl(x->vm, KVM_XEN_HVM_GET_ATTR, &attr));

	*gfn = attr.u.evtchn_array.gfn;
	return err;
}

static u64 array_gfn(struct xen_vm *x, u32 index)
{
	u64 gfn;

	TEST_ASSERT_EQ(get_array(x, index, &gfn), 0);
	return gfn;
}

static int try_set_route(struct xen_vm *x, u32 port, u32 priority)
{
	struct kvm_irq_routing *routing = kvm_gsi_routing_create();
	int err;

	routing->nr = 1;
	routing->entries[0] = (struct kvm_irq_routing_entry) {
		.gsi = GSI(0),
		.type = KVM_IRQ_ROUTING_XEN_EVTCHN,
		.u.xen_evtchn = { .port = port, .priority = priority },
	};
	err = xen_errno(__vm_ioctl(x->vm, KVM_SET_GSI_ROUTING, routing));
	free(routing);
	return err;
}

/* By all that has one. */
static void expect_priority(struct xen_vm *x, u32 priority, int err)
{
	TEST_ASSERT_EQ(xen_try_send_priority(x, 5, 0, priority), err);
	TEST_ASSERT_EQ(xen_try_evtchn_priority(x, 0, 5, EVTCHN_IPI, 5, 0, priority), err);
	if (!err)
		TEST_ASSERT_EQ(xen_try_evtchn(x, KVM_XEN_EVTCHN_DEASSIGN, 5, 0, 0, 0), 0);
	TEST_ASSERT_EQ(xen_try_set_timer(x, 0, 5, priority, 0), err);
	TEST_ASSERT_EQ(try_set_route(x, 5, priority), err);
}

static void test_no_opt_in(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S | XEN_ID);
	u32 tails[XEN_FIFO_NR_QUEUES] = {}, i;

	for (i = 0; i < 2; i++)
		TEST_ASSERT_EQ(xen_fifo_try_abi(x, i, 0), EOPNOTSUPP);
	TEST_ASSERT_EQ(xen_fifo_try_array(x, 0, XEN_SPARE >> 12), EOPNOTSUPP);
	TEST_ASSERT_EQ(xen_vcpu_try_set(x, 0, EVTCHN_CONTROL, gpa, XEN_SPARE), EOPNOTSUPP);
	TEST_ASSERT_EQ(try_set_tails(x, 0, tails), EOPNOTSUPP);
	TEST_ASSERT_EQ(get_abi(x), KVM_XEN_EVTCHN_ABI_2LEVEL);
	TEST_ASSERT_EQ(array_gfn(x, 0), KVM_XEN_INVALID_GFN);
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, EVTCHN_CONTROL, gpa), KVM_XEN_INVALID_GPA);
	xen_fifo_tails(x, 0, tails);
	for (i = 0; i < XEN_FIFO_NR_QUEUES; i++)
		TEST_ASSERT_EQ(tails[i], 0);
	for (i = 0; i <= 16; i++)
		expect_priority(x, i, EINVAL);
	expect_priority(x, XEN_2LEVEL, 0);
	TEST_ASSERT_EQ(xen_try_send(x, 4096, 0), EINVAL);
	TEST_ASSERT_EQ(xen_try_evtchn(x, 0, 4096, EVTCHN_IPI, 4096, 0), EINVAL);
	TEST_ASSERT_EQ(xen_try_evtchn(x, 0, 5, EVTCHN_INTERDOMAIN, 4096, 0), EINVAL);
	TEST_ASSERT_EQ(try_set_deferred(x, 0, 4096, XEN_2LEVEL, 0), EINVAL);

	/* Nothing has changed. */
	xen_put_pending(x, 5, false);
	xen_put_sel(x, 0, 0);
	xen_put_flag(x, 0, 0);
	xen_send(x, 5, 0);
	TEST_ASSERT(xen_pending(x, 5), "not pending");
	TEST_ASSERT_EQ(xen_sel(x, 0), 1);
	xen_window(x, 0);
	TEST_ASSERT_EQ(xen_count(x, 0, XEN_VECTOR), 1);
	xen_vm_free(x);
}

/* Opted in, but not in force: priorities count for nothing. */
static void opted_in(enum xen_mode mode)
{
	struct fifo *f = new_2level(2, mode);
	struct xen_vm *x = f->x;
	u32 i;

	for (i = 0; i < 16; i++)
		expect_priority(x, i, 0);
	expect_priority(x, XEN_2LEVEL, 0);
	expect_priority(x, 16, EINVAL);
	expect_priority(x, -2, EINVAL);
	TEST_ASSERT_EQ(upcalls(f, 0), 1);
	TEST_ASSERT_EQ(xen_sel(x, 0), 1);
	TEST_ASSERT(xen_pending(x, 5), "not pending");
	/* A high port may be set up, but not raised. */
	bind(f, HIGHEST, 1, 0);
	TEST_ASSERT_EQ(xen_try_evtchn(x, 0, HIGHEST + 1, EVTCHN_IPI, HIGHEST + 1, 0), EINVAL);
	TEST_ASSERT_EQ(xen_try_send(x, HIGHEST, 1), EINVAL);
	send_by(f, HIGHEST, BY_IRQFD);
	xen_hcall_exits(x, 0, HCALL_EVTCHN, EVTCHNOP_SEND, put_arg(f, 0, HIGHEST));
	expect_quiet(f, 1);
	free_fifo(f);
}

static void test_opted_in(void)
{
	opted_in(XEN_64);
	opted_in(XEN_32);
}

static int try_opt_out(struct xen_vm *x, u32 msr)
{
	struct kvm_xen_hvm_config config = {
		.flags = KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL | KVM_XEN_HVM_CONFIG_EVTCHN_SEND,
		.msr = msr,
	};

	return xen_errno(__vm_ioctl(x->vm, KVM_XEN_HVM_CONFIG, &config));
}

static void test_opt_out(void)
{
	struct fifo *f = new_fifo(XEN_64);

	bind(f, 5, 0, 3);
	TEST_ASSERT_EQ(try_opt_out(f->x, XEN_HCALL_MSR + 1), EBUSY);
	TEST_ASSERT_EQ(get_abi(f->x), KVM_XEN_EVTCHN_ABI_FIFO);
	send(f, 5);
	TEST_ASSERT_EQ(head(f, 0, 3), 5);
	EXPECT_EVENTS(f, 0, 5);
	/* The MSR is the old one yet. */
	TEST_ASSERT_EQ(xen_wrmsr(f->x, 0, XEN_HCALL_MSR, XEN_HCALL_PAGE), 0);
	TEST_ASSERT_EQ(xen_wrmsr(f->x, 0, XEN_HCALL_MSR + 1, XEN_HCALL_PAGE), GP_VECTOR);
	xen_fifo_opt_in(f->x);
	TEST_ASSERT_EQ(xen_fifo_try_abi(f->x, KVM_XEN_EVTCHN_ABI_2LEVEL, 0), 0);
	TEST_ASSERT_EQ(try_opt_out(f->x, XEN_HCALL_MSR + 1), 0);
	TEST_ASSERT_EQ(xen_fifo_try_abi(f->x, KVM_XEN_EVTCHN_ABI_FIFO, 0), EOPNOTSUPP);
	free_fifo(f);
}

/* What is set, one by one; none of it is left in the end. */
static void test_opt_out_prepared(void)
{
	struct fifo *f = new_2level(2, XEN_64);
	u32 tails[XEN_FIFO_NR_QUEUES] = {};
	struct xen_vm *x = f->x;

	xen_vcpu_set(x, 1, EVTCHN_CONTROL, gpa, XEN_FIFO_CONTROL(1));
	TEST_ASSERT_EQ(try_opt_out(x, XEN_HCALL_MSR), EBUSY);
	xen_vcpu_set(x, 1, EVTCHN_CONTROL, gpa, KVM_XEN_INVALID_GPA);
	TEST_ASSERT_EQ(try_opt_out(x, XEN_HCALL_MSR), 0);
	TEST_ASSERT_EQ(try_set_tails(x, 1, tails), EOPNOTSUPP);

	xen_fifo_opt_in(x);
	tails[15] = 5;
	TEST_ASSERT_EQ(try_set_tails(x, 1, tails), 0);
	TEST_ASSERT_EQ(try_opt_out(x, XEN_HCALL_MSR), EBUSY);
	tails[15] = 0;
	TEST_ASSERT_EQ(try_set_tails(x, 1, tails), 0);
	TEST_ASSERT_EQ(try_opt_out(x, XEN_HCALL_MSR), 0);

	xen_fifo_opt_in(x);
	TEST_ASSERT_EQ(try_set_deferred(x, 0, 5, 3, 0), 0);
	TEST_ASSERT_EQ(try_opt_out(x, XEN_HCALL_MSR), EBUSY);
	TEST_ASSERT_EQ(xen_fifo_try_abi(x, KVM_XEN_EVTCHN_ABI_2LEVEL, 0), 0);
	TEST_ASSERT_EQ(try_opt_out(x, XEN_HCALL_MSR), 0);

	xen_fifo_opt_in(x);
	TEST_ASSERT_EQ(xen_fifo_try_array(x, XEN_FIFO_NR_PAGES - 1, XEN_FIFO_ARRAY(0) >> 12), 0);
	TEST_ASSERT_EQ(try_opt_out(x, XEN_HCALL_MSR), EBUSY);
	TEST_ASSERT_EQ(xen_fifo_try_abi(x, KVM_XEN_EVTCHN_ABI_2LEVEL, 0), 0);
	TEST_ASSERT_EQ(try_opt_out(x, XEN_HCALL_MSR), 0);
	expect_quiet(f, 0);
	free_fifo(f);
}

static void test_enter(void)
{
	struct fifo *f = new_2level(2, XEN_64);
	struct xen_vm *x = f->x;

	TEST_ASSERT_EQ(get_abi(x), KVM_XEN_EVTCHN_ABI_2LEVEL);
	TEST_ASSERT_EQ(xen_fifo_try_abi(x, 2, 0), EINVAL);
	TEST_ASSERT_EQ(xen_fifo_try_abi(x, -1, 0), EINVAL);
	TEST_ASSERT_EQ(xen_fifo_try_abi(x, KVM_XEN_EVTCHN_ABI_FIFO, 2), EINVAL);
	TEST_ASSERT_EQ(xen_fifo_try_abi(x, KVM_XEN_EVTCHN_ABI_FIFO, BIT(31) | 1), EINVAL);
	TEST_ASSERT_EQ(xen_fifo_try_abi(x, KVM_XEN_EVTCHN_ABI_2LEVEL, 1), EINVAL);
	TEST_ASSERT_EQ(xen_fifo_try_abi(x, KVM_XEN_EVTCHN_ABI_2LEVEL, 0), 0);
	TEST_ASSERT_EQ(get_abi(x), KVM_XEN_EVTCHN_ABI_2LEVEL);

	/* The last vCPU first. */
	memset(xen_fifo_control(x, 1), 0x5a, sizeof(struct xen_fifo_control));
	xen_vcpu_set(x, 1, EVTCHN_CONTROL, gpa, XEN_FIFO_CONTROL(1));
	TEST_ASSERT_EQ(xen_fifo_try_abi(x, KVM_XEN_EVTCHN_ABI_FIFO, KVM_XEN_EVTCHN_ABI_CARRY), 0);
	TEST_ASSERT_EQ(get_abi(x), KVM_XEN_EVTCHN_ABI_FIFO);
	TEST_ASSERT_EQ(xen_get(x, EVTCHN_ABI, evtchn_abi.flags), 0);
	xen_vcpu_set(x, 0, EVTCHN_CONTROL, gpa, XEN_FIFO_CONTROL(0));
	TEST_ASSERT_EQ(xen_fifo_try_array(x, 0, XEN_FIFO_ARRAY(0) >> 12), 0);

	/* Again: nothing changes. */
	bind(f, 5, 1, XEN_2LEVEL);
	send(f, 5);
	TEST_ASSERT_EQ(xen_fifo_try_abi(x, KVM_XEN_EVTCHN_ABI_FIFO, 0), 0);
	TEST_ASSERT_EQ(xen_fifo_try_abi(x, KVM_XEN_EVTCHN_ABI_FIFO, KVM_XEN_EVTCHN_ABI_CARRY), 0);
	TEST_ASSERT_EQ(xen_fifo_try_abi(x, 2, 0), EINVAL);
	TEST_ASSERT_EQ(xen_vcpu_get(x, 1, EVTCHN_CONTROL, gpa), XEN_FIFO_CONTROL(1));
	TEST_ASSERT_EQ(tail(f, 1, DEFAULT), 5);
	TEST_ASSERT_EQ(head(f, 1, DEFAULT), 5);
	/* What the guest had there is what the guest has there. */
	TEST_ASSERT_EQ(head(f, 1, 3), 0x5a5a5a5a);
	TEST_ASSERT_EQ(ready(f, 1), 0x5a5a5ada);
	free_fifo(f);
}

static void test_control_place(void)
{
	static const struct {
		u64 offset;
		int err;
	} places[] = {
		{ 0, 0 }, { 8, 0 }, { 4024, 0 }, { 1, EINVAL }, { 4, EINVAL }, { 4020, EINVAL },
		{ 4032, EINVAL }, { 4088, EINVAL }, { 4095, EINVAL },
	};
	struct fifo *f = new_2level(1, XEN_64);
	u64 gpa;
	int i;

	for (i = 0; i < ARRAY_SIZE(places); i++) {
		gpa = XEN_FIFO_BASE + places[i].offset;
		TEST_ASSERT_EQ(xen_vcpu_try_set(f->x, 0, EVTCHN_CONTROL, gpa, gpa), places[i].err);
		if (places[i].err)
			gpa = KVM_XEN_INVALID_GPA;
		TEST_ASSERT_EQ(xen_vcpu_get(f->x, 0, EVTCHN_CONTROL, gpa), gpa);
		TEST_ASSERT_EQ(get_abi(f->x), KVM_XEN_EVTCHN_ABI_2LEVEL);
		if (!places[i].err) {
			TEST_ASSERT_EQ(xen_fifo_try_abi(f->x, KVM_XEN_EVTCHN_ABI_FIFO, 0), 0);
			TEST_ASSERT_EQ(xen_vcpu_get(f->x, 0, EVTCHN_CONTROL, gpa), gpa);
		}
		TEST_ASSERT_EQ(xen_fifo_try_abi(f->x, KVM_XEN_EVTCHN_ABI_2LEVEL, 0), 0);
	}
	free_fifo(f);
}

/* The place at the end of a page works, and is all that is written. */
static void test_control_end(void)
{
	struct fifo *f = new_2level(1, XEN_64);
	u64 gpa = XEN_FIFO_BASE + 0x1000 - sizeof(struct xen_fifo_control);
	u8 *page = xen_hva(f->x, XEN_FIFO_BASE);
	int i;

	xen_vcpu_set(f->x, 0, EVTCHN_CONTROL, gpa, gpa);
	TEST_ASSERT_EQ(xen_fifo_try_abi(f->x, KVM_XEN_EVTCHN_ABI_FIFO, 0), 0);
	TEST_ASSERT_EQ(xen_fifo_try_array(f->x, 0, XEN_FIFO_ARRAY(0) >> 12), 0);
	TEST_ASSERT_EQ(xen_try_send_priority(f->x, 5, 0, 15), 0);
	for (i = 0; i < 0x2000; i++)
		TEST_ASSERT_EQ(page[i], i == 0x1000 - 4 ? 5 : i == 0x1000 - 72 + 1 ? 0x80 : 0);
	free_fifo(f);
}

static void expect_2level(struct fifo *f)
{
	struct xen_vm *x = f->x;

	TEST_ASSERT_EQ(get_abi(x), KVM_XEN_EVTCHN_ABI_2LEVEL);
	xen_put_pending(x, 7, false);
	xen_put_sel(x, 0, 0);
	xen_put_flag(x, 0, 0);
	upcalls(f, 0);
	xen_send(x, 7, 0);
	TEST_ASSERT(xen_pending(x, 7), "not pending");
	TEST_ASSERT_EQ(xen_sel(x, 0), xen_sel_bit(x, 7));
	TEST_ASSERT_EQ(upcalls(f, 0), 1);
	xen_put_pending(x, 7, false);
	xen_put_flag(x, 0, 0);
	xen_put_sel(x, 0, 0);
}

/* No memory, or none that can be written: the guest's first init_control fails. */
static void test_failed_enter(void)
{
	struct fifo *f = new_2level(2, XEN_64);
	struct xen_vm *x = f->x;
	u64 alias = ALIAS(XEN_FIFO_BASE);
	u64 bad[] = { XEN_HOLE, XEN_HOLE + 0x300000, BIT_ULL(45), BIT_ULL(51), -8ULL << 12 };
	int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		TEST_ASSERT_EQ(xen_vcpu_try_set(x, 0, EVTCHN_CONTROL, gpa, bad[i]), EFAULT);
		TEST_ASSERT_EQ(xen_vcpu_get(x, 0, EVTCHN_CONTROL, gpa), KVM_XEN_INVALID_GPA);
		expect_2level(f);
	}
	vm_userspace_mem_region_add(x->vm, VM_MEM_SRC_ANONYMOUS, XEN_HOLE, ALIAS_SLOT, 1,
				    KVM_MEM_READONLY);
	TEST_ASSERT_EQ(xen_vcpu_try_set(x, 0, EVTCHN_CONTROL, gpa, XEN_HOLE), EFAULT);
	TEST_ASSERT_EQ(xen_fifo_try_array(x, 0, XEN_HOLE >> 12), EFAULT);
	expect_2level(f);
	/* Nothing was set up, so consent can be taken back. */
	TEST_ASSERT_EQ(try_opt_out(x, XEN_HCALL_MSR), 0);
	xen_fifo_opt_in(x);

	/* The control block is all right, but not what is to be carried over. */
	xen_vcpu_set(x, 0, EVTCHN_CONTROL, gpa, XEN_FIFO_CONTROL(0));
	xen_vcpu_set(x, 0, VCPU_INFO, gpa, XEN_VINFO);
	vm_set_user_memory_region(x->vm, ALIAS_SLOT + 1, 0, alias, 0x1000, x->shinfo);
	xen_set(x, SHARED_INFO, shared_info.gfn, alias >> 12);
	vm_set_user_memory_region(x->vm, ALIAS_SLOT + 1, 0, alias, 0, NULL);
	TEST_ASSERT_EQ(xen_fifo_try_abi(x, KVM_XEN_EVTCHN_ABI_FIFO, KVM_XEN_EVTCHN_ABI_CARRY),
		       EFAULT);
	TEST_ASSERT_EQ(get_abi(x), KVM_XEN_EVTCHN_ABI_2LEVEL);
	TEST_ASSERT_EQ(xen_fifo_try_abi(x, KVM_XEN_EVTCHN_ABI_2LEVEL, 0), 0);
	xen_set(x, SHARED_INFO, shared_info.gfn, XEN_SHINFO >> 12);
	xen_vcpu_set(x, 0, VCPU_INFO, gpa, XEN_SHINFO);
	expect_2level(f);
	/* "Nothing has changed", or it is undone: either way it can be set up again. */
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, EVTCHN_CONTROL, gpa), KVM_XEN_INVALID_GPA);
	xen_fifo_enter(x, 1);
	free_fifo(f);
}

static void test_control_twice(void)
{
	struct fifo *f = new_fifo(XEN_64);
	struct xen_vm *x = f->x;

	bind(f, 5, 0, XEN_2LEVEL);
	send(f, 5);
	TEST_ASSERT_EQ(xen_vcpu_try_set(x, 0, EVTCHN_CONTROL, gpa, XEN_FIFO_CONTROL(0)), 0);
	TEST_ASSERT_EQ(xen_vcpu_try_set(x, 0, EVTCHN_CONTROL, gpa, XEN_FIFO_CONTROL(2)), EEXIST);
	TEST_ASSERT_EQ(xen_vcpu_try_set(x, 0, EVTCHN_CONTROL, gpa, XEN_HOLE), EEXIST);
	TEST_ASSERT_EQ(xen_vcpu_try_set(x, 0, EVTCHN_CONTROL, gpa, 4), EINVAL);
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, EVTCHN_CONTROL, gpa), XEN_FIFO_CONTROL(0));
	TEST_ASSERT_EQ(tail(f, 0, DEFAULT), 5);
	EXPECT_EVENTS(f, 0, 5);
	/* Only the VMM can do so. */
	xen_vcpu_set(x, 0, EVTCHN_CONTROL, gpa, KVM_XEN_INVALID_GPA);
	xen_vcpu_set(x, 0, EVTCHN_CONTROL, gpa, KVM_XEN_INVALID_GPA);
	xen_vcpu_set(x, 0, EVTCHN_CONTROL, gpa, XEN_FIFO_CONTROL(2));
	send(f, 5);
	TEST_ASSERT_EQ(xen_fifo_control(x, 2)->head[DEFAULT], 5);
	free_fifo(f);
}

static void test_array_errors(void)
{
	struct fifo *f = new_fifo(XEN_64);
	struct xen_vm *x = f->x;
	u64 gfn;

	TEST_ASSERT_EQ(xen_fifo_try_array(x, XEN_FIFO_NR_PAGES, XEN_FIFO_ARRAY(1) >> 12), EINVAL);
	TEST_ASSERT_EQ(xen_fifo_try_array(x, -1, XEN_FIFO_ARRAY(1) >> 12), EINVAL);
	TEST_ASSERT_EQ(get_array(x, XEN_FIFO_NR_PAGES, &gfn), EINVAL);
	TEST_ASSERT_EQ(get_array(x, -1, &gfn), EINVAL);
	TEST_ASSERT_EQ(xen_fifo_try_array(x, 1, KVM_XEN_INVALID_GFN), EINVAL);
	TEST_ASSERT_EQ(xen_fifo_try_array(x, 1, BIT_ULL(52)), EINVAL);
	TEST_ASSERT_EQ(xen_fifo_try_array(x, 1, (XEN_FIFO_ARRAY(1) >> 12) | BIT_ULL(52)), EINVAL);
	TEST_ASSERT_EQ(xen_fifo_try_array(x, 1, XEN_HOLE >> 12), EFAULT);
	TEST_ASSERT_EQ(xen_fifo_try_array(x, 1, BIT_ULL(39)), EFAULT);
	TEST_ASSERT_EQ(array_gfn(x, 1), KVM_XEN_INVALID_GFN);
	TEST_ASSERT_EQ(xen_fifo_try_array(x, 1, XEN_FIFO_ARRAY(5) >> 12), 0);
	TEST_ASSERT_EQ(array_gfn(x, 1), XEN_FIFO_ARRAY(5) >> 12);
	TEST_ASSERT_EQ(xen_fifo_try_array(x, 1, XEN_FIFO_ARRAY(5) >> 12), 0);
	TEST_ASSERT_EQ(xen_fifo_try_array(x, 1, XEN_FIFO_ARRAY(1) >> 12), EEXIST);
	TEST_ASSERT_EQ(xen_fifo_try_array(x, 1, XEN_HOLE >> 12), EEXIST);
	TEST_ASSERT_EQ(xen_fifo_try_array(x, 1, KVM_XEN_INVALID_GFN), EINVAL);
	TEST_ASSERT_EQ(array_gfn(x, 1), XEN_FIFO_ARRAY(5) >> 12);
	bind(f, 1030, 0, XEN_2LEVEL);
	send(f, 1030);
	TEST_ASSERT_EQ(word(f, 5 * XEN_FIFO_PER_PAGE + 6), P | L);
	TEST_ASSERT_EQ(head(f, 0, DEFAULT), 1030);
	free_fifo(f);
}

static void test_all_pages(void)
{
	struct fifo *f = new_fifo(XEN_64);
	u32 i;

	for (i = 0; i < XEN_FIFO_NR_PAGES; i++) {
		TEST_ASSERT_EQ(xen_fifo_try_array(f->x, i, XEN_FIFO_ARRAY(i) >> 12), 0);
		TEST_ASSERT_EQ(array_gfn(f->x, i), XEN_FIFO_ARRAY(i) >> 12);
	}
	TEST_ASSERT_EQ(xen_fifo_try_array(f->x, i, XEN_FIFO_ARRAY(0) >> 12), EINVAL);
	bind(f, HIGHEST, 0, XEN_2LEVEL);
	send(f, HIGHEST);
	TEST_ASSERT_EQ(word(f, HIGHEST), P | L);
	EXPECT_EVENTS(f, 0, HIGHEST);
	free_fifo(f);
}

static void test_tails(void)
{
	struct fifo *f = new_2level(2, XEN_64);
	u32 tails[XEN_FIFO_NR_QUEUES], got[XEN_FIFO_NR_QUEUES], i;

	for (i = 0; i < XEN_FIFO_NR_QUEUES; i++)
		tails[i] = i % 2 ? HIGHEST - i : 5 + i;
	TEST_ASSERT_EQ(try_set_tails(f->x, 1, tails), 0);
	xen_fifo_tails(f->x, 1, got);
	TEST_ASSERT(!memcmp(tails, got, sizeof(got)), "read back otherwise");
	xen_fifo_tails(f->x, 0, got);
	for (i = 0; i < XEN_FIFO_NR_QUEUES; i++)
		TEST_ASSERT_EQ(got[i], 0);
	got[15] = HIGHEST + 1;
	TEST_ASSERT_EQ(try_set_tails(f->x, 1, got), EINVAL);
	xen_fifo_tails(f->x, 1, got);
	TEST_ASSERT(!memcmp(tails, got, sizeof(got)), "changed by a refused call");

	/* Not by the ABI, but by a reset, and by one from 2-level mode. */
	xen_fifo_enter(f->x, 1);
	xen_fifo_tails(f->x, 1, got);
	TEST_ASSERT(!memcmp(tails, got, sizeof(got)), "changed by the ABI");
	TEST_ASSERT_EQ(xen_fifo_try_abi(f->x, KVM_XEN_EVTCHN_ABI_2LEVEL, 0), 0);
	TEST_ASSERT_EQ(tail(f, 1, 0), 0);
	TEST_ASSERT_EQ(try_set_tails(f->x, 1, tails), 0);
	TEST_ASSERT_EQ(xen_fifo_try_abi(f->x, KVM_XEN_EVTCHN_ABI_2LEVEL, 0), 0);
	TEST_ASSERT_EQ(tail(f, 1, 0), 0);
	free_fifo(f);
}

/*
 * The restored tail is a port that the guest had taken already.  It must be known to be the
 * old tail: else it is linked to itself, or others are linked to it on its new queue.
 */
static void drained_tail(int n, int q)
{
	u32 tails[XEN_FIFO_NR_QUEUES] = {};
	struct fifo *f;
	int moved;

	tails[q] = 5;
	for (moved = 0; moved < 2; moved++) {
		f = new_2level(2, XEN_64);
		TEST_ASSERT_EQ(try_set_tails(f->x, n, tails), 0);
		xen_fifo_enter(f->x, 1);
		bind(f, 5, n, q - moved);
		bind(f, 9, n, q);
		put_word(f, 5, 0);
		put_word(f, 9, 0);

		send(f, 5);
		TEST_ASSERT_EQ(word(f, 5), P | L);
		TEST_ASSERT_EQ(head(f, n, q - moved), 5);
		send(f, 9);
		TEST_ASSERT_EQ(word(f, 5), P | L | (moved ? 0 : 9));
		TEST_ASSERT_EQ(tail(f, n, q), 9);
		EXPECT_EVENTS(f, n, 5, 9);
		free_fifo(f);
	}
}

static void test_drained_tail(void)
{
	drained_tail(0, DEFAULT);
}

static void test_drained_tail_other(void)
{
	drained_tail(1, 3);
	drained_tail(1, 15);
}

/* Sent behind a restored tail whose page is still to come; or the VMM says another tail. */
static void tail_to_come(u32 other)
{
	u32 tails[XEN_FIFO_NR_QUEUES] = { [DEFAULT] = 1030 };
	struct fifo *f = new_2level(2, XEN_64);
	enum sender by;

	TEST_ASSERT_EQ(try_set_tails(f->x, 0, tails), 0);
	xen_fifo_enter(f->x, 1);
	put_word(f, 1030, P | L);
	put_word(f, 12, P | L);
	for (by = 0; by < NR_SENDERS; by++) {
		bind(f, 5 + by, 0, XEN_2LEVEL);
		send_by(f, 5 + by, by);
		TEST_ASSERT_EQ(get_deferred(f->x, 0, 5 + by).u.deferred.port, 5 + by);
		TEST_ASSERT_EQ(word(f, 5 + by), 0);
	}
	expect_quiet(f, 0);

	tails[DEFAULT] = other;
	if (other)
		TEST_ASSERT_EQ(try_set_tails(f->x, 0, tails), 0);
	else
		TEST_ASSERT_EQ(xen_fifo_try_array(f->x, 1, XEN_FIFO_ARRAY(1) >> 12), 0);
	TEST_ASSERT_EQ(word(f, 1030), P | L | (other ? 0 : 5));
	TEST_ASSERT_EQ(word(f, 12), P | L | (other ? 5 : 0));
	for (by = 0; by < NR_SENDERS - 1; by++)
		TEST_ASSERT_EQ(word(f, 5 + by), P | L | (6 + by));
	TEST_ASSERT_EQ(word(f, 5 + by), P | L);
	TEST_ASSERT_EQ(tail(f, 0, DEFAULT), 5 + by);
	TEST_ASSERT_EQ(get_deferred(f->x, 0, 0).u.deferred.port, 0);
	/* The queue was not empty. */
	expect_quiet(f, 0);
	free_fifo(f);
}

static void test_tail_to_come(void)
{
	tail_to_come(0);
}

static void test_tail_corrected(void)
{
	tail_to_come(12);
}

static void test_deferred(void)
{
	static const u32 ports[] = { 1, 5, 4095, 4096, 100000, HIGHEST };
	struct fifo *f = new_2level(2, XEN_64);
	struct kvm_xen_vcpu_attr attr;
	struct xen_vm *x = f->x;
	u32 i, from;

	xen_fifo_enter(x, 0);
	for (i = ARRAY_SIZE(ports); i--;)
		TEST_ASSERT_EQ(try_set_deferred(x, i % 2, ports[i], i, 0), 0);
	TEST_ASSERT_EQ(try_set_deferred(x, 0, HIGHEST + 1, 0, 0), EINVAL);
	TEST_ASSERT_EQ(try_set_deferred(x, 0, 5, 16, 0), EINVAL);
	for (i = 0, from = 0; i < ARRAY_SIZE(ports); i += 2, from = attr.u.deferred.port + 1) {
		attr = get_deferred(x, 0, from);
		TEST_ASSERT_EQ(attr.u.deferred.port, ports[i]);
		TEST_ASSERT_EQ(attr.u.deferred.priority, i);
		TEST_ASSERT_EQ(attr.u.deferred.pending_sel, 0);
	}
	TEST_ASSERT_EQ(get_deferred(x, 0, from).u.deferred.port, 0);
	TEST_ASSERT_EQ(get_deferred(x, 0, -1).u.deferred.port, 0);
	TEST_ASSERT_EQ(get_deferred(x, 1, 0).u.deferred.port, 5);
	TEST_ASSERT_EQ(get_deferred(x, 1, 6).u.deferred.port, 4096);
	TEST_ASSERT_EQ(get_deferred(x, 1, 4097).u.deferred.port, HIGHEST);
	TEST_ASSERT_EQ(get_deferred(x, 1, 4096).u.deferred.priority, 3);
	TEST_ASSERT_EQ(get_deferred(x, 1, HIGHEST).u.deferred.port, HIGHEST);

	/* They come with their pages. */
	for (i = 0; i < XEN_FIFO_NR_PAGES; i++)
		TEST_ASSERT_EQ(xen_fifo_try_array(x, i, XEN_FIFO_ARRAY(i) >> 12), 0);
	for (i = 0; i < ARRAY_SIZE(ports); i++) {
		TEST_ASSERT_EQ(word(f, ports[i]), P | L);
		TEST_ASSERT_EQ(head(f, i % 2, i), ports[i]);
	}
	TEST_ASSERT_EQ(upcalls(f, 0), 1);
	TEST_ASSERT_EQ(upcalls(f, 1), 1);
	TEST_ASSERT_EQ(get_deferred(x, 0, 0).u.deferred.port, 0);
	TEST_ASSERT_EQ(get_deferred(x, 1, 0).u.deferred.port, 0);

	/* An upcall alone. */
	take(f, 0);
	TEST_ASSERT_EQ(try_set_deferred(x, 0, 0, 0, 1), 0);
	TEST_ASSERT_EQ(upcalls(f, 0), 1);
	TEST_ASSERT_EQ(xen_flag(x, 0), 1);
	free_fifo(f);
}

/* All that FIFO needs is there, and events, but FIFO is not in force yet. */
static void test_prepared(void)
{
	u32 tails[XEN_FIFO_NR_QUEUES] = {};
	struct fifo *f = new_2level(1, XEN_64);
	struct xen_vm *x = f->x;

	TEST_ASSERT_EQ(try_set_deferred(x, 0, 5, 3, 0), 0);
	xen_vcpu_set(x, 0, EVTCHN_CONTROL, gpa, XEN_FIFO_CONTROL(0));
	TEST_ASSERT_EQ(xen_fifo_try_array(x, 0, XEN_FIFO_ARRAY(0) >> 12), 0);
	TEST_ASSERT_EQ(try_set_tails(x, 0, tails), 0);
	TEST_ASSERT_EQ(try_set_deferred(x, 0, 9, 3, 0), 0);
	expect_quiet(f, 0);
	TEST_ASSERT_EQ(get_deferred(x, 0, 0).u.deferred.port, 5);
	TEST_ASSERT_EQ(get_deferred(x, 0, 6).u.deferred.port, 9);
	expect_2level(f);
	TEST_ASSERT_EQ(word(f, 5), 0);
	TEST_ASSERT_EQ(word(f, 9), 0);
	TEST_ASSERT_EQ(head(f, 0, 3), 0);
	TEST_ASSERT_EQ(tail(f, 0, 3), 0);

	TEST_ASSERT_EQ(xen_fifo_try_abi(x, KVM_XEN_EVTCHN_ABI_FIFO, 0), 0);
	TEST_ASSERT_EQ(head(f, 0, 3), 5);
	TEST_ASSERT_EQ(upcalls(f, 0), 1);
	EXPECT_EVENTS(f, 0, 5, 9);
	free_fifo(f);
}

/*
 * A port may have both an event that waits for FIFO and one that waits for memory.  Of
 * these, that is told which is an event in either ABI.  Each counts once.
 */
static void test_deferred_twice(void)
{
	struct fifo *f = new_2level(1, XEN_64);
	struct xen_vm *x = f->x;
	u64 nr = stat_of(f, 0, "xen_events_deferred");
	struct kvm_xen_vcpu_attr attr;

	xen_set(x, SHARED_INFO, shared_info.gfn, KVM_XEN_INVALID_GFN);
	bind(f, 5, 0, 3);
	bind(f, 9, 0, 3);
	send_by(f, 5, BY_IRQFD);
	send_by(f, 9, BY_IRQFD);
	TEST_ASSERT_EQ(stat_of(f, 0, "xen_events_deferred"), nr + 2);
	TEST_ASSERT_EQ(try_set_deferred(x, 0, 5, 3, 0), 0);
	TEST_ASSERT_EQ(stat_of(f, 0, "xen_events_deferred"), nr + 3);
	attr = get_deferred(x, 0, 0);
	TEST_ASSERT_EQ(attr.u.deferred.port, 5);
	TEST_ASSERT_EQ(attr.u.deferred.priority, XEN_2LEVEL);
	attr = get_deferred(x, 0, 6);
	TEST_ASSERT_EQ(attr.u.deferred.port, 9);
	TEST_ASSERT_EQ(attr.u.deferred.priority, XEN_2LEVEL);

	/* No event is counted again because it goes on waiting, for something else. */
	xen_vcpu_set(x, 0, EVTCHN_CONTROL, gpa, XEN_FIFO_CONTROL(0));
	TEST_ASSERT_EQ(xen_fifo_try_abi(x, KVM_XEN_EVTCHN_ABI_FIFO, 0), 0);
	TEST_ASSERT_EQ(get_deferred(x, 0, 0).u.deferred.port, 5);
	TEST_ASSERT_EQ(get_deferred(x, 0, 6).u.deferred.port, 9);
	TEST_ASSERT_EQ(stat_of(f, 0, "xen_events_deferred"), nr + 3);
	TEST_ASSERT_EQ(xen_try_send(x, 12, 0), 0);
	TEST_ASSERT_EQ(stat_of(f, 0, "xen_events_deferred"), nr + 4);
	TEST_ASSERT_EQ(xen_fifo_try_array(x, 0, XEN_FIFO_ARRAY(0) >> 12), 0);
	TEST_ASSERT_EQ(stat_of(f, 0, "xen_events_deferred"), nr + 4);
	TEST_ASSERT_EQ(get_deferred(x, 0, 0).u.deferred.port, 0);
	TEST_ASSERT_EQ(upcalls(f, 0), 1);
	free_fifo(f);
}

/* ---- from 2-level mode and back ----------------------------------------- */

static void test_example10(void)
{
	struct fifo *f = new_2level(2, XEN_64);
	struct xen_vm *x = f->x;
	static u8 before[0x1000];
	int i;

	bind(f, 70, 0, XEN_2LEVEL);
	xen_put_mask(x, 70, true);
	send(f, 70);
	TEST_ASSERT_EQ(((u8 *)x->shinfo)[0x808], BIT(6));
	for (i = 0; i < XEN_FIFO_NR_PORTS; i++)
		put_word(f, i, M);
	memcpy(before, x->shinfo + 64, sizeof(before) - 64);
	xen_fifo_enter(x, 0);
	TEST_ASSERT(!memcmp(before, x->shinfo + 64, sizeof(before) - 64), "shared_info changed");
	TEST_ASSERT_EQ(get_deferred(x, 0, 0).u.deferred.port, 70);
	TEST_ASSERT_EQ(get_deferred(x, 0, 71).u.deferred.port, 0);
	poll_times_out(f, 0, 70);
	TEST_ASSERT_EQ(xen_fifo_try_array(x, 0, XEN_FIFO_ARRAY(0) >> 12), 0);
	for (i = 0; i < XEN_FIFO_PER_PAGE; i++)
		TEST_ASSERT_EQ(word(f, i), i == 70 ? P | M : M);
	expect_quiet(f, 0);
	TEST_ASSERT(!memcmp(before, x->shinfo + 64, sizeof(before) - 64), "shared_info changed");
	if (kvm_check_cap(KVM_CAP_XEN_HVM) & KVM_XEN_HVM_CONFIG_MORE_HCALLS) {
		TEST_ASSERT_EQ(guest_unmask(f, 0, 70), 0);
		TEST_ASSERT_EQ(head(f, 0, DEFAULT), 70);
		EXPECT_EVENTS(f, 0, 70);
	}
	TEST_ASSERT_EQ(xen_vcpu_try_set(x, 0, EVTCHN_CONTROL, gpa, XEN_FIFO_CONTROL(2)), EEXIST);
	for (i = 1; i < XEN_FIFO_NR_PAGES; i++)
		TEST_ASSERT_EQ(xen_fifo_try_array(x, i, XEN_FIFO_ARRAY(i) >> 12), 0);
	TEST_ASSERT_EQ(xen_fifo_try_array(x, i, XEN_FIFO_ARRAY(1) >> 12), EINVAL);
	free_fifo(f);
}

/* Every port that the guest's mode has, for whom it is bound to, or the first vCPU. */
static void carry(enum xen_mode mode)
{
	struct fifo *f = new_2level(2, mode);
	struct xen_vm *x = f->x;
	u32 last = xen_nr_ports(x) - 1, ports[] = { 1, 31, 32, 63, 64, 1023, last };
	int i;

	for (i = 0; i < ARRAY_SIZE(ports); i++)
		xen_put_pending(x, ports[i], true);
	xen_put_pending(x, 0, true);
	/* What is a mask bit in one layout may be a pending one in the other. */
	xen_put_mask(x, 40, true);
	xen_put_mask(x, 65, true);
	TEST_ASSERT_EQ(xen_try_set_port(x, 32, STATUS_VIRQ, 1, XEN_2LEVEL), 0);
	TEST_ASSERT_EQ(xen_try_set_port(x, 64, STATUS_UNBOUND, 1, 3), 0);
	xen_fifo_enter(x, 5);
	TEST_ASSERT_EQ(head(f, 1, DEFAULT), 32);
	TEST_ASSERT_EQ(head(f, 1, 3), 64);
	EXPECT_EVENTS(f, 1, 64, 32);
	TEST_ASSERT_EQ(upcalls(f, 0), 1);
	if (last == 1023)
		EXPECT_EVENTS(f, 0, 1, 31, 63, 1023);
	else
		EXPECT_EVENTS(f, 0, 1, 31, 63, 1023, 4095);
	for (i = 0; i < 5 * XEN_FIFO_PER_PAGE; i++)
		TEST_ASSERT_EQ(word(f, i), 0);
	TEST_ASSERT(xen_pending(x, 31), "shared_info changed");
	free_fifo(f);
}

static void test_carry(void)
{
	carry(XEN_64);
}

static void test_carry_32(void)
{
	carry(XEN_32);
}

static void test_no_carry(void)
{
	struct fifo *f = new_2level(1, XEN_64);
	struct xen_vm *x = f->x;

	xen_put_pending(x, 70, true);
	xen_vcpu_set(x, 0, EVTCHN_CONTROL, gpa, XEN_FIFO_CONTROL(0));
	TEST_ASSERT_EQ(xen_fifo_try_abi(x, KVM_XEN_EVTCHN_ABI_FIFO, 0), 0);
	TEST_ASSERT_EQ(xen_fifo_try_array(x, 0, XEN_FIFO_ARRAY(0) >> 12), 0);
	TEST_ASSERT_EQ(word(f, 70), 0);
	expect_quiet(f, 0);
	/* Nor later. */
	TEST_ASSERT_EQ(xen_fifo_try_abi(x, KVM_XEN_EVTCHN_ABI_FIFO, KVM_XEN_EVTCHN_ABI_CARRY), 0);
	TEST_ASSERT_EQ(xen_fifo_try_array(x, 1, XEN_FIFO_ARRAY(1) >> 12), 0);
	TEST_ASSERT_EQ(word(f, 70), 0);
	expect_quiet(f, 0);
	free_fifo(f);
}

/* Events that wait in 2-level mode for shared_info wait in FIFO mode no longer. */
static void test_carry_deferred(void)
{
	struct fifo *f = new_2level(1, XEN_64);
	struct xen_vm *x = f->x;

	bind(f, 70, 0, XEN_2LEVEL);
	xen_set(x, SHARED_INFO, shared_info.gfn, KVM_XEN_INVALID_GFN);
	send_by(f, 70, BY_IRQFD);
	upcalls(f, 0);
	TEST_ASSERT_EQ(get_deferred(x, 0, 0).u.deferred.port, 70);
	xen_set(x, SHARED_INFO, shared_info.gfn, XEN_SHINFO >> 12);
	TEST_ASSERT(!xen_pending(x, 70), "delivered too early for this test");
	xen_fifo_enter(x, 1);
	xen_window(x, 0);
	if (xen_pending(x, 70))
		TEST_FAIL("an event goes to shared_info in FIFO mode");
	TEST_ASSERT_EQ(word(f, 70), P | L);
	EXPECT_EVENTS(f, 0, 70);
	free_fifo(f);
}

/* The vCPU sleeps all the time, and has its event once FIFO is in force. */
static void test_carry_deferred_halted(void)
{
	struct fifo *f = new_2level(1, XEN_64);
	struct xen_vm *x = f->x;

	bind(f, 70, 0, XEN_2LEVEL);
	xen_vcpu_set(x, 0, EVTCHN_CONTROL, gpa, XEN_FIFO_CONTROL(0));
	TEST_ASSERT_EQ(xen_fifo_try_array(x, 0, XEN_FIFO_ARRAY(0) >> 12), 0);
	xen_set(x, SHARED_INFO, shared_info.gfn, KVM_XEN_INVALID_GFN);
	halt(f, 0);
	send_by(f, 70, BY_IRQFD);
	TEST_ASSERT(xen_sleeps(x, 0, QUIET_MS), "woken too early");
	TEST_ASSERT_EQ(word(f, 70), 0);
	TEST_ASSERT_EQ(xen_fifo_try_abi(x, KVM_XEN_EVTCHN_ABI_FIFO, KVM_XEN_EVTCHN_ABI_CARRY), 0);
	halt_ends(f, 0);
	TEST_ASSERT_EQ(xen_count(x, 0, XEN_LAPIC_VECTOR(0)), 1);
	TEST_ASSERT_EQ(head(f, 0, DEFAULT), 70);
	EXPECT_EVENTS(f, 0, 70);
	free_fifo(f);
}

/* A reset, with events pending, linked and kept; then 2-level mode, and FIFO again. */
static void test_reset(void)
{
	struct fifo *f = new_2level(2, XEN_64);
	struct xen_fifo_control before;
	struct xen_vm *x = f->x;
	int i;

	for (i = 0; i < 3; i++) {
		xen_fifo_enter(x, 1);
		bind(f, 5, 0, XEN_2LEVEL);
		bind(f, 9, 0, XEN_2LEVEL);
		bind(f, 1030, 0, XEN_2LEVEL);
		send(f, 5);
		send(f, 9);
		send(f, 1030);
		before = *xen_fifo_control(x, 0);
		TEST_ASSERT_EQ(before.head[DEFAULT], 5);
		TEST_ASSERT_EQ(xen_fifo_try_abi(x, KVM_XEN_EVTCHN_ABI_2LEVEL, 0), 0);
		TEST_ASSERT_EQ(array_gfn(x, 0), KVM_XEN_INVALID_GFN);
		TEST_ASSERT_EQ(xen_vcpu_get(x, 0, EVTCHN_CONTROL, gpa), KVM_XEN_INVALID_GPA);
		TEST_ASSERT_EQ(tail(f, 0, DEFAULT), 0);
		TEST_ASSERT_EQ(get_deferred(x, 0, 0).u.deferred.port, 0);
		TEST_ASSERT(!memcmp(&before, xen_fifo_control(x, 0), sizeof(before)),
			    "the control block was changed");
		TEST_ASSERT_EQ(word(f, 5), P | L | 9);
		expect_2level(f);
		send(f, 5);
		TEST_ASSERT(xen_pending(x, 5), "not pending");
		TEST_ASSERT_EQ(word(f, 5), P | L | 9);

		/* As a new kernel does it: fresh pages; the VMM closes ports. */
		xen_put_pending(x, 5, false);
		memset(xen_fifo_control(x, 0), 0, sizeof(before));
		put_word(f, 5, 0);
		put_word(f, 9, 0);
		memset(f->consumer[0].next, 0, sizeof(f->consumer[0].next));
		xen_put_flag(x, 0, 0);
		upcalls(f, 0);
	}
	xen_fifo_enter(x, 2);
	/* Kept before the reset, so gone. */
	TEST_ASSERT_EQ(word(f, 1030), 0);
	send(f, 9);
	send(f, 1030);
	TEST_ASSERT_EQ(upcalls(f, 0), 1);
	EXPECT_EVENTS(f, 0, 9, 1030);
	free_fifo(f);
}

/* Preparations are undone likewise, and a failed CARRY leaves what it found. */
static void test_undo(void)
{
	struct fifo *f = new_2level(1, XEN_64);
	struct xen_vm *x = f->x;

	xen_vcpu_set(x, 0, EVTCHN_CONTROL, gpa, XEN_FIFO_CONTROL(0));
	TEST_ASSERT_EQ(xen_fifo_try_array(x, 3, XEN_FIFO_ARRAY(3) >> 12), 0);
	TEST_ASSERT_EQ(try_set_deferred(x, 0, 100000, 3, 0), 0);
	expect_2level(f);
	TEST_ASSERT_EQ(array_gfn(x, 3), XEN_FIFO_ARRAY(3) >> 12);
	TEST_ASSERT_EQ(get_deferred(x, 0, 0).u.deferred.port, 100000);
	TEST_ASSERT_EQ(xen_fifo_try_abi(x, KVM_XEN_EVTCHN_ABI_2LEVEL, 0), 0);
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, EVTCHN_CONTROL, gpa), KVM_XEN_INVALID_GPA);
	TEST_ASSERT_EQ(array_gfn(x, 3), KVM_XEN_INVALID_GFN);
	TEST_ASSERT_EQ(get_deferred(x, 0, 0).u.deferred.port, 0);
	expect_2level(f);
	xen_fifo_enter(x, XEN_FIFO_NR_PAGES);
	expect_quiet(f, 0);
	TEST_ASSERT_EQ(word(f, 100000), 0);
	free_fifo(f);
}

/* An upcall for which there was no vcpu_info goes with the rest. */
static void test_reset_upcall(void)
{
	struct fifo *f = new_fifo(XEN_64);
	struct xen_vm *x = f->x;
	int n;

	for (n = 0; n < 2; n++) {
		xen_vcpu_set(x, n, VCPU_INFO, gpa, KVM_XEN_INVALID_GPA);
		bind(f, 5, n, 3);
		send_by(f, 5, BY_VMM);
		TEST_ASSERT_EQ(head(f, n, 3), 5);
		TEST_ASSERT_EQ(get_deferred(x, n, 0).u.deferred.pending_sel, 1);
		put_word(f, 5, 0);
	}
	TEST_ASSERT_EQ(xen_fifo_try_abi(x, KVM_XEN_EVTCHN_ABI_2LEVEL, 0), 0);
	for (n = 0; n < 2; n++) {
		TEST_ASSERT_EQ(get_deferred(x, n, 0).u.deferred.pending_sel, 0);
		xen_vcpu_set(x, n, VCPU_INFO, gpa, XEN_SHINFO + 64 * n);
		TEST_ASSERT_EQ(upcalls(f, n), 0);
		TEST_ASSERT_EQ(xen_flag(x, n), 0);
		TEST_ASSERT_EQ(xen_sel(x, n), 0);
	}

	/* What 2-level has deferred is its own. */
	xen_vcpu_set(x, 0, VCPU_INFO, gpa, KVM_XEN_INVALID_GPA);
	bind(f, 70, 0, XEN_2LEVEL);
	send_by(f, 70, BY_VMM);
	TEST_ASSERT_EQ(xen_fifo_try_abi(x, KVM_XEN_EVTCHN_ABI_2LEVEL, 0), 0);
	TEST_ASSERT_EQ(get_deferred(x, 0, 0).u.deferred.pending_sel, 2);
	free_fifo(f);
}

/* ---- memory that is away ------------------------------------------------ */

static void set_alias(struct fifo *f, u64 gpa, bool on)
{
	vm_set_user_memory_region(f->x->vm, ALIAS_SLOT + (gpa - XEN_FIFO_BASE) / 0x1000, 0,
				  ALIAS(gpa), on ? 0x1000 : 0, xen_hva(f->x, gpa));
}

#define CONTROL_PAGE(n)	(XEN_FIFO_CONTROL(n) & ~0xfffUL)
#define OTHER_PAGE	XEN_FIFO_ARRAY(20)	/* of nothing that FIFO needs */

/* KVM looks for control blocks and words at an alias, in a memslot per page. */
static struct fifo *new_alias(enum xen_mode mode)
{
	struct fifo *f = new_2level(2, mode);
	int i;

	for (i = 0; i < 2; i++) {
		set_alias(f, CONTROL_PAGE(i), true);
		set_alias(f, XEN_FIFO_ARRAY(i), true);
		xen_vcpu_set(f->x, i, EVTCHN_CONTROL, gpa, ALIAS(XEN_FIFO_CONTROL(i)));
		TEST_ASSERT_EQ(xen_fifo_try_array(f->x, i, ALIAS(XEN_FIFO_ARRAY(i)) >> 12), 0);
	}
	TEST_ASSERT_EQ(xen_fifo_try_abi(f->x, KVM_XEN_EVTCHN_ABI_FIFO, 0), 0);
	return f;
}

/* shared_info is away: an event is deferred in 2-level mode; or the VMM says that one was. */
static void defer_2level(struct fifo *f, u32 port, enum sender by)
{
	if (by == BY_VMM) {
		TEST_ASSERT_EQ(try_set_deferred(f->x, 0, port, XEN_2LEVEL, 0), 0);
		return;
	}
	bind(f, port, 0, XEN_2LEVEL);
	set_alias(f, OTHER_PAGE, true);
	xen_set(f->x, SHARED_INFO, shared_info.gfn, ALIAS(OTHER_PAGE) >> 12);
	set_alias(f, OTHER_PAGE, false);
	send_by(f, port, by);
}

/*
 * The vCPU has its turn between FIFO and its control block, or the VMM looks: the event waits
 * for the block; and for that of the vCPU that it is bound to, if that is said.
 */
static void carry_early(enum sender by, bool look, bool bound)
{
	struct fifo *f = new_2level(2, XEN_64);
	int n = bound, q = bound ? 9 : DEFAULT;
	struct xen_vm *x = f->x;

	defer_2level(f, 5, by);
	if (bound)
		TEST_ASSERT_EQ(xen_try_set_port(x, 5, STATUS_IPI, 1, 9), 0);
	TEST_ASSERT_EQ(xen_fifo_try_abi(x, KVM_XEN_EVTCHN_ABI_FIFO, 0), 0);
	TEST_ASSERT_EQ(xen_fifo_try_array(x, 0, XEN_FIFO_ARRAY(0) >> 12), 0);
	if (look)
		TEST_ASSERT_EQ(get_deferred(x, 0, 0).u.deferred.port, bound ? 0 : 5);
	else
		expect_quiet(f, 0);
	TEST_ASSERT_EQ(get_deferred(x, n, 0).u.deferred.port, 5);
	if (bound)
		xen_vcpu_set(x, 0, EVTCHN_CONTROL, gpa, XEN_FIFO_CONTROL(0));
	TEST_ASSERT_EQ(word(f, 5), 0);
	xen_vcpu_set(x, n, EVTCHN_CONTROL, gpa, XEN_FIFO_CONTROL(n));
	TEST_ASSERT_EQ(word(f, 5), P | L);
	TEST_ASSERT_EQ(head(f, n, q), 5);
	TEST_ASSERT_EQ(upcalls(f, n), 1);
	EXPECT_EVENTS(f, n, 5);
	free_fifo(f);
}

static void test_carry_early(void)
{
	enum sender by;

	for (by = BY_VMM; by <= BY_IRQFD; by++) {
		carry_early(by, false, false);
		carry_early(by, true, false);
	}
	carry_early(BY_GUEST, true, false);
}

static void test_carry_early_bound(void)
{
	enum sender by;

	for (by = BY_VMM; by <= BY_IRQFD; by++) {
		carry_early(by, false, true);
		carry_early(by, true, true);
	}
	carry_early(BY_GUEST, false, true);
}

/* vCPU 0 finds these in any order. */
static void expect_all(struct fifo *f, const u32 *ports, int nr)
{
	struct seen s = consume(f, 0);
	int i, j;

	for (i = 0; i < nr; i++) {
		for (j = 0; j < s.nr && s.port[j] != ports[i]; j++)
			;
		TEST_ASSERT(j < s.nr, "port %u is lost, %d events", ports[i], s.nr);
		TEST_ASSERT_EQ(word(f, ports[i]), 0);
	}
	TEST_ASSERT_EQ(s.nr, nr);
}

static const u32 away_ports[] = { 5, 1030, 9, 1040, 12, 1035 };

/* Events of all senders while @page is away; it comes back, and so do they. */
static void away(u64 page, enum xen_mode mode)
{
	struct fifo *f = new_alias(mode);
	int i, round;

	for (i = 0; i < 6; i++)
		bind(f, away_ports[i], 0, XEN_2LEVEL);
	for (round = 0; round < 8; round++) {
		/* A tail in one page or the other, or two that are linked already. */
		for (i = 0; i < round % 4; i++)
			send_by(f, away_ports[i], BY_VMM);
		set_alias(f, page, false);
		for (i = 0; i < 6; i++)
			send_by(f, away_ports[i], (round + i) % NR_SENDERS);
		set_alias(f, page, true);
		upcalls(f, 0);
		upcalls(f, 1);
		TEST_ASSERT_EQ(xen_flag(f->x, 0), 1);
		TEST_ASSERT_EQ(get_deferred(f->x, 0, 0).u.deferred.port, 0);
		expect_all(f, away_ports, 6);
		expect_quiet(f, 0);
	}
	free_fifo(f);
}

static void test_array_away(void)
{
	away(XEN_FIFO_ARRAY(0), XEN_64);
	away(XEN_FIFO_ARRAY(1), XEN_64);
	away(XEN_FIFO_ARRAY(1), XEN_32);
}

static void test_control_away(void)
{
	away(CONTROL_PAGE(0), XEN_64);
	away(CONTROL_PAGE(0), XEN_32);
}

/* While it is away, the guest sees nothing, and the VMM can save what is kept. */
static void test_away_saved(void)
{
	struct fifo *f = new_alias(XEN_64);
	struct kvm_xen_vcpu_attr attr;
	int i;

	for (i = 0; i < 6; i++)
		bind(f, away_ports[i], 0, i);
	set_alias(f, XEN_FIFO_ARRAY(0), false);
	for (i = 0; i < 6; i++)
		send_by(f, away_ports[i], i % 2 ? BY_VMM : BY_IRQFD);
	upcalls(f, 0);
	for (i = 0; i < 6; i += 2) {
		attr = get_deferred(f->x, 0, away_ports[i]);
		TEST_ASSERT_EQ(attr.u.deferred.port, away_ports[i]);
		TEST_ASSERT_EQ(attr.u.deferred.priority, i);
		TEST_ASSERT_EQ(word(f, away_ports[i]), 0);
	}
	/* Those whose page is there do not wait for the others'. */
	TEST_ASSERT_EQ(get_deferred(f->x, 0, 13).u.deferred.port, 0);
	EXPECT_EVENTS(f, 0, 1030, 1040, 1035);
	set_alias(f, XEN_FIFO_ARRAY(0), true);
	upcalls(f, 0);
	EXPECT_EVENTS(f, 0, 5, 9, 12);
	free_fifo(f);
}

/* Those that the guest has seen the memory of: as if paged out. */
static void drop(struct fifo *f, u64 page)
{
	/* Where there is no swap space, MADV_PAGEOUT does nothing. */
	madvise(xen_hva(f->x, page), 0x1000, MADV_PAGEOUT);
	TEST_ASSERT(!madvise(xen_hva(f->x, page), 0x1000, MADV_DONTNEED), "madvise");
}

/* Page @page out between raises of irqfds; the vCPU is stopped, or in HLT. */
static void page_out(u64 page, bool halted)
{
	struct fifo *f = new_2level(1, XEN_64);
	int i, round;

	xen_fifo_enter(f->x, 2);
	for (i = 0; i < 6; i++)
		bind(f, away_ports[i], 0, XEN_2LEVEL);
	for (round = 0; round < 6; round++) {
		if (halted)
			halt(f, 0);
		for (i = 0; i < 6; i++) {
			if (i == round)
				drop(f, page);
			send_by(f, away_ports[i], BY_IRQFD);
		}
		if (halted)
			halt_ends(f, 0);
		xen_window(f->x, 0);
		TEST_ASSERT_EQ(xen_count(f->x, 0, XEN_LAPIC_VECTOR(0)), round + 1);
		expect_events(f, 0, away_ports, 6);
	}
	TEST_ASSERT(stat_of(f, 0, "xen_events_deferred"), "nothing was out");
	free_fifo(f);
}

static void test_page_out_control(void)
{
	page_out(CONTROL_PAGE(0), false);
	page_out(CONTROL_PAGE(0), true);
}

static void test_page_out_array(void)
{
	page_out(XEN_FIFO_ARRAY(0), false);
	page_out(XEN_FIFO_ARRAY(0), true);
	page_out(XEN_FIFO_ARRAY(1), false);
	page_out(XEN_FIFO_ARRAY(1), true);
}

/* Later events of other senders, which could fault it in, go behind those that wait. */
static void test_page_out_mixed(void)
{
	struct fifo *f = new_2level(2, XEN_64);
	int i, round;

	xen_fifo_enter(f->x, 2);
	for (i = 0; i < 6; i++)
		bind(f, away_ports[i], 0, XEN_2LEVEL);
	for (round = 0; round < 16; round++) {
		drop(f, round & 1 ? CONTROL_PAGE(0) : XEN_FIFO_ARRAY(0));
		if (round & 2)
			drop(f, XEN_FIFO_ARRAY(1));
		for (i = 0; i < 6; i++)
			send_by(f, away_ports[i], i % 3 ? (round + i) % NR_SENDERS : BY_IRQFD);
		TEST_ASSERT_EQ(upcalls(f, 0), 1);
		expect_events(f, 0, away_ports, 6);
	}
	free_fifo(f);
}

/*
 * Without access for a while, but with no new memslots: each turn of the vCPU's run loop
 * tries, and KVM_RUN does before the guest goes on.
 */
static void no_access(u64 page)
{
	struct fifo *f = new_fifo(XEN_64);
	void *hva = xen_hva(f->x, page);
	int round;

	bind(f, 5, 0, XEN_2LEVEL);
	bind(f, 9, 0, XEN_2LEVEL);
	for (round = 0; round < 3; round++) {
		TEST_ASSERT(!mprotect(hva, 0x1000, PROT_NONE), "mprotect");
		if (round)
			send_by(f, 5, BY_IRQFD);
		if (round != 1)
			send_by(f, 9, BY_VMM);
		TEST_ASSERT_EQ(upcalls(f, 0), 0);
		TEST_ASSERT_EQ(upcalls(f, 1), 0);
		TEST_ASSERT_EQ(xen_flag(f->x, 0), 0);
		TEST_ASSERT(!mprotect(hva, 0x1000, PROT_READ | PROT_WRITE), "mprotect");
		TEST_ASSERT_EQ(word(f, 5), 0);
		TEST_ASSERT_EQ(word(f, 9), 0);
		TEST_ASSERT_EQ(upcalls(f, 0), 1);
		expect_all(f, round == 1 ? (u32[]) { 5 } : (u32[]) { 9, 5 }, round ? round : 1);
	}
	free_fifo(f);
}

static void test_no_access_array(void)
{
	no_access(XEN_FIFO_ARRAY(0));
}

static void test_no_access_control(void)
{
	no_access(CONTROL_PAGE(0));
}

/* A raise that maps the control block, and is tried again, is not merged with itself. */
static void test_poll_retried(void)
{
	struct fifo *f = new_fifo(XEN_64);
	enum sender by;

	bind(f, 5, 0, XEN_2LEVEL);
	for (by = 0; by < NR_SENDERS; by++) {
		if (by == BY_OTHER_VCPU)	/* which polls */
			continue;
		/* Any new memslots.  The poll maps the array, but not the control block. */
		set_alias(f, OTHER_PAGE, true);
		set_alias(f, OTHER_PAGE, false);
		poll_unmasked(f, 5, by, 1);
	}
	free_fifo(f);
}

/* Who cannot see whether the port is pending must not sleep; who has to map it, can. */
static void test_poll_away(void)
{
	struct fifo *f = new_alias(XEN_64);

	bind(f, 5, 0, XEN_2LEVEL);
	set_alias(f, XEN_FIFO_ARRAY(0), false);
	poll_start(f, 1, 5, 0);
	poll_returns(f, 1);
	set_alias(f, XEN_FIFO_ARRAY(0), true);
	drop(f, XEN_FIFO_ARRAY(0));
	poll_unmasked(f, 5, BY_VMM, 1);
	put_word(f, 5, P | M);
	drop(f, XEN_FIFO_ARRAY(0));
	poll_start(f, 1, 5, 0);
	poll_returns(f, 1);
	TEST_ASSERT_EQ(word(f, 5), P | M);
	free_fifo(f);
}

/* The page of the word is out: mapped, or left to the VMM. */
static void test_unmask_away(void)
{
	struct fifo *f = new_alias(XEN_64);
	u32 round;

	bind(f, 12, 0, XEN_2LEVEL);
	for (round = 0; round < 3; round++) {
		put_word(f, 12, M);
		send_by(f, 12, round);
		TEST_ASSERT_EQ(word(f, 12), P | M);
		if (round == 1) {
			set_alias(f, XEN_FIFO_ARRAY(0), false);
			xen_hcall_exits(f->x, 0, HCALL_EVTCHN, EVTCHNOP_UNMASK,
					put_arg(f, 0, 12));
			TEST_ASSERT_EQ(word(f, 12), P | M);
			set_alias(f, XEN_FIFO_ARRAY(0), true);
		} else {
			drop(f, XEN_FIFO_ARRAY(0));
		}
		TEST_ASSERT_EQ(guest_unmask(f, 0, 12), 0);
		TEST_ASSERT_EQ(word(f, 12), P | L);
		TEST_ASSERT_EQ(upcalls(f, 0), 1);
		EXPECT_EVENTS(f, 0, 12);
	}
	free_fifo(f);
}

/* vCPU 0's vcpu_info is in a page of its own, at its alias. */
static struct fifo *new_info(void)
{
	struct fifo *f = new_alias(XEN_64);

	set_alias(f, OTHER_PAGE, true);
	xen_vcpu_set(f->x, 0, VCPU_INFO, gpa, ALIAS(OTHER_PAGE));
	xen_put_vcpu_info(f->x, 0, OTHER_PAGE);
	f->consumer[0].flag = xen_hva(f->x, OTHER_PAGE);
	bind(f, 5, 0, XEN_2LEVEL);
	upcalls(f, 0);
	return f;
}

/* vcpu_info is away: the events are linked, the upcall is to come. */
static void test_vcpu_info_away(void)
{
	struct fifo *f = new_info();
	struct xen_vm *x = f->x;

	set_alias(f, OTHER_PAGE, false);
	send_by(f, 5, BY_IRQFD);
	upcalls(f, 0);
	TEST_ASSERT_EQ(word(f, 5), P | L);
	TEST_ASSERT_EQ(xen_flag(x, 0), 0);
	TEST_ASSERT_EQ(get_deferred(x, 0, 0).u.deferred.pending_sel, 1);
	TEST_ASSERT_EQ(get_deferred(x, 0, 0).u.deferred.port, 0);
	set_alias(f, OTHER_PAGE, true);
	xen_window(x, 0);
	TEST_ASSERT_EQ(xen_flag(x, 0), 1);
	TEST_ASSERT_EQ(xen_count(x, 0, XEN_LAPIC_VECTOR(0)), 1);
	EXPECT_EVENTS(f, 0, 5);
	free_fifo(f);
}

/* The same while the vCPU sleeps: it maps what is paged out, or waits for the memslot. */
static void vcpu_info_halted(enum sender by, bool paged_out)
{
	struct fifo *f = new_info();

	halt(f, 0);
	if (paged_out)
		drop(f, OTHER_PAGE);
	else
		set_alias(f, OTHER_PAGE, false);
	send_by(f, 5, by);
	if (!paged_out) {
		TEST_ASSERT(xen_sleeps(f->x, 0, QUIET_MS), "woken too early");
		TEST_ASSERT_EQ(xen_flag(f->x, 0), 0);
		set_alias(f, OTHER_PAGE, true);
	}
	halt_ends(f, 0);
	TEST_ASSERT(stat_of(f, 0, "xen_events_deferred"), "nothing was out");
	TEST_ASSERT_EQ(xen_flag(f->x, 0), 1);
	TEST_ASSERT_EQ(xen_count(f->x, 0, XEN_LAPIC_VECTOR(0)), 1);
	EXPECT_EVENTS(f, 0, 5);
	free_fifo(f);
}

static void test_vcpu_info_halted(void)
{
	vcpu_info_halted(BY_IRQFD, true);
	vcpu_info_halted(BY_IRQFD, false);
	vcpu_info_halted(BY_VMM, false);
	vcpu_info_halted(BY_OTHER_VCPU, false);
}

/* ---- saved and restored ------------------------------------------------- */

struct saved {
	enum xen_mode mode;
	u64 control[2];
	u64 array[XEN_FIFO_NR_PAGES];
	u32 tails[2][XEN_FIFO_NR_QUEUES];
	int nr_deferred[2];
	struct kvm_xen_vcpu_attr deferred[2][8];
	struct xen_fifo_consumer consumer[2];	/* in the guest's memory, if it were one */
	u8 shinfo[0x1000];
	u8 memory[(XEN_MAX_VCPUS + 3) * 0x1000];
};

static void save(struct fifo *f, struct saved *s)
{
	struct kvm_xen_vcpu_attr attr;
	struct xen_vm *x = f->x;
	u32 port;
	int i;

	s->mode = x->state[0].mode;
	TEST_ASSERT_EQ(get_abi(x), KVM_XEN_EVTCHN_ABI_FIFO);
	for (i = 0; i < 2; i++) {
		s->nr_deferred[i] = 0;
		for (port = 0; ; port = attr.u.deferred.port + 1) {
			attr = get_deferred(x, i, port);
			if (!attr.u.deferred.port && !attr.u.deferred.pending_sel)
				break;
			s->deferred[i][s->nr_deferred[i]++] = attr;
			if (!attr.u.deferred.port)
				break;
		}
		s->control[i] = xen_vcpu_get(x, i, EVTCHN_CONTROL, gpa);
		xen_fifo_tails(x, i, s->tails[i]);
		s->consumer[i] = f->consumer[i];
	}
	for (i = 0; i < XEN_FIFO_NR_PAGES; i++)
		s->array[i] = array_gfn(x, i);
	memcpy(s->shinfo, x->shinfo, sizeof(s->shinfo));
	memcpy(s->memory, xen_hva(x, XEN_FIFO_BASE), sizeof(s->memory));
}

static void restore_one(struct fifo *f, struct saved *s, char what)
{
	int i, j;

	switch (what) {
	case 'F':
		TEST_ASSERT_EQ(xen_fifo_try_abi(f->x, KVM_XEN_EVTCHN_ABI_FIFO, 0), 0);
		break;
	case 'A':
		for (i = 0; i < XEN_FIFO_NR_PAGES; i++)
			if (s->array[i] != KVM_XEN_INVALID_GFN)
				TEST_ASSERT_EQ(xen_fifo_try_array(f->x, i, s->array[i]), 0);
		break;
	case 'C':
		for (i = 0; i < 2; i++)
			xen_vcpu_set(f->x, i, EVTCHN_CONTROL, gpa, s->control[i]);
		break;
	case 'T':
		for (i = 0; i < 2; i++)
			TEST_ASSERT_EQ(try_set_tails(f->x, i, s->tails[i]), 0);
		break;
	case 'D':
		for (i = 0; i < 2; i++)
			for (j = 0; j < s->nr_deferred[i]; j++)
				vcpu_ioctl(f->x->vcpu[i], KVM_XEN_VCPU_SET_ATTR,
					   &s->deferred[i][j]);
		break;
	case 'S':
		xen_setup(f->x, XEN_SL & ~XEN_CFG);
		break;
	default:
		TEST_FAIL("'%c' in an order", what);
	}
}

static struct fifo *restore(struct saved *s, const char *order)
{
	struct fifo *f = calloc(1, sizeof(*f));
	int i;

	f->x = xen_vm_new(2, s->mode, XEN_CFG | XEN_ID);
	f->x->long_mode = s->mode == XEN_64;
	xen_fifo_opt_in(f->x);
	xen_fifo_add_memory(f->x);
	memcpy(f->x->shinfo, s->shinfo, sizeof(s->shinfo));
	memcpy(xen_hva(f->x, XEN_FIFO_BASE), s->memory, sizeof(s->memory));
	for (; *order; order++)
		restore_one(f, s, *order);
	for (i = 0; i < 2; i++) {
		setup_vcpu(f, i);
		memcpy(f->consumer[i].next, s->consumer[i].next, sizeof(s->consumer[i].next));
	}
	return f;
}

/*
 * vCPU 0 has taken ready and the first of three events, vCPU 1 nothing.  One event is kept
 * for a page that is not there, and one, moved to another queue, is still on the old one.
 */
static void make_saved(struct saved *s, enum xen_mode mode)
{
	struct fifo *f = new_fifo(mode);

	bind(f, 5, 0, XEN_2LEVEL);
	bind(f, 9, 0, XEN_2LEVEL);
	bind(f, 12, 0, XEN_2LEVEL);
	bind(f, 20, 1, 3);
	bind(f, 21, 1, 3);
	bind(f, 1030, 0, XEN_2LEVEL);
	bind(f, 2050, 1, 9);
	send(f, 5);
	send(f, 9);
	send(f, 12);
	send(f, 20);
	send(f, 21);
	send(f, 1030);
	send(f, 2050);
	bind(f, 12, 1, 3);
	upcalls(f, 0);
	take(f, 0);
	TEST_ASSERT(dequeue(f, 0, DEFAULT, 5), "the last one");
	handle(f, 5);
	save(f, s);
	TEST_ASSERT_EQ(s->nr_deferred[0], 1);
	TEST_ASSERT_EQ(s->nr_deferred[1], 1);
	TEST_ASSERT_EQ(s->tails[0][DEFAULT], 12);
	TEST_ASSERT_EQ(s->tails[1][3], 21);
	free_fifo(f);
}

static void bind_again(struct fifo *f)
{
	bind(f, 5, 0, XEN_2LEVEL);
	bind(f, 9, 0, XEN_2LEVEL);
	bind(f, 12, 1, 3);
	bind(f, 20, 1, 3);
	bind(f, 21, 1, 3);
	bind(f, 1030, 0, XEN_2LEVEL);
	bind(f, 2050, 1, 9);
}

/* Go on where the old VM stopped: more events, a page more, and consume it all. */
static void check_restored(struct saved *s, const char *order)
{
	struct fifo *f = restore(s, order);
	struct seen seen = { .words = xen_fifo_word(f->x, 0) };
	u32 bits = BIT(DEFAULT), port;

	ksft_print_msg("order %s\n", order);
	bind_again(f);
	expect_events(f, 0, NULL, 0);
	TEST_ASSERT_EQ(upcalls(f, 0), 0);
	send(f, 5);
	TEST_ASSERT_EQ(word(f, 12), P | L | 5);
	TEST_ASSERT_EQ(head(f, 0, DEFAULT), 5);
	TEST_ASSERT_EQ(ready(f, 0), 0);
	/* Port 12 is on its old queue yet. */
	send(f, 12);
	TEST_ASSERT_EQ(word(f, 12), P | L | 5);
	while (bits) {
		port = xen_fifo_dequeue(&f->consumer[0], DEFAULT, &bits);
		note(&seen, port, DEFAULT);
	}
	TEST_ASSERT(seen.nr == 3 && seen.port[0] == 9 && seen.port[1] == 12 && seen.port[2] == 5,
		    "%d events: %u %u %u", seen.nr, seen.port[0], seen.port[1], seen.port[2]);
	send(f, 12);
	TEST_ASSERT_EQ(tail(f, 1, 3), 12);
	TEST_ASSERT_EQ(xen_flag(f->x, 1), 1);
	EXPECT_EVENTS(f, 1, 20, 21, 12);

	expect_quiet(f, 0);
	TEST_ASSERT_EQ(xen_fifo_try_array(f->x, 1, XEN_FIFO_ARRAY(1) >> 12), 0);
	TEST_ASSERT_EQ(xen_fifo_try_array(f->x, 2, XEN_FIFO_ARRAY(2) >> 12), 0);
	TEST_ASSERT_EQ(upcalls(f, 0), 1);
	EXPECT_EVENTS(f, 0, 1030);
	TEST_ASSERT_EQ(head(f, 1, 9), 2050);
	EXPECT_EVENTS(f, 1, 2050);
	free_fifo(f);
}

/* The next permutation of @order; false after the last one. */
static bool next_order(char *order)
{
	int len = strlen(order), i, j;
	char c;

	for (i = len - 2; i >= 0 && order[i] >= order[i + 1]; i--)
		;
	if (i < 0)
		return false;
	for (j = len - 1; order[j] <= order[i]; j--)
		;
	c = order[i], order[i] = order[j], order[j] = c;
	for (i++, j = len - 1; i < j; i++, j--)
		c = order[i], order[i] = order[j], order[j] = c;
	return true;
}

/* Some of the orders that there are; events that are kept have to come after the tails. */
static bool some_order(char *order)
{
	/* A prime, to see each step at each place in a reasonable time. */
	int i = 41;

	while (next_order(order))
		if (strchr(order, 'D') > strchr(order, 'T') && !--i)
			return true;
	return false;
}

static void test_restore(void)
{
	static struct saved s;
	char order[] = "ACTDFS";

	make_saved(&s, XEN_64);
	do {
		check_restored(&s, order);
	} while (some_order(order));
}

static void test_restore_32(void)
{
	static struct saved s;

	make_saved(&s, XEN_32);
	check_restored(&s, "SFACTD");
	check_restored(&s, "TDAFSC");
}

/* Saved while the memory of an array page is away; in the new VM it is there. */
static void make_saved_kept(struct saved *s)
{
	struct fifo *f = new_alias(XEN_64);
	int i;

	for (i = 0; i < 6; i++)
		bind(f, away_ports[i], 0, 4);
	send(f, 5);
	send(f, 1030);
	set_alias(f, XEN_FIFO_ARRAY(1), false);
	send_by(f, 1040, BY_IRQFD);
	send_by(f, 9, BY_IRQFD);
	upcalls(f, 0);
	save(f, s);
	TEST_ASSERT(s->nr_deferred[0] >= 1, "nothing is kept");
	for (i = 0; i < 2; i++) {
		s->control[i] = XEN_FIFO_CONTROL(i);
		s->array[i] = XEN_FIFO_ARRAY(i) >> 12;
	}
	free_fifo(f);
}

static void test_restore_kept(void)
{
	static struct saved s;
	char order[] = "ACTDFS";
	struct fifo *f;

	make_saved_kept(&s);
	do {
		f = restore(&s, order);
		ksft_print_msg("order %s\n", order);
		xen_window(f->x, 0);
		TEST_ASSERT_EQ(xen_flag(f->x, 0), 1);
		TEST_ASSERT_EQ(get_deferred(f->x, 0, 0).u.deferred.port, 0);
		expect_all(f, (u32[]) { 5, 1030, 1040, 9 }, 4);
		free_fifo(f);
	} while (some_order(order));
}

static const struct xen_case cases[] = {
	{ "FI10 DE20: E1, first event of an empty queue", test_example1, FIFO },
	{ "FI11: E2, append, then drain", test_example2, FIFO },
	{ "FI12 XC4: E3, stale tail", test_example3, FIFO },
	{ "FI13 FI27: E4, masked, and unmasked by hypercall", test_example4, UNMASK },
	{ "FI14 XC4: E5, priority changes while queued", test_example5, FIFO },
	{ "FI15 XC4: E6, vCPU changes behind an old tail", test_example6, FIFO },
	{ "FI16: E8, raised between dequeue and clear", test_example8, FIFO },
	{ "FI42: E1 to E6 and E8, 32-bit", test_examples_32, UNMASK },
	{ "FI10: with the VM's vector", test_vector, FIFO },
	{ "FI22 XC5: E9, event before its array page", test_early_masked, FIFO },
	{ "FI23 XC5: event before its array page, unmasked", test_early_unmasked, FIFO },
	{ "FI22 FI50: several of them, for several pages", test_early_order, FIFO },
	{ "FI50 FI48: kept twice, for two vCPUs", test_kept_twice, FIFO },
	{ "FI24 XC5: E10, from 2-level to FIFO mode", test_example10, FIFO },
	{ "FI24: all ports of the old mode, for whom they are bound to", test_carry, FIFO },
	{ "FI24: all ports of the old mode, for whom they are bound to, 32-bit", test_carry_32,
	  FIFO },
	{ "FI24: with nothing carried over", test_no_carry, FIFO },
	{ "FI24: event deferred in 2-level mode", test_carry_deferred, FIFO },
	{ "FI24: event deferred in 2-level mode, the vCPU sleeps", test_carry_deferred_halted,
	  FIFO },
	{ "FI24 FI21: event deferred in 2-level mode, control block last", test_carry_early, FIFO },
	{ "FI24 FI50: event deferred in 2-level mode, bound elsewhere", test_carry_early_bound,
	  FIFO },
	{ "FI17: 16 priorities", test_priorities, FIFO },
	{ "FI18: order of sends", test_order, FIFO },
	{ "FI19: event of another vCPU", test_other_vcpu, FIFO },
	{ "FI20 FI21 XSA107 XC3 XC7: vCPU without control block", test_no_control, FIFO },
	{ "FI20 FI17: another control block, 16 priorities", test_new_control, FIFO },
	{ "FI21 FI48: control block last", test_control_last, FIFO },
	{ "X10 XSA107: vCPU created in FIFO mode", test_late_vcpu, FIFO },
	{ "FI24: taken along before there is a vCPU", test_carry_before_vcpu, FIFO },
	{ "FI25: poll of a masked port of another vCPU", test_poll, FIFO },
	{ "FI25: poll of a masked port of another vCPU, 32-bit", test_poll_32, FIFO },
	{ "FI49: polls of ports that only FIFO has", test_poll_high, FIFO },
	{ "FI25 FI38: poll of a port that is linked already", test_poll_linked, FIFO },
	{ "FI25 FI43: poll, and new memslots", test_poll_retried, FIFO },
	{ "FI25 FI43: poll, array page away", test_poll_away, FIFO },
	{ "FI26: unmask of a pending port that is not linked", test_unmask_unlinked, UNMASK },
	{ "FI27: unmask of a linked port", test_unmask_linked, UNMASK },
	{ "FI26 FI50: unmask for another vCPU, and without a word", test_unmask_other, UNMASK },
	{ "FI26 FI43: unmask, array page away", test_unmask_away, UNMASK },
	{ "FI28: ready set already", test_ready_set, FIFO },
	{ "FI29: flag set already", test_flag_set, FIFO },
	{ "FI37: LINK fields preset", test_links, FIFO },
	{ "FI38: LINKED preset", test_linked_set, FIFO },
	{ "FI40: unused bits", test_unused_bits, FIFO },
	{ "FI39: BUSY preset", test_busy_set, FIFO },
	{ "FI37 FI38: LINKED cleared on a queue", test_linked_cleared, FIFO },
	{ "FI41: control block inside the array", test_control_in_array, FIFO },
	{ "X3: one control block for two vCPUs", test_shared_control, FIFO },
	{ "X4: array pages that are shared_info, vcpu_info or each other", test_shared_pages,
	  FIFO },
	{ "FI50 FI51: timer", test_timer, FIFO },
	{ "FI50 FI51: loopback and eventfd", test_loopback, FIFO },
	{ "FI31 FI50 FI51: interrupt line and ioctl", test_line, FIFO },
	{ "FI8 XC1: ends of array pages", test_ends, FIFO },
	{ "FI46 FI31: not without the VMM's consent", test_no_opt_in, FIFO },
	{ "FI46 FI31 FI50: opted in, but in 2-level mode", test_opted_in, FIFO },
	{ "FI46: consent cannot be taken back in FIFO mode", test_opt_out, FIFO },
	{ "FI46: consent, and what is set for FIFO", test_opt_out_prepared, FIFO },
	{ "FI1 FI7: entering FIFO mode", test_enter, FIFO },
	{ "FI2: place of the control block", test_control_place, FIFO },
	{ "FI2: control block at the end of a page", test_control_end, FIFO },
	{ "FI4 FI5 XSA188: failures to enter", test_failed_enter, FIFO },
	{ "FI6: control block set twice", test_control_twice, FIFO },
	{ "FI9: EVTCHN_ARRAY, errors", test_array_errors, FIFO },
	{ "FI8: 128 pages", test_all_pages, FIFO },
	{ "FI47: EVTCHN_TAILS", test_tails, FIFO },
	{ "FI48: EVTCHN_DEFERRED", test_deferred, FIFO },
	{ "FI47 FI48: kept, and prepared only", test_prepared, FIFO },
	{ "deferred for both ABIs", test_deferred_twice, FIFO },
	{ "RE2 RE11: reset", test_reset, FIFO },
	{ "RE2 FI47: reset of preparations", test_undo, FIFO },
	{ "RE2: reset takes upcalls with it", test_reset_upcall, FIFO },
	{ "FI43: array page away", test_array_away, FIFO },
	{ "FI43: control block away", test_control_away, FIFO },
	{ "FI43 FI48: array page away, what is kept", test_away_saved, FIFO },
	{ "FI43: vcpu_info away", test_vcpu_info_away, FIFO },
	{ "FI43: vcpu_info away, the vCPU sleeps", test_vcpu_info_halted, FIFO },
	{ "FI43: no access to an array page", test_no_access_array, FIFO },
	{ "FI43: no access to a control block", test_no_access_control, FIFO },
	{ "FI44: control block paged out", test_page_out_control, FIFO },
	{ "FI44: array page paged out", test_page_out_array, FIFO },
	{ "FI44: pages out, several senders", test_page_out_mixed, FIFO },
	{ "FI45 FI47 FI48: saved and restored", test_restore, FIFO },
	{ "FI45 FI47 FI48: saved and restored, 32-bit", test_restore_32, FIFO },
	{ "FI45 FI12 FI14: saved with a tail that the guest has taken", test_drained_tail, FIFO },
	{ "FI45 FI12 FI14: the same of another vCPU", test_drained_tail_other, FIFO },
	{ "FI45 FI47: sent behind a tail whose page is to come", test_tail_to_come, FIFO },
	{ "FI45 FI47: sent behind a tail that is set anew", test_tail_corrected, FIFO },
	{ "FI45 FI48: saved with events kept", test_restore_kept, FIFO },
};

int main(int argc, char *argv[])
{
	return xen_run_cases(argc, argv, cases, ARRAY_SIZE(cases));
}
