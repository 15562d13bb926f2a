// SPDX-License-Identifier: GPL-2.0
/*
 * The virtual machine: its memory, its interrupt controllers, and that it is a Xen
 * guest at all.
 *
 * The guest's memory is a memfd with one more page at its end, the shared_info page.
 * This page belongs to the hypervisor: it exists before the guest maps it and
 * after it has unmapped it, and the guest chooses where it appears. To let
 * it appear, the page is mapped over ours of the memory, in our address space; KVM notices
 * that as it notices swapping. So no memslot has to be taken apart while other vCPUs
 * run.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include "vmm.h"

/* Pages that KVM itself needs on Intel processors; where no memory is. */
#define IDENTITY_MAP_GPA	0xfffbc000UL
#define TSS_GPA			0xfffbd000UL

int ioctl_or_die(int fd, const char *name, unsigned long request, unsigned long arg)
{
	int ret = ioctl(fd, request, arg);

	if (ret < 0)
		err(1, "%s", name);
	return ret;
}

static void memory_create(struct vm *vm)
{
	struct kvm_userspace_memory_region region = {
		.guest_phys_addr = 0,
		.memory_size = vm->mem_size,
	};

	vm->mem_fd = memfd_create("guest", MFD_CLOEXEC);
	if (vm->mem_fd < 0 || ftruncate(vm->mem_fd, vm->mem_size + PAGE_SIZE))
		err(1, "memfd_create");
	vm->mem = mmap(NULL, vm->mem_size, PROT_READ | PROT_WRITE, MAP_SHARED, vm->mem_fd, 0);
	vm->shared_info = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, vm->mem_fd,
			       vm->mem_size);
	if (vm->mem == MAP_FAILED || vm->shared_info == MAP_FAILED)
		err(1, "mmap of the guest's memory");
	vm->shared_info_gfn = NO_GFN;
	region.userspace_addr = (unsigned long)vm->mem;
	must_ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region);
}

/* Where we see guest memory; NULL if not all of it is memory. */
void *gpa_to_hva(struct vm *vm, u64 gpa, u64 size)
{
	if (gpa >= vm->mem_size || size > vm->mem_size - gpa)
		return NULL;
	return vm->mem + gpa;
}

static void map_page(struct vm *vm, u64 gfn, u64 offset)
{
	if (mmap(vm->mem + gfn * PAGE_SIZE, PAGE_SIZE, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED, vm->mem_fd, offset) == MAP_FAILED)
		err(1, "mmap of a guest page");
}

/* Let the shared_info page appear at a guest frame, or nowhere (NO_GFN). */
void shared_info_map(struct vm *vm, u64 gfn)
{
	if (vm->shared_info_gfn != NO_GFN)
		map_page(vm, vm->shared_info_gfn, vm->shared_info_gfn * PAGE_SIZE);
	if (gfn != NO_GFN)
		map_page(vm, gfn, vm->mem_size);
	vm->shared_info_gfn = gfn;
}

/* Set an attribute of the VM: 0, or -errno, as what the guest wants may not be possible. */
int vm_set_attr(struct vm *vm, struct kvm_xen_hvm_attr *attr)
{
	int ret = ioctl(vm->fd, KVM_XEN_HVM_SET_ATTR, attr) ? -errno : 0;

	if (ret)
		warn("KVM_XEN_HVM_SET_ATTR of type %#x", attr->type);
	return ret;
}

/* The mode of the VM, which also KVM sets: when the guest has a hypercall page filled. */
bool vm_long_mode(struct vm *vm)
{
	struct kvm_xen_hvm_attr attr = { .type = KVM_XEN_ATTR_TYPE_LONG_MODE };

	must_ioctl(vm->fd, KVM_XEN_HVM_GET_ATTR, &attr);
	return attr.u.long_mode;
}

static void xen_enable(struct vm *vm)
{
	const u32 needed = KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL | KVM_XEN_HVM_CONFIG_SHARED_INFO |
			   KVM_XEN_HVM_CONFIG_EVTCHN_SEND;
	const u32 fifo = KVM_XEN_HVM_CONFIG_EVTCHN_FIFO | KVM_XEN_HVM_CONFIG_MORE_HCALLS;
	struct kvm_xen_hvm_config config = {
		.flags = KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL | KVM_XEN_HVM_CONFIG_EVTCHN_SEND,
		.msr = XEN_MSR,
	};
	struct kvm_xen_hvm_attr version = {
		.type = KVM_XEN_ATTR_TYPE_XEN_VERSION,
		.u.xen_version = XEN_VERSION,
	};

	vm->xen_caps = must_ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_XEN_HVM);
	if ((vm->xen_caps & needed) != needed)
		errx(1, "KVM_CAP_XEN_HVM is %#x, needed is %#x", vm->xen_caps, needed);
	/* A FIFO guest unmasks by hypercall; this VMM leaves all of that to the kernel. */
	if ((vm->xen_caps & fifo) != fifo)
		vm->offer_fifo = false;
	config.flags |= vm->xen_caps & KVM_XEN_HVM_CONFIG_MORE_HCALLS;
	if (vm->offer_fifo)
		config.flags |= KVM_XEN_HVM_CONFIG_EVTCHN_FIFO;
	if (vm_set_attr(vm, &version))
		errx(1, "the version of Xen cannot be set");
	/* From here on, this is a Xen guest. */
	must_ioctl(vm->fd, KVM_XEN_HVM_CONFIG, &config);
}

void vm_create(struct vm *vm)
{
	u64 identity = IDENTITY_MAP_GPA;

	pthread_mutex_init(&vm->lock, NULL);
	vm->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vm->kvm_fd < 0)
		err(1, "/dev/kvm");
	if (must_ioctl(vm->kvm_fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
		errx(1, "/dev/kvm has another API version than %d", KVM_API_VERSION);
	vm->fd = must_ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
	must_ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity);
	must_ioctl(vm->fd, KVM_SET_TSS_ADDR, TSS_GPA);
	/* Local APICs and an I/O APIC. Without the former, KVM has no way to interrupt. */
	must_ioctl(vm->fd, KVM_CREATE_IRQCHIP, 0);
	memory_create(vm);
	xen_enable(vm);
}
