// SPDX-License-Identifier: GPL-2.0
/*
 * A small virtual machine monitor for Xen guests, as an example for authors of others:
 * it boots a Linux kernel as a Xen PVHVM guest, with FIFO event channels if the
 * host's kernel can do that. README.rst says more.
 *
 * Exit status: 0 when the guest has powered off, 1 for everything else.
 */
#include <err.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include "vmm.h"

#define MIN_MB	64
#define MAX_MB	3072		/* above 3 GiB there are the interrupt controllers */

static const char usage[] =
	"usage: kvm-xen --kernel BZIMAGE [OPTIONS]\n"
	"\n"
	"Boot a Linux kernel as a Xen guest. Its serial console is stdout.\n"
	"\n"
	"    --kernel FILE   a bzImage\n"
	"    --initrd FILE\n"
	"    --append ARGS   the kernel's command line (console=ttyS0)\n"
	"    --cpus N        1 to 32 (2)\n"
	"    --mem M         megabytes of memory, 64 to 3072 (512)\n"
	"    --2level        do not offer FIFO event channels\n"
	"    --trace         print the hypercalls that are not answered by the kernel\n";

static struct vm vm = { .offer_fifo = true };

static struct {
	const char *kernel, *initrd, *append;
	u32 cpus, mem;
} options = { .append = "console=ttyS0", .cpus = 2, .mem = 512 };

static u32 to_u32(const char *name, const char *text, u32 min, u32 max)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*end || end == text || value < min || value > max)
		errx(1, "--%s must be a number from %u to %u", name, min, max);
	return value;
}

static void parse(int argc, char **argv)
{
	static const struct option names[] = {
		{ "kernel", required_argument, NULL, 'k' },
		{ "initrd", required_argument, NULL, 'i' },
		{ "append", required_argument, NULL, 'a' },
		{ "cpus", required_argument, NULL, 'c' },
		{ "mem", required_argument, NULL, 'm' },
		{ "2level", no_argument, NULL, '2' },
		{ "trace", no_argument, NULL, 't' },
		{}
	};
	int c;

	while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
		if (c == 'k')
			options.kernel = optarg;
		else if (c == 'i')
			options.initrd = optarg;
		else if (c == 'a')
			options.append = optarg;
		else if (c == 'c')
			options.cpus = to_u32("cpus", optarg, 1, MAX_VCPUS);
		else if (c == 'm')
			options.mem = to_u32("mem", optarg, MIN_MB, MAX_MB);
		else if (c == '2')
			vm.offer_fifo = false;
		else if (c == 't')
			vm.trace = true;
		else
			optind = argc + 1;
	}
	if (optind != argc || !options.kernel) {
		fputs(usage, stderr);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	u32 i;

	parse(argc, argv);
	vm.mem_size = (u64)options.mem << 20;
	vm.nr_vcpus = options.cpus;
	vm_create(&vm);
	for (i = 0; i < vm.nr_vcpus; i++)
		vcpu_create(&vm, i);
	boot_load(&vm, options.kernel, options.initrd, options.append);
	acpi_build(&vm);
	boot_registers(&vm.vcpu[0]);

	pthread_mutex_lock(&vm.lock);
	for (i = 0; i < vm.nr_vcpus; i++)
		vcpu_start(&vm.vcpu[i]);
	pthread_mutex_unlock(&vm.lock);
	/* The guest powers off in one of the vCPU threads, which ends the process. */
	pthread_exit(NULL);
}
