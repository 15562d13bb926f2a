// SPDX-License-Identifier: GPL-2.0-only
/*
 * Hypercall entry of Xen guests: the instruction and the hypercall page in every
 * processor mode, the MSR that fills the page, the exit to the VMM and its
 * completion, coexistence with Hyper-V, pages supplied by the VMM, and the one
 * version query that the kernel answers.
 *
 * Each case is a guest of its own; it fails when the guest sees another result
 * or fault, or the VMM another exit, than real Xen or KVM's user API give.  Linux
 * 6.12 fails DT1 to DT5, DT27, FX2, X5 and the interception without an MSR (DT36).
 *
 * Emulated AMD of Bochs 2.7 dies in the exits of HC10 and HC26: use -x HC10 -x HC26.
 */
#include "hyperv.h"
#include "xen.h"

#define ARG(i)		(0x1111111111111111ULL * ((i) + 1))
#define GARBAGE		0xdeadbeef00000000ULL
#define RAX_RESULT	0xcafef00dfbfbffffULL

static struct kvm_xen_exit *exit_of(struct xen_vm *x)
{
	return &x->vcpu[0]->run->xen;
}

static u64 rip_of(struct xen_vm *x)
{
	struct kvm_regs regs;

	vcpu_regs_get(x->vcpu[0], &regs);
	return regs.rip;
}

static bool all_bytes(const u8 *p, u8 value, int size)
{
	while (size && *p++ == value)
		size--;
	return !size;
}

static void fill(struct xen_vm *x, u64 gpa, u8 value)
{
	memset(xen_hva(x, gpa), value, 0x1000);
}

static const u8 *insn(void)
{
	return host_cpu_is_amd ? (u8 *)"\x0f\x01\xd9" : (u8 *)"\x0f\x01\xc1";
}

/* Slots of the generated page; returns the number of good ones but for slot 23. */
static int good_slots(const u8 *page)
{
	int i, good = 0;

	for (i = 0; i < 128; i++, page += 32)
		good += i != 23 && page[0] == 0xb8 && *(u32 *)(page + 1) == i &&
			!memcmp(page + 5, insn(), 3) && page[8] == 0xc3 &&
			all_bytes(page + 9, 0xcc, 23);
	return good;
}

static void test_page(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);
	u8 *page = xen_hva(x, XEN_HCALL_PAGE);

	fill(x, XEN_HCALL_PAGE, 0xa5);
	TEST_ASSERT_EQ(xen_wrmsr(x, 0, XEN_HCALL_MSR, XEN_HCALL_PAGE), 0);
	TEST_ASSERT_EQ(good_slots(page), 127);
	TEST_ASSERT_EQ(*(u8 *)xen_hva(x, XEN_HCALL_PAGE + 0x1000), 0);
}

static void test_page_iret(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);
	u8 *slot = xen_hva(x, XEN_HCALL_PAGE + 23 * 32);

	TEST_ASSERT_EQ(xen_wrmsr(x, 0, XEN_HCALL_MSR, XEN_HCALL_PAGE), 0);
	TEST_ASSERT(slot[0] == 0x0f && slot[1] == 0x0b, "%02x %02x is not ud2", slot[0], slot[1]);
	TEST_ASSERT(all_bytes(slot + 2, 0xcc, 30), "bytes behind ud2");
}

/* Call through the page: in every mode the stub is the same. */
static void call_page(enum xen_mode mode)
{
	struct xen_vm *x = xen_vm_new(1, mode, XEN_CFG);
	struct kvm_regs regs;

	TEST_ASSERT_EQ(xen_wrmsr(x, 0, XEN_HCALL_MSR, XEN_HCALL_PAGE), 0);
	xen_prepare(x, 0, STEP_PAGE);
	vcpu_regs_get(x->vcpu[0], &regs);
	regs.rax = 0x99;
	regs.rbp = XEN_HCALL_PAGE + HCALL_VERSION * 32;
	*(mode == XEN_64 ? &regs.rdi : &regs.rbx) = 1;
	vcpu_regs_set(x->vcpu[0], &regs);
	xen_expect(x, 0, xen_run(x, 0), XEN_EXITED);
	TEST_ASSERT_EQ(exit_of(x)->type, KVM_EXIT_XEN_HCALL);
	TEST_ASSERT_EQ(exit_of(x)->u.hcall.input, HCALL_VERSION);
	TEST_ASSERT_EQ(exit_of(x)->u.hcall.params[0], 1);
	TEST_ASSERT_EQ(exit_of(x)->u.hcall.longmode, mode == XEN_64);
	TEST_ASSERT_EQ(exit_of(x)->u.hcall.cpl, 0);
	exit_of(x)->u.hcall.result = 0x1234;
	xen_expect(x, 0, xen_run(x, 0), XEN_RETURNED);
	TEST_ASSERT_EQ(xen_result(x, 0), 0x1234);
}

static void test_call_page(void)
{
	call_page(XEN_64);
}

static void test_call_page_32(void)
{
	call_page(XEN_32);
}

static void test_call_page_compat(void)
{
	call_page(XEN_COMPAT);
}

static void test_exit(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);
	struct kvm_xen_exit *hc;
	u64 rip;
	int i;

	hc = xen_hcall_exits(x, 0, 55, ARG(0), ARG(1), ARG(2), ARG(3), ARG(4), ARG(5));
	TEST_ASSERT_EQ(hc->u.hcall.longmode, 1);
	TEST_ASSERT_EQ(hc->u.hcall.cpl, 0);
	for (i = 0; i < 6; i++)
		TEST_ASSERT_EQ(hc->u.hcall.params[i], ARG(i));
	hc->u.hcall.result = RAX_RESULT;
	rip = rip_of(x);
	vcpu_run_complete_io(x->vcpu[0]);
	TEST_ASSERT_EQ(rip_of(x), rip + 3);
	xen_expect(x, 0, xen_run(x, 0), XEN_RETURNED);
	TEST_ASSERT_EQ(xen_result(x, 0), RAX_RESULT);
}

/* All 64 bits of the number count. */
static void test_wide_number(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);

	xen_set(x, XEN_VERSION, xen_version, 0x40011);
	xen_hcall_exits(x, 0, 1ULL << 32 | HCALL_VERSION);
}

static void test_registers(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);
	struct kvm_regs regs;

	xen_hcall_exits(x, 0, 55, ARG(0), ARG(1), ARG(2), ARG(3), ARG(4), ARG(5));
	xen_expect(x, 0, xen_run(x, 0), XEN_RETURNED);
	vcpu_regs_get(x->vcpu[0], &regs);
	TEST_ASSERT(regs.rdi == ARG(0) && regs.rsi == ARG(1) && regs.rdx == ARG(2) &&
		    regs.r10 == ARG(3) && regs.r8 == ARG(4) && regs.r9 == ARG(5),
		    "argument registers were changed");
}

/* Called from 32-bit code: half of each register counts. */
static void exit_32(enum xen_mode mode)
{
	struct xen_vm *x = xen_vm_new(1, mode, XEN_CFG);
	struct kvm_xen_exit *hc;
	int i;

	hc = xen_hcall_exits(x, 0, GARBAGE | 55, ARG(0), ARG(1), ARG(2), ARG(3), ARG(4), ARG(5));
	TEST_ASSERT_EQ(hc->u.hcall.input, 55);
	TEST_ASSERT_EQ(hc->u.hcall.longmode, 0);
	TEST_ASSERT_EQ(hc->u.hcall.cpl, 0);
	for (i = 0; i < 6; i++)
		TEST_ASSERT_EQ(hc->u.hcall.params[i], (u32)ARG(i));
	hc->u.hcall.result = -14;
	xen_expect(x, 0, xen_run(x, 0), XEN_RETURNED);
	TEST_ASSERT_EQ((s32)xen_result(x, 0), -14);
}

static void test_exit_32(void)
{
	exit_32(XEN_32);
}

static void test_exit_compat(void)
{
	exit_32(XEN_COMPAT);
}

#define ALL	(XEN_CFG | XEN_SI | XEN_VI | XEN_ID | XEN_TM)

/* Segments of another level, but the page tables are still the kernel's. */
static void set_cpl(struct xen_vm *x, u8 cpl)
{
	struct kvm_sregs sregs;
	struct kvm_segment *seg;
	int i;

	vcpu_sregs_get(x->vcpu[0], &sregs);
	for (i = 0; i < 6; i++) {		/* cs, ds, es, fs, gs, ss */
		seg = &sregs.cs + i;
		seg->selector |= cpl;
		seg->dpl = cpl;
	}
	vcpu_sregs_set(x->vcpu[0], &sregs);
}

/* The kernel answers nothing to code that is not at level 0. */
static void all_exit(struct xen_vm *x, u8 cpl)
{
	struct kvm_xen_exit *hc;

	xen_set(x, XEN_VERSION, xen_version, 0x40011);
	xen_assign(x, EVTCHN_IPI, 5, 5, 0);
	hc = xen_hcall_exits(x, 0, HCALL_VERSION, XENVER_VERSION);
	TEST_ASSERT_EQ(hc->u.hcall.cpl, cpl);
	TEST_ASSERT_EQ(hc->u.hcall.longmode, xen_is_64(x, 0));
	*(u32 *)xen_hva(x, XEN_ARG(0)) = 5;
	xen_hcall_exits(x, 0, HCALL_EVTCHN, EVTCHNOP_SEND, XEN_ARG(0));
	TEST_ASSERT(!xen_pending(x, 5), "an event was raised");
	xen_hcall_exits(x, 0, HCALL_SCHED, SCHEDOP_YIELD);
	xen_hcall_exits(x, 0, HCALL_SET_TIMER, 1);
	xen_hcall_exits(x, 0, HCALL_VCPU, VCPUOP_STOP_SINGLESHOT, XEN_VCPU_ID(0));
}

static void test_user_64(void)
{
	all_exit(xen_vm_new(1, XEN_USER64, ALL), 3);
}

static void test_user_32(void)
{
	all_exit(xen_vm_new(1, XEN_USER32, ALL), 3);
}

static void middle_levels(enum xen_mode mode)
{
	struct xen_vm *x;
	u8 cpl;

	for (cpl = 1; cpl <= 2; cpl++) {
		x = xen_vm_new(1, mode, ALL);
		set_cpl(x, cpl);
		all_exit(x, cpl);
		xen_vm_free(x);
	}
}

IN_64_BIT(middle_levels)
IN_32_BIT(middle_levels)

static void test_real_mode(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_REAL, XEN_CFG);
	struct kvm_xen_exit *hc = xen_hcall_exits(x, 0, HCALL_VERSION, ARG(0));

	TEST_ASSERT_EQ(hc->u.hcall.longmode, 0);
	TEST_ASSERT_EQ(hc->u.hcall.cpl, 0);
	TEST_ASSERT_EQ(hc->u.hcall.params[0], (u32)ARG(0));
	hc->u.hcall.result = 0x77;
	xen_expect(x, 0, xen_run(x, 0), XEN_RETURNED);
	TEST_ASSERT_EQ((u32)xen_result(x, 0), 0x77);
}

static void test_vm86(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_VM86, XEN_CFG);
	struct kvm_xen_exit *hc;

	xen_set(x, XEN_VERSION, xen_version, 0x40011);
	hc = xen_hcall_exits(x, 0, HCALL_VERSION, XENVER_VERSION);
	TEST_ASSERT_EQ(hc->u.hcall.longmode, 0);
	TEST_ASSERT_EQ(hc->u.hcall.cpl, 3);
}

static void test_other_vendor(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);
	struct kvm_regs regs;

	xen_prepare(x, 0, STEP_HCALL_OTHER);
	vcpu_regs_get(x->vcpu[0], &regs);
	regs.rax = 55;
	regs.rdi = ARG(0);
	vcpu_regs_set(x->vcpu[0], &regs);
	xen_expect(x, 0, xen_run(x, 0), XEN_EXITED);
	TEST_ASSERT_EQ(exit_of(x)->u.hcall.input, 55);
	TEST_ASSERT_EQ(exit_of(x)->u.hcall.params[0], ARG(0));
}

/* A write that is refused changes nothing: no page, no mode, no wallclock. */
static void refused_write(u64 value, u64 page)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);
	struct xen_shared_info64 *shinfo = x->shinfo;

	xen_set(x, SHARED_INFO, shared_info.gfn, XEN_SHINFO >> 12);
	if (page)
		fill(x, page, 0xa5);
	TEST_ASSERT_EQ(xen_wrmsr(x, 0, XEN_HCALL_MSR, value), GP_VECTOR);
	if (page)
		TEST_ASSERT(all_bytes(xen_hva(x, page), 0xa5, 0x1000), "page was written");
	TEST_ASSERT_EQ(xen_get(x, LONG_MODE, long_mode), 0);
	TEST_ASSERT_EQ(shinfo->wc.version, 0);
}

static void test_index_1(void)
{
	refused_write(XEN_HCALL_PAGE | 1, XEN_HCALL_PAGE);
}

static void test_unbacked(void)
{
	refused_write(XEN_HOLE, 0);
}

static void test_high_address(void)
{
	refused_write(0xfffffffffffff000ULL, 0);
}

static void test_read_only(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);

	TEST_REQUIRE(kvm_has_cap(KVM_CAP_READONLY_MEM));
	vm_userspace_mem_region_add(x->vm, VM_MEM_SRC_ANONYMOUS, XEN_HOLE, XEN_SLOT + 1, 1,
				    KVM_MEM_READONLY);
	fill(x, XEN_HOLE, 0xa5);
	TEST_ASSERT_EQ(xen_wrmsr(x, 0, XEN_HCALL_MSR, XEN_HOLE), GP_VECTOR);
	TEST_ASSERT(all_bytes(xen_hva(x, XEN_HOLE), 0xa5, 0x1000), "page was written");
	TEST_ASSERT_EQ(xen_get(x, LONG_MODE, long_mode), 0);
}

static void test_rdmsr(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);
	u64 val;

	TEST_ASSERT_EQ(xen_rdmsr(x, 0, XEN_HCALL_MSR, &val), 0);
	TEST_ASSERT_EQ(val, 0);
	TEST_ASSERT_EQ(xen_wrmsr(x, 0, XEN_HCALL_MSR, XEN_HCALL_PAGE), 0);
	TEST_ASSERT_EQ(xen_rdmsr(x, 0, XEN_HCALL_MSR, &val), 0);
	TEST_ASSERT_EQ(val, 0);
}

static void test_next_msr(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);

	TEST_ASSERT_EQ(xen_wrmsr(x, 0, XEN_HCALL_MSR + 1, XEN_HCALL_PAGE), GP_VECTOR);
	xen_config(x, KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL, 0x40000200);
	fill(x, XEN_HCALL_PAGE, 0xa5);
	xen_wrmsr(x, 0, XEN_HCALL_MSR, XEN_HCALL_PAGE);
	TEST_ASSERT(all_bytes(xen_hva(x, XEN_HCALL_PAGE), 0xa5, 0x1000), "old MSR still works");
	TEST_ASSERT_EQ(xen_wrmsr(x, 0, 0x40000200, XEN_HCALL_PAGE), 0);
	TEST_ASSERT_EQ(good_slots(xen_hva(x, XEN_HCALL_PAGE)), 127);
}

/* A userspace filter comes first; a refused write can be asked for in userspace. */
static void test_msr_filter(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);
	u8 deny[8] = {};
	struct kvm_msr_filter filter = {
		.ranges[0] = {
			.flags = KVM_MSR_FILTER_WRITE,
			.nmsrs = 1,
			.base = XEN_HCALL_MSR,
			.bitmap = deny,
		},
	};
	struct kvm_regs regs;

	TEST_REQUIRE(kvm_has_cap(KVM_CAP_X86_MSR_FILTER));
	vm_ioctl(x->vm, KVM_X86_SET_MSR_FILTER, &filter);
	TEST_ASSERT_EQ(xen_wrmsr(x, 0, XEN_HCALL_MSR, XEN_HCALL_PAGE), GP_VECTOR);
	TEST_ASSERT(all_bytes(xen_hva(x, XEN_HCALL_PAGE), 0, 0x1000), "page was written");

	memset(&filter, 0, sizeof(filter));
	vm_ioctl(x->vm, KVM_X86_SET_MSR_FILTER, &filter);
	vm_enable_cap(x->vm, KVM_CAP_X86_USER_SPACE_MSR, KVM_MSR_EXIT_REASON_INVAL);
	xen_prepare(x, 0, STEP_WRMSR);
	vcpu_regs_get(x->vcpu[0], &regs);
	regs.rcx = XEN_HCALL_MSR;
	regs.rax = XEN_HCALL_PAGE | 1;
	regs.rdx = 0;
	vcpu_regs_set(x->vcpu[0], &regs);
	xen_expect(x, 0, xen_run(x, 0), XEN_OTHER);
	TEST_ASSERT_KVM_EXIT_REASON(x->vcpu[0], KVM_EXIT_X86_WRMSR);
	TEST_ASSERT_EQ(x->vcpu[0]->run->msr.index, XEN_HCALL_MSR);
}

static s64 hyperv_call(struct xen_vm *x, enum xen_step step, u64 rax)
{
	struct kvm_regs regs;

	xen_prepare(x, 0, step);
	vcpu_regs_get(x->vcpu[0], &regs);
	regs.rax = rax;
	regs.rcx = HVCALL_NOTIFY_LONG_SPIN_WAIT;
	regs.rbp = XEN_SPARE;
	vcpu_regs_set(x->vcpu[0], &regs);
	xen_expect(x, 0, xen_run(x, 0), XEN_RETURNED);
	return xen_result(x, 0);
}

static void test_hyperv(void)
{
	struct xen_vm *x;
	u8 *page;

	TEST_REQUIRE(kvm_has_cap(KVM_CAP_HYPERV_CPUID));
	x = xen_vm_new(1, XEN_64, 0);
	page = xen_hva(x, XEN_SPARE);
	xen_config(x, KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL, 0x40000200);
	vcpu_set_hv_cpuid(x->vcpu[0]);
	TEST_ASSERT_EQ(xen_wrmsr(x, 0, HV_X64_MSR_GUEST_OS_ID, HYPERV_LINUX_OS_ID), 0);
	TEST_ASSERT_EQ(xen_wrmsr(x, 0, HV_X64_MSR_HYPERCALL, XEN_SPARE | 1), 0);
	TEST_ASSERT(!memcmp(page, "\x0d\x00\x00\x00\x80", 5), "no prefix in Hyper-V's page");
	TEST_ASSERT(!memcmp(page + 5, insn(), 3) && page[8] == 0xc3, "no call in Hyper-V's page");

	TEST_ASSERT_EQ(xen_wrmsr(x, 0, 0x40000200, XEN_HCALL_PAGE), 0);
	TEST_ASSERT_EQ(good_slots(xen_hva(x, XEN_HCALL_PAGE)), 127);

	TEST_ASSERT_EQ(hyperv_call(x, STEP_PAGE, 0), HV_STATUS_SUCCESS);
	TEST_ASSERT_EQ(hyperv_call(x, STEP_HCALL, BIT(31) | HCALL_VERSION), HV_STATUS_SUCCESS);
	xen_hcall_exits(x, 0, HCALL_VERSION, 1);
}

static void test_bit_31(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);

	xen_hcall_exits(x, 0, 0x80000011);
	xen_set_mode(x, 0, XEN_32);
	xen_hcall_exits(x, 0, 0x80000011);
}

/* Three pages for 64-bit guests and one for 32-bit ones, each of one byte value. */
static void config_blob(struct xen_vm *x, void *blob64)
{
	static u8 blob32[0x1000];
	struct kvm_xen_hvm_config config = {
		.msr = XEN_HCALL_MSR,
		.blob_addr_32 = (u64)blob32,
		.blob_size_32 = 1,
		.blob_addr_64 = (u64)blob64,
		.blob_size_64 = 3,
	};

	memset(blob32, 0x32, sizeof(blob32));
	vm_ioctl(x->vm, KVM_XEN_HVM_CONFIG, &config);
}

static void test_blob(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, 0);
	u8 *blob = malloc(3 * 0x1000 + 1) + 1;		/* need not be aligned */
	u8 *page = xen_hva(x, XEN_HCALL_PAGE);
	u64 kb;
	int i;

	for (i = 0; i < 3; i++)
		memset(blob + i * 0x1000, 0x64 + i, 0x1000);
	config_blob(x, blob);
	TEST_ASSERT_EQ(xen_wrmsr(x, 0, XEN_HCALL_MSR, XEN_HCALL_PAGE | 2), 0);
	TEST_ASSERT(all_bytes(page, 0x66, 0x1000), "page is not the third page of the blob");
	TEST_ASSERT_EQ(xen_wrmsr(x, 0, XEN_HCALL_MSR, XEN_HCALL_PAGE), 0);
	TEST_ASSERT(all_bytes(page, 0x64, 0x1000), "page is not the first page of the blob");
	TEST_ASSERT_EQ(xen_wrmsr(x, 0, XEN_HCALL_MSR, XEN_HCALL_PAGE | 3), GP_VECTOR);
	TEST_ASSERT(all_bytes(page, 0x64, 0x1000), "page was written by a refused write");

	/* Were the copy of the page leaked, this would show. */
	kb = xen_slab_kb();
	for (i = 0; i < 1000; i++)
		TEST_ASSERT_EQ(xen_wrmsr(x, 0, XEN_HCALL_MSR, XEN_HOLE), GP_VECTOR);
	kb = xen_slab_kb() - kb;
	TEST_ASSERT((s64)kb < 2048, "%ld KB of memory are gone", (s64)kb);

	/* Hypercalls are not intercepted: KVM's own handler does not know this one. */
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_VERSION), -KVM_ENOSYS);

	xen_set_mode(x, 0, XEN_32);
	TEST_ASSERT_EQ(xen_wrmsr(x, 0, XEN_HCALL_MSR, XEN_HCALL_PAGE), 0);
	TEST_ASSERT(all_bytes(page, 0x32, 0x1000), "page is not that for 32-bit guests");
	TEST_ASSERT_EQ(xen_wrmsr(x, 0, XEN_HCALL_MSR, XEN_HCALL_PAGE | 1), GP_VECTOR);
}

static void test_blob_fault(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, 0);
	void *blob = mmap(NULL, 3 * 0x1000, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct kvm_regs regs;
	u64 rip;
	int err;

	config_blob(x, blob);
	xen_prepare(x, 0, STEP_WRMSR);
	vcpu_regs_get(x->vcpu[0], &regs);
	regs.rcx = XEN_HCALL_MSR;
	regs.rax = XEN_HCALL_PAGE;
	regs.rdx = 0;
	rip = regs.rip;
	vcpu_regs_set(x->vcpu[0], &regs);
	err = xen_errno(__vcpu_run(x->vcpu[0]));
	TEST_ASSERT_EQ(err, EFAULT);
	TEST_ASSERT_EQ(rip_of(x), rip);

	/* The VMM can repair it and run on. */
	TEST_ASSERT(!mprotect(blob, 3 * 0x1000, PROT_READ | PROT_WRITE), "mprotect");
	memset(blob, 0x64, 0x1000);
	xen_expect(x, 0, xen_run(x, 0), XEN_RETURNED);
	TEST_ASSERT(all_bytes(xen_hva(x, XEN_HCALL_PAGE), 0x64, 0x1000), "page was not written");
}

static void test_set_msrs(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, 0);
	u32 msr = 0x40000f00;			/* nobody else's */

	xen_config(x, KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL, msr);
	fill(x, XEN_HCALL_PAGE, 0xa5);
	TEST_ASSERT_EQ(_vcpu_set_msr(x->vcpu[0], msr, XEN_HCALL_PAGE), 0);
	TEST_ASSERT(all_bytes(xen_hva(x, XEN_HCALL_PAGE), 0xa5, 0x1000), "page was written");
	TEST_ASSERT_EQ(xen_get(x, LONG_MODE, long_mode), 0);
}

static void test_rip_changed(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);
	struct kvm_xen_exit *hc = xen_hcall_exits(x, 0, 55);
	struct kvm_regs regs;

	hc->u.hcall.result = RAX_RESULT;
	vcpu_regs_get(x->vcpu[0], &regs);
	regs.rip += STEP_RETURN * 32;
	vcpu_regs_set(x->vcpu[0], &regs);
	xen_expect(x, 0, xen_run(x, 0), XEN_RETURNED);
	TEST_ASSERT_EQ(xen_result(x, 0), 55);
}

static void test_immediate_exit(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);
	struct kvm_xen_exit *hc = xen_hcall_exits(x, 0, 55);
	u64 rip = rip_of(x);

	hc->u.hcall.result = RAX_RESULT;
	vcpu_run_complete_io(x->vcpu[0]);	/* asserts EINTR */
	TEST_ASSERT_EQ(xen_result(x, 0), RAX_RESULT);
	TEST_ASSERT_EQ(rip_of(x), rip + 3);
}

static void test_single_step(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);
	struct kvm_regs regs;
	int i;

	/* Once answered by the VMM, once by the kernel. */
	for (i = 0; i < 2; i++) {
		xen_set(x, XEN_VERSION, xen_version, i ? 0x40011 : 0);
		xen_prepare(x, 0, STEP_HCALL_TF);
		vcpu_regs_get(x->vcpu[0], &regs);
		regs.rax = HCALL_VERSION;
		regs.rdi = XENVER_VERSION;
		vcpu_regs_set(x->vcpu[0], &regs);
		if (!i)
			xen_expect(x, 0, xen_run(x, 0), XEN_EXITED);
		xen_expect(x, 0, xen_run(x, 0), XEN_FAULTED);
		TEST_ASSERT_EQ((u8)xen_result(x, 0), DB_VECTOR);
		TEST_ASSERT_EQ(xen_cpu(x, 0)->fault, STEP_HCALL_TF_RIP);
	}
}

static void test_dirty_log(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);
	u64 log = 0;

	vm_mem_region_set_flags(x->vm, XEN_SLOT, KVM_MEM_LOG_DIRTY_PAGES);
	TEST_ASSERT_EQ(xen_wrmsr(x, 0, XEN_HCALL_MSR, XEN_HCALL_PAGE), 0);
	kvm_vm_get_dirty_log(x->vm, XEN_SLOT, &log);
	TEST_ASSERT(log & BIT((XEN_HCALL_PAGE - XEN_BASE) / 0x1000), "log 0x%lx", log);
}

/* The page write tells the mode, and the wallclock goes where the mode says. */
static void test_latch(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);
	struct xen_shared_info64 *info64 = x->shinfo;
	struct xen_shared_info32 *info32 = x->shinfo;

	xen_set(x, SHARED_INFO, shared_info.gfn, XEN_SHINFO >> 12);
	TEST_ASSERT(info32->wc.version && info32->wc.sec, "no wallclock in the 32-bit layout");
	TEST_ASSERT_EQ(info64->wc.version, 0);

	TEST_ASSERT_EQ(xen_wrmsr(x, 0, XEN_HCALL_MSR, XEN_HCALL_PAGE), 0);
	TEST_ASSERT_EQ(xen_get(x, LONG_MODE, long_mode), 1);
	TEST_ASSERT(info64->wc.version && info64->wc.sec, "no wallclock in the 64-bit layout");
	TEST_ASSERT(!(info64->wc.version & 1), "version %u is odd", info64->wc.version);

	memset(&info32->wc, 0, sizeof(info32->wc));
	info32->wc_sec_hi = 0x77;
	xen_set_mode(x, 0, XEN_32);
	TEST_ASSERT_EQ(xen_wrmsr(x, 0, XEN_HCALL_MSR, XEN_HCALL_PAGE), 0);
	TEST_ASSERT_EQ(xen_get(x, LONG_MODE, long_mode), 0);
	TEST_ASSERT(info32->wc.version && info32->wc.sec, "no wallclock in the 32-bit layout");
	TEST_ASSERT_EQ(info32->wc_sec_hi, 0);
}

static void test_latch_compat(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_COMPAT, XEN_CFG);

	TEST_ASSERT_EQ(xen_wrmsr(x, 0, XEN_HCALL_MSR, XEN_HCALL_PAGE), 0);
	TEST_ASSERT_EQ(good_slots(xen_hva(x, XEN_HCALL_PAGE)), 127);
	TEST_ASSERT_EQ(xen_get(x, LONG_MODE, long_mode), 0);
}

static void test_latch_again(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	struct xen_shared_info64 *info = x->shinfo;
	u32 version;
	int i;

	for (i = 0; i < 2; i++) {
		version = info->wc.version;
		TEST_ASSERT_EQ(xen_wrmsr(x, 0, XEN_HCALL_MSR, XEN_HCALL_PAGE), 0);
		TEST_ASSERT_EQ(info->wc.version, version + 2);
	}
	TEST_ASSERT(!(version & 1), "version %u is odd", version);
}

/* The page is there and the mode is known; the wallclock follows with the memory. */
static void latch_without_shinfo(bool by_attr)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);
	struct xen_shared_info64 *info;

	info = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	vm_set_user_memory_region(x->vm, XEN_SLOT + 1, 0, XEN_HOLE, 0x1000, info);
	xen_set(x, SHARED_INFO, shared_info.gfn, XEN_HOLE >> 12);
	vm_set_user_memory_region(x->vm, XEN_SLOT + 1, 0, XEN_HOLE, 0, NULL);
	if (by_attr)
		xen_vcpu_set(x, 0, HYPERCALL_PAGE, gpa, XEN_HCALL_PAGE);
	else
		TEST_ASSERT_EQ(xen_wrmsr(x, 0, XEN_HCALL_MSR, XEN_HCALL_PAGE), 0);
	TEST_ASSERT_EQ(good_slots(xen_hva(x, XEN_HCALL_PAGE)), 127);
	TEST_ASSERT_EQ(xen_get(x, LONG_MODE, long_mode), 1);
	TEST_ASSERT_EQ(info->wc.version, 0);

	vm_set_user_memory_region(x->vm, XEN_SLOT + 1, 0, XEN_HOLE, 0x1000, info);
	xen_step(x, 0, STEP_RETURN);
	TEST_ASSERT(info->wc.version && info->wc.sec, "no wallclock in the 64-bit layout");
}

static void test_latch_without_shinfo(void)
{
	latch_without_shinfo(false);
}

static void test_attr_without_shinfo(void)
{
	latch_without_shinfo(true);
}

/* Another VM's configuration does not matter. */
static void test_two_vms(void)
{
	struct xen_vm *a = xen_vm_new(1, XEN_64, XEN_CFG);
	struct xen_vm *b = xen_vm_new(1, XEN_64, 0);

	TEST_ASSERT_EQ(xen_hcall(b, 0, HCALL_VERSION, 1), -KVM_ENOSYS);
	xen_hcall_exits(a, 0, HCALL_VERSION, 1);
	fill(b, XEN_HCALL_PAGE, 0xa5);
	xen_wrmsr(b, 0, XEN_HCALL_MSR, XEN_HCALL_PAGE);
	TEST_ASSERT(all_bytes(xen_hva(b, XEN_HCALL_PAGE), 0xa5, 0x1000), "page was written");
}

static void test_config_off(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);

	xen_hcall_exits(x, 0, HCALL_VERSION, 1);
	xen_config(x, 0, 0);
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_VERSION, 1), -KVM_ENOSYS);
	TEST_ASSERT_EQ(xen_wrmsr(x, 0, XEN_HCALL_MSR, XEN_HCALL_PAGE), GP_VECTOR);
	xen_setup(x, XEN_CFG);
	xen_hcall_exits(x, 0, HCALL_VERSION, 1);
}

/* Only msr counts as the switch: interception asked for, but no MSR. */
static void test_config_no_msr(void)
{
	struct xen_vm *other = xen_vm_new(1, XEN_64, XEN_CFG);
	struct xen_vm *x = xen_vm_new(1, XEN_64, 0);

	xen_config(x, KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL, 0);
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_VERSION, 1), -KVM_ENOSYS);
	/* This one could be answered at once. */
	xen_set(x, XEN_VERSION, xen_version, 0x40011);
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_VERSION, 0), -KVM_ENOSYS);
	xen_vm_free(other);
}

/* Nor is there a hypercall page. */
static void test_page_no_msr(void)
{
	struct xen_vm *other = xen_vm_new(1, XEN_64, XEN_CFG);
	struct xen_vm *x = xen_vm_new(1, XEN_64, 0);

	xen_config(x, KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL, 0);
	fill(x, XEN_HCALL_PAGE, 0xa5);
	TEST_ASSERT_EQ(xen_vcpu_try_set(x, 0, HYPERCALL_PAGE, gpa, XEN_HCALL_PAGE), EINVAL);
	TEST_ASSERT(all_bytes(xen_hva(x, XEN_HCALL_PAGE), 0xa5, 0x1000), "page was written");
	TEST_ASSERT_EQ(xen_get(x, LONG_MODE, long_mode), 0);
	xen_vm_free(other);
}

static void version(enum xen_mode mode)
{
	struct xen_vm *x = xen_vm_new(1, mode, XEN_CFG);

	xen_set(x, XEN_VERSION, xen_version, 0x40011);
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_VERSION, XENVER_VERSION, XEN_HOLE), 0x40011);
	xen_hcall_exits(x, 0, HCALL_VERSION, 1);
	xen_hcall_exits(x, 0, HCALL_VERSION, 6);
	xen_set(x, XEN_VERSION, xen_version, 0);
	xen_hcall_exits(x, 0, HCALL_VERSION, XENVER_VERSION);
}

static void test_version_64(void)
{
	version(XEN_64);
}

static void test_version_32(void)
{
	version(XEN_32);
}

static void test_version_compat(void)
{
	version(XEN_COMPAT);
}

static void test_version_garbage(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);

	xen_set(x, XEN_VERSION, xen_version, 0x40011);
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_VERSION, 0xdead00000000ULL | XENVER_VERSION), 0x40011);
}

static void test_version_garbage_32(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_COMPAT, XEN_CFG);

	xen_set(x, XEN_VERSION, xen_version, 0x40011);
	TEST_ASSERT_EQ(xen_hcall(x, 0, GARBAGE | HCALL_VERSION, GARBAGE | XENVER_VERSION), 0x40011);
}

static void test_version_max(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);

	xen_set(x, XEN_VERSION, xen_version, 0xffffffff);
	TEST_ASSERT_EQ(xen_hcall(x, 0, HCALL_VERSION, XENVER_VERSION), 0xffffffffLL);
}

#define TRACING		"/sys/kernel/tracing/"

static void put_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC);

	TEST_REQUIRE(fd >= 0);
	TEST_ASSERT(write(fd, text, strlen(text)) == strlen(text), "cannot write %s", path);
	close(fd);
}

/* The last hypercall in the trace, as TP_printk() shows it, or "". */
static void get_trace(char *text, int size)
{
	FILE *file = fopen(TRACING "trace", "r");
	char line[512], *found;

	TEST_ASSERT(file, "no trace");
	*text = 0;
	while (fgets(line, sizeof(line), file)) {
		found = strstr(line, "kvm_xen_hypercall: ");
		if (found)
			snprintf(text, size, "%.*s", (int)strcspn(found, "\n"), found);
	}
	fclose(file);
}

static void test_tracepoint(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);
	char got[512], want[512];

	put_file(TRACING "events/kvm/kvm_xen_hypercall/enable", "1");
	xen_hcall_exits(x, 0, 55, ARG(0), ARG(1), ARG(2), ARG(3), ARG(4), ARG(5));
	put_file(TRACING "events/kvm/kvm_xen_hypercall/enable", "0");
	get_trace(got, sizeof(got));
	snprintf(want, sizeof(want),
		 "kvm_xen_hypercall: cpl 0 nr 0x37 a0 0x%llx a1 0x%llx a2 0x%llx a3 0x%llx a4 0x%llx a5 %llx",
		 ARG(0), ARG(1), ARG(2), ARG(3), ARG(4), ARG(5));
	TEST_ASSERT(!strcmp(got, want), "'%s' is not '%s'", got, want);
}

static u64 stat(struct xen_vm *x, const char *name)
{
	u64 value;

	if (!xen_try_stat(x, 0, name, &value) && !xen_try_stat(x, -1, name, &value))
		ksft_exit_skip("KVM has no statistic %s\n", name);
	return value;
}

static void test_stats(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);
	u64 kernel = stat(x, "xen_hypercalls"), user = stat(x, "xen_hypercalls_user");
	int i;

	xen_set(x, XEN_VERSION, xen_version, 0x40011);
	for (i = 0; i < 3; i++)
		xen_hcall(x, 0, HCALL_VERSION, XENVER_VERSION);
	for (i = 0; i < 2; i++)
		xen_hcall_exits(x, 0, HCALL_VERSION, 1);
	TEST_ASSERT_EQ(stat(x, "xen_hypercalls") - kernel, 3);
	TEST_ASSERT_EQ(stat(x, "xen_hypercalls_user") - user, 2);
}

static const struct xen_case cases[] = {
	{ "HC1: generated page, all slots but iret", test_page },
	{ "HC1 DT1 M16: generated page, iret is ud2", test_page_iret },
	{ "HC2: call through the page", test_call_page },
	{ "HC2: call through the page, 32-bit", test_call_page_32 },
	{ "HC2: call through the page, compat", test_call_page_compat },
	{ "HC3 HC4 HC5: exit, arguments and result, 64-bit", test_exit },
	{ "HC5: number is 64 bits wide", test_wide_number },
	{ "HC5: argument registers are kept", test_registers },
	{ "HC6 DT38 RG51: exit, arguments and result, 32-bit", test_exit_32 },
	{ "HC7 FX10 RG51 XSA454: exit, garbage in upper halves, compat", test_exit_compat },
	{ "HC8 H10 DT6 DE29 RG38: user mode always exits, 64-bit",
	  test_user_64, KVM_XEN_HVM_CONFIG_EVTCHN_SEND },
	{ "HC8 H10 DT6 DE29 RG38: user mode always exits, 32-bit",
	  test_user_32, KVM_XEN_HVM_CONFIG_EVTCHN_SEND },
	{ "HC8 DT6: levels 1 and 2 always exit, 64-bit", in_64_bit_middle_levels,
	  KVM_XEN_HVM_CONFIG_EVTCHN_SEND },
	{ "HC8 DT6: levels 1 and 2 always exit, 32-bit", in_32_bit_middle_levels,
	  KVM_XEN_HVM_CONFIG_EVTCHN_SEND },
	{ "HC9: real mode", test_real_mode },
	{ "HC10: virtual-8086 mode", test_vm86 },
	{ "HC11: the other vendor's instruction", test_other_vendor },
	{ "HC12 DT3: page index 1 is refused, nothing changes", test_index_1 },
	{ "HC13 DT3: unbacked page is refused, nothing changes", test_unbacked },
	{ "HC13: address too wide is refused", test_high_address },
	{ "HC14 DT3: read-only memory is refused", test_read_only },
	{ "HC15 DT5 M16: RDMSR gives 0", test_rdmsr },
	{ "HC16: only the configured MSR counts", test_next_msr },
	{ "HC16: MSR filter and userspace MSR exits", test_msr_filter },
	{ "HC17 RG50: Hyper-V beside Xen", test_hyperv },
	{ "HC18: bit 31 without Hyper-V", test_bit_31 },
	{ "HC19 HC20 HC21 RG53: pages supplied by the VMM", test_blob },
	{ "HC22: pages supplied by the VMM are unmapped", test_blob_fault },
	{ "HC23 FX2 RG54: KVM_SET_MSRS writes no page", test_set_msrs },
	{ "HC24: VMM changes RIP before completion", test_rip_changed },
	{ "HC25: completion by an immediate exit", test_immediate_exit },
	{ "HC26: single-step over a hypercall", test_single_step },
	{ "HC27: page is in the dirty log", test_dirty_log },
	{ "HC28 HC29 DT7: the write latches the mode", test_latch },
	{ "HC29 DE27 DT2: compat mode latches 32 bits", test_latch_compat },
	{ "HC30 DT4: each write renews the wallclock", test_latch_again },
	{ "HC28 X5: latched while shared_info is out of reach", test_latch_without_shinfo },
	{ "HC33 X5: HYPERCALL_PAGE while shared_info is out of reach", test_attr_without_shinfo,
	  KVM_XEN_HVM_CONFIG_HYPERCALL_PAGE },
	{ "HC31 DT36: a VM without configuration", test_two_vms },
	{ "HC32: configuration switched off and on", test_config_off },
	{ "HC32 DT36: interception without an MSR is off", test_config_no_msr },
	{ "HC34 DT36: HYPERCALL_PAGE without an MSR", test_page_no_msr,
	  KVM_XEN_HVM_CONFIG_HYPERCALL_PAGE },
	{ "VE1 VE3 VE4: version, 64-bit", test_version_64 },
	{ "VE1 VE3 VE4: version, 32-bit", test_version_32 },
	{ "VE1 VE3 VE4: version, compat", test_version_compat },
	{ "VE2 DT27 M15: version, garbage above bit 31", test_version_garbage },
	{ "VE2 FX10: version, garbage above bit 31, compat", test_version_garbage_32 },
	{ "VE5: version is zero-extended", test_version_max },
	{ "RG57: tracepoint has all arguments", test_tracepoint },
	{ "statistics count both kinds of hypercalls", test_stats },
};

int main(int argc, char *argv[])
{
	return xen_run_cases(argc, argv, cases, ARRAY_SIZE(cases));
}
