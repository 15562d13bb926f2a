// SPDX-License-Identifier: GPL-2.0-only
/*
 * Xen guests: a VMM and a guest that do anything.
 *
 * Two threads use all of the KVM_XEN_* ioctls, interrupt routes, the clock and memslots,
 * with values of which most are nearly right.  One or two vCPUs make hypercalls of the
 * same kind, with pointers to good and to bad places.  There is a new VM every second,
 * which ends with whatever is armed or under way.
 *
 * Everything is allowed, so few results are wrong: an errno that the documentation does
 * not name, a hypercall that ends in something else than a result or KVM_EXIT_XEN, a
 * thread that hangs.  Above all the kernel must not complain; see its log.  Linux 6.12
 * does so, in __kvm_gpc_refresh().
 *
 * -s SEED repeats what each thread does, though not how they interleave.  On failure,
 * the last calls of each thread are printed.
 */
#include <signal.h>
#include <sys/eventfd.h>

#include "apic.h"
#include "xen.h"

#define NR_IOCTL_THREADS	2
#define MAX_VCPUS		2
#define NR_THREADS		(NR_IOCTL_THREADS + MAX_VCPUS)
#define NR_IRQFDS		2
#define GSI			32

#define VM_MS			1000
#define KICK_MS			20	/* a slow machine needs some for a signal */
#define HANG_MS			xen_ms(30000)

#define HCALL_MEMORY		12
#define HCALL_MULTICALL		13

#define DOMID_SELF		0x7ff0

/* A page at XEN_HOLE, which comes and goes. */
#define HOLE_SLOT		(XEN_SLOT + 1)

struct call {
	const char *name;
	u64 args[4];
	int result;
	bool done;
};

struct thread {
	pthread_t thread;
	struct fuzz *fuzz;
	struct guest_random_state random;
	int nr;			/* of the vCPU; negative for others */
	bool joined;
	u32 nr_calls;
	struct call calls[16];	/* the last ones */
};

struct fuzz {
	struct xen_vm *x;
	bool stop;
	void *hole;
	int irqfd[NR_IRQFDS];
	struct thread threads[NR_THREADS];
};

/* The current one, for whoever fails. */
static struct fuzz *last_fuzz;

static void print_calls(void)
{
	struct thread *t;
	struct call *c;
	u32 i;

	if (!last_fuzz)
		return;
	for (t = last_fuzz->threads; t < last_fuzz->threads + NR_THREADS; t++) {
		i = t->nr_calls < ARRAY_SIZE(t->calls) ? 0 : t->nr_calls - ARRAY_SIZE(t->calls);
		for (; i < t->nr_calls; i++) {
			c = &t->calls[i % ARRAY_SIZE(t->calls)];
			printf("thread %zu call %u: %s %#lx %#lx %#lx %#lx ",
			       t - last_fuzz->threads, i, c->name, c->args[0], c->args[1],
			       c->args[2], c->args[3]);
			printf(c->done ? "= %d\n" : "...\n", c->result);
		}
	}
}

/* ---- random values ------------------------------------------------------ */

static u32 below(struct thread *t, u32 limit)
{
	return guest_random_u32(&t->random) % limit;
}

#define one_of(t, ...)							\
({									\
	const u64 __all[] = { __VA_ARGS__ };				\
									\
	__all[below(t, ARRAY_SIZE(__all))];				\
})

/*
 * Pages that may be overwritten, and the next ones, too, so neither code nor page tables;
 * and such that are nowhere.
 */
static u64 some_gpa(struct thread *t)
{
	u64 page = one_of(t, XEN_SHINFO, XEN_VINFO, XEN_TIME, XEN_RUNSTATE, XEN_SPARE, XEN_SPARE,
			  XEN_HOLE, XEN_HOLE, XEN_HOLE + 0x100000, BIT_ULL(46), BIT_ULL(51),
			  BIT_ULL(52), BIT_ULL(63), -0x1000ULL);

	switch (below(t, 8)) {
	case 0:
		return KVM_XEN_INVALID_GPA;
	case 1:
		return guest_random_u64(&t->random) | BIT_ULL(40);
	case 2:
		return page + below(t, 0x1000);
	case 3:
		return page + one_of(t, 1, 4, 0xfc0, 0xfc4, 0xfd0, 0xfe0, 0xfe1, 0xffc, 0xfff);
	default:
		return page + below(t, 0x40) * 0x40;
	}
}

static u64 some_hva(struct thread *t)
{
	u64 gpa = XEN_PAGE(below(t, 4)) + below(t, 0x40) * 0x40 * below(t, 2);

	switch (below(t, 8)) {
	case 0:
		return 0;
	case 1:
		return guest_random_u64(&t->random);
	case 2:
		return one_of(t, 1, 0x1000, BIT_ULL(47) - 0x1000, 0xffff888000000000ULL, -0x1000ULL,
			      (u64)print_calls & ~0xfffULL);
	case 3:
		return (u64)t->fuzz->hole + 0x1000;
	default:
		return (u64)xen_hva(t->fuzz->x, gpa);
	}
}

/* Pointers of the guest. */
static u64 some_gva(struct thread *t)
{
	switch (below(t, 8)) {
	case 0:
		return guest_random_u64(&t->random);
	case 1:
		return one_of(t, 0, BIT_ULL(47), BIT_ULL(47) - 2, -1ULL, 0xffff800000000000ULL,
			      0xffffffff, 0x100000000, XEN_HOLE - 2, XEN_HOLE, XEN_CODE, XEN_SHINFO,
			      APIC_DEFAULT_GPA, APIC_DEFAULT_GPA + 0xffe);
	case 2:
		return XEN_SPARE + below(t, 0x2000);
	default:
		return XEN_ARG(t->nr) + below(t, 0x20) * (below(t, 2) ? 64 : 4);
	}
}

static u32 some_port(struct thread *t)
{
	return below(t, 4) ? below(t, 8) :
	       one_of(t, 31, 32, 63, 64, 1023, 1024, 2048, 4095, 4096, XEN_FIFO_NR_PORTS - 1,
		      XEN_FIFO_NR_PORTS, BIT(31), -1, guest_random_u32(&t->random));
}

static u32 some_vcpu(struct thread *t)
{
	return below(t, 4) ? below(t, MAX_VCPUS + 1) : one_of(t, 4095, 4096, BIT(31), -1);
}

static u32 some_priority(struct thread *t)
{
	return below(t, 8) ? XEN_2LEVEL : below(t, 20);
}

static u64 some_time(struct thread *t)
{
	u64 now = xen_now(t->fuzz->x);

	switch (below(t, 4)) {
	case 0:
		return guest_random_u64(&t->random);
	case 1:
		return one_of(t, 0, 1, BIT_ULL(50), BIT_ULL(62), INT64_MAX, BIT_ULL(63), -1ULL);
	default:
		return now + below(t, 2 * NSEC_PER_MSEC);
	}
}

/* No vector that an exception has, which the handler would take it for. */
static u8 some_vector(struct thread *t)
{
	return below(t, 4) ? 32 + below(t, 224) : below(t, 16);
}

/* ---- calls -------------------------------------------------------------- */

static struct call *begin(struct thread *t, const char *name, u64 a, u64 b, u64 c, u64 d)
{
	struct call *call = &t->calls[t->nr_calls % ARRAY_SIZE(t->calls)];

	*call = (struct call) { .name = name, .args = { a, b, c, d } };
	t->nr_calls++;
	return call;
}

static void end(struct call *call, int result, const int *allowed)
{
	call->result = result;
	call->done = true;
	while (result && *allowed && *allowed != result)
		allowed++;
	TEST_ASSERT(!result || *allowed, "%s: undocumented error %d (%s)", call->name, result,
		    strerror(result));
}

#define ERRNOS(...)	((const int[]) { __VA_ARGS__, 0 })

/* Usually, what else there is to opt in to. */
static u32 some_more_flags(struct thread *t)
{
	u32 flags = KVM_XEN_HVM_CONFIG_MORE_HCALLS | KVM_XEN_HVM_CONFIG_EVTCHN_FIFO;

	return kvm_check_cap(KVM_CAP_XEN_HVM) & flags &
	       (below(t, 4) ? flags : guest_random_u32(&t->random));
}

static void fuzz_config(struct thread *t)
{
	struct kvm_xen_hvm_config config = {
		.flags = below(t, 4) ? KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL |
				       KVM_XEN_HVM_CONFIG_EVTCHN_SEND | some_more_flags(t) :
				       BIT(below(t, 10)) | BIT(below(t, 20)),
		.msr = below(t, 8) ? XEN_HCALL_MSR :
		       one_of(t, 0, 1, MSR_EFER, XEN_HCALL_MSR - 1, 0x4fffffff, 0x50000000),
	};
	struct call *call;

	if (!below(t, 4)) {
		config.flags &= ~KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL;
		config.blob_addr_32 = some_hva(t);
		config.blob_addr_64 = some_hva(t);
		config.blob_size_32 = below(t, 3);
		config.blob_size_64 = below(t, 256);
	}
	call = begin(t, "CONFIG", config.flags, config.msr, config.blob_addr_64,
		     config.blob_size_64);
	end(call, xen_errno(__vm_ioctl(t->fuzz->x->vm, KVM_XEN_HVM_CONFIG, &config)),
	    ERRNOS(EINVAL, EBUSY));
}

static void fill_evtchn(struct thread *t, struct kvm_xen_hvm_attr *attr)
{
	attr->u.evtchn.send_port = some_port(t);
	attr->u.evtchn.type = below(t, 8) ? one_of(t, EVTCHN_INTERDOMAIN, EVTCHN_IPI) : below(t, 8);
	attr->u.evtchn.flags = below(t, 8) ? one_of(t, 0, 0, 1, 2, 2, 4) : below(t, 16);
	attr->u.evtchn.deliver.port.port = below(t, 4) ? attr->u.evtchn.send_port : some_port(t);
	attr->u.evtchn.deliver.port.vcpu = some_vcpu(t);
	attr->u.evtchn.deliver.port.priority = some_priority(t);
	if (!below(t, 4)) {
		attr->u.evtchn.deliver.eventfd.port = 0;
		attr->u.evtchn.deliver.eventfd.fd = one_of(t, t->fuzz->irqfd[0], 0, -1, 9999);
	}
}

static void fill_port(struct thread *t, struct kvm_xen_hvm_attr *attr)
{
	attr->u.evtchn_port.port = some_port(t);
	attr->u.evtchn_port.type = below(t, 8);
	attr->u.evtchn_port.vcpu = some_vcpu(t);
	attr->u.evtchn_port.priority = some_priority(t);
	attr->u.evtchn_port.data[0] = guest_random_u32(&t->random);
}

static void fuzz_vm_attr(struct thread *t)
{
	struct kvm_xen_hvm_attr attr = {
		.type = below(t, 4) ? below(t, 8) :
			one_of(t, KVM_XEN_ATTR_TYPE_EVTCHN_ABI, KVM_XEN_ATTR_TYPE_EVTCHN_ARRAY,
			       KVM_XEN_ATTR_TYPE_EVTCHN_ARRAY, KVM_XEN_ATTR_TYPE_EVTCHN_PORT),
	};
	bool set = below(t, 4);
	struct call *call;

	switch (attr.type) {
	case KVM_XEN_ATTR_TYPE_SHARED_INFO:
		attr.u.shared_info.gfn = below(t, 2) ? XEN_SHINFO >> 12 : some_gpa(t) >> 12;
		if (!below(t, 4))
			attr.u.shared_info.gfn = KVM_XEN_INVALID_GFN;
		break;
	case KVM_XEN_ATTR_TYPE_SHARED_INFO_HVA:
		attr.u.shared_info.hva = some_hva(t);
		break;
	case KVM_XEN_ATTR_TYPE_UPCALL_VECTOR:
		attr.u.vector = some_vector(t);
		break;
	case KVM_XEN_ATTR_TYPE_EVTCHN:
		fill_evtchn(t, &attr);
		break;
	case KVM_XEN_ATTR_TYPE_EVTCHN_PORT:
		fill_port(t, &attr);
		break;
	case KVM_XEN_ATTR_TYPE_EVTCHN_ABI:
		attr.u.evtchn_abi.abi = below(t, 16) ? !!below(t, 4) : some_port(t);
		attr.u.evtchn_abi.flags = below(t, 16) ? below(t, 2) * attr.u.evtchn_abi.abi :
							 below(t, 4);
		break;
	case KVM_XEN_ATTR_TYPE_EVTCHN_ARRAY:
		attr.u.evtchn_array.index = below(t, 8) ? below(t, 5) :
					    one_of(t, XEN_FIFO_NR_PAGES - 1, XEN_FIFO_NR_PAGES, -1);
		attr.u.evtchn_array.gfn = some_gpa(t) >> 12;
		break;
	case KVM_XEN_ATTR_TYPE_LONG_MODE:
	case KVM_XEN_ATTR_TYPE_XEN_VERSION:
	case KVM_XEN_ATTR_TYPE_RUNSTATE_UPDATE_FLAG:
		attr.u.xen_version = below(t, 3);
		break;
	default:
		attr.type = one_of(t, 7, 8, 0x3f, 0x43, 0x7fff, 0xffff);
		break;
	}
	call = begin(t, set ? "HVM_SET_ATTR" : "HVM_GET_ATTR", attr.type, attr.u.pad[0],
		     attr.u.pad[1], attr.u.pad[2]);
	if (set)
		end(call, xen_errno(__vm_ioctl(t->fuzz->x->vm, KVM_XEN_HVM_SET_ATTR, &attr)),
		    ERRNOS(EFAULT, ENOENT, EINVAL, EBADF, EEXIST, ENOMEM, EOPNOTSUPP));
	else
		end(call, xen_errno(__vm_ioctl(t->fuzz->x->vm, KVM_XEN_HVM_GET_ATTR, &attr)),
		    ERRNOS(ENOENT, EINVAL, EOPNOTSUPP));
}

static void fill_runstate(struct thread *t, struct kvm_xen_vcpu_attr *attr)
{
	__u64 *time = &attr->u.runstate.time_running;
	int i;

	attr->u.runstate.state = below(t, 4) ? below(t, 4) : one_of(t, 4, -1ULL, BIT_ULL(32));
	for (i = 0; i < 4; i++) {
		time[i] = below(t, 2) ? below(t, 1000) : some_time(t);
		attr->u.runstate.state_entry_time += time[i];
	}
	attr->u.runstate.state_entry_time += !below(t, 8);
}

/* Those that Linux 6.12 does not have. */
static void fill_new_vcpu_attr(struct thread *t, struct kvm_xen_vcpu_attr *attr)
{
	int i;

	switch (attr->type) {
	case KVM_XEN_VCPU_ATTR_TYPE_EVTCHN_DEFERRED:
		attr->u.deferred.port = some_port(t);
		attr->u.deferred.priority = some_priority(t);
		attr->u.deferred.pending_sel = guest_random_u64(&t->random);
		break;
	case KVM_XEN_VCPU_ATTR_TYPE_EVTCHN_CONTROL:
		attr->u.gpa = below(t, 4) ? XEN_SPARE + 0x100 * below(t, 4) : some_gpa(t);
		break;
	case KVM_XEN_VCPU_ATTR_TYPE_EVTCHN_TAILS:
		for (i = 0; i < XEN_FIFO_NR_QUEUES; i++)
			attr->u.evtchn_tail[i] = below(t, 64) ? below(t, 5000) : some_port(t);
		break;
	case KVM_XEN_VCPU_ATTR_TYPE_PERIODIC_TIMER:
		attr->u.periodic_timer.period_ns = below(t, 4) ?
			NSEC_PER_MSEC - 1 + below(t, 2 * NSEC_PER_MSEC) : some_time(t);
		attr->u.periodic_timer.next_ns = some_time(t);
		break;
	default:
		attr->type = one_of(t, 9, 10, 11, 0x3f, 0x45, 0x7fff, 0xffff);
		break;
	}
}

static void fuzz_vcpu_attr(struct thread *t)
{
	struct kvm_xen_vcpu_attr attr = {
		.type = below(t, 4) ? below(t, 12) :
			one_of(t, KVM_XEN_VCPU_ATTR_TYPE_EVTCHN_DEFERRED,
			       KVM_XEN_VCPU_ATTR_TYPE_EVTCHN_CONTROL,
			       KVM_XEN_VCPU_ATTR_TYPE_EVTCHN_CONTROL,
			       KVM_XEN_VCPU_ATTR_TYPE_EVTCHN_TAILS,
			       KVM_XEN_VCPU_ATTR_TYPE_PERIODIC_TIMER,
			       KVM_XEN_VCPU_ATTR_TYPE_HYPERCALL_PAGE),
	};
	int n = below(t, t->fuzz->x->nr_vcpus);
	struct kvm_vcpu *vcpu = t->fuzz->x->vcpu[n];
	bool set = below(t, 4);
	struct call *call;

	switch (attr.type) {
	case KVM_XEN_VCPU_ATTR_TYPE_VCPU_INFO:
	case KVM_XEN_VCPU_ATTR_TYPE_VCPU_TIME_INFO:
	case KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_ADDR:
	case KVM_XEN_VCPU_ATTR_TYPE_HYPERCALL_PAGE:
		attr.u.gpa = some_gpa(t);
		break;
	case KVM_XEN_VCPU_ATTR_TYPE_VCPU_INFO_HVA:
		attr.u.hva = some_hva(t);
		break;
	case KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_CURRENT:
	case KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_DATA:
	case KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_ADJUST:
		fill_runstate(t, &attr);
		break;
	case KVM_XEN_VCPU_ATTR_TYPE_VCPU_ID:
		attr.u.vcpu_id = below(t, 4) ? XEN_VCPU_ID(n) : some_vcpu(t);
		break;
	case KVM_XEN_VCPU_ATTR_TYPE_TIMER:
		attr.u.timer.port = below(t, 4) ? XEN_TIMER_PORT(n) : some_port(t);
		attr.u.timer.priority = some_priority(t);
		attr.u.timer.expires_ns = some_time(t);
		break;
	case KVM_XEN_VCPU_ATTR_TYPE_UPCALL_VECTOR:
		attr.u.vector = some_vector(t);
		break;
	default:
		fill_new_vcpu_attr(t, &attr);
		break;
	}
	call = begin(t, set ? "VCPU_SET_ATTR" : "VCPU_GET_ATTR", attr.type, attr.u.pad[0],
		     attr.u.pad[1], n);
	if (set)
		end(call, xen_errno(__vcpu_ioctl(vcpu, KVM_XEN_VCPU_SET_ATTR, &attr)),
		    ERRNOS(EFAULT, ENOENT, EINVAL, ENXIO, EEXIST, ENOMEM, EOPNOTSUPP));
	else
		end(call, xen_errno(__vcpu_ioctl(vcpu, KVM_XEN_VCPU_GET_ATTR, &attr)),
		    ERRNOS(ENOENT, EINVAL, EOPNOTSUPP));
}

static void fuzz_send(struct thread *t)
{
	struct kvm_irq_routing_xen_evtchn event = {
		.port = some_port(t), .vcpu = some_vcpu(t), .priority = some_priority(t),
	};
	struct call *call = begin(t, "EVTCHN_SEND", event.port, event.vcpu, event.priority, 0);

	end(call, xen_errno(__vm_ioctl(t->fuzz->x->vm, KVM_XEN_HVM_EVTCHN_SEND, &event)),
	    ERRNOS(EINVAL, EFAULT));
}

static void fuzz_routing(struct thread *t)
{
	struct kvm_irq_routing *routing = kvm_gsi_routing_create();
	struct kvm_irq_routing_xen_evtchn *route;
	struct call *call;
	int i;

	routing->nr = below(t, NR_IRQFDS + 1);
	for (i = 0; i < routing->nr; i++) {
		routing->entries[i] = (struct kvm_irq_routing_entry) {
			.gsi = below(t, 16) ? GSI + i : guest_random_u32(&t->random),
			.type = KVM_IRQ_ROUTING_XEN_EVTCHN,
			.u.xen_evtchn = { some_port(t), some_vcpu(t), some_priority(t) },
		};
	}
	route = &routing->entries[0].u.xen_evtchn;
	call = begin(t, "SET_GSI_ROUTING", routing->nr, route->port, route->vcpu, route->priority);
	end(call, xen_errno(__vm_ioctl(t->fuzz->x->vm, KVM_SET_GSI_ROUTING, routing)),
	    ERRNOS(EINVAL));
	free(routing);
}

static void fuzz_irqfd(struct thread *t)
{
	int i = below(t, NR_IRQFDS);
	struct call *call = begin(t, "irqfd", i, 0, 0, 0);
	u64 one = 1;

	end(call, write(t->fuzz->irqfd[i], &one, sizeof(one)) < 0 ? errno : 0, ERRNOS(EAGAIN));
}

static void fuzz_clock(struct thread *t)
{
	struct kvm_clock_data clock = { .clock = some_time(t) };
	struct call *call = begin(t, "SET_CLOCK", clock.clock, 0, 0, 0);

	end(call, xen_errno(__vm_ioctl(t->fuzz->x->vm, KVM_SET_CLOCK, &clock)), ERRNOS(EINVAL));
}

static void fuzz_memory(struct thread *t)
{
	u64 size = below(t, 2) * 0x1000, page = XEN_PAGE(below(t, 5));
	struct call *call;
	int err;

	if (below(t, 4)) {
		call = begin(t, "MADV_DONTNEED", page, 0, 0, 0);
		err = xen_errno(madvise(xen_hva(t->fuzz->x, page), 0x1000, MADV_DONTNEED));
		end(call, err, ERRNOS(0));
	} else {
		call = begin(t, "memslot", size, 0, 0, 0);
		err = xen_errno(__vm_set_user_memory_region(t->fuzz->x->vm, HOLE_SLOT, 0, XEN_HOLE,
							    size, t->fuzz->hole));
		end(call, err, ERRNOS(EINVAL, EEXIST));
	}
}

static void *ioctl_thread(void *data)
{
	struct thread *t = data;

	while (!READ_ONCE(t->fuzz->stop)) {
		switch (below(t, 32)) {
		case 0:
			fuzz_config(t);
			break;
		case 1:
			fuzz_routing(t);
			break;
		case 2:
			fuzz_clock(t);
			break;
		case 3 ... 5:
			fuzz_memory(t);
			break;
		case 6 ... 13:
			fuzz_vm_attr(t);
			break;
		case 14 ... 21:
			fuzz_vcpu_attr(t);
			break;
		case 22 ... 26:
			fuzz_irqfd(t);
			break;
		default:
			fuzz_send(t);
			break;
		}
	}
	return NULL;
}

/* ---- the guest ---------------------------------------------------------- */

/*
 * What a hypercall may point to: ports, perhaps behind DOMID_SELF, and between them
 * struct sched_poll or a deadline or period.
 */
static void fill_args(struct thread *t)
{
	u32 *word = xen_hva(t->fuzz->x, XEN_ARG(t->nr)), i;

	for (i = 0; i < 0x1000 / 4; i++)
		word[i] = below(t, 4) ? some_port(t) : one_of(t, DOMID_SELF, NSEC_PER_MSEC, 0);
	for (i = 0; i < 0x800 / 4; i += 16)
		*(struct xen_poll64 *)(word + i) = (struct xen_poll64) {
			.ports = below(t, 2) ? some_gva(t) : some_time(t),
			.nr_ports = below(t, 130),
			.timeout = below(t, 2) ? some_time(t) : 0,
		};
}

/* Where a result may go: not to code, nor to what a guest without paging has elsewhere. */
static u64 some_output_gva(struct thread *t)
{
	return below(t, 2) ? XEN_SPARE + below(t, 0x1f00) :
	       one_of(t, BIT_ULL(47) - 2, -1ULL, XEN_HOLE - 2, XEN_HOLE, XEN_SHINFO,
		      APIC_DEFAULT_GPA, APIC_DEFAULT_GPA + 0xffe, XEN_ARG(t->nr));
}

static u64 some_command(struct thread *t)
{
	return below(t, 8) ? one_of(t, SCHEDOP_YIELD, SCHEDOP_BLOCK, SCHEDOP_POLL, EVTCHNOP_SEND,
				    EVTCHNOP_STATUS, EVTCHNOP_UNMASK, VCPUOP_GET_RUNSTATE,
				    VCPUOP_SET_PERIODIC, VCPUOP_STOP_PERIODIC,
				    VCPUOP_SET_SINGLESHOT, VCPUOP_STOP_SINGLESHOT) :
	       guest_random_u64(&t->random) >> below(t, 64);
}

static void fuzz_hypercall(struct thread *t)
{
	struct kvm_run *run = t->fuzz->x->vcpu[t->nr]->run;
	u64 args[6], nr;
	struct call *call;
	enum xen_stop stop;
	int i;

	if (!below(t, 16))
		fill_args(t);
	nr = below(t, 16) ? one_of(t, HCALL_MEMORY, HCALL_MULTICALL, HCALL_SET_TIMER,
				   HCALL_VERSION, HCALL_VCPU, HCALL_SCHED, HCALL_SCHED,
				   HCALL_EVTCHN, HCALL_EVTCHN) :
	     guest_random_u64(&t->random) >> below(t, 64);
	args[0] = nr == HCALL_SET_TIMER ? some_time(t) : some_command(t);
	for (i = 1; i < 6; i++)
		args[i] = some_gva(t);
	if (nr == HCALL_VCPU) {
		args[1] = below(t, 4) ? XEN_VCPU_ID(below(t, MAX_VCPUS)) : some_vcpu(t);
		if ((u32)args[0] == VCPUOP_GET_RUNSTATE)
			args[2] = some_output_gva(t);
	}
	if (nr == HCALL_EVTCHN && (u32)args[0] == EVTCHNOP_STATUS)
		args[1] = below(t, 2) ? some_output_gva(t) : XEN_ARG(t->nr) + below(t, 0x400) * 4;

	call = begin(t, "hypercall", nr, args[0], args[1], args[2]);
	xen_prepare_hcall(t->fuzz->x, t->nr, nr, args);
	stop = xen_run(t->fuzz->x, t->nr);
	TEST_ASSERT(stop == XEN_RETURNED || stop == XEN_EXITED || stop == XEN_SIGNALLED,
		    "hypercall %#lx %#lx %#lx: stop %d, exit %u", nr, args[0], args[1], stop,
		    run->exit_reason);
	if (stop == XEN_EXITED)
		run->xen.u.hcall.result = guest_random_u64(&t->random);
	end(call, 0, ERRNOS(0));
}

/* The page may be the VMM's, and that one missing: KVM_RUN fails. */
static void fuzz_wrmsr(struct thread *t)
{
	u64 data = one_of(t, XEN_HCALL_PAGE, XEN_SPARE, XEN_HOLE, BIT_ULL(51)) +
		   (below(t, 4) ? 0 : below(t, 0x1000));
	struct call *call = begin(t, "hypercall page", data, 0, 0, 0);
	struct xen_vm *x = t->fuzz->x;
	struct kvm_regs regs;
	enum xen_stop stop;

	xen_prepare(x, t->nr, STEP_WRMSR);
	vcpu_regs_get(x->vcpu[t->nr], &regs);
	regs.rcx = XEN_HCALL_MSR;
	regs.rax = (u32)data;
	regs.rdx = data >> 32;
	vcpu_regs_set(x->vcpu[t->nr], &regs);
	/* An exception that is due must not be left to the next step. */
	do {
		stop = xen_run(x, t->nr);
	} while (stop == XEN_SIGNALLED);
	end(call, stop == XEN_OTHER ? errno : 0, ERRNOS(EFAULT));
}

static void *vcpu_thread(void *data)
{
	struct thread *t = data;

	while (!READ_ONCE(t->fuzz->stop)) {
		if (!below(t, 64))
			xen_set_mode(t->fuzz->x, t->nr, one_of(t, XEN_64, XEN_COMPAT, XEN_32));
		if (below(t, 64))
			fuzz_hypercall(t);
		else
			fuzz_wrmsr(t);
	}
	return NULL;
}

/* ---- one VM after the other --------------------------------------------- */

static void start_thread(struct fuzz *f, int i, int nr, u32 seed, void *(*fn)(void *))
{
	struct thread *t = &f->threads[i];

	t->fuzz = f;
	t->nr = nr;
	t->random = new_guest_random_state(seed);
	TEST_ASSERT(!pthread_create(&t->thread, NULL, fn, t), "no thread");
}

/* Whoever polls for nothing has to be woken up, or he will be waited for by ioctls, too. */
static void kick_vcpus(struct fuzz *f)
{
	struct thread *t;

	for (t = f->threads; t < f->threads + NR_THREADS; t++)
		if (t->fuzz && t->nr >= 0 && !t->joined)
			pthread_kill(t->thread, SIGUSR1);
}

static void stop_thread(struct thread *t)
{
	u64 ms;

	for (ms = 0; pthread_tryjoin_np(t->thread, NULL); ms += KICK_MS) {
		TEST_ASSERT(ms < HANG_MS, "thread %zu hangs", t - t->fuzz->threads);
		kick_vcpus(t->fuzz);
		usleep(KICK_MS * 1000);
	}
	t->joined = true;
}

static void fuzz_vm(struct guest_random_state *random, u64 ms)
{
	static void *hole;
	u32 what = guest_random_u32(random);
	int nr_vcpus = 1 + what % MAX_VCPUS, i;
	struct fuzz *f = calloc(1, sizeof(*f));
	u32 nr_calls = 0;
	u64 end;

	if (!hole) {
		/* A page that cannot be written behind it. */
		hole = mmap(NULL, 0x2000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			    -1, 0);
		TEST_ASSERT(!mprotect(hole + 0x1000, 0x1000, PROT_READ), "mprotect");
	}
	f->hole = hole;
	f->x = xen_vm_new(nr_vcpus, XEN_64, what & (XEN_S | XEN_LV | XEN_ID | XEN_TM));
	last_fuzz = f;
	for (i = 0; i < NR_IRQFDS; i++) {
		struct kvm_irqfd irqfd = { .fd = eventfd(0, EFD_NONBLOCK), .gsi = GSI + i };

		vm_ioctl(f->x->vm, KVM_IRQFD, &irqfd);
		f->irqfd[i] = irqfd.fd;
	}
	for (i = 0; i < NR_IOCTL_THREADS; i++)
		start_thread(f, i, -1, guest_random_u32(random), ioctl_thread);
	for (i = 0; i < nr_vcpus; i++)
		start_thread(f, NR_IOCTL_THREADS + i, i, guest_random_u32(random), vcpu_thread);

	end = xen_real_ns(CLOCK_MONOTONIC) + ms * NSEC_PER_MSEC;
	while (xen_real_ns(CLOCK_MONOTONIC) < end ||
	       (!READ_ONCE(f->threads[0].nr_calls) &&
		xen_real_ns(CLOCK_MONOTONIC) < end + HANG_MS * NSEC_PER_MSEC)) {
		usleep(KICK_MS * 1000);
		kick_vcpus(f);
	}
	WRITE_ONCE(f->stop, true);
	for (i = 0; i < NR_IOCTL_THREADS + nr_vcpus; i++) {
		stop_thread(&f->threads[i]);
		nr_calls += f->threads[i].nr_calls;
	}
	TEST_ASSERT(nr_calls, "no calls");
	ksft_print_msg("%d vCPUs, %u calls\n", nr_vcpus, nr_calls);
	last_fuzz = NULL;
	xen_vm_free(f->x);
	for (i = 0; i < NR_IRQFDS; i++)
		close(f->irqfd[i]);
	free(f);
}

static void test_fuzz(void)
{
	struct guest_random_state random = new_guest_random_state(guest_random_seed);
	u64 end = xen_real_ns(CLOCK_MONOTONIC) + xen_case_ms() * NSEC_PER_MSEC;

	atexit(print_calls);
	do {
		fuzz_vm(&random, min_t(u64, VM_MS, xen_case_ms()));
	} while (xen_real_ns(CLOCK_MONOTONIC) < end);
}

static const struct xen_case cases[] = {
	{ "ioctls and hypercalls with any values", test_fuzz },
};

int main(int argc, char *argv[])
{
	xen_seconds = 10;
	return xen_run_cases(argc, argv, cases, ARRAY_SIZE(cases));
}
