// SPDX-License-Identifier: GPL-2.0
/*
 * Virtual CPUs: a thread for each, which runs the guest and serves its exits.
 *
 * All vCPUs but the first wait for their start-up IPI inside KVM_RUN, since the local
 * APICs are in the kernel.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include "vmm.h"

#define SIG_KICK	SIGUSR1

void vcpu_create(struct vm *vm, u32 id)
{
	int size = must_ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	struct kvm_xen_vcpu_attr attr = {
		.type = KVM_XEN_VCPU_ATTR_TYPE_VCPU_ID,
		.u.vcpu_id = id,
	};
	struct vcpu *v = &vm->vcpu[id];

	v->vm = vm;
	v->id = id;
	v->fd = must_ioctl(vm->fd, KVM_CREATE_VCPU, id);
	v->run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (v->run == MAP_FAILED)
		err(1, "mmap of a vCPU");
	/* The guest's name for this vCPU. Without it KVM leaves all its timers to us. */
	must_ioctl(v->fd, KVM_XEN_VCPU_SET_ATTR, &attr);
	cpuid_set(v);
}

struct vcpu *vcpu_find(struct vm *vm, u32 xen_id)
{
	return xen_id < vm->nr_vcpus ? &vm->vcpu[xen_id] : NULL;
}

/*
 * A vCPU ioctl waits until the vCPU is out of KVM_RUN, which may take forever. So
 * make it leave: the signal ends KVM_RUN if the thread is in there, the flag if
 * it is only just going in. It cannot stay until the ioctl is done. Only one
 * thread at a time does this, as it holds vm->lock.
 */
static int vcpu_attr(struct vcpu *v, unsigned long request, const char *name,
		     struct kvm_xen_vcpu_attr *attr)
{
	bool other = !pthread_equal(v->thread, pthread_self());
	int ret;

	if (other) {
		__atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
		pthread_kill(v->thread, SIG_KICK);
	}
	ret = ioctl(v->fd, request, attr) ? -errno : 0;
	if (other)
		__atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
	errno = -ret;
	if (ret)
		warn("%s of type %#x, vCPU %u", name, attr->type, v->id);
	return ret;
}

/* Set an attribute of any vCPU: 0, or -errno, as what the guest wants may not be possible. */
int vcpu_set_attr(struct vcpu *v, struct kvm_xen_vcpu_attr *attr)
{
	return vcpu_attr(v, KVM_XEN_VCPU_SET_ATTR, "KVM_XEN_VCPU_SET_ATTR", attr);
}

int vcpu_get_attr(struct vcpu *v, struct kvm_xen_vcpu_attr *attr)
{
	return vcpu_attr(v, KVM_XEN_VCPU_GET_ATTR, "KVM_XEN_VCPU_GET_ATTR", attr);
}

/* One of the attributes that are the address of something, or KVM_XEN_INVALID_GPA. */
int vcpu_set_gpa(struct vcpu *v, u16 type, u64 gpa)
{
	struct kvm_xen_vcpu_attr attr = { .type = type, .u.gpa = gpa };

	return vcpu_set_attr(v, &attr);
}

static void vcpu_exit(struct vcpu *v)
{
	struct kvm_run *run = v->run;

	switch (run->exit_reason) {
	case KVM_EXIT_XEN:
		hypercall(v);
		break;
	case KVM_EXIT_IO:
		pc_io(v->vm, run);
		break;
	case KVM_EXIT_MMIO:
		/* There is nothing: reads give ones, writes get lost. */
		if (!run->mmio.is_write)
			memset(run->mmio.data, 0xff, run->mmio.len);
		break;
	case KVM_EXIT_SHUTDOWN:
		errx(1, "vCPU %u: triple fault", v->id);
	case KVM_EXIT_FAIL_ENTRY:
		errx(1, "vCPU %u: KVM cannot enter the guest, reason %#llx", v->id,
		     run->fail_entry.hardware_entry_failure_reason);
	case KVM_EXIT_INTERNAL_ERROR:
		errx(1, "vCPU %u: KVM gives up, suberror %u", v->id, run->internal.suberror);
	default:
		errx(1, "vCPU %u: exit for reason %u", v->id, run->exit_reason);
	}
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *v = arg;

	for (;;) {
		/* EAGAIN: the vCPU has left its wait for a start-up IPI. */
		if (ioctl(v->fd, KVM_RUN, 0)) {
			if (errno != EINTR && errno != EAGAIN)
				err(1, "KVM_RUN");
			continue;
		}
		pthread_mutex_lock(&v->vm->lock);
		vcpu_exit(v);
		pthread_mutex_unlock(&v->vm->lock);
	}
	return NULL;
}

static void kicked(int signal)
{
	(void)signal;
}

/* With vm->lock held, so that no vCPU is in need of another one that has no thread yet. */
void vcpu_start(struct vcpu *v)
{
	/* KVM_RUN ends with EINTR all the same, but a write to stdout goes on. */
	struct sigaction action = { .sa_handler = kicked, .sa_flags = SA_RESTART };

	if (sigaction(SIG_KICK, &action, NULL))
		err(1, "sigaction");
	errno = pthread_create(&v->thread, NULL, vcpu_thread, v);
	if (errno)
		err(1, "pthread_create");
}
