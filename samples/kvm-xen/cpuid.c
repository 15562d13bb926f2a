// SPDX-License-Identifier: GPL-2.0
/*
 * What the CPUID instruction tells the guest: what KVM supports, and the leaves of
 * Xen in place of KVM's own, by which the guest finds out where it is.
 */
#include <err.h>
#include <stdlib.h>
#include "vmm.h"

#define MAX_LEAVES	256
#define LEAF_HYPERVISOR	0x40000000
#define LEAF_MASK	0xffff0000

static struct kvm_cpuid2 *cpuid;

static struct kvm_cpuid_entry2 *add(u32 function)
{
	struct kvm_cpuid_entry2 *entry;

	if (cpuid->nent == MAX_LEAVES)
		errx(1, "more than %d leaves of CPUID", MAX_LEAVES);
	entry = &cpuid->entries[cpuid->nent++];
	*entry = (struct kvm_cpuid_entry2){ .function = function };
	return entry;
}

/* Leaf 3 is about the TSC. KVM fills in sub-leaves 1 and 2, if they exist. */
static void add_time(struct vcpu *v)
{
	u32 khz = must_ioctl(v->fd, KVM_GET_TSC_KHZ, 0);
	u32 index;

	for (index = 0; index < 3; index++) {
		struct kvm_cpuid_entry2 *entry = add(XEN_CPUID_BASE + 3);

		entry->index = index;
		entry->flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
		if (index == 0)
			entry->ecx = khz;
	}
}

static void add_xen(struct vcpu *v)
{
	struct kvm_cpuid_entry2 *entry;

	entry = add(XEN_CPUID_BASE);
	entry->eax = XEN_CPUID_BASE + 4;
	entry->ebx = XEN_CPUID_SIGNATURE_EBX;
	entry->ecx = XEN_CPUID_SIGNATURE_ECX;
	entry->edx = XEN_CPUID_SIGNATURE_EDX;

	entry = add(XEN_CPUID_BASE + 1);
	entry->eax = XEN_VERSION;

	entry = add(XEN_CPUID_BASE + 2);
	entry->eax = 1;				/* hypercall page */
	entry->ebx = XEN_MSR;

	add_time(v);

	entry = add(XEN_CPUID_BASE + 4);
	entry->eax = XEN_CPUID_VCPU_ID | XEN_CPUID_UPCALL_VECTOR;
	entry->ebx = v->id;
}

/* KVM reports the host's processor that we happen to run on. */
static void fix_topology(struct vcpu *v, struct kvm_cpuid_entry2 *entry)
{
	switch (entry->function) {
	case 1:
		entry->ebx = (entry->ebx & 0xffff) | v->vm->nr_vcpus << 16 | v->id << 24;
		break;
	case 0xb:
	case 0x1f:
		entry->edx = v->id;
		break;
	case 0x8000001e:
		entry->eax = v->id;
		break;
	}
}

void cpuid_set(struct vcpu *v)
{
	u32 i, kept = 0;

	if (!cpuid)
		cpuid = malloc(sizeof(*cpuid) + MAX_LEAVES * sizeof(cpuid->entries[0]));
	if (!cpuid)
		errx(1, "no memory");
	cpuid->nent = MAX_LEAVES;
	must_ioctl(v->vm->kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid);
	for (i = 0; i < cpuid->nent; i++) {
		if ((cpuid->entries[i].function & LEAF_MASK) == LEAF_HYPERVISOR)
			continue;
		cpuid->entries[kept] = cpuid->entries[i];
		fix_topology(v, &cpuid->entries[kept++]);
	}
	cpuid->nent = kept;
	add_xen(v);
	must_ioctl(v->fd, KVM_SET_CPUID2, cpuid);
}
