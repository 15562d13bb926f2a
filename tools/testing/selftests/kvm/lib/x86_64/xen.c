// SPDX-License-Identifier: GPL-2.0-only
/*
 * Building blocks for tests of Xen guest support: virtual machines, attributes,
 * guest code in all processor modes, events, clocks, and the runner of cases.
 */
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "apic.h"
#include "xen.h"

#define PORT_RETURN	0xe8
#define PORT_FAULT	0xe9

#define EFLAGS_IF	BIT(9)
#define EFLAGS_VM	BIT(17)

#define SEL_CODE	0x08	/* as in the library's own GDT */
#define SEL_DATA	0x10
#define SEL_COMPAT	0x28
#define SEL_VM86	0x800

#define STEP_SIZE	32

static struct xen_cpu *guest_cpu(void)
{
	struct xen_cpu *cpu;

	asm volatile("mov %%gs:0, %0" : "=r" (cpu));
	return cpu;
}

static void guest_fault(struct ex_regs *regs)
{
	guest_cpu()->fault = regs->rip;
	asm volatile("outb %b0, %1" : : "a" (regs->vector), "N" (PORT_FAULT) : "memory");
}

/*
 * Whether an interrupt hit the first instruction of its own handler, with interrupts off.  QEMU's
 * SVM does that to one that VMRUN injects while another thread asks for the vCPU's attention:
 * helper_vmrun() leaves exception_index set, which is delivered then (seen in QEMU 10.0).
 */
static bool came_twice(const struct ex_regs *regs)
{
	return regs->rip == idt_handlers[regs->vector] && !(regs->rflags & EFLAGS_IF);
}

static void guest_interrupt(struct ex_regs *regs)
{
	struct xen_cpu *cpu = guest_cpu();

	if (came_twice(regs)) {
		cpu->twice++;
		return;
	}
	cpu->count[regs->vector]++;
	if (cpu->nr < ARRAY_SIZE(cpu->log))
		cpu->log[cpu->nr] = regs->vector;
	WRITE_ONCE(cpu->nr, cpu->nr + 1);
	if (regs->vector == NMI_VECTOR)
		return;
	if (!(READ_ONCE(cpu->flags) & XEN_CPU_KEEP))
		WRITE_ONCE(*(u8 *)(u64)cpu->vcpu_info, 0);
	if (READ_ONCE(cpu->flags) & XEN_CPU_EOI)
		xapic_write_reg(APIC_EOI, 0);
}

s64 xen_guest_hcall(u64 nr, u64 a0, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5)
{
	register u64 r10 asm("r10") = a3;
	register u64 r8 asm("r8") = a4;
	register u64 r9 asm("r9") = a5;
	s64 ret = nr;

	if (host_cpu_is_amd)
		asm volatile("vmmcall" : "+a" (ret)
			     : "D" (a0), "S" (a1), "d" (a2), "r" (r10), "r" (r8), "r" (r9)
			     : "memory");
	else
		asm volatile("vmcall" : "+a" (ret)
			     : "D" (a0), "S" (a1), "d" (a2), "r" (r10), "r" (r8), "r" (r9)
			     : "memory");
	return ret;
}

u64 xen_guest_now(const struct xen_time_info *time)
{
	u32 version;
	u64 now;

	do {
		version = READ_ONCE(time->version) & ~1u;
		asm volatile("lfence" : : : "memory");
		now = xen_scale(time, rdtsc());
		asm volatile("lfence" : : : "memory");
	} while (version != READ_ONCE(time->version));
	return now;
}

static void put_step(u8 *code, enum xen_step step, const char *bytes, int size)
{
	code += step * STEP_SIZE;
	memset(code, 0xcc, STEP_SIZE);
	memcpy(code, bytes, size);
	if (step != STEP_SPIN) {
		code[size] = 0xe6;		/* out %al, imm8 */
		code[size + 1] = PORT_RETURN;
	}
}

static void put_steps(u8 *code)
{
	const char *vmcall = "\x0f\x01\xc1", *vmmcall = "\x0f\x01\xd9";

	put_step(code, STEP_HCALL, host_cpu_is_amd ? vmmcall : vmcall, 3);
	put_step(code, STEP_HCALL_OTHER, host_cpu_is_amd ? vmcall : vmmcall, 3);
	/* pushf; orl $0x100, (%rsp); popf */
	put_step(code, STEP_HCALL_TF, "\x9c\x81\x0c\x24\x00\x01\x00\x00\x9d", 9);
	memcpy(code + STEP_HCALL_TF * STEP_SIZE + 9, code + STEP_HCALL * STEP_SIZE, 5);
	put_step(code, STEP_PAGE, "\xff\xd5", 2);	/* call *%rbp */
	put_step(code, STEP_WRMSR, "\x0f\x30", 2);
	put_step(code, STEP_RDMSR, "\x0f\x32", 2);
	put_step(code, STEP_CPUID, "\x0f\xa2", 2);
	put_step(code, STEP_WINDOW, "\xfb\x90\xfa", 3);	/* sti; nop; cli */
	put_step(code, STEP_HLT, "\xfb\xf4\xfa", 3);	/* sti; hlt; cli */
	put_step(code, STEP_SPIN, "\xf3\x90\xeb\xfc", 4);	/* pause; jmp */
	put_step(code, STEP_RETURN, "", 0);
}

/* An IDT and, behind it, a GDT for guests without long mode. */
static void put_tables32(struct xen_vm *x)
{
	u64 *idt = xen_hva(x, XEN_TABLES32), *gdt = idt + 256;
	u64 addr = XEN_PAGE(9);
	int i;

	/* 16 bytes of code per vector and what they jump to. */
	memcpy(xen_hva(x, addr), xen_handlers32, xen_handlers32_end - xen_handlers32);
	for (i = 0; i < 256; i++, addr += 16)
		idt[i] = (addr & 0xffff) | SEL_CODE << 16 | 0x8e00ULL << 32 |
			 (addr >> 16) << 48;
	gdt[SEL_CODE / 8] = 0x00cf9b000000ffffULL;
	gdt[SEL_DATA / 8] = 0x00cf93000000ffffULL;
}

static void set_segment(struct kvm_segment *seg, u16 selector, u64 base, u8 type)
{
	memset(seg, 0, sizeof(*seg));
	seg->selector = selector;
	seg->base = base;
	seg->limit = 0xffffffff;
	seg->type = type;
	seg->s = 1;
	seg->g = 1;
	seg->present = 1;
	seg->dpl = selector & 3;
	seg->db = 1;
}

static void set_segment16(struct kvm_segment *seg, u16 selector, u64 base, u8 dpl)
{
	set_segment(seg, selector, base, 3);
	seg->limit = 0xffff;
	seg->g = 0;
	seg->db = 0;
	seg->dpl = dpl;
}

/* Page tables that user mode may use: the first GiB, one to one. */
static void put_user_pgtables(struct xen_vm *x)
{
	u64 *tables = xen_hva(x, XEN_PGTABLES);
	int i;

	tables[0] = XEN_PAGE(14) | 7;
	tables[512] = XEN_PAGE(15) | 7;
	for (i = 0; i < 512; i++)
		tables[1024 + i] = (u64)i << 21 | 0x87;
}

/* Two-level page tables with the code at an address that virtual-8086 mode can reach. */
static void put_vm86_pgtables(struct xen_vm *x)
{
	u32 *tables = xen_hva(x, XEN_PGTABLES);

	tables[0] = XEN_PAGE(14) | 7;
	tables[1024 + (SEL_VM86 >> 8)] = XEN_CODE | 7;
}

void xen_set_mode(struct xen_vm *x, int n, enum xen_mode mode)
{
	bool user = mode == XEN_USER64 || mode == XEN_USER32;
	u8 rpl = user ? 3 : 0;
	struct kvm_sregs sregs;
	int i;

	vcpu_sregs_get(x->vcpu[n], &sregs);
	x->state[n].mode = mode;

	set_segment(&sregs.cs, SEL_CODE | rpl, 0, 0xb);
	set_segment(&sregs.ss, SEL_DATA | rpl, 0, 3);
	set_segment(&sregs.ds, SEL_DATA | rpl, 0, 3);
	sregs.es = sregs.ds;
	sregs.fs = sregs.ds;
	set_segment(&sregs.gs, SEL_DATA | rpl, XEN_CPU(n), 3);
	sregs.cr3 = x->vm->pgd;

	switch (mode) {
	case XEN_USER64:
		put_user_pgtables(x);
		sregs.cr3 = XEN_PGTABLES;
		fallthrough;
	case XEN_64:
		sregs.cs.l = 1;
		sregs.cs.db = 0;
		fallthrough;
	case XEN_COMPAT:
		if (mode == XEN_COMPAT)
			sregs.cs.selector = SEL_COMPAT;
		sregs.gdt.base = x->vm->arch.gdt;
		sregs.idt.base = x->vm->arch.idt;
		sregs.idt.limit = 256 * 16 - 1;
		sregs.cr4 |= X86_CR4_PAE;
		sregs.efer |= EFER_LME | EFER_LMA;
		sregs.cr0 |= X86_CR0_PE | X86_CR0_PG;
		break;
	default:
		sregs.gdt.base = XEN_TABLES32 + 256 * 8;
		sregs.idt.base = XEN_TABLES32;
		sregs.idt.limit = 256 * 8 - 1;
		sregs.cr3 = 0;
		sregs.cr4 &= ~X86_CR4_PAE;
		sregs.efer &= ~(EFER_LME | EFER_LMA | EFER_NX);
		sregs.cr0 &= ~X86_CR0_PG;
		sregs.cr0 |= X86_CR0_PE;
		break;
	}

	if (mode == XEN_REAL) {
		sregs.cr0 &= ~X86_CR0_PE;
		set_segment16(&sregs.cs, 0xf000, XEN_CODE, 0);
		set_segment16(&sregs.ss, 0, 0, 0);
		sregs.ds = sregs.ss;
		sregs.es = sregs.ss;
		sregs.fs = sregs.ss;
		sregs.gs = sregs.ss;
	} else if (mode == XEN_VM86) {
		put_vm86_pgtables(x);
		sregs.cr3 = XEN_PGTABLES;
		sregs.cr0 |= X86_CR0_PG;
		for (i = 0; i < 6; i++)		/* cs, ds, es, fs, gs, ss */
			set_segment16(&sregs.cs + i, SEL_VM86, SEL_VM86 << 4, 3);
	}
	vcpu_sregs_set(x->vcpu[n], &sregs);
}

struct xen_vm *xen_vm_new(int nr_vcpus, enum xen_mode mode, u32 what)
{
	struct xen_vm *x = calloc(1, sizeof(*x));
	struct xen_cpu *cpu;
	int i;

	TEST_ASSERT(x && nr_vcpus <= XEN_MAX_VCPUS, "no memory, or too many vCPUs");
	x->nr_vcpus = nr_vcpus;
	x->vm = nr_vcpus ? vm_create_with_vcpus(nr_vcpus, NULL, x->vcpu) : vm_create(1);
	vm_userspace_mem_region_add(x->vm, VM_MEM_SRC_ANONYMOUS, XEN_BASE, XEN_SLOT,
				    XEN_NR_PAGES, 0);
	virt_map(x->vm, XEN_BASE, XEN_BASE, XEN_NR_PAGES);
	virt_pg_map(x->vm, APIC_DEFAULT_GPA, APIC_DEFAULT_GPA);

	put_steps(xen_hva(x, XEN_CODE));
	put_tables32(x);
	((u64 *)addr_gva2hva(x->vm, x->vm->arch.gdt))[SEL_COMPAT / 8] = 0x00cf9b000000ffffULL;
	for (i = 0; i < 256; i++)
		vm_install_exception_handler(x->vm, i, i < 32 && i != NMI_VECTOR ?
					     guest_fault : guest_interrupt);

	for (i = 0; i < nr_vcpus; i++) {
		cpu = xen_cpu(x, i);
		cpu->self = XEN_CPU(i);
		xen_put_vcpu_info(x, i, XEN_SHINFO + 64 * i);
		xen_set_mode(x, i, mode);
	}
	x->shinfo = xen_hva(x, XEN_SHINFO);
	xen_setup(x, what);
	return x;
}

void xen_vm_free(struct xen_vm *x)
{
	u32 twice;
	int i;

	for (i = 0; i < x->nr_vcpus; i++) {
		twice = xen_cpu(x, i)->twice;
		TEST_ASSERT(!twice || host_cpu_is_amd, "%u interrupts came twice", twice);
		if (twice)
			ksft_print_msg("%u interrupts came twice: the emulator\n", twice);
	}
	kvm_vm_free(x->vm);
	free(x);
}

void xen_config(struct xen_vm *x, u32 flags, u32 msr)
{
	struct kvm_xen_hvm_config config = { .flags = flags, .msr = msr };

	vm_ioctl(x->vm, KVM_XEN_HVM_CONFIG, &config);
}

void xen_setup(struct xen_vm *x, u32 what)
{
	int i;

	if (what & XEN_CFG)
		xen_config(x, KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL |
			   (kvm_check_cap(KVM_CAP_XEN_HVM) & KVM_XEN_HVM_CONFIG_EVTCHN_SEND),
			   XEN_HCALL_MSR);
	if (what & XEN_SI) {
		x->long_mode = xen_is_64(x, 0) || x->state[0].mode == XEN_COMPAT;
		xen_set(x, LONG_MODE, long_mode, x->long_mode);
		xen_set(x, SHARED_INFO, shared_info.gfn, XEN_SHINFO >> 12);
	}
	if (what & XEN_UV)
		xen_set(x, UPCALL_VECTOR, vector, XEN_VECTOR);
	for (i = 0; i < x->nr_vcpus; i++) {
		if (what & XEN_VI)
			xen_vcpu_set(x, i, VCPU_INFO, gpa, XEN_SHINFO + 64 * i);
		if (what & XEN_ID)
			xen_vcpu_set(x, i, VCPU_ID, vcpu_id, XEN_VCPU_ID(i));
		if (what & XEN_TM)
			xen_set_timer(x, i, XEN_TIMER_PORT(i), 0);
		if (what & XEN_LV) {
			xen_vcpu_set(x, i, UPCALL_VECTOR, vector, XEN_LAPIC_VECTOR(i));
			xen_lapic_enable(x, i, true);
			xen_cpu(x, i)->flags |= XEN_CPU_EOI;
		}
	}
}

/* Attributes and other ioctls. */

int xen_errno(int ret)
{
	TEST_ASSERT(ret == 0 || ret == -1, "unexpected result %d of an ioctl", ret);
	return ret ? errno : 0;
}

int xen_try_set_timer(struct xen_vm *x, int n, u32 port, u32 priority, u64 expires)
{
	struct kvm_xen_vcpu_attr attr = {
		.type = KVM_XEN_VCPU_ATTR_TYPE_TIMER,
		.u.timer = { .port = port, .priority = priority, .expires_ns = expires },
	};

	return xen_errno(__vcpu_ioctl(x->vcpu[n], KVM_XEN_VCPU_SET_ATTR, &attr));
}

void xen_set_timer(struct xen_vm *x, int n, u32 port, u64 expires)
{
	TEST_ASSERT_EQ(xen_try_set_timer(x, n, port, XEN_2LEVEL, expires), 0);
}

int xen_try_evtchn_priority(struct xen_vm *x, u32 flags, u32 send_port, u32 type, u32 port,
			    u32 vcpu, u32 priority)
{
	struct kvm_xen_hvm_attr attr = {
		.type = KVM_XEN_ATTR_TYPE_EVTCHN,
		.u.evtchn = {
			.send_port = send_port,
			.type = type,
			.flags = flags,
			.deliver.port = { .port = port, .vcpu = vcpu, .priority = priority },
		},
	};

	return xen_errno(__vm_ioctl(x->vm, KVM_XEN_HVM_SET_ATTR, &attr));
}

int xen_try_evtchn(struct xen_vm *x, u32 flags, u32 send_port, u32 type, u32 port, u32 vcpu)
{
	return xen_try_evtchn_priority(x, flags, send_port, type, port, vcpu, XEN_2LEVEL);
}

void xen_assign(struct xen_vm *x, u32 type, u32 send_port, u32 port, u32 vcpu)
{
	TEST_ASSERT_EQ(xen_try_evtchn(x, 0, send_port, type, port, vcpu), 0);
}

int xen_try_eventfd(struct xen_vm *x, u32 send_port, int fd)
{
	struct kvm_xen_hvm_attr attr = {
		.type = KVM_XEN_ATTR_TYPE_EVTCHN,
		.u.evtchn = {
			.send_port = send_port,
			.type = EVTCHN_INTERDOMAIN,
			.deliver.eventfd.fd = fd,
		},
	};

	return xen_errno(__vm_ioctl(x->vm, KVM_XEN_HVM_SET_ATTR, &attr));
}

/* Tell the kernel what a port is bound to, STATUS_*. */
int xen_try_set_port(struct xen_vm *x, u32 port, u32 type, u32 vcpu, u32 priority)
{
	struct kvm_xen_hvm_attr attr = {
		.type = KVM_XEN_ATTR_TYPE_EVTCHN_PORT,
		.u.evtchn_port = {
			.port = port, .type = type, .vcpu = vcpu, .priority = priority,
		},
	};

	return xen_errno(__vm_ioctl(x->vm, KVM_XEN_HVM_SET_ATTR, &attr));
}

void xen_set_port(struct xen_vm *x, u32 port, u32 type, u32 vcpu)
{
	TEST_ASSERT_EQ(xen_try_set_port(x, port, type, vcpu, XEN_2LEVEL), 0);
}

int xen_try_send_priority(struct xen_vm *x, u32 port, u32 vcpu, u32 priority)
{
	struct kvm_irq_routing_xen_evtchn event = {
		.port = port,
		.vcpu = vcpu,
		.priority = priority,
	};

	return xen_errno(__vm_ioctl(x->vm, KVM_XEN_HVM_EVTCHN_SEND, &event));
}

int xen_try_send(struct xen_vm *x, u32 port, u32 vcpu)
{
	return xen_try_send_priority(x, port, vcpu, XEN_2LEVEL);
}

void xen_send(struct xen_vm *x, u32 port, u32 vcpu)
{
	TEST_ASSERT_EQ(xen_try_send(x, port, vcpu), 0);
}

u64 xen_slab_kb(void)
{
	FILE *file;
	char line[128];
	u64 kb = 0;

	if (!access("/sys/kernel/debug/kmemleak", F_OK))
		return 1;

	file = fopen("/proc/meminfo", "r");
	TEST_ASSERT(file, "no /proc/meminfo");
	while (!kb && fgets(line, sizeof(line), file))
		sscanf(line, "Slab: %lu", &kb);
	fclose(file);
	TEST_ASSERT(kb, "/proc/meminfo has no slabs");
	return kb;
}

static bool read_stat(int fd, const char *name, u64 *value)
{
	struct kvm_stats_header header;
	struct kvm_stats_desc *all, *desc;
	bool found = false;
	int i;

	read_stats_header(fd, &header);
	all = read_stats_descriptors(fd, &header);
	for (i = 0; i < header.num_desc && !found; i++) {
		desc = get_stats_descriptor(all, i, &header);
		found = !strcmp(desc->name, name);
		if (found)
			read_stat_data(fd, &header, desc, value, 1);
	}
	free(all);
	return found;
}

/* A binary statistic of vCPU @n, or of the VM if @n is negative; false if there is none. */
bool xen_try_stat(struct xen_vm *x, int n, const char *name, u64 *value)
{
	int fd = n < 0 ? vm_get_stats_fd(x->vm) : vcpu_get_stats_fd(x->vcpu[n]);
	bool found = read_stat(fd, name, value);

	close(fd);
	return found;
}

u64 xen_now(struct xen_vm *x)
{
	struct kvm_clock_data clock = {};

	vm_ioctl(x->vm, KVM_GET_CLOCK, &clock);
	return clock.clock;
}

void xen_set_now(struct xen_vm *x, u64 ns)
{
	struct kvm_clock_data clock = { .clock = ns };

	vm_ioctl(x->vm, KVM_SET_CLOCK, &clock);
}

u64 xen_real_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return timespec_to_ns(ts);
}

void xen_sleep_ms(u64 ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * NSEC_PER_MSEC };

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

/* A deadline that is not over before a few more steps. */
u64 xen_in_ms(struct xen_vm *x, u64 ms)
{
	return xen_now(x) + xen_ms(ms) * NSEC_PER_MSEC;
}

void xen_sleep_until(struct xen_vm *x, u64 deadline)
{
	while (xen_now(x) < deadline)
		xen_sleep_ms(1);
}

/* Running the guest. */

static const char * const stop_names[] = {
	[XEN_RETURNED] = "end of the step",
	[XEN_EXITED] = "KVM_EXIT_XEN",
	[XEN_FAULTED] = "guest exception",
	[XEN_SIGNALLED] = "signal",
	[XEN_OTHER] = "other exit",
	[XEN_RUNNING_YET] = "still running",
};

/* Complete the exit of the last step: KVM applies its result on the next entry. */
static void complete(struct xen_vm *x, int n)
{
	TEST_ASSERT(!x->state[n].started, "vCPU %d is running", n);
	if (x->state[n].stop == XEN_EXITED)
		vcpu_run_complete_io(x->vcpu[n]);
	if (x->state[n].stop == XEN_SIGNALLED)		/* perhaps in HLT */
		vcpu_mp_state_set(x->vcpu[n], &(struct kvm_mp_state) { KVM_MP_STATE_RUNNABLE });
	x->state[n].stop = XEN_RETURNED;
}

void xen_prepare(struct xen_vm *x, int n, enum xen_step step)
{
	struct xen_vcpu *state = &x->state[n];
	struct kvm_regs regs;

	complete(x, n);
	vcpu_regs_get(x->vcpu[n], &regs);
	regs.rip = step * STEP_SIZE;
	if (state->mode != XEN_REAL && state->mode != XEN_VM86)
		regs.rip += XEN_CODE;
	regs.rsp = XEN_STACK(n) + 0x2000 - 16;
	regs.rflags = X86_EFLAGS_FIXED | (state->irqs ? EFLAGS_IF : 0) |
		      (state->mode == XEN_VM86 ? EFLAGS_VM : 0);
	vcpu_regs_set(x->vcpu[n], &regs);
}

static enum xen_stop classify(struct kvm_vcpu *vcpu, int ret)
{
	struct kvm_run *run = vcpu->run;
	struct ucall uc;

	if (ret)
		return errno == EINTR ? XEN_SIGNALLED : XEN_OTHER;
	if (run->exit_reason == KVM_EXIT_XEN)
		return XEN_EXITED;
	if (run->exit_reason != KVM_EXIT_IO)
		return XEN_OTHER;
	if (get_ucall(vcpu, &uc) == UCALL_ABORT)
		REPORT_GUEST_ASSERT(uc);
	if (run->io.port != PORT_RETURN && run->io.port != PORT_FAULT)
		return XEN_OTHER;
	vcpu_run_complete_io(vcpu);
	return run->io.port == PORT_RETURN ? XEN_RETURNED : XEN_FAULTED;
}

enum xen_stop xen_run(struct xen_vm *x, int n)
{
	x->state[n].stop = classify(x->vcpu[n], __vcpu_run(x->vcpu[n]));
	return x->state[n].stop;
}

struct run_args {
	struct xen_vm *x;
	int n;
};

static void *run_thread(void *arg)
{
	struct run_args args = *(struct run_args *)arg;

	free(arg);
	xen_run(args.x, args.n);
	return NULL;
}

void xen_start(struct xen_vm *x, int n)
{
	struct xen_vcpu *state = &x->state[n];
	struct run_args *args = malloc(sizeof(*args));

	TEST_ASSERT(args && !state->started, "vCPU %d is already running", n);
	*args = (struct run_args) { x, n };
	state->stats_fd = vcpu_get_stats_fd(x->vcpu[n]);
	TEST_ASSERT(!pthread_create(&state->thread, NULL, run_thread, args), "no thread");
	state->started = true;
}

enum xen_stop xen_wait(struct xen_vm *x, int n, u64 ms)
{
	struct xen_vcpu *state = &x->state[n];
	struct timespec ts;
	int err;

	clock_gettime(CLOCK_REALTIME, &ts);
	ts = timespec_add_ns(ts, ms * NSEC_PER_MSEC);
	err = pthread_timedjoin_np(state->thread, NULL, &ts);
	TEST_ASSERT(!err || err == ETIMEDOUT, "cannot join: %s", strerror(err));
	if (err)
		return XEN_RUNNING_YET;
	close(state->stats_fd);
	state->started = false;
	return state->stop;
}

bool xen_sleeps(struct xen_vm *x, int n, u64 ms)
{
	u64 end = xen_real_ns(CLOCK_MONOTONIC) + xen_ms(5000) * NSEC_PER_MSEC;
	u64 sleeps = 1;

	while (read_stat(x->state[n].stats_fd, "blocking", &sleeps) && !sleeps)
		if (xen_real_ns(CLOCK_MONOTONIC) > end || xen_wait(x, n, 1) != XEN_RUNNING_YET)
			return false;
	return xen_wait(x, n, ms) == XEN_RUNNING_YET;
}

/* Make a vCPU thread leave KVM_RUN; the vCPU can be started again where it was. */
enum xen_stop xen_interrupt(struct xen_vm *x, int n)
{
	struct kvm_run *run = x->vcpu[n]->run;
	enum xen_stop stop;

	WRITE_ONCE(run->immediate_exit, 1);
	pthread_kill(x->state[n].thread, SIGUSR1);
	stop = xen_wait(x, n, xen_ms(5000));
	WRITE_ONCE(run->immediate_exit, 0);
	TEST_ASSERT(stop != XEN_RUNNING_YET, "a signal does not end KVM_RUN");
	return stop;
}

void xen_expect(struct xen_vm *x, int n, enum xen_stop got, enum xen_stop want)
{
	struct kvm_run *run = x->vcpu[n]->run;
	struct kvm_regs regs;

	if (got == want)
		return;
	if (got == XEN_RUNNING_YET)
		TEST_FAIL("vCPU %d: wanted %s, but it is still running", n, stop_names[want]);
	vcpu_regs_get(x->vcpu[n], &regs);
	TEST_FAIL("vCPU %d: wanted %s, got %s (exit %u %s, fault vector %u at 0x%x, "
		  "hypercall %lld, rip 0x%llx, rax 0x%llx)", n, stop_names[want],
		  stop_names[got], run->exit_reason, exit_reason_str(run->exit_reason),
		  got == XEN_FAULTED ? (u8)xen_result(x, n) : 0, xen_cpu(x, n)->fault,
		  got == XEN_EXITED ? run->xen.u.hcall.input : -1LL, regs.rip, regs.rax);
}

u64 xen_result(struct xen_vm *x, int n)
{
	struct kvm_regs regs;

	vcpu_regs_get(x->vcpu[n], &regs);
	return regs.rax;
}

void xen_step(struct xen_vm *x, int n, enum xen_step step)
{
	xen_prepare(x, n, step);
	xen_expect(x, n, xen_run(x, n), XEN_RETURNED);
}

void xen_prepare_call(struct xen_vm *x, int n, void *fn, u64 a, u64 b, u64 c)
{
	struct kvm_regs regs;

	TEST_ASSERT_EQ(x->state[n].mode, XEN_64);
	xen_prepare(x, n, STEP_RETURN);
	vcpu_regs_get(x->vcpu[n], &regs);
	regs.rsp -= 8;
	*(u64 *)xen_hva(x, regs.rsp) = regs.rip;
	regs.rip = (u64)fn;
	regs.rdi = a;
	regs.rsi = b;
	regs.rdx = c;
	vcpu_regs_set(x->vcpu[n], &regs);
}

static u32 run_msr(struct xen_vm *x, int n, enum xen_step step, u32 msr, u64 *val)
{
	enum xen_stop stop;
	struct kvm_regs regs;

	xen_prepare(x, n, step);
	vcpu_regs_get(x->vcpu[n], &regs);
	regs.rcx = msr;
	regs.rax = (u32)*val;
	regs.rdx = *val >> 32;
	vcpu_regs_set(x->vcpu[n], &regs);
	stop = xen_run(x, n);
	vcpu_regs_get(x->vcpu[n], &regs);
	if (stop == XEN_FAULTED)
		return (u8)regs.rax;
	xen_expect(x, n, stop, XEN_RETURNED);
	*val = (u32)regs.rax | regs.rdx << 32;
	return 0;
}

u32 xen_wrmsr(struct xen_vm *x, int n, u32 msr, u64 val)
{
	return run_msr(x, n, STEP_WRMSR, msr, &val);
}

u32 xen_rdmsr(struct xen_vm *x, int n, u32 msr, u64 *val)
{
	*val = 0;
	return run_msr(x, n, STEP_RDMSR, msr, val);
}

void xen_prepare_hcall(struct xen_vm *x, int n, u64 nr, const u64 *args)
{
	struct kvm_regs regs;

	xen_prepare(x, n, STEP_HCALL);
	vcpu_regs_get(x->vcpu[n], &regs);
	regs.rax = nr;
	if (xen_is_64(x, n)) {
		regs.rdi = args[0];
		regs.rsi = args[1];
		regs.rdx = args[2];
		regs.r10 = args[3];
		regs.r8 = args[4];
		regs.r9 = args[5];
	} else {
		regs.rbx = args[0];
		regs.rcx = args[1];
		regs.rdx = args[2];
		regs.rsi = args[3];
		regs.rdi = args[4];
		regs.rbp = args[5];
	}
	vcpu_regs_set(x->vcpu[n], &regs);
}

s64 __xen_hcall(struct xen_vm *x, int n, u64 nr, const u64 *args)
{
	xen_prepare_hcall(x, n, nr, args);
	xen_expect(x, n, xen_run(x, n), XEN_RETURNED);
	return xen_is_64(x, n) ? (s64)xen_result(x, n) : (s32)xen_result(x, n);
}

struct kvm_xen_exit *__xen_hcall_exits(struct xen_vm *x, int n, u64 nr, const u64 *args)
{
	struct kvm_xen_exit *exit = &x->vcpu[n]->run->xen;

	xen_prepare_hcall(x, n, nr, args);
	xen_expect(x, n, xen_run(x, n), XEN_EXITED);
	TEST_ASSERT_EQ(exit->type, KVM_EXIT_XEN_HCALL);
	TEST_ASSERT_EQ(exit->u.hcall.input, xen_is_64(x, n) ? nr : (u32)nr);
	exit->u.hcall.result = 0;
	return exit;
}

u64 xen_put_poll(struct xen_vm *x, int n, u64 timeout, u32 nr, const u32 *ports)
{
	u64 addr = XEN_ARG(n), list = addr + 64;

	if (ports)
		memcpy(xen_hva(x, list), ports, nr * sizeof(*ports));
	if (xen_is_64(x, n))
		*(struct xen_poll64 *)xen_hva(x, addr) = (struct xen_poll64) {
			.ports = list, .nr_ports = nr, .timeout = timeout,
		};
	else
		*(struct xen_poll32 *)xen_hva(x, addr) = (struct xen_poll32) {
			.ports = list, .nr_ports = nr, .timeout = timeout,
		};
	return addr;
}

u64 xen_put_singleshot(struct xen_vm *x, int n, u64 timeout, u32 flags)
{
	*(struct xen_singleshot *)xen_hva(x, XEN_ARG(n)) = (struct xen_singleshot) {
		.timeout = timeout, .flags = flags,
	};
	return XEN_ARG(n);
}

s64 xen_set_timer_op(struct xen_vm *x, int n, u64 timeout)
{
	if (xen_is_64(x, n))
		return xen_hcall(x, n, HCALL_SET_TIMER, timeout);
	return xen_hcall(x, n, HCALL_SET_TIMER, (u32)timeout, timeout >> 32);
}

s64 xen_singleshot(struct xen_vm *x, int n, u64 timeout, u32 flags)
{
	return xen_hcall(x, n, HCALL_VCPU, VCPUOP_SET_SINGLESHOT, XEN_VCPU_ID(n),
			 xen_put_singleshot(x, n, timeout, flags));
}

/* Event state in guest memory. */

static bool get_bit(struct xen_vm *x, u32 offset, u32 port)
{
	return READ_ONCE(((u8 *)x->shinfo)[offset + port / 8]) & BIT(port % 8);
}

static void put_bit(struct xen_vm *x, u32 offset, u32 port, bool on)
{
	u32 *word = x->shinfo + offset + port / 32 * 4;

	if (on)
		__sync_fetch_and_or(word, 1u << port % 32);
	else
		__sync_fetch_and_and(word, ~(1u << port % 32));
}

static u32 mask_offset(struct xen_vm *x)
{
	return x->long_mode ? offsetof(struct xen_shared_info64, mask) :
			      offsetof(struct xen_shared_info32, mask);
}

bool xen_pending(struct xen_vm *x, u32 port)
{
	return get_bit(x, offsetof(struct xen_shared_info64, pending), port);
}

void xen_put_pending(struct xen_vm *x, u32 port, bool on)
{
	put_bit(x, offsetof(struct xen_shared_info64, pending), port, on);
}

bool xen_masked(struct xen_vm *x, u32 port)
{
	return get_bit(x, mask_offset(x), port);
}

void xen_put_mask(struct xen_vm *x, u32 port, bool on)
{
	put_bit(x, mask_offset(x), port, on);
}

u32 xen_nr_ports(struct xen_vm *x)
{
	return x->long_mode ? 4096 : 1024;
}

/* Where the helpers and the interrupt handler of vCPU @n find its vcpu_info. */
void xen_put_vcpu_info(struct xen_vm *x, int n, u64 gpa)
{
	xen_cpu(x, n)->vcpu_info = gpa;
	x->state[n].info = xen_hva(x, gpa);
}

u8 xen_flag(struct xen_vm *x, int n)
{
	return READ_ONCE(x->state[n].info->upcall_pending);
}

void xen_put_flag(struct xen_vm *x, int n, u8 val)
{
	WRITE_ONCE(x->state[n].info->upcall_pending, val);
}

u64 xen_sel(struct xen_vm *x, int n)
{
	struct xen_vcpu_info64 *info = x->state[n].info;

	if (x->long_mode)
		return READ_ONCE(info->pending_sel);
	return READ_ONCE(((struct xen_vcpu_info32 *)info)->pending_sel);
}

void xen_put_sel(struct xen_vm *x, int n, u64 sel)
{
	struct xen_vcpu_info64 *info = x->state[n].info;

	if (x->long_mode)
		WRITE_ONCE(info->pending_sel, sel);
	else
		WRITE_ONCE(((struct xen_vcpu_info32 *)info)->pending_sel, sel);
}

u64 xen_sel_bit(struct xen_vm *x, u32 port)
{
	return BIT_ULL(port / (x->long_mode ? 64 : 32));
}

struct xen_wallclock *xen_wallclock(struct xen_vm *x)
{
	return x->shinfo + (x->long_mode ? offsetof(struct xen_shared_info64, wc) :
					   offsetof(struct xen_shared_info32, wc));
}

/* Back to the state before any event; only while nothing can be raised. */
void xen_clear_events(struct xen_vm *x)
{
	struct xen_cpu *cpu;
	int i;

	memset(x->shinfo + offsetof(struct xen_shared_info64, pending), 0,
	       xen_nr_ports(x) / 8);
	for (i = 0; i < x->nr_vcpus; i++) {
		cpu = xen_cpu(x, i);
		xen_put_flag(x, i, 0);
		xen_put_sel(x, i, 0);
		cpu->nr = 0;
		memset(cpu->log, 0, sizeof(cpu->log));
		memset(cpu->count, 0, sizeof(cpu->count));
	}
}

/* FIFO event channels. */

void xen_fifo_opt_in(struct xen_vm *x)
{
	xen_config(x, KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL | KVM_XEN_HVM_CONFIG_EVTCHN_SEND |
		   KVM_XEN_HVM_CONFIG_EVTCHN_FIFO |
		   (kvm_check_cap(KVM_CAP_XEN_HVM) & KVM_XEN_HVM_CONFIG_MORE_HCALLS),
		   XEN_HCALL_MSR);
}

/* Shared memory: pages can be dropped without losing what is in them. */
void xen_fifo_add_memory(struct xen_vm *x)
{
	vm_userspace_mem_region_add(x->vm, VM_MEM_SRC_SHMEM, XEN_FIFO_BASE, XEN_FIFO_SLOT,
				    XEN_FIFO_SLOT_PAGES, 0);
	virt_map(x->vm, XEN_FIFO_BASE, XEN_FIFO_BASE, XEN_FIFO_SLOT_PAGES);
}

int xen_fifo_try_abi(struct xen_vm *x, u32 abi, u32 flags)
{
	struct kvm_xen_hvm_attr attr = {
		.type = KVM_XEN_ATTR_TYPE_EVTCHN_ABI,
		.u.evtchn_abi = { .abi = abi, .flags = flags },
	};

	return xen_errno(__vm_ioctl(x->vm, KVM_XEN_HVM_SET_ATTR, &attr));
}

int xen_fifo_try_array(struct xen_vm *x, u32 index, u64 gfn)
{
	struct kvm_xen_hvm_attr attr = {
		.type = KVM_XEN_ATTR_TYPE_EVTCHN_ARRAY,
		.u.evtchn_array = { .index = index, .gfn = gfn },
	};

	return xen_errno(__vm_ioctl(x->vm, KVM_XEN_HVM_SET_ATTR, &attr));
}

void xen_fifo_enter(struct xen_vm *x, int nr_pages)
{
	int i;

	for (i = 0; i < x->nr_vcpus; i++)
		xen_vcpu_set(x, i, EVTCHN_CONTROL, gpa, XEN_FIFO_CONTROL(i));
	TEST_ASSERT_EQ(xen_fifo_try_abi(x, KVM_XEN_EVTCHN_ABI_FIFO, KVM_XEN_EVTCHN_ABI_CARRY), 0);
	for (i = 0; i < nr_pages; i++)
		TEST_ASSERT_EQ(xen_fifo_try_array(x, i, XEN_FIFO_ARRAY(i) >> 12), 0);
}

void xen_fifo_tails(struct xen_vm *x, int n, u32 *tails)
{
	struct kvm_xen_vcpu_attr attr = { .type = KVM_XEN_VCPU_ATTR_TYPE_EVTCHN_TAILS };

	vcpu_ioctl(x->vcpu[n], KVM_XEN_VCPU_GET_ATTR, &attr);
	memcpy(tails, attr.u.evtchn_tail, sizeof(attr.u.evtchn_tail));
}

bool xen_irr(struct xen_vm *x, int n, u8 vector)
{
	struct kvm_lapic_state lapic;

	vcpu_ioctl(x->vcpu[n], KVM_GET_LAPIC, &lapic);
	return *(u32 *)&lapic.regs[APIC_IRR + vector / 32 * 0x10] & BIT(vector % 32);
}

/* An MSI to vCPU @n; @data is its vector and delivery mode. */
void xen_send_msi(struct xen_vm *x, int n, u32 data)
{
	struct kvm_msi msi = {
		.address_lo = 0xfee00000 | n << 12,
		.data = data,
	};
	int r = __vm_ioctl(x->vm, KVM_SIGNAL_MSI, &msi);

	TEST_ASSERT(r > 0, "KVM_SIGNAL_MSI: %d", r);
}

/* Software-enable the local APIC from outside, which raises nothing. */
void xen_lapic_enable(struct xen_vm *x, int n, bool on)
{
	struct kvm_lapic_state lapic;
	u32 *spiv = (u32 *)&lapic.regs[APIC_SPIV];

	vcpu_ioctl(x->vcpu[n], KVM_GET_LAPIC, &lapic);
	*spiv = 0xff | (on ? APIC_SPIV_APIC_ENABLED : 0);
	vcpu_ioctl(x->vcpu[n], KVM_SET_LAPIC, &lapic);
}

/* The runner. */

static char output[16384];
static int planned;
u32 xen_seconds;
u32 xen_slower = 1;

u64 xen_case_ms(void)
{
	return xen_seconds * 1000ULL / planned;
}

static void on_alarm(int sig)
{
	static const char text[] = "time limit of the case reached\n";

	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		_exit(253);
	_exit(254);
}

static void on_kick(int sig)
{
}

static void run_child(const struct xen_case *c, int fd, int limit)
{
	struct sigaction kick = { .sa_handler = on_kick };	/* no SA_RESTART */

	dup2(fd, STDOUT_FILENO);
	dup2(fd, STDERR_FILENO);
	sigaction(SIGUSR1, &kick, NULL);
	signal(SIGALRM, on_alarm);
	alarm(limit);
	c->fn();
	fflush(NULL);
	_exit(0);
}

/* Collect what the child says until it ends or @deadline (ms, monotonic) passes. */
static bool read_output(int fd, u64 deadline)
{
	size_t used = 0;
	ssize_t got;

	for (;;) {
		struct pollfd pfd = { .fd = fd, .events = POLLIN };
		u64 now = xen_real_ns(CLOCK_MONOTONIC) / NSEC_PER_MSEC;
		char drop[256];
		bool full = used == sizeof(output) - 1;

		output[used] = 0;
		if (now >= deadline)
			return false;
		if (poll(&pfd, 1, deadline - now) <= 0)
			continue;
		got = full ? read(fd, drop, sizeof(drop)) :
			     read(fd, output + used, sizeof(output) - 1 - used);
		if (got <= 0)
			return true;
		if (!full)
			used += got;
	}
}

/* The exit status of the child, or -1 if it cannot even be killed. */
static int reap(pid_t pid, bool kill_it)
{
	int status, i;

	if (kill_it)
		kill(pid, SIGKILL);
	for (i = 0; i < 1000; i++) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
		xen_sleep_ms(10);
	}
	kill(pid, SIGKILL);
	return -1;
}

static void print_output(void)
{
	char *line, *rest = output;

	while ((line = strsep(&rest, "\n")))
		if (*line && !strstr(line, "addr2line"))
			ksft_print_msg("%s\n", line);
}

static void run_case(const struct xen_case *c, int limit)
{
	u64 start = xen_real_ns(CLOCK_MONOTONIC) / NSEC_PER_MSEC;
	bool ended, verbose = getenv("XEN_TEST_VERBOSE");
	char *reason;
	int fds[2], status;
	pid_t pid;

	if (pipe(fds))
		ksft_exit_fail_perror("pipe");
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		ksft_exit_fail_perror("fork");
	if (!pid) {
		close(fds[0]);
		run_child(c, fds[1], limit);
	}
	close(fds[1]);
	ended = read_output(fds[0], start + (limit + 5) * 1000ULL);
	close(fds[0]);
	status = reap(pid, !ended);

	if (status == KSFT_SKIP) {
		reason = strstr(output, "SKIP ");
		strsep(&(char *) { reason }, "\n");
		ksft_test_result_skip("%s: %s\n", c->name, reason ? reason + 5 : "");
		return;
	}
	if (status || verbose)
		print_output();
	if (status < 0)
		ksft_print_msg("process %d cannot be killed\n", pid);
	else if (status > 128 && status < 253)
		ksft_print_msg("ended by signal %d\n", status - 128);
	if (verbose)
		ksft_print_msg("%llu ms\n",
			       xen_real_ns(CLOCK_MONOTONIC) / NSEC_PER_MSEC - start);
	ksft_test_result(!status, "%s\n", c->name);
}

static bool matches(const char *name, const char *const *texts)
{
	while (*texts)
		if (strstr(name, *texts++))
			return true;
	return false;
}

int xen_run_cases(int argc, char *argv[], const struct xen_case *cases, int nr)
{
	int i, opt, limit = 0, nr_not = 0;
	const char *only = "", *not[8] = {};
	bool list = false;
	u32 caps;

	if (xen_seconds)
		guest_random_seed = time(NULL);
	while ((opt = getopt(argc, argv, "lt:x:T:S:s:d:")) != -1) {
		if (opt == 'l')
			list = true;
		else if (opt == 't')
			only = optarg;
		else if (opt == 'x' && nr_not < ARRAY_SIZE(not) - 1)
			not[nr_not++] = optarg;
		else if (opt == 'T')
			limit = atoi_positive("time limit", optarg);
		else if (opt == 'S')
			xen_slower = atoi_positive("factor", optarg);
		else if (opt == 's' && xen_seconds)
			guest_random_seed = strtoul(optarg, NULL, 0);
		else if (opt == 'd' && xen_seconds)
			xen_seconds = atoi_positive("duration", optarg);
		else
			ksft_exit_fail_msg("usage: %s [-l] [-t TEXT] [-x TEXT]... [-T SECONDS] [-S FACTOR]%s\n",
					   argv[0], xen_seconds ? " [-s SEED] [-d SECONDS]" : "");
	}
	if (!limit)
		limit = 60 * xen_slower;
	for (i = 0; i < nr; i++) {
		if (!strstr(cases[i].name, only))
			continue;
		if (list)
			printf("%s\n", cases[i].name);
		planned++;
	}
	if (list)
		return 0;

	ksft_print_header();
	caps = kvm_check_cap(KVM_CAP_XEN_HVM);
	if (!caps)
		ksft_exit_skip("KVM without Xen guest support (KVM_CAP_XEN_HVM)\n");
	ksft_set_plan(planned);
	if (xen_seconds) {
		ksft_print_msg("-s 0x%x -d %u\n", guest_random_seed, xen_seconds);
		limit += xen_case_ms() / 1000;
	}
	for (i = 0; i < nr; i++) {
		if (!strstr(cases[i].name, only))
			continue;
		if (matches(cases[i].name, not))
			ksft_test_result_skip("%s: excluded by -x\n", cases[i].name);
		else if (cases[i].caps & ~caps)
			ksft_test_result_skip("%s: KVM_CAP_XEN_HVM lacks flags 0x%x\n",
					      cases[i].name, cases[i].caps & ~caps);
		else
			run_case(&cases[i], limit);
	}
	ksft_finished();
}
