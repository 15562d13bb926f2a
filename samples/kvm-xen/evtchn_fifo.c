// SPDX-License-Identifier: GPL-2.0
/*
 * The FIFO ABI. Every port has a word in pages that the guest provides, and events
 * are linked to queues, of which each vCPU has 16, one for each priority.
 *
 * The kernel does all of this. The VMM passes on what the guest says: where the control
 * block of each vCPU is, where the pages are, which priority a port has.
 */
#include <errno.h>
#include "vmm.h"

static bool in_force;
static u64 array_gfn[EVTCHN_FIFO_MAX_PAGES];
static u32 nr_pages;

bool evtchn_fifo_in_force(void)
{
	return in_force;
}

/* A port's event word, if the guest has provided the page. */
static u32 *event_word(struct vm *vm, u32 port)
{
	u32 page = port / EVTCHN_FIFO_WORDS_PER_PAGE;
	u32 *words;

	if (!in_force || page >= nr_pages)
		return NULL;
	words = gpa_to_hva(vm, array_gfn[page] * PAGE_SIZE, PAGE_SIZE);
	return words ? words + port % EVTCHN_FIFO_WORDS_PER_PAGE : NULL;
}

/* On a queue, maybe from an earlier life; such a port cannot be used again yet. */
bool evtchn_fifo_linked(struct vm *vm, u32 port)
{
	u32 *word = event_word(vm, port);

	return word && __atomic_load_n(word, __ATOMIC_SEQ_CST) & EVTCHN_FIFO_LINKED;
}

void evtchn_fifo_clear_pending(struct vm *vm, u32 port)
{
	u32 *word = event_word(vm, port);

	if (word)
		__atomic_fetch_and(word, ~EVTCHN_FIFO_PENDING, __ATOMIC_SEQ_CST);
}

static int set_abi(struct vm *vm, u32 abi, u32 flags)
{
	struct kvm_xen_hvm_attr attr = {
		.type = KVM_XEN_ATTR_TYPE_EVTCHN_ABI,
		.u.evtchn_abi = { .abi = abi, .flags = flags },
	};

	return vm_set_attr(vm, &attr);
}

/* Also forgets control blocks and pages, whether or not FIFO was in force. */
void evtchn_fifo_leave(struct vm *vm)
{
	u32 i;

	if (!vm->offer_fifo)
		return;
	set_abi(vm, KVM_XEN_EVTCHN_ABI_2LEVEL, 0);
	in_force = false;
	nr_pages = 0;
	for (i = 0; i < vm->nr_vcpus; i++)
		vm->vcpu[i].has_control = false;
}

/* The guest sees one of two errors, whatever the kernel says. */
static long guest_error(int error)
{
	return error == -ENOMEM ? -ENOMEM : -EINVAL;
}

/* The first of these calls is what switches the ABI; what is pending is carried over. */
long evtchn_fifo_init_control(struct vcpu *caller, union evtchn_op *op)
{
	struct vm *vm = caller->vm;
	struct vcpu *v = vcpu_find(vm, op->init_control.vcpu);
	u32 offset = op->init_control.offset;
	int ret;

	if (!vm->offer_fifo)
		return NOT_IMPLEMENTED;
	if (!v)
		return -ENOENT;
	if (offset > EVTCHN_FIFO_MAX_OFFSET || offset % 8 || v->has_control ||
	    op->init_control.gfn >= vm->mem_size / PAGE_SIZE)
		return -EINVAL;
	ret = vcpu_set_gpa(v, KVM_XEN_VCPU_ATTR_TYPE_EVTCHN_CONTROL,
			   op->init_control.gfn * PAGE_SIZE + offset);
	if (ret)
		return guest_error(ret);
	if (!in_force) {
		ret = set_abi(vm, KVM_XEN_EVTCHN_ABI_FIFO, KVM_XEN_EVTCHN_ABI_CARRY);
		if (ret) {
			evtchn_fifo_leave(vm);
			return guest_error(ret);
		}
		in_force = true;
	}
	v->has_control = true;
	op->init_control.link_bits = EVTCHN_FIFO_LINK_BITS;
	return 0;
}

/* One more page: that of the next 1024 ports. */
long evtchn_fifo_expand_array(struct vcpu *caller, union evtchn_op *op)
{
	struct kvm_xen_hvm_attr attr = {
		.type = KVM_XEN_ATTR_TYPE_EVTCHN_ARRAY,
		.u.evtchn_array = { .index = nr_pages, .gfn = op->expand_array_gfn },
	};
	int ret;

	if (!in_force)
		return -EOPNOTSUPP;
	if (nr_pages == EVTCHN_FIFO_MAX_PAGES)
		return -ENOSPC;
	ret = vm_set_attr(caller->vm, &attr);
	if (ret)
		return guest_error(ret);
	array_gfn[nr_pages++] = op->expand_array_gfn;
	return 0;
}

long evtchn_fifo_set_priority(struct vcpu *caller, union evtchn_op *op)
{
	struct port *p = port_get(op->set_priority.port);

	if (!p)
		return -EINVAL;
	if (!in_force)
		return NOT_IMPLEMENTED;
	if (p->type == EVTCHNSTAT_CLOSED)
		return -EACCES;
	if (op->set_priority.priority > EVTCHN_FIFO_PRIORITY_MIN)
		return -EINVAL;
	p->priority = op->set_priority.priority;
	port_changed(caller->vm, p);
	return 0;
}
