// SPDX-License-Identifier: GPL-2.0
/*
 * Start a bzImage by the 32-bit boot protocol (Documentation/arch/x86/boot.rst), which
 * 64-bit kernels have, too: load kernel, initrd and command line, fill in the "zero
 * page", and let the first vCPU begin in protected mode, with flat segments.
 *
 * There is no firmware. Low memory holds what the kernel needs at first:
 */
#include <asm/bootparam.h>
#include <err.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "vmm.h"

#define GDT_GPA			0x8000UL
#define ZERO_PAGE_GPA		0x9000UL
#define CMDLINE_GPA		0x20000UL
#define LOW_MEMORY_END		0x9f000UL
#define HIGH_MEMORY_GPA		0x100000UL

#define SETUP_HEADER		0x1f1		/* its offset in the file */
#define PROTOCOL_NEEDED		0x20a		/* the first that tells address and size */

#define BOOT_CS			0x10
#define BOOT_DS			0x18
#define CR0_PE			0x1

static u64 entry_point;

static const u8 *open_file(const char *path, u64 *size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat about;
	void *data;

	if (fd < 0 || fstat(fd, &about))
		err(1, "%s", path);
	data = mmap(NULL, about.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (data == MAP_FAILED)
		err(1, "%s", path);
	close(fd);
	*size = about.st_size;
	return data;
}

static void *memory_or_die(struct vm *vm, u64 gpa, u64 size, const char *what)
{
	void *hva = gpa_to_hva(vm, gpa, size);

	if (!hva)
		errx(1, "there is not enough memory for the %s", what);
	return hva;
}

static void load_kernel(struct vm *vm, struct boot_params *params, const char *path)
{
	u64 size, setup_size, header_size;
	const u8 *file = open_file(path, &size);
	struct setup_header *header = &params->hdr;

	if (size < PAGE_SIZE)
		errx(1, "%s is not a kernel", path);
	header_size = 0x202 + file[0x201] - SETUP_HEADER;
	if (header_size > sizeof(*header))
		header_size = sizeof(*header);
	memcpy(header, file + SETUP_HEADER, header_size);
	if (memcmp(&header->header, "HdrS", 4) || header->version < PROTOCOL_NEEDED)
		errx(1, "%s is not a bzImage, or an old one", path);
	setup_size = ((header->setup_sects ?: 4) + 1) * 512;
	if (setup_size >= size)
		errx(1, "%s is cut short", path);
	memory_or_die(vm, header->pref_address, header->init_size, "kernel");
	memcpy(memory_or_die(vm, header->pref_address, size - setup_size, "kernel"),
	       file + setup_size, size - setup_size);
	entry_point = header->pref_address;
}

/* At the end of memory, out of the way of the kernel. */
static void load_initrd(struct vm *vm, struct boot_params *params, const char *path)
{
	u64 size, gpa, end = vm->mem_size;
	const u8 *file = open_file(path, &size);

	if (end > params->hdr.initrd_addr_max)
		end = params->hdr.initrd_addr_max;
	gpa = size < end ? (end - size) & ~(PAGE_SIZE - 1) : 0;
	if (gpa < params->hdr.pref_address + params->hdr.init_size)
		errx(1, "there is not enough memory for the initrd");
	memcpy(memory_or_die(vm, gpa, size, "initrd"), file, size);
	params->hdr.ramdisk_image = gpa;
	params->hdr.ramdisk_size = size;
}

static void add_e820(struct boot_params *params, u64 start, u64 end, u32 type)
{
	struct boot_e820_entry *entry = &params->e820_table[params->e820_entries++];

	entry->addr = start;
	entry->size = end - start;
	entry->type = type;
}

void boot_load(struct vm *vm, const char *kernel, const char *initrd, const char *cmdline)
{
	struct boot_params *params = memory_or_die(vm, ZERO_PAGE_GPA, PAGE_SIZE, "zero page");
	const u32 ram = 1, reserved = 2;
	size_t size = strlen(cmdline) + 1;

	load_kernel(vm, params, kernel);
	if (initrd)
		load_initrd(vm, params, initrd);
	if (size > params->hdr.cmdline_size || size > PAGE_SIZE)
		errx(1, "the command line is longer than %u", params->hdr.cmdline_size);
	memcpy(memory_or_die(vm, CMDLINE_GPA, PAGE_SIZE, "command line"), cmdline, size);
	params->hdr.cmd_line_ptr = CMDLINE_GPA;
	params->hdr.type_of_loader = 0xff;
	params->acpi_rsdp_addr = ACPI_BASE;
	add_e820(params, 0, LOW_MEMORY_END, ram);
	add_e820(params, ACPI_BASE, HIGH_MEMORY_GPA, reserved);
	add_e820(params, HIGH_MEMORY_GPA, vm->mem_size, ram);
}

static void build_segments(struct vm *vm, struct kvm_sregs *sregs)
{
	struct kvm_segment code = {
		.selector = BOOT_CS, .limit = 0xffffffff, .type = 11,	/* execute, read */
		.present = 1, .s = 1, .db = 1, .g = 1,
	};
	struct kvm_segment data = {
		.selector = BOOT_DS, .limit = 0xffffffff, .type = 3,	/* read, write */
		.present = 1, .s = 1, .db = 1, .g = 1,
	};
	u64 *gdt = memory_or_die(vm, GDT_GPA, PAGE_SIZE, "GDT");

	gdt[BOOT_CS / 8] = 0x00cf9b000000ffff;
	gdt[BOOT_DS / 8] = 0x00cf93000000ffff;
	sregs->gdt.base = GDT_GPA;
	sregs->gdt.limit = BOOT_DS + 7;
	sregs->cs = code;
	sregs->ds = data;
	sregs->es = data;
	sregs->ss = data;
}

/* The state of the first vCPU at the kernel's entry point. */
void boot_registers(struct vcpu *v)
{
	struct kvm_regs regs = {
		.rip = entry_point,
		.rsi = ZERO_PAGE_GPA,
		.rflags = 2,		/* interrupts off */
	};
	struct kvm_sregs sregs;

	must_ioctl(v->fd, KVM_GET_SREGS, &sregs);
	build_segments(v->vm, &sregs);
	sregs.cr0 |= CR0_PE;
	must_ioctl(v->fd, KVM_SET_SREGS, &sregs);
	must_ioctl(v->fd, KVM_SET_REGS, &regs);
}
