// SPDX-License-Identifier: GPL-2.0
/*
 * Arguments of hypercalls are structures at virtual addresses of the calling vCPU,
 * which may cross pages. What cannot be read or written gives -EFAULT.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include "vmm.h"

/* By the page tables of a vCPU whose thread we are. No report: guests may guess. */
int gva_to_gpa(struct vcpu *v, u64 gva, u64 *gpa)
{
	struct kvm_translation translation = { .linear_address = gva };

	if (ioctl(v->fd, KVM_TRANSLATE, &translation) || !translation.valid)
		return -EFAULT;
	*gpa = translation.physical_address;
	return 0;
}

/* Copy page by page, as what is contiguous here need not be there. */
static int copy(struct call *c, u64 gva, u8 *data, size_t size, bool to_guest)
{
	while (size) {
		size_t part = PAGE_SIZE - gva % PAGE_SIZE;
		u8 *hva;
		u64 gpa;

		if (part > size)
			part = size;
		if (gva_to_gpa(c->v, gva, &gpa))
			return -EFAULT;
		hva = gpa_to_hva(c->v->vm, gpa, part);
		if (!hva)
			return -EFAULT;
		memcpy(to_guest ? hva : data, to_guest ? data : hva, part);
		gva += part;
		data += part;
		size -= part;
	}
	return 0;
}

int copy_from_guest(struct call *c, void *to, u64 gva, size_t size)
{
	return copy(c, gva, to, size, false);
}

int copy_to_guest(struct call *c, u64 gva, const void *from, size_t size)
{
	return copy(c, gva, (void *)from, size, true);
}

/* A pointer, or a long, has the size of the caller's mode. */
int copy_pointer_from_guest(struct call *c, u64 *pointer, u64 gva)
{
	*pointer = 0;
	return copy_from_guest(c, pointer, gva, c->longmode ? 8 : 4);
}
