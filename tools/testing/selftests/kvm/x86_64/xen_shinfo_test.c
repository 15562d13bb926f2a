// SPDX-License-Identifier: GPL-2.0-only
/*
 * The user API of Xen guests and the pages it names: configuration, attributes and
 * their errors, shared_info with the wallclock, vcpu_info and the second area with
 * the pvclock, and the CPUID leaf with the clock's parameters.
 *
 * Ids: AP1 to AP30, WC1 to WC4, MG4, MG8, PV1 to PV11, CP1, CP2 and the divergences
 * D7, D19, D30, D31, F1, F3, F7, F8, F9 of the plan for time and the API; L1 of the plan for
 * event channels (at compile time, in xen.h); R1, R12, R15, R16, R18, R25, R28, R29, R30, R42,
 * R56, R59 of the list of regressions; measured rows 14 and 15.
 *
 * A case fails when an ioctl gives another errno than documented or changes something
 * although it failed, or when the guest would read another time than the VM's clock.
 */
#include <sys/eventfd.h>

#include "xen.h"

#define BAD		((void *)0x10)		/* never mapped */
#define INVALID		KVM_XEN_INVALID_GPA
#define KERNEL_ADDRESS	0xffff800000000000ULL

/* Ioctls, configuration, attributes. */

static int try_config(struct xen_vm *x, struct kvm_xen_hvm_config config)
{
	return xen_errno(__vm_ioctl(x->vm, KVM_XEN_HVM_CONFIG, &config));
}

static int try_flags(struct xen_vm *x, u32 flags)
{
	return try_config(x, (struct kvm_xen_hvm_config) { .flags = flags, .msr = XEN_HCALL_MSR });
}

static int try_msr(struct xen_vm *x, u32 msr)
{
	return try_config(x, (struct kvm_xen_hvm_config) {
		.flags = KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL, .msr = msr });
}

static void test_cap(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, 0);

	TEST_ASSERT_EQ(kvm_check_cap(KVM_CAP_XEN_HVM) & 0x1ff, 0x1ff);
	TEST_ASSERT_EQ(vm_check_cap(x->vm, KVM_CAP_XEN_HVM), kvm_check_cap(KVM_CAP_XEN_HVM));
}

static void test_config_flags(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);

	TEST_ASSERT_EQ(try_flags(x, 0x1), EINVAL);
	TEST_ASSERT_EQ(try_flags(x, 0x4), EINVAL);
	TEST_ASSERT_EQ(try_flags(x, 0x102), EINVAL);
	TEST_ASSERT_EQ(try_flags(x, 0x80000000), EINVAL);
	TEST_ASSERT_EQ(try_flags(x, 0xa2), 0);
	TEST_ASSERT_EQ(try_flags(x, 0), 0);
}

static void test_config_blob(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, 0);
	struct kvm_xen_hvm_config config = {
		.flags = KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL,
		.msr = XEN_HCALL_MSR,
	}, bad;

	bad = config;
	bad.blob_addr_32 = 0x1000;
	TEST_ASSERT_EQ(try_config(x, bad), EINVAL);
	bad = config;
	bad.blob_addr_64 = 0x1000;
	TEST_ASSERT_EQ(try_config(x, bad), EINVAL);
	bad = config;
	bad.blob_size_32 = 1;
	TEST_ASSERT_EQ(try_config(x, bad), EINVAL);
	bad = config;
	bad.blob_size_64 = 1;
	TEST_ASSERT_EQ(try_config(x, bad), EINVAL);
	memset(config.pad2, 0xff, sizeof(config.pad2));
	TEST_ASSERT_EQ(try_config(x, config), 0);
}

static void test_config_msr(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, 0);

	TEST_ASSERT_EQ(try_msr(x, 0x4fffffff), 0);
	TEST_ASSERT_EQ(try_msr(x, 0x40000000), 0);
	TEST_ASSERT_EQ(try_msr(x, 0), 0);
	TEST_ASSERT_EQ(try_msr(x, 0x3fffffff), EINVAL);
	TEST_ASSERT_EQ(try_msr(x, 0x50000000), EINVAL);
	TEST_ASSERT_EQ(try_msr(x, MSR_EFER), EINVAL);
}

static void test_config_failed(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);

	TEST_ASSERT_EQ(try_flags(x, 0x4), EINVAL);
	xen_hcall_exits(x, 0, HCALL_VERSION, 1);
	TEST_ASSERT_EQ(xen_wrmsr(x, 0, XEN_HCALL_MSR, XEN_HCALL_PAGE), 0);
}

static void test_unknown_types(void)
{
	static const u16 vm_types[] = { 7, 0x3f, 0xffff }, vcpu_types[] = { 10, 0x3f, 0xffff };
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);
	struct kvm_xen_vcpu_attr va = {};
	struct kvm_xen_hvm_attr a = {};
	int i;

	for (i = 0; i < ARRAY_SIZE(vm_types); i++) {
		a.type = vm_types[i];
		TEST_ASSERT_EQ(xen_errno(__vm_ioctl(x->vm, KVM_XEN_HVM_SET_ATTR, &a)), ENOENT);
		TEST_ASSERT_EQ(xen_errno(__vm_ioctl(x->vm, KVM_XEN_HVM_GET_ATTR, &a)), ENOENT);
	}
	for (i = 0; i < ARRAY_SIZE(vcpu_types); i++) {
		va.type = vcpu_types[i];
		TEST_ASSERT_EQ(xen_errno(__vcpu_ioctl(x->vcpu[0], KVM_XEN_VCPU_SET_ATTR, &va)),
			       ENOENT);
		TEST_ASSERT_EQ(xen_errno(__vcpu_ioctl(x->vcpu[0], KVM_XEN_VCPU_GET_ATTR, &va)),
			       ENOENT);
	}
}

static void test_bad_pointers(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);
	int fd = x->vm->fd, vfd = x->vcpu[0]->fd;

	TEST_ASSERT_EQ(xen_errno(ioctl(fd, KVM_XEN_HVM_CONFIG, BAD)), EFAULT);
	TEST_ASSERT_EQ(xen_errno(ioctl(fd, KVM_XEN_HVM_SET_ATTR, BAD)), EFAULT);
	TEST_ASSERT_EQ(xen_errno(ioctl(fd, KVM_XEN_HVM_GET_ATTR, BAD)), EFAULT);
	TEST_ASSERT_EQ(xen_errno(ioctl(fd, KVM_XEN_HVM_EVTCHN_SEND, BAD)), EFAULT);
	TEST_ASSERT_EQ(xen_errno(ioctl(vfd, KVM_XEN_VCPU_SET_ATTR, BAD)), EFAULT);
	TEST_ASSERT_EQ(xen_errno(ioctl(vfd, KVM_XEN_VCPU_GET_ATTR, BAD)), EFAULT);
	xen_hcall_exits(x, 0, HCALL_VERSION, 1);
}

static void test_defaults(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, 0);
	struct kvm_xen_vcpu_attr a = { .type = KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_DATA };

	memset(&a.u, 0x5a, sizeof(a.u));
	TEST_ASSERT_EQ(xen_get(x, LONG_MODE, long_mode), 0);
	TEST_ASSERT_EQ(xen_get(x, SHARED_INFO, shared_info.gfn), KVM_XEN_INVALID_GFN);
	TEST_ASSERT_EQ(xen_get(x, SHARED_INFO_HVA, shared_info.hva), 0);
	TEST_ASSERT_EQ(xen_get(x, UPCALL_VECTOR, vector), 0);
	TEST_ASSERT_EQ(xen_get(x, XEN_VERSION, xen_version), 0);
	TEST_ASSERT_EQ(xen_get(x, RUNSTATE_UPDATE_FLAG, runstate_update_flag), 0);
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, VCPU_INFO, gpa), INVALID);
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, VCPU_INFO_HVA, hva), 0);
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, VCPU_TIME_INFO, gpa), INVALID);
	TEST_ASSERT_EQ(xen_vcpu_try_get(x, 0, RUNSTATE_ADDR), ENOENT);
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, RUNSTATE_CURRENT, runstate.state), 0);
	vcpu_ioctl(x->vcpu[0], KVM_XEN_VCPU_GET_ATTR, &a);
	TEST_ASSERT_EQ(a.u.runstate.state, 0);
	TEST_ASSERT_EQ(a.u.runstate.state_entry_time, 0);
	TEST_ASSERT(!(a.u.runstate.time_running | a.u.runstate.time_runnable |
		      a.u.runstate.time_blocked | a.u.runstate.time_offline), "times are not 0");
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, TIMER, timer.port), 0);
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, TIMER, timer.priority), XEN_2LEVEL);
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, TIMER, timer.expires_ns), 0);
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, UPCALL_VECTOR, vector), 0);
	TEST_ASSERT_EQ(xen_try_get(x, EVTCHN), ENOENT);
}

static void test_default_vcpu_id(void)
{
	struct xen_vm *x = xen_vm_new(2, XEN_64, 0);

	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, VCPU_ID, vcpu_id), 0xffffffff);
	TEST_ASSERT_EQ(xen_vcpu_get(x, 1, VCPU_ID, vcpu_id), 0xffffffff);
}

/* What was set is read back; other bytes of the union stay as they were. */
static void test_read_back(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, 0);
	struct kvm_xen_hvm_attr a = { .type = KVM_XEN_ATTR_TYPE_LONG_MODE };

	xen_set(x, LONG_MODE, long_mode, 2);
	memset(&a.u, 0x5a, sizeof(a.u));
	vm_ioctl(x->vm, KVM_XEN_HVM_GET_ATTR, &a);
	TEST_ASSERT_EQ(a.u.pad[0], 0x5a5a5a5a5a5a5a01);
	TEST_ASSERT_EQ(a.u.pad[7], 0x5a5a5a5a5a5a5a5a);

	xen_set(x, XEN_VERSION, xen_version, 0x40011);
	TEST_ASSERT_EQ(xen_get(x, XEN_VERSION, xen_version), 0x40011);
	xen_set(x, RUNSTATE_UPDATE_FLAG, runstate_update_flag, 2);
	TEST_ASSERT_EQ(xen_get(x, RUNSTATE_UPDATE_FLAG, runstate_update_flag), 1);
	xen_set(x, SHARED_INFO, shared_info.gfn, XEN_SHINFO >> 12);
	TEST_ASSERT_EQ(xen_get(x, SHARED_INFO, shared_info.gfn), XEN_SHINFO >> 12);
	xen_vcpu_set(x, 0, VCPU_INFO, gpa, XEN_VINFO);
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, VCPU_INFO, gpa), XEN_VINFO);
	xen_vcpu_set(x, 0, VCPU_TIME_INFO, gpa, XEN_TIME);
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, VCPU_TIME_INFO, gpa), XEN_TIME);
	xen_vcpu_set(x, 0, RUNSTATE_ADDR, gpa, XEN_RUNSTATE);
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, RUNSTATE_ADDR, gpa), XEN_RUNSTATE);
	xen_vcpu_set(x, 0, VCPU_ID, vcpu_id, 9);
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, VCPU_ID, vcpu_id), 9);
}

static void test_vectors(void)
{
	static const u8 good[] = { 16, 0x30, 255, 0 };
	struct xen_vm *x = xen_vm_new(1, XEN_64, 0);
	int i;

	for (i = 0; i < ARRAY_SIZE(good); i++) {
		xen_set(x, UPCALL_VECTOR, vector, good[i]);
		TEST_ASSERT_EQ(xen_get(x, UPCALL_VECTOR, vector), good[i]);
		xen_vcpu_set(x, 0, UPCALL_VECTOR, vector, good[i]);
		TEST_ASSERT_EQ(xen_vcpu_get(x, 0, UPCALL_VECTOR, vector), good[i]);
	}
	xen_set(x, UPCALL_VECTOR, vector, 0x30);
	xen_vcpu_set(x, 0, UPCALL_VECTOR, vector, 0x31);
	for (i = 1; i < 16; i++) {
		TEST_ASSERT_EQ(xen_try_set(x, UPCALL_VECTOR, vector, i), EINVAL);
		TEST_ASSERT_EQ(xen_vcpu_try_set(x, 0, UPCALL_VECTOR, vector, i), EINVAL);
	}
	TEST_ASSERT_EQ(xen_get(x, UPCALL_VECTOR, vector), 0x30);
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, UPCALL_VECTOR, vector), 0x31);
}

/* A refused address leaves the old one in force. */
static void test_shinfo_unbacked(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);

	TEST_ASSERT_EQ(xen_try_set(x, SHARED_INFO, shared_info.gfn, XEN_HOLE >> 12), EFAULT);
	TEST_ASSERT_EQ(xen_get(x, SHARED_INFO, shared_info.gfn), XEN_SHINFO >> 12);
	xen_send(x, 5, 0);
	TEST_ASSERT(xen_pending(x, 5), "event is not in the old page");
}

static void test_shinfo_unbacked_unset(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);

	TEST_ASSERT_EQ(xen_try_set(x, SHARED_INFO, shared_info.gfn, XEN_HOLE >> 12), EFAULT);
	TEST_ASSERT_EQ(xen_get(x, SHARED_INFO, shared_info.gfn), KVM_XEN_INVALID_GFN);
	TEST_ASSERT_EQ(xen_try_send(x, 5, 0), EINVAL);
}

static void test_shinfo_wrap(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);
	u64 gfn = BIT_ULL(52) | XEN_SHINFO >> 12;

	TEST_ASSERT_EQ(xen_try_set(x, SHARED_INFO, shared_info.gfn, gfn), EINVAL);
	TEST_ASSERT_EQ(xen_try_set(x, SHARED_INFO, shared_info.gfn, BIT_ULL(52)), EINVAL);
	TEST_ASSERT_EQ(xen_try_set(x, SHARED_INFO, shared_info.gfn, ~1ULL), EINVAL);
}

static void test_shinfo_read_only(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);

	TEST_REQUIRE(kvm_has_cap(KVM_CAP_READONLY_MEM));
	vm_userspace_mem_region_add(x->vm, VM_MEM_SRC_ANONYMOUS, XEN_HOLE, XEN_SLOT + 1, 1,
				    KVM_MEM_READONLY);
	TEST_ASSERT_EQ(xen_try_set(x, SHARED_INFO, shared_info.gfn, XEN_HOLE >> 12), EFAULT);
	TEST_ASSERT_EQ(xen_vcpu_try_set(x, 0, VCPU_INFO, gpa, XEN_HOLE), EFAULT);
}

static void *new_page(void)
{
	void *page = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	TEST_ASSERT(page != MAP_FAILED, "mmap");
	return page;
}

static void test_hva_errors(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);
	u64 page = (u64)new_page(), gone = (u64)new_page();

	munmap((void *)gone, 0x1000);
	xen_set(x, SHARED_INFO_HVA, shared_info.hva, page);
	TEST_ASSERT_EQ(xen_try_set(x, SHARED_INFO_HVA, shared_info.hva, page + 8), EINVAL);
	TEST_ASSERT_EQ(xen_try_set(x, SHARED_INFO_HVA, shared_info.hva, KERNEL_ADDRESS), EINVAL);
	TEST_ASSERT_EQ(xen_get(x, SHARED_INFO_HVA, shared_info.hva), page);

	xen_vcpu_set(x, 0, VCPU_INFO_HVA, hva, page + 0x40);
	TEST_ASSERT_EQ(xen_vcpu_try_set(x, 0, VCPU_INFO_HVA, hva, page + 2), ENXIO);
	TEST_ASSERT_EQ(xen_vcpu_try_set(x, 0, VCPU_INFO_HVA, hva, page + 0xfc4), EINVAL);
	TEST_ASSERT_EQ(xen_vcpu_try_set(x, 0, VCPU_INFO_HVA, hva, KERNEL_ADDRESS), EINVAL);
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, VCPU_INFO_HVA, hva), page + 0x40);

	xen_set(x, SHARED_INFO_HVA, shared_info.hva, 0);
	xen_vcpu_set(x, 0, VCPU_INFO_HVA, hva, 0);
	TEST_ASSERT_EQ(xen_get(x, SHARED_INFO_HVA, shared_info.hva), 0);
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, VCPU_INFO_HVA, hva), 0);
}

static void test_hva_unmapped(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);
	u64 page = (u64)new_page(), gone = (u64)new_page();

	munmap((void *)gone, 0x1000);
	xen_set(x, SHARED_INFO_HVA, shared_info.hva, page);
	xen_vcpu_set(x, 0, VCPU_INFO_HVA, hva, page + 0x40);
	TEST_ASSERT_EQ(xen_try_set(x, SHARED_INFO_HVA, shared_info.hva, gone), EFAULT);
	TEST_ASSERT_EQ(xen_vcpu_try_set(x, 0, VCPU_INFO_HVA, hva, gone), EFAULT);
	TEST_ASSERT_EQ(xen_get(x, SHARED_INFO_HVA, shared_info.hva), page);
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, VCPU_INFO_HVA, hva), page + 0x40);
}

/* One setting with two spellings: the last one wins, the other reads as unset. */
static void test_two_spellings(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);
	u64 page = (u64)new_page();

	xen_set(x, SHARED_INFO, shared_info.gfn, XEN_SHINFO >> 12);
	TEST_ASSERT_EQ(xen_get(x, SHARED_INFO_HVA, shared_info.hva), 0);
	xen_set(x, SHARED_INFO_HVA, shared_info.hva, page);
	TEST_ASSERT_EQ(xen_get(x, SHARED_INFO, shared_info.gfn), KVM_XEN_INVALID_GFN);
	TEST_ASSERT_EQ(xen_get(x, SHARED_INFO_HVA, shared_info.hva), page);
	xen_set(x, SHARED_INFO, shared_info.gfn, KVM_XEN_INVALID_GFN);
	TEST_ASSERT_EQ(xen_get(x, SHARED_INFO_HVA, shared_info.hva), 0);
	TEST_ASSERT_EQ(xen_try_send(x, 5, 0), EINVAL);

	xen_vcpu_set(x, 0, VCPU_INFO, gpa, XEN_VINFO);
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, VCPU_INFO_HVA, hva), 0);
	xen_vcpu_set(x, 0, VCPU_INFO_HVA, hva, page);
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, VCPU_INFO, gpa), INVALID);
	xen_vcpu_set(x, 0, VCPU_INFO, gpa, INVALID);
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, VCPU_INFO_HVA, hva), 0);
}

static void test_vcpu_info(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG | XEN_SI);

	xen_vcpu_set(x, 0, VCPU_INFO, gpa, XEN_VINFO + 0xfc0);
	xen_vcpu_set(x, 0, VCPU_INFO, gpa, XEN_VINFO + 4);
	TEST_ASSERT_EQ(xen_vcpu_try_set(x, 0, VCPU_INFO, gpa, XEN_VINFO + 2), ENXIO);
	TEST_ASSERT_EQ(xen_vcpu_try_set(x, 0, VCPU_INFO, gpa, XEN_VINFO + 0xfc4), EINVAL);
	TEST_ASSERT_EQ(xen_vcpu_try_set(x, 0, VCPU_INFO, gpa, XEN_VINFO + 0x1000 - 60), EINVAL);
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, VCPU_INFO, gpa), XEN_VINFO + 4);
}

static void test_vcpu_info_unbacked(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);

	TEST_ASSERT_EQ(xen_vcpu_try_set(x, 0, VCPU_INFO, gpa, XEN_HOLE), EFAULT);
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, VCPU_INFO, gpa), XEN_SHINFO);
	xen_send(x, 5, 0);
	TEST_ASSERT_EQ(xen_flag(x, 0), 1);
}

static void test_time_info(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);

	xen_vcpu_set(x, 0, VCPU_TIME_INFO, gpa, XEN_TIME + 0x1000 - 32);
	xen_vcpu_set(x, 0, VCPU_TIME_INFO, gpa, XEN_TIME + 3);
	TEST_ASSERT_EQ(xen_vcpu_try_set(x, 0, VCPU_TIME_INFO, gpa, XEN_TIME + 0x1000 - 31), EINVAL);
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, VCPU_TIME_INFO, gpa), XEN_TIME + 3);
}

static void test_time_info_unbacked(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);

	xen_vcpu_set(x, 0, VCPU_TIME_INFO, gpa, XEN_TIME);
	TEST_ASSERT_EQ(xen_vcpu_try_set(x, 0, VCPU_TIME_INFO, gpa, XEN_HOLE), EFAULT);
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, VCPU_TIME_INFO, gpa), XEN_TIME);
}

static void test_vcpu_id(void)
{
	struct xen_vm *x = xen_vm_new(2, XEN_64, XEN_CFG);
	u32 max = kvm_check_cap(KVM_CAP_MAX_VCPUS);

	xen_vcpu_set(x, 0, VCPU_ID, vcpu_id, max - 1);
	TEST_ASSERT_EQ(xen_vcpu_try_set(x, 0, VCPU_ID, vcpu_id, max), EINVAL);
	TEST_ASSERT_EQ(xen_vcpu_try_set(x, 0, VCPU_ID, vcpu_id, 0xffffffff), EINVAL);
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, VCPU_ID, vcpu_id), max - 1);
	xen_vcpu_set(x, 1, VCPU_ID, vcpu_id, max - 1);	/* uniqueness is not checked */
}

static void test_timer(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);

	xen_set_timer(x, 0, 5, 1ULL << 60);
	TEST_ASSERT_EQ(xen_try_set_timer(x, 0, 6, 0, 0), EINVAL);
	TEST_ASSERT_EQ(xen_try_set_timer(x, 0, 6, 7, 0), EINVAL);
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, TIMER, timer.port), 5);
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, TIMER, timer.expires_ns), 1ULL << 60);
	TEST_ASSERT_EQ(xen_try_set_timer(x, 0, 0, 0, 0), 0);
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, TIMER, timer.port), 0);
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, TIMER, timer.priority), XEN_2LEVEL);
}

/* What a VMM does at reset works on a fresh VM, too, and twice. */
static void test_disable_all(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);
	int i;

	for (i = 0; i < 2; i++) {
		xen_set(x, UPCALL_VECTOR, vector, 0);
		xen_vcpu_set(x, 0, VCPU_INFO, gpa, INVALID);
		xen_vcpu_set(x, 0, VCPU_INFO_HVA, hva, 0);
		xen_vcpu_set(x, 0, VCPU_TIME_INFO, gpa, INVALID);
		xen_vcpu_set(x, 0, RUNSTATE_ADDR, gpa, INVALID);
		xen_vcpu_set(x, 0, UPCALL_VECTOR, vector, 0);
		xen_set_timer(x, 0, 0, 0);
		xen_set(x, SHARED_INFO, shared_info.gfn, KVM_XEN_INVALID_GFN);
		xen_set(x, SHARED_INFO_HVA, shared_info.hva, 0);
		xen_set(x, XEN_VERSION, xen_version, 0);
		TEST_ASSERT_EQ(xen_try_evtchn(x, KVM_XEN_EVTCHN_RESET, 0, 0, 0, 0), 0);
	}
	xen_setup(x, XEN_S);
	xen_send(x, 5, 0);
	TEST_ASSERT_EQ(xen_flag(x, 0), 1);
}

static void test_assign(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);

	TEST_ASSERT_EQ(xen_try_evtchn(x, 0, 5, EVTCHN_IPI, 6, 0), EINVAL);
	TEST_ASSERT_EQ(xen_try_evtchn(x, 0, 5, 0, 5, 0), EINVAL);
	TEST_ASSERT_EQ(xen_try_evtchn(x, 0, 5, 1, 5, 0), EINVAL);
	TEST_ASSERT_EQ(xen_try_evtchn(x, 0, 5, 3, 5, 0), EINVAL);
	TEST_ASSERT_EQ(xen_try_evtchn(x, 0, 5, 4, 5, 0), EINVAL);
	TEST_ASSERT_EQ(xen_try_evtchn(x, 0, 0, EVTCHN_IPI, 0, 0), EINVAL);
	TEST_ASSERT_EQ(xen_try_evtchn(x, 0, 4096, EVTCHN_IPI, 4096, 0), EINVAL);
	TEST_ASSERT_EQ(xen_try_evtchn(x, 0, 5, EVTCHN_INTERDOMAIN, 4096, 0), EINVAL);
	TEST_ASSERT_EQ(xen_try_evtchn(x, 0, 5, EVTCHN_IPI, 5, 0), 0);
	TEST_ASSERT_EQ(xen_try_evtchn(x, 0, 5, EVTCHN_IPI, 5, 0), EEXIST);
	TEST_ASSERT_EQ(xen_try_evtchn(x, 0, 4095, EVTCHN_INTERDOMAIN, 4095, 99), 0);
	TEST_ASSERT_EQ(xen_try_get(x, EVTCHN), ENOENT);
}

static void test_assign_priority(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	struct kvm_xen_hvm_attr a = {
		.type = KVM_XEN_ATTR_TYPE_EVTCHN,
		.u.evtchn = { .send_port = 5, .type = EVTCHN_IPI, .deliver.port.port = 5 },
	};

	TEST_ASSERT_EQ(xen_errno(__vm_ioctl(x->vm, KVM_XEN_HVM_SET_ATTR, &a)), EINVAL);
	a.u.evtchn.type = EVTCHN_INTERDOMAIN;
	TEST_ASSERT_EQ(xen_errno(__vm_ioctl(x->vm, KVM_XEN_HVM_SET_ATTR, &a)), EINVAL);
}

static void test_assign_limit(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);

	TEST_ASSERT_EQ(xen_try_evtchn(x, 0, 1024, EVTCHN_IPI, 1024, 0), EINVAL);
	TEST_ASSERT_EQ(xen_try_evtchn(x, 0, 2000, EVTCHN_IPI, 2000, 0), EINVAL);
	TEST_ASSERT_EQ(xen_try_evtchn(x, 0, 1023, EVTCHN_IPI, 1023, 0), 0);
	xen_set(x, LONG_MODE, long_mode, 1);
	TEST_ASSERT_EQ(xen_try_evtchn(x, 0, 2000, EVTCHN_IPI, 2000, 0), 0);
}

static void test_update(void)
{
	const u32 update = KVM_XEN_EVTCHN_UPDATE;
	struct xen_vm *x = xen_vm_new(2, XEN_64, XEN_S);
	int fd = eventfd(0, 0);

	TEST_ASSERT_EQ(xen_try_evtchn(x, update, 5, EVTCHN_IPI, 5, 0), ENOENT);
	xen_assign(x, EVTCHN_IPI, 5, 5, 0);
	xen_assign(x, EVTCHN_INTERDOMAIN, 6, 7, 0);
	TEST_ASSERT_EQ(xen_try_eventfd(x, 8, fd), 0);
	TEST_ASSERT_EQ(xen_try_evtchn(x, update, 5, EVTCHN_INTERDOMAIN, 5, 1), EINVAL);
	TEST_ASSERT_EQ(xen_try_evtchn(x, update, 6, EVTCHN_INTERDOMAIN, 9, 1), EINVAL);
	TEST_ASSERT_EQ(xen_try_evtchn(x, update, 6, EVTCHN_INTERDOMAIN, 0, 1), EINVAL);
	TEST_ASSERT_EQ(xen_try_evtchn(x, update, 8, EVTCHN_INTERDOMAIN, 0, 1), EINVAL);
	TEST_ASSERT_EQ(xen_try_evtchn(x, update, 8, EVTCHN_INTERDOMAIN, 8, 1), EINVAL);
	TEST_ASSERT_EQ(xen_try_evtchn(x, update, 4096, EVTCHN_IPI, 4096, 1), EINVAL);
	TEST_ASSERT_EQ(xen_try_evtchn(x, update, 5, EVTCHN_IPI, 5, 1), 0);
	TEST_ASSERT_EQ(xen_try_evtchn(x, update, 6, EVTCHN_INTERDOMAIN, 7, 1), 0);
}

static void test_deassign(void)
{
	const u32 deassign = KVM_XEN_EVTCHN_DEASSIGN;
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);

	xen_assign(x, EVTCHN_IPI, 5, 5, 0);
	TEST_ASSERT_EQ(xen_try_evtchn(x, deassign, 5, 0, 0, 0), 0);
	TEST_ASSERT_EQ(xen_try_evtchn(x, deassign, 5, 0, 0, 0), ENOENT);
	TEST_ASSERT_EQ(xen_try_evtchn(x, deassign, 0, 0, 0, 0), EINVAL);
	TEST_ASSERT_EQ(xen_try_evtchn(x, deassign, 4096, 0, 0, 0), EINVAL);
	xen_assign(x, EVTCHN_IPI, 5, 5, 0);
}

static void test_evtchn_flags(void)
{
	static const u32 bad[] = { 3, 5, 6, 7, 8, 0x80000000 };
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	int i;

	xen_assign(x, EVTCHN_IPI, 5, 5, 0);
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		TEST_ASSERT_EQ(xen_try_evtchn(x, bad[i], 5, EVTCHN_IPI, 5, 0), EINVAL);
	TEST_ASSERT_EQ(xen_try_evtchn(x, 0, 5, EVTCHN_IPI, 5, 0), EEXIST);
}

static int try_eventfd_priority(struct xen_vm *x, u32 port, int fd, u32 priority)
{
	struct kvm_xen_hvm_attr a = {
		.type = KVM_XEN_ATTR_TYPE_EVTCHN,
		.u.evtchn = { .send_port = port, .type = EVTCHN_INTERDOMAIN },
	};

	a.u.evtchn.deliver.port.priority = priority;
	a.u.evtchn.deliver.eventfd.fd = fd;
	return xen_errno(__vm_ioctl(x->vm, KVM_XEN_HVM_SET_ATTR, &a));
}

static void test_eventfd(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	int fd = eventfd(0, 0), file = open("/", O_RDONLY);

	TEST_ASSERT_EQ(xen_try_eventfd(x, 5, -1), EBADF);
	TEST_ASSERT_EQ(xen_try_eventfd(x, 5, file), EINVAL);
	TEST_ASSERT_EQ(try_eventfd_priority(x, 5, fd, 0x1234), 0);
	TEST_ASSERT_EQ(xen_try_eventfd(x, 5, fd), EEXIST);
	TEST_ASSERT_EQ(xen_try_evtchn(x, KVM_XEN_EVTCHN_DEASSIGN, 5, 0, 0, 0), 0);
	TEST_ASSERT_EQ(xen_try_eventfd(x, 5, fd), 0);
}

static void test_reset(void)
{
	const u32 reset = KVM_XEN_EVTCHN_RESET;
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	int i;

	TEST_ASSERT_EQ(xen_try_evtchn(x, reset, 0, 0, 0, 0), 0);
	for (i = 1; i < 100; i++)
		xen_assign(x, EVTCHN_IPI, i, i, 0);
	for (; i < 120; i++)
		TEST_ASSERT_EQ(xen_try_eventfd(x, i, eventfd(0, 0)), 0);
	TEST_ASSERT_EQ(xen_try_evtchn(x, reset, 0xffffffff, 9, 0, 0), 0);
	for (i = 1; i < 120; i++)
		TEST_ASSERT_EQ(xen_try_evtchn(x, KVM_XEN_EVTCHN_DEASSIGN, i, 0, 0, 0), ENOENT);
}

static int try_send_priority(struct xen_vm *x, u32 priority)
{
	struct kvm_irq_routing_xen_evtchn event = { .port = 5, .priority = priority };

	return xen_errno(__vm_ioctl(x->vm, KVM_XEN_HVM_EVTCHN_SEND, &event));
}

static void test_send(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);

	TEST_ASSERT_EQ(xen_try_send(x, 0, 0), EINVAL);
	TEST_ASSERT_EQ(xen_try_send(x, 4096, 0), EINVAL);
	TEST_ASSERT_EQ(xen_try_send(x, 0xffffffff, 0), EINVAL);
	TEST_ASSERT_EQ(xen_try_send(x, 5, 99), EINVAL);
	TEST_ASSERT_EQ(xen_try_send(x, 5, 0xffffffff), EINVAL);
	TEST_ASSERT_EQ(try_send_priority(x, 0), EINVAL);
	TEST_ASSERT_EQ(xen_try_send(x, 4095, 0), 0);
	TEST_ASSERT_EQ(xen_try_send(x, 4095, 0), 0);
	xen_put_mask(x, 5, true);
	TEST_ASSERT_EQ(xen_try_send(x, 5, 0), 0);
	TEST_ASSERT_EQ(xen_try_send(x, 5, 0), 0);
	xen_set(x, SHARED_INFO, shared_info.gfn, KVM_XEN_INVALID_GFN);
	TEST_ASSERT_EQ(xen_try_send(x, 5, 0), EINVAL);
}

static void test_send_32(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_32, XEN_S);

	TEST_ASSERT_EQ(xen_try_send(x, 1023, 0), 0);
	TEST_ASSERT_EQ(xen_try_send(x, 1024, 0), EINVAL);
}

static int try_route(struct xen_vm *x, u32 flags, u32 port, u32 vcpu, u32 priority)
{
	struct kvm_irq_routing *routing = kvm_gsi_routing_create();
	int err;

	routing->nr = 1;
	routing->entries[0] = (struct kvm_irq_routing_entry) {
		.gsi = 32,
		.type = KVM_IRQ_ROUTING_XEN_EVTCHN,
		.flags = flags,
		.u.xen_evtchn = { .port = port, .vcpu = vcpu, .priority = priority },
	};
	err = xen_errno(__vm_ioctl(x->vm, KVM_SET_GSI_ROUTING, routing));
	free(routing);
	return err;
}

static void test_route(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, 0);

	TEST_ASSERT_EQ(try_route(x, 0, 5, 0, 0), EINVAL);
	TEST_ASSERT_EQ(try_route(x, 1, 5, 0, XEN_2LEVEL), EINVAL);
	TEST_ASSERT_EQ(try_route(x, 0, 5, 0, XEN_2LEVEL), 0);
	TEST_ASSERT_EQ(try_route(x, 0, 3000, 99, XEN_2LEVEL), 0);
}

static void test_garbage(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, 0);
	struct kvm_xen_vcpu_attr va;
	struct kvm_xen_hvm_attr a;

	memset(&a, 0xff, sizeof(a));
	a.type = KVM_XEN_ATTR_TYPE_UPCALL_VECTOR;
	a.u.vector = 0x30;
	TEST_ASSERT_EQ(xen_errno(__vm_ioctl(x->vm, KVM_XEN_HVM_SET_ATTR, &a)), 0);
	TEST_ASSERT_EQ(xen_get(x, UPCALL_VECTOR, vector), 0x30);
	a.type = KVM_XEN_ATTR_TYPE_SHARED_INFO;
	a.u.shared_info.gfn = XEN_SHINFO >> 12;
	TEST_ASSERT_EQ(xen_errno(__vm_ioctl(x->vm, KVM_XEN_HVM_SET_ATTR, &a)), 0);
	a.type = KVM_XEN_ATTR_TYPE_EVTCHN;
	a.u.evtchn.send_port = 5;
	a.u.evtchn.type = EVTCHN_IPI;
	a.u.evtchn.flags = 0;
	a.u.evtchn.deliver.port.port = 5;
	TEST_ASSERT_EQ(xen_errno(__vm_ioctl(x->vm, KVM_XEN_HVM_SET_ATTR, &a)), 0);

	memset(&va, 0xff, sizeof(va));
	va.type = KVM_XEN_VCPU_ATTR_TYPE_VCPU_ID;
	va.u.vcpu_id = 3;
	TEST_ASSERT_EQ(xen_errno(__vcpu_ioctl(x->vcpu[0], KVM_XEN_VCPU_SET_ATTR, &va)), 0);
	TEST_ASSERT_EQ(xen_vcpu_get(x, 0, VCPU_ID, vcpu_id), 3);
	va.type = KVM_XEN_VCPU_ATTR_TYPE_TIMER;
	va.u.timer.port = 0;
	TEST_ASSERT_EQ(xen_errno(__vcpu_ioctl(x->vcpu[0], KVM_XEN_VCPU_SET_ATTR, &va)), 0);
	va.type = KVM_XEN_VCPU_ATTR_TYPE_VCPU_INFO;
	va.u.gpa = XEN_VINFO;
	TEST_ASSERT_EQ(xen_errno(__vcpu_ioctl(x->vcpu[0], KVM_XEN_VCPU_SET_ATTR, &va)), 0);
}

/* shared_info can be named before any vCPU exists, with a dirty ring, too. */
static void test_dirty_ring(void)
{
	struct xen_vm x = {};

	TEST_REQUIRE(kvm_has_cap(KVM_CAP_DIRTY_LOG_RING) ||
		     kvm_has_cap(KVM_CAP_DIRTY_LOG_RING_ACQ_REL));
	x.vm = vm_create_barebones();
	vm_enable_dirty_ring(x.vm, 0x10000);
	vm_userspace_mem_region_add(x.vm, VM_MEM_SRC_ANONYMOUS, XEN_BASE, XEN_SLOT, 1,
				    KVM_MEM_LOG_DIRTY_PAGES);
	xen_set(&x, SHARED_INFO, shared_info.gfn, XEN_SHINFO >> 12);
	x.shinfo = xen_hva(&x, XEN_SHINFO);
	TEST_ASSERT(xen_wallclock(&x)->version, "no wallclock");
}

/* Wallclock. */

/* Real time minus what the guest would compute, in ns. */
static s64 wall_error(struct xen_vm *x)
{
	struct xen_wallclock *wc = xen_wallclock(x);
	u64 now = xen_now(x);

	TEST_ASSERT(wc->version && !(wc->version & 1), "wallclock version %u", wc->version);
	return xen_real_ns(CLOCK_REALTIME) - (wc->sec * 1000000000ULL + wc->nsec + now);
}

static void assert_wall(struct xen_vm *x)
{
	s64 error = wall_error(x);

	TEST_ASSERT(llabs(error) < 1000000000LL, "wallclock is wrong by %lld ns", (long long)error);
}

static void test_wallclock(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	struct xen_shared_info64 *info = x->shinfo;

	assert_wall(x);
	TEST_ASSERT_EQ(info->wc_sec_hi, 0);
}

static void test_wallclock_32(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_32, XEN_CFG);
	struct xen_shared_info32 *info = x->shinfo;

	info->wc_sec_hi = 0x55;
	xen_setup(x, XEN_SI);
	assert_wall(x);
	TEST_ASSERT_EQ(info->wc_sec_hi, 0);
	TEST_ASSERT_EQ(((struct xen_shared_info64 *)x->shinfo)->wc.version, 0);
}

static void test_wallclock_hva(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);

	x->shinfo = new_page();
	x->long_mode = true;
	xen_set(x, LONG_MODE, long_mode, 1);
	xen_set(x, SHARED_INFO_HVA, shared_info.hva, (u64)x->shinfo);
	assert_wall(x);
}

static void test_wallclock_version(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);
	struct xen_shared_info64 *info = x->shinfo;

	info->wc.version = 7;
	xen_setup(x, XEN_SI);
	TEST_ASSERT_EQ(info->wc.version, 10);
	xen_setup(x, XEN_SI);
	assert_wall(x);
	TEST_ASSERT(info->wc.version > 10, "version %u", info->wc.version);
	info->wc.version = 0xfffffffe;
	xen_set(x, SHARED_INFO, shared_info.gfn, XEN_SHINFO >> 12);
	TEST_ASSERT_EQ(info->wc.version, 0);
	xen_set(x, SHARED_INFO, shared_info.gfn, XEN_SHINFO >> 12);
	assert_wall(x);
}

static void test_wallclock_long_mode(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_32, XEN_SI);
	struct xen_wallclock old = *xen_wallclock(x), *now = xen_wallclock(x);

	xen_set(x, LONG_MODE, long_mode, 1);
	/* The old place keeps what it had, or gets back what it had before (zeroes). */
	TEST_ASSERT((now->sec == old.sec && now->nsec == old.nsec) || !(now->sec | now->nsec),
		    "old place was overwritten");
	x->long_mode = true;
	assert_wall(x);
}

static void test_wallclock_set_clock(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);

	xen_set_now(x, 1000 * 1000000000ULL);
	xen_step(x, 0, STEP_RETURN);
	assert_wall(x);
}

/* pvclock. */

static struct xen_time_info *first(struct xen_vm *x)
{
	return &x->state[0].info->time;
}

static struct xen_time_info *second(struct xen_vm *x)
{
	return xen_hva(x, XEN_TIME);
}

/* One entry and exit: KVM publishes what it has to. */
static void touch(struct xen_vm *x)
{
	xen_step(x, 0, STEP_RETURN);
}

static void assert_time(struct xen_time_info *time)
{
	TEST_ASSERT(time->version && !(time->version & 1), "version %u", time->version);
	TEST_ASSERT(time->mul & BIT(31), "multiplier 0x%x", time->mul);
	TEST_ASSERT(!time->pad0 && !time->pad1[0] && !time->pad1[1], "padding is not 0");
}

static void test_pvclock(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG | XEN_VI);

	memset(first(x), 0, sizeof(struct xen_time_info));
	touch(x);
	assert_time(first(x));
	TEST_ASSERT(!((u8 *)first(x))[-1], "wrote before the structure");
}

static void test_pvclock_32(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_32, XEN_CFG | XEN_VI);

	touch(x);
	assert_time(first(x));
}

static void test_pvclock_second(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG | XEN_VI);
	struct xen_time_info a, b;

	touch(x);
	touch(x);
	second(x)->version = 100;
	xen_vcpu_set(x, 0, VCPU_TIME_INFO, gpa, XEN_TIME);
	touch(x);
	assert_time(second(x));
	TEST_ASSERT_EQ(second(x)->version, 102);
	a = *first(x);
	b = *second(x);
	a.version = 0;
	b.version = 0;
	TEST_ASSERT(!memcmp(&a, &b, sizeof(a)), "the two areas differ");
}

static void test_pvclock_odd_place(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);
	u8 *page = xen_hva(x, XEN_TIME);
	struct xen_time_info time;

	memset(page, 0xa5, 0x1000);
	memset(page + 0xfdd, 0, 32);
	xen_vcpu_set(x, 0, VCPU_TIME_INFO, gpa, XEN_TIME + 0xfdd);
	touch(x);
	memcpy(&time, page + 0xfdd, sizeof(time));
	assert_time(&time);
	TEST_ASSERT(page[0xfdc] == 0xa5 && page[0xffd] == 0xa5, "wrote beside the structure");
}

/* The guest's clock is the VM's clock. */
static void test_pvclock_value(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG | XEN_VI);
	u64 before, now, after;
	int i;

	touch(x);
	TEST_REQUIRE(first(x)->flags & XEN_TIME_TSC_STABLE);
	for (i = 0; i < 10; i++) {
		before = xen_now(x);
		now = xen_call(x, 0, xen_guest_now, XEN_SHINFO + 32, 0, 0);
		after = xen_now(x);
		TEST_ASSERT(now + 10000 > before && now < after + 10000,
			    "%llu is not between %llu and %llu", (long long)now,
			    (long long)before, (long long)after);
	}
}

static void test_pvclock_set_clock(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG | XEN_VI);
	u64 base = 5000 * 1000000000ULL, now;

	touch(x);
	xen_set_now(x, base);
	now = xen_call(x, 0, xen_guest_now, XEN_SHINFO + 32, 0, 0);
	TEST_ASSERT(now >= base && now < base + 10 * 1000000000ULL, "now %llu", (long long)now);
}

static void test_unstable(void)
{
	const u32 flags = KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL;
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG | XEN_VI);
	u32 version;

	xen_vcpu_set(x, 0, VCPU_TIME_INFO, gpa, XEN_TIME);
	touch(x);
	TEST_REQUIRE(first(x)->flags & XEN_TIME_TSC_STABLE);
	TEST_ASSERT(second(x)->flags & XEN_TIME_TSC_STABLE, "second area is not stable");

	version = first(x)->version;
	xen_config(x, flags | KVM_XEN_HVM_CONFIG_PVCLOCK_TSC_UNSTABLE, XEN_HCALL_MSR);
	touch(x);
	TEST_ASSERT(!(first(x)->flags & XEN_TIME_TSC_STABLE), "first area is stable");
	TEST_ASSERT(!(second(x)->flags & XEN_TIME_TSC_STABLE), "second area is stable");
	TEST_ASSERT(first(x)->version > version, "not published again");

	version = first(x)->version;
	xen_config(x, flags, XEN_HCALL_MSR);
	touch(x);
	TEST_ASSERT(first(x)->flags & XEN_TIME_TSC_STABLE, "first area is not stable");
	TEST_ASSERT(second(x)->flags & XEN_TIME_TSC_STABLE, "second area is not stable");
	TEST_ASSERT(first(x)->version > version, "not published again");
}

static struct xen_time_info *kvm_clock(struct xen_vm *x)
{
	TEST_ASSERT_EQ(xen_wrmsr(x, 0, MSR_KVM_SYSTEM_TIME_NEW, XEN_SPARE | KVM_MSR_ENABLED), 0);
	touch(x);
	return xen_hva(x, XEN_SPARE);
}

static void test_unstable_kvm_clock(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG | XEN_VI);
	struct xen_time_info *kvm = kvm_clock(x);

	TEST_REQUIRE(kvm->flags & XEN_TIME_TSC_STABLE);
	xen_config(x, KVM_XEN_HVM_CONFIG_PVCLOCK_TSC_UNSTABLE, XEN_HCALL_MSR);
	touch(x);
	TEST_ASSERT(!(first(x)->flags & XEN_TIME_TSC_STABLE), "Xen's copy is stable");
	TEST_ASSERT(kvm->flags & XEN_TIME_TSC_STABLE, "KVM's copy is not stable");
}

static void test_guest_stopped(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG | XEN_VI);
	struct xen_time_info *kvm = kvm_clock(x);

	xen_vcpu_set(x, 0, VCPU_TIME_INFO, gpa, XEN_TIME);
	touch(x);
	vcpu_ioctl(x->vcpu[0], KVM_KVMCLOCK_CTRL, NULL);
	xen_set_now(x, xen_now(x));
	touch(x);
	TEST_ASSERT(kvm->flags & XEN_TIME_GUEST_STOPPED, "not set for the KVM clock");
	TEST_ASSERT(!(first(x)->flags & XEN_TIME_GUEST_STOPPED), "set in the first Xen area");
	TEST_ASSERT(!(second(x)->flags & XEN_TIME_GUEST_STOPPED), "set in the second Xen area");
}

static void test_guest_stopped_preset(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);

	first(x)->flags = 0xff;
	second(x)->flags = 0xff;
	xen_setup(x, XEN_VI);
	xen_vcpu_set(x, 0, VCPU_TIME_INFO, gpa, XEN_TIME);
	touch(x);
	TEST_ASSERT(!(first(x)->flags & ~XEN_TIME_TSC_STABLE), "flags 0x%x", first(x)->flags);
	TEST_ASSERT(!(second(x)->flags & ~XEN_TIME_TSC_STABLE), "flags 0x%x", second(x)->flags);
}

/* Reads another vCPU's clock until told to stop; returns the number of reads. */
static u64 read_clock(struct xen_time_info *time, u64 *stop, u64 unused)
{
	u64 last = 0, now, reads = 0;

	while (!READ_ONCE(*stop)) {
		now = xen_guest_now(time);
		__GUEST_ASSERT(now + 10000 > last, "clock went from %lu to %lu", last, now);
		last = now;
		reads++;
	}
	return reads;
}

static void test_readers(void)
{
	struct xen_vm *x = xen_vm_new(2, XEN_64, XEN_CFG | XEN_VI);
	u64 *stop = xen_hva(x, XEN_SPARE);
	int i;

	touch(x);
	TEST_REQUIRE(first(x)->flags & XEN_TIME_TSC_STABLE);
	x->state[1].irqs = true;
	xen_prepare_call(x, 1, read_clock, XEN_SHINFO + 32, XEN_SPARE, 0);
	xen_start(x, 1);
	for (i = 0; i < 100; i++) {
		xen_set_now(x, xen_now(x) + 1000000000ULL);
		touch(x);
	}
	WRITE_ONCE(*stop, 1);
	xen_expect(x, 1, xen_wait(x, 1, 5000), XEN_RETURNED);
	TEST_ASSERT(xen_result(x, 1), "never read");
}

/* Neither shared_info nor the mode moves the guest's clock. */
static void test_clock_undisturbed(void)
{
	struct xen_vm *x = xen_vm_new(2, XEN_64, XEN_S);
	struct xen_time_info time;
	u64 *stop = xen_hva(x, XEN_SPARE);
	int i;

	xen_step(x, 1, STEP_RETURN);
	touch(x);
	time = *first(x);
	TEST_REQUIRE(time.flags & XEN_TIME_TSC_STABLE);
	x->state[1].irqs = true;
	xen_prepare_call(x, 1, read_clock, XEN_SHINFO + 32, XEN_SPARE, 0);
	xen_start(x, 1);
	for (i = 0; i < 1000; i++) {
		xen_set(x, SHARED_INFO, shared_info.gfn, XEN_SHINFO >> 12);
		if (!(i % 100)) {
			xen_set(x, LONG_MODE, long_mode, 1);
			touch(x);
		}
	}
	touch(x);
	WRITE_ONCE(*stop, 1);
	xen_expect(x, 1, xen_wait(x, 1, 5000), XEN_RETURNED);
	TEST_ASSERT_EQ(first(x)->tsc_timestamp, time.tsc_timestamp);
	TEST_ASSERT_EQ(first(x)->system_time, time.system_time);
}

static void test_time_off(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG | XEN_VI);
	struct xen_time_info old;

	xen_vcpu_set(x, 0, VCPU_TIME_INFO, gpa, XEN_TIME);
	touch(x);
	xen_vcpu_set(x, 0, VCPU_TIME_INFO, gpa, INVALID);
	xen_vcpu_set(x, 0, VCPU_INFO, gpa, INVALID);
	old = *second(x);
	xen_set_now(x, 1000 * 1000000000ULL);
	touch(x);
	TEST_ASSERT(!memcmp(second(x), &old, sizeof(old)), "second area still written");
	TEST_ASSERT_EQ(first(x)->version, old.version);
}

/* Moving vcpu_info inside its page moves the clock and the events. */
static void test_vcpu_info_move(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);

	xen_vcpu_set(x, 0, VCPU_INFO, gpa, XEN_VINFO);
	touch(x);
	xen_put_vcpu_info(x, 0, XEN_VINFO);
	assert_time(first(x));
	memset(x->state[0].info, 0xa5, 64);
	xen_vcpu_set(x, 0, VCPU_INFO, gpa, XEN_VINFO + 0x80);
	xen_send(x, 5, 0);
	touch(x);
	TEST_ASSERT_EQ(xen_flag(x, 0), 0xa5);
	xen_put_vcpu_info(x, 0, XEN_VINFO + 0x80);
	assert_time(first(x));
	TEST_ASSERT_EQ(xen_flag(x, 0), 1);
	TEST_ASSERT_EQ(xen_sel(x, 0), 1);
}

/* Publication marks the page dirty. */
static void test_time_dirty(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG);
	u64 log;

	xen_vcpu_set(x, 0, VCPU_INFO, gpa, XEN_VINFO);
	xen_vcpu_set(x, 0, VCPU_TIME_INFO, gpa, XEN_TIME);
	touch(x);
	vm_mem_region_set_flags(x->vm, XEN_SLOT, KVM_MEM_LOG_DIRTY_PAGES);
	kvm_vm_get_dirty_log(x->vm, XEN_SLOT, &log);
	xen_set_now(x, xen_now(x));
	touch(x);
	kvm_vm_get_dirty_log(x->vm, XEN_SLOT, &log);
	TEST_ASSERT(log & BIT((XEN_TIME - XEN_BASE) / 0x1000), "time area: log 0x%lx", log);
	TEST_ASSERT(log & BIT((XEN_VINFO - XEN_BASE) / 0x1000), "vcpu_info: log 0x%lx", log);
}

/* CPUID. */

#define XEN_LEAF	0x40000000

struct cpuid_regs {
	u32 eax, ebx, ecx, edx;
};

static void add_leaf(struct kvm_cpuid2 *cpuid, u32 function, u32 index, u32 flags,
		     struct cpuid_regs regs)
{
	cpuid->entries[cpuid->nent++] = (struct kvm_cpuid_entry2) {
		.function = function,
		.index = index,
		.flags = flags,
		.eax = regs.eax,
		.ebx = regs.ebx,
		.ecx = regs.ecx,
		.edx = regs.edx,
	};
}

/* Xen's leaves; time leaf: one entry without index as QEMU does, or all sub-leaves. */
static void set_xen_cpuid(struct xen_vm *x, bool indexed)
{
	struct kvm_cpuid2 *cpuid = allocate_kvm_cpuid2(MAX_NR_CPUID_ENTRIES);
	const struct kvm_cpuid2 *old = kvm_get_supported_cpuid();
	const u32 flag = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
	int i;

	cpuid->nent = 0;
	for (i = 0; i < old->nent; i++)
		if (old->entries[i].function >> 28 != 4)
			cpuid->entries[cpuid->nent++] = old->entries[i];
	add_leaf(cpuid, XEN_LEAF, 0, 0,
		 (struct cpuid_regs) { XEN_LEAF + 4, 0x566e6558, 0x65584d4d, 0x4d4d566e });
	add_leaf(cpuid, XEN_LEAF + 1, 0, 0, (struct cpuid_regs) { 0x40011 });
	add_leaf(cpuid, XEN_LEAF + 2, 0, 0, (struct cpuid_regs) { 1, XEN_HCALL_MSR });
	add_leaf(cpuid, XEN_LEAF + 3, 0, indexed ? flag : 0,
		 (struct cpuid_regs) { 6, 2, 12345, 1 });
	if (indexed) {
		add_leaf(cpuid, XEN_LEAF + 3, 1, flag, (struct cpuid_regs) {});
		add_leaf(cpuid, XEN_LEAF + 3, 2, flag, (struct cpuid_regs) {});
	}
	add_leaf(cpuid, XEN_LEAF + 4, 0, 0, (struct cpuid_regs) { 8 });
	vcpu_init_cpuid(x->vcpu[0], cpuid);
}

static struct cpuid_regs guest_cpuid(struct xen_vm *x, u32 leaf, u32 index)
{
	struct kvm_regs regs;

	xen_prepare(x, 0, STEP_CPUID);
	vcpu_regs_get(x->vcpu[0], &regs);
	regs.rax = leaf;
	regs.rcx = index;
	vcpu_regs_set(x->vcpu[0], &regs);
	xen_expect(x, 0, xen_run(x, 0), XEN_RETURNED);
	vcpu_regs_get(x->vcpu[0], &regs);
	return (struct cpuid_regs) { regs.rax, regs.rbx, regs.rcx, regs.rdx };
}

static void test_cpuid(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG | XEN_VI);
	struct cpuid_regs regs;
	u32 khz;

	set_xen_cpuid(x, true);
	touch(x);
	khz = __vcpu_ioctl(x->vcpu[0], KVM_GET_TSC_KHZ, NULL);

	regs = guest_cpuid(x, XEN_LEAF + 3, 0);
	TEST_ASSERT(regs.eax == 6 && regs.ebx == 2 && regs.ecx == 12345 && regs.edx == 1,
		    "sub-leaf 0 is not as set");
	regs = guest_cpuid(x, XEN_LEAF + 3, 1);
	TEST_ASSERT_EQ(regs.ecx, first(x)->mul);
	TEST_ASSERT_EQ(regs.edx, (u32)first(x)->shift);
	regs = guest_cpuid(x, XEN_LEAF + 3, 2);
	TEST_ASSERT(regs.eax + 1000 > khz && regs.eax < khz + 1000, "%u kHz is not %u kHz",
		    regs.eax, khz);
}

static void test_cpuid_table(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG | XEN_VI);
	struct kvm_cpuid2 *now = allocate_kvm_cpuid2(MAX_NR_CPUID_ENTRIES);
	const struct kvm_cpuid_entry2 *entry;
	int i;

	set_xen_cpuid(x, true);
	touch(x);
	vcpu_ioctl(x->vcpu[0], KVM_GET_CPUID2, now);
	for (i = 1; i <= 2; i++) {
		entry = get_cpuid_entry(now, XEN_LEAF + 3, i);
		TEST_ASSERT(!(entry->eax | entry->ebx | entry->ecx | entry->edx),
			    "entry of sub-leaf %d was changed", i);
	}
}

static void test_cpuid_no_index(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG | XEN_VI);
	struct cpuid_regs regs;
	int i;

	set_xen_cpuid(x, false);
	touch(x);
	for (i = 0; i < 2; i++) {
		regs = guest_cpuid(x, XEN_LEAF + 3, 0);
		TEST_ASSERT(regs.eax == 6 && regs.ebx == 2 && regs.ecx == 12345 && regs.edx == 1,
			    "sub-leaf 0 is 0x%x 0x%x 0x%x 0x%x", regs.eax, regs.ebx, regs.ecx,
			    regs.edx);
		xen_set_now(x, 1000000000ULL);
	}
	guest_cpuid(x, XEN_LEAF + 3, 1);
}

static const struct xen_case cases[] = {
	{ "AP1: capability flags", test_cap },
	{ "AP2: CONFIG flags", test_config_flags },
	{ "AP3: CONFIG with interception and pages", test_config_blob },
	{ "AP4 F1 R56: CONFIG range of the MSR", test_config_msr },
	{ "AP5: a failed CONFIG changes nothing", test_config_failed },
	{ "AP6: unknown attribute types", test_unknown_types },
	{ "AP7: bad pointers", test_bad_pointers },
	{ "AP8 AP9: defaults", test_defaults },
	{ "AP8 F7: VCPU_ID is unset by default", test_default_vcpu_id },
	{ "AP8 RS24 R16: what was set is read back", test_read_back },
	{ "AP10: vectors", test_vectors },
	{ "AP11 D30: SHARED_INFO unbacked, the old one stays", test_shinfo_unbacked },
	{ "AP11 D30: SHARED_INFO unbacked, none stays", test_shinfo_unbacked_unset },
	{ "AP12 D31: SHARED_INFO beyond the address space", test_shinfo_wrap },
	{ "AP11: read-only memory", test_shinfo_read_only },
	{ "AP13: HVA errors", test_hva_errors },
	{ "AP13 D30: HVA unmapped, the old one stays", test_hva_unmapped },
	{ "AP14: GFN and HVA are one setting", test_two_spellings },
	{ "AP15 AP16 R12: VCPU_INFO alignment and page end", test_vcpu_info },
	{ "AP15 D30: VCPU_INFO unbacked, the old one stays", test_vcpu_info_unbacked },
	{ "PV3 PV4: VCPU_TIME_INFO place", test_time_info },
	{ "PV3 D30: VCPU_TIME_INFO unbacked, the old one stays", test_time_info_unbacked },
	{ "AP17: VCPU_ID range", test_vcpu_id },
	{ "AP18: TIMER priority", test_timer },
	{ "AP19 AP25: disable everything, twice", test_disable_all },
	{ "AP9 AP20 AP21 R59: EVTCHN assign", test_assign },
	{ "AP20: EVTCHN assign priority", test_assign_priority },
	{ "MG8: EVTCHN port limit by mode", test_assign_limit },
	{ "AP22: EVTCHN update", test_update },
	{ "AP23: EVTCHN deassign", test_deassign },
	{ "AP24: EVTCHN flags", test_evtchn_flags },
	{ "AP26 R42: EVTCHN eventfd", test_eventfd },
	{ "AP25: EVTCHN reset", test_reset },
	{ "AP27 AP28: EVTCHN_SEND", test_send },
	{ "AP27: EVTCHN_SEND limit, 32-bit", test_send_32 },
	{ "AP29 MG7 R18: routing", test_route },
	{ "AP30: garbage in padding", test_garbage },
	{ "R1: SHARED_INFO with a dirty ring and no vCPU", test_dirty_ring },
	{ "WC1: wallclock, 64-bit", test_wallclock },
	{ "WC2 D7: wallclock, 32-bit", test_wallclock_32 },
	{ "WC1: wallclock, page by HVA", test_wallclock_hva },
	{ "WC3: wallclock version", test_wallclock_version },
	{ "WC4: wallclock follows LONG_MODE", test_wallclock_long_mode },
	{ "MG4 D19: wallclock follows KVM_SET_CLOCK", test_wallclock_set_clock },
	{ "PV1: pvclock, 64-bit", test_pvclock },
	{ "PV1: pvclock, 32-bit", test_pvclock_32 },
	{ "PV2: second pvclock area", test_pvclock_second },
	{ "PV4: second pvclock area at an odd address", test_pvclock_odd_place },
	{ "PV5: pvclock is the VM's clock", test_pvclock_value },
	{ "PV5: pvclock follows KVM_SET_CLOCK", test_pvclock_set_clock },
	{ "PV6 PV7 R30: unstable TSC flag", test_unstable },
	{ "PV6 F8: unstable TSC flag, KVM's clock keeps its own", test_unstable_kvm_clock },
	{ "PV8 F8 R28: guest-stopped flag is for KVM's clock", test_guest_stopped },
	{ "PV8 D37: guest-stopped flag preset by the guest", test_guest_stopped_preset },
	{ "PV9: pvclock read by another vCPU", test_readers },
	{ "PV10 F3 R25: SHARED_INFO leaves the clock alone", test_clock_undisturbed },
	{ "PV11: pvclock areas switched off", test_time_off },
	{ "R5: vcpu_info moves inside its page", test_vcpu_info_move },
	{ "PV2: publication marks pages dirty", test_time_dirty },
	{ "CP1 D26: CPUID time leaf", test_cpuid },
	{ "CP1 F9: CPUID table stays as the VMM set it", test_cpuid_table },
	{ "CP2: CPUID time leaf without index", test_cpuid_no_index },
};

int main(int argc, char *argv[])
{
	return xen_run_cases(argc, argv, cases, ARRAY_SIZE(cases));
}
