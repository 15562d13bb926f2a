// SPDX-License-Identifier: GPL-2.0-only
/*
 * kvm_xen_info - tell what a kernel offers to Xen guests, and what they have used
 *
 * What KVM_CAP_XEN_HVM does not tell is found out on a VM that never runs.  It is no
 * Xen guest (its KVM_XEN_HVM_CONFIG is not set), so nothing changes for others.
 * Statistics come from debugfs, as those of KVM_GET_STATS_FD are the VMM's alone.
 */
#include <ctype.h>
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <linux/kvm.h>

#define STATISTICS	"/sys/kernel/debug/kvm"

enum { EXIT_ERROR = 1, EXIT_USAGE = 2, EXIT_NO_XEN = 4 };

struct name {
	const char *name;
	unsigned int value;
};

#define FLAG(x)		{ #x, KVM_XEN_HVM_CONFIG_##x }
#define VM_ATTR(x)	{ #x, KVM_XEN_ATTR_TYPE_##x }
#define VCPU_ATTR(x)	{ #x, KVM_XEN_VCPU_ATTR_TYPE_##x }
#define CAP(x)		{ #x, KVM_CAP_##x }
#define END		{ NULL, 0 }

static const struct name flags[] = {
	FLAG(HYPERCALL_MSR), FLAG(INTERCEPT_HCALL), FLAG(SHARED_INFO), FLAG(RUNSTATE),
	FLAG(EVTCHN_2LEVEL), FLAG(EVTCHN_SEND), FLAG(RUNSTATE_UPDATE_FLAG),
	FLAG(PVCLOCK_TSC_UNSTABLE), FLAG(SHARED_INFO_HVA), FLAG(EVTCHN_FIFO),
	FLAG(MORE_HCALLS), FLAG(HYPERCALL_PAGE), END
};

static const struct name vm_attrs[] = {
	VM_ATTR(LONG_MODE), VM_ATTR(SHARED_INFO), VM_ATTR(UPCALL_VECTOR), VM_ATTR(EVTCHN),
	VM_ATTR(XEN_VERSION), VM_ATTR(RUNSTATE_UPDATE_FLAG), VM_ATTR(SHARED_INFO_HVA),
	VM_ATTR(EVTCHN_ABI), VM_ATTR(EVTCHN_ARRAY), VM_ATTR(EVTCHN_PORT), END
};

static const struct name vcpu_attrs[] = {
	VCPU_ATTR(VCPU_INFO), VCPU_ATTR(VCPU_TIME_INFO), VCPU_ATTR(RUNSTATE_ADDR),
	VCPU_ATTR(RUNSTATE_CURRENT), VCPU_ATTR(RUNSTATE_DATA), VCPU_ATTR(RUNSTATE_ADJUST),
	VCPU_ATTR(VCPU_ID), VCPU_ATTR(TIMER), VCPU_ATTR(UPCALL_VECTOR), VCPU_ATTR(VCPU_INFO_HVA),
	VCPU_ATTR(EVTCHN_DEFERRED), VCPU_ATTR(EVTCHN_CONTROL), VCPU_ATTR(EVTCHN_TAILS),
	VCPU_ATTR(PERIODIC_TIMER), VCPU_ATTR(HYPERCALL_PAGE), END
};

/* What else VMMs of Xen guests need. */
static const struct name caps[] = {
	CAP(IRQCHIP), CAP(SPLIT_IRQCHIP), CAP(IRQFD), CAP(IRQ_ROUTING), CAP(ADJUST_CLOCK),
	CAP(X86_USER_SPACE_MSR), CAP(X86_MSR_FILTER), CAP(BINARY_STATS_FD), CAP(MAX_VCPUS),
	CAP(MAX_VCPU_ID), END
};

/* Statistics that say something of Xen guests, besides all of xen_*. */
static const char * const stats[] = {
	"exits", "halt_exits", "halt_wakeup", "hypercalls", "irq_exits", "irq_injections",
	"irq_window_exits", "request_irq_exits", "signal_exits", NULL
};

/* ---- output: paragraphs of names and values, or the same as JSON ---------- */

static bool json, follows;

static void put_string(const char *s)
{
	putchar('"');
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			putchar('\\');
		putchar(isprint((unsigned char)*s) ? *s : '?');
	}
	putchar('"');
}

static void put_name(const char *name)
{
	if (json) {
		fputs(follows ? ", " : "", stdout);
		put_string(name);
		fputs(": ", stdout);
	} else {
		printf("  %-24s ", name);
	}
	follows = true;
}

static void put_number(const char *name, unsigned long long value)
{
	put_name(name);
	printf(json ? "%llu" : "%llu\n", value);
}

static void put_text(const char *name, const char *text)
{
	put_name(name);
	if (json)
		put_string(text);
	else
		puts(text);
}

/* Without a title it is a paragraph of JSON only. */
static void begin(const char *name, const char *title)
{
	if (json) {
		put_name(name);
		putchar('{');
	} else if (title) {
		printf("%s%s\n", follows ? "\n" : "", title);
	}
	follows = !json;
}

static void end(void)
{
	if (json)
		putchar('}');
	follows = true;
}

/* ---- files of one line ---------------------------------------------------- */

/* The line, fit for a terminal; "" if there is none. */
static char *read_line(char *line, int size, const char *path)
{
	FILE *f = fopen(path, "r");

	if (!f || !fgets(line, size, f))
		line[0] = '\0';
	if (f)
		fclose(f);
	line[strcspn(line, "\n")] = '\0';
	for (char *s = line; *s; s++)
		*s = isprint((unsigned char)*s) ? *s : '?';
	return line;
}

/* ---- kernel and modules --------------------------------------------------- */

static void put_kernel(void)
{
	struct utsname u;
	char line[32];

	uname(&u);
	begin("kernel", "Kernel");
	put_text("release", u.release);
	put_text("version", u.version);
	put_text("tainted", read_line(line, sizeof(line), "/proc/sys/kernel/tainted"));
	end();
}

/* modprobe's choice for a module; the file that was loaded may be gone. */
static void find_module(char *file, size_t size, const char *module)
{
	char path[256], *line = NULL, *name;
	size_t allocated = 0, length;
	struct utsname u;
	FILE *f;

	uname(&u);
	snprintf(path, sizeof(path), "/lib/modules/%s/modules.dep", u.release);
	f = fopen(path, "r");
	file[0] = '\0';
	while (f && !file[0] && getline(&line, &allocated, f) > 0) {
		line[strcspn(line, ":\n")] = '\0';
		name = strrchr(line, '/');
		name = name ? name + 1 : line;
		for (length = 0; name[length] && name[length] != '.'; length++)
			name[length] = name[length] == '-' ? '_' : name[length];
		if (length == strlen(module) && !strncmp(name, module, length))
			snprintf(file, size, "%s", line);
	}
	free(line);
	if (f)
		fclose(f);
}

static void put_modules(void)
{
	static const char * const modules[] = { "kvm", "kvm_amd", "kvm_intel", NULL };
	char path[64], version[64], taint[64], file[128], text[400];

	begin("modules", "Modules");
	for (const char * const *m = modules; *m; m++) {
		snprintf(path, sizeof(path), "/sys/module/%s", *m);
		if (access(path, F_OK))
			continue;
		snprintf(path, sizeof(path), "/sys/module/%s/initstate", *m);
		if (access(path, F_OK)) {
			put_text(*m, "built in");
			continue;
		}
		snprintf(path, sizeof(path), "/sys/module/%s/srcversion", *m);
		read_line(version, sizeof(version), path);
		snprintf(path, sizeof(path), "/sys/module/%s/taint", *m);
		read_line(taint, sizeof(taint), path);
		find_module(file, sizeof(file), *m);
		snprintf(text, sizeof(text), "loaded, source %s, taint %s, modprobe takes %s",
			 version[0] ? version : "unknown", taint[0] ? taint : "none",
			 file[0] ? file : "none");
		put_text(*m, text);
	}
	end();
}

/* ---- what KVM has for Xen guests ------------------------------------------ */

static void put_flags(unsigned int value)
{
	unsigned int unknown = value;
	char text[32];

	snprintf(text, sizeof(text), "0x%x", value);
	begin("flags", "Flags of KVM_CAP_XEN_HVM");
	put_text("value", text);
	for (const struct name *n = flags; n->name; n++) {
		put_text(n->name, value & n->value ? "yes" : "no");
		unknown &= ~n->value;
	}
	for (int bit = 0; bit < 32; bit++) {
		if (unknown & 1u << bit) {
			snprintf(text, sizeof(text), "bit %d", bit);
			put_text(text, "yes");
		}
	}
	end();
}

/* VM and vCPU attributes are alike: a type, and a union that is large enough. */
static const char *probe(int fd, unsigned long get, unsigned long set, unsigned int type)
{
	union {
		struct kvm_xen_hvm_attr vm;
		struct kvm_xen_vcpu_attr vcpu;
	} attr = { .vm.type = type };

	if (!ioctl(fd, get, &attr))
		return "yes";
	if (errno == EOPNOTSUPP)
		return "not on this host";
	if (errno != ENOENT)
		return "yes";
	/* It may be one that cannot be read, or that has no value yet. */
	memset(&attr, 0, sizeof(attr));
	attr.vm.type = type;
	return ioctl(fd, set, &attr) && errno == ENOENT ? "no" : "yes";
}

static void put_attrs(int vm, int vcpu)
{
	begin("vm_attributes", "Attributes of VMs");
	for (const struct name *n = vm_attrs; n->name; n++)
		put_text(n->name,
			 probe(vm, KVM_XEN_HVM_GET_ATTR, KVM_XEN_HVM_SET_ATTR, n->value));
	end();
	begin("vcpu_attributes", "Attributes of vCPUs");
	for (const struct name *n = vcpu_attrs; n->name; n++)
		put_text(n->name,
			 probe(vcpu, KVM_XEN_VCPU_GET_ATTR, KVM_XEN_VCPU_SET_ATTR, n->value));
	end();
}

static void put_caps(int kvm)
{
	begin("capabilities", "Other capabilities");
	for (const struct name *n = caps; n->name; n++) {
		int value = ioctl(kvm, KVM_CHECK_EXTENSION, n->value);

		put_number(n->name, value > 0 ? value : 0);
	}
	end();
}

/* ---- running VMs ---------------------------------------------------------- */

static int is_vm(const struct dirent *entry)
{
	return isdigit((unsigned char)entry->d_name[0]) && strchr(entry->d_name, '-');
}

/* A counter of interest, or a vCPU, which has a directory. */
static int is_wanted(const struct dirent *entry)
{
	if (!strncmp(entry->d_name, "xen_", 4) || !strncmp(entry->d_name, "vcpu", 4))
		return 1;
	for (const char * const *s = stats; *s; s++) {
		if (!strcmp(entry->d_name, *s))
			return 1;
	}
	return 0;
}

/* Counters are sums over its vCPUs.  Those of a VM that ends meanwhile are gone. */
static void put_vm(const char *vm)
{
	char path[600], line[32], title[300];
	struct dirent **files;
	int nr, vcpus = 0;

	snprintf(title, sizeof(title), "Running VM %s", vm);
	begin(vm, title);
	put_number("pid", strtoul(vm, NULL, 10));
	snprintf(path, sizeof(path), "/proc/%lu/comm", strtoul(vm, NULL, 10));
	put_text("command", read_line(line, sizeof(line), path));

	snprintf(path, sizeof(path), "%s/%s", STATISTICS, vm);
	nr = scandir(path, &files, is_wanted, alphasort);
	for (int i = 0; i < nr; i++)
		vcpus += !strncmp(files[i]->d_name, "vcpu", 4);
	put_number("vcpus", vcpus);
	for (int i = 0; i < nr; i++) {
		snprintf(path, sizeof(path), "%s/%s/%s", STATISTICS, vm, files[i]->d_name);
		if (read_line(line, sizeof(line), path)[0])
			put_number(files[i]->d_name, strtoull(line, NULL, 10));
		else if (strncmp(files[i]->d_name, "vcpu", 4))
			put_text(files[i]->d_name, "unreadable");
		free(files[i]);
	}
	if (nr >= 0)
		free(files);
	end();
}

static void put_vms(void)
{
	const char *problem = "ok";
	struct dirent **vms;
	int nr;

	nr = scandir(STATISTICS, &vms, is_vm, alphasort);
	if (nr < 0)
		problem = errno == ENOENT ? "not mounted on /sys/kernel/debug" :
			  errno == EACCES ? "only root may read it" : strerror(errno);
	begin("statistics", "Statistics of running VMs");
	put_text("debugfs", problem);
	if (nr >= 0)
		put_number("vms", nr);
	end();

	begin("vms", NULL);
	for (int i = 0; i < nr; i++) {
		put_vm(vms[i]->d_name);
		free(vms[i]);
	}
	if (nr >= 0)
		free(vms);
	end();
}

static int usage(FILE *to, int status)
{
	fputs("Usage: kvm_xen_info [-j|--json] [-h|--help]\n", to);
	return status;
}

int main(int argc, char *argv[])
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int option, kvm, vm, vcpu, xen;

	while ((option = getopt_long(argc, argv, "jh", options, NULL)) != -1) {
		switch (option) {
		case 'j':
			json = true;
			break;
		case 'h':
			return usage(stdout, 0);
		default:
			return usage(stderr, EXIT_USAGE);
		}
	}
	if (optind < argc)
		return usage(stderr, EXIT_USAGE);

	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		err(EXIT_ERROR, "/dev/kvm");
	xen = ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_XEN_HVM);
	if (xen < 0)
		err(EXIT_ERROR, "KVM_CHECK_EXTENSION");
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm < 0)
		err(EXIT_ERROR, "KVM_CREATE_VM");
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	if (vcpu < 0)
		err(EXIT_ERROR, "KVM_CREATE_VCPU");

	if (json)
		putchar('{');
	put_kernel();
	put_modules();
	put_flags(xen);
	if (xen)
		put_attrs(vm, vcpu);
	close(vcpu);
	close(vm);
	put_caps(kvm);
	put_vms();
	if (json)
		puts("}");
	if (fflush(stdout))
		err(EXIT_ERROR, "standard output");

	if (!xen)
		warnx("this kernel has no support for Xen guests (CONFIG_KVM_XEN)");
	return xen ? 0 : EXIT_NO_XEN;
}
