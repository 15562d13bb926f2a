// SPDX-License-Identifier: GPL-2.0-only
/*
 * The user API of Xen guests: the capability, the configuration and all attributes,
 * their defaults, their errors, and what a refused value leaves in force.  What the
 * attributes do is the subject of the other xen_*_test programs.
 *
 * A case fails when an ioctl gives another errno than documented, or changes something
 * although it failed.  Linux 6.12 fails FX1, FX7, DT30 and DT31.
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

/* Of the ports that only the FIFO ABI has. */
static void test_reset_fifo(void)
{
	static const u32 ports[] = { 1, 4095, 4096, 5000, 100000, XEN_FIFO_NR_PORTS - 1 };
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	int i;

	xen_fifo_opt_in(x);
	for (i = 0; i < ARRAY_SIZE(ports); i++)
		xen_assign(x, EVTCHN_IPI, ports[i], ports[i], 0);
	TEST_ASSERT_EQ(xen_try_evtchn(x, KVM_XEN_EVTCHN_RESET, 0, 0, 0, 0), 0);
	for (i = 0; i < ARRAY_SIZE(ports); i++) {
		TEST_ASSERT_EQ(xen_try_evtchn(x, KVM_XEN_EVTCHN_DEASSIGN, ports[i], 0, 0, 0),
			       ENOENT);
		xen_assign(x, EVTCHN_IPI, ports[i], ports[i], 0);
	}
}

/* The FIFO ABI needs to know the ports, too, whoever unmasks them. */
static void test_port_for_fifo(void)
{
	const u32 flags = KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL | KVM_XEN_HVM_CONFIG_EVTCHN_SEND;
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	struct kvm_xen_hvm_attr a = {
		.type = KVM_XEN_ATTR_TYPE_EVTCHN_PORT,
		.u.evtchn_port.port = 100000,
	};

	xen_config(x, flags, XEN_HCALL_MSR);
	TEST_ASSERT_EQ(xen_try_set_port(x, 5, STATUS_IPI, 0, 3), EOPNOTSUPP);
	xen_config(x, flags | KVM_XEN_HVM_CONFIG_EVTCHN_FIFO, XEN_HCALL_MSR);
	TEST_ASSERT_EQ(xen_try_set_port(x, 5, STATUS_IPI, 0, 3), 0);
	TEST_ASSERT_EQ(xen_try_set_port(x, 100000, STATUS_VIRQ, 0, 15), 0);
	vm_ioctl(x->vm, KVM_XEN_HVM_GET_ATTR, &a);
	TEST_ASSERT_EQ(a.u.evtchn_port.type, STATUS_VIRQ);
	TEST_ASSERT_EQ(a.u.evtchn_port.priority, 15);
	*(u32 *)xen_hva(x, XEN_ARG(0)) = 5;
	xen_hcall_exits(x, 0, HCALL_EVTCHN, EVTCHNOP_UNMASK, XEN_ARG(0));
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

/* Moving vcpu_info inside its page moves the clock and the events. */
static void test_vcpu_info_move(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);

	xen_vcpu_set(x, 0, VCPU_INFO, gpa, XEN_VINFO);
	xen_step(x, 0, STEP_RETURN);
	xen_put_vcpu_info(x, 0, XEN_VINFO);
	TEST_ASSERT(x->state[0].info->time.version, "no pvclock");
	memset(x->state[0].info, 0xa5, 64);
	xen_vcpu_set(x, 0, VCPU_INFO, gpa, XEN_VINFO + 0x80);
	xen_send(x, 5, 0);
	xen_step(x, 0, STEP_RETURN);
	TEST_ASSERT_EQ(xen_flag(x, 0), 0xa5);
	xen_put_vcpu_info(x, 0, XEN_VINFO + 0x80);
	TEST_ASSERT(x->state[0].info->time.version, "no pvclock");
	TEST_ASSERT_EQ(xen_flag(x, 0), 1);
	TEST_ASSERT_EQ(xen_sel(x, 0), 1);
}

static const struct xen_case cases[] = {
	{ "AP1: capability flags", test_cap },
	{ "AP2: CONFIG flags", test_config_flags },
	{ "AP3: CONFIG with interception and pages", test_config_blob },
	{ "AP4 FX1 RG54 RG56: CONFIG range of the MSR", test_config_msr },
	{ "AP5: a failed CONFIG changes nothing", test_config_failed },
	{ "AP6: unknown attribute types", test_unknown_types },
	{ "AP7: bad pointers", test_bad_pointers },
	{ "AP8 AP9 DT7: defaults", test_defaults },
	{ "AP8 FX7: VCPU_ID is unset by default", test_default_vcpu_id },
	{ "AP8 RS24 RG15 RG16: what was set is read back", test_read_back },
	{ "AP10 DE18 XSA462: vectors", test_vectors },
	{ "AP11 DT30: SHARED_INFO unbacked, the old one stays", test_shinfo_unbacked },
	{ "AP11 DT30 RG10: SHARED_INFO unbacked, none stays", test_shinfo_unbacked_unset },
	{ "AP12 DT31: SHARED_INFO beyond the address space", test_shinfo_wrap },
	{ "AP11: read-only memory", test_shinfo_read_only },
	{ "AP13: HVA errors", test_hva_errors },
	{ "AP13 DT30: HVA unmapped, the old one stays", test_hva_unmapped },
	{ "AP14: GFN and HVA are one setting", test_two_spellings },
	{ "AP15 AP16 FX13 RG12 XSA327: VCPU_INFO alignment and page end", test_vcpu_info },
	{ "AP15 DT30: VCPU_INFO unbacked, the old one stays", test_vcpu_info_unbacked },
	{ "PV3 PV4: VCPU_TIME_INFO place", test_time_info },
	{ "PV3 DT30: VCPU_TIME_INFO unbacked, the old one stays", test_time_info_unbacked },
	{ "AP17: VCPU_ID range", test_vcpu_id },
	{ "AP18: TIMER priority", test_timer },
	{ "AP19 AP25 RE10: disable everything, twice", test_disable_all },
	{ "H3 H4 AP9 AP20 AP21 RG59: EVTCHN assign", test_assign },
	{ "AP20: EVTCHN assign priority", test_assign_priority },
	{ "MG8: EVTCHN port limit by mode", test_assign_limit },
	{ "AP22: EVTCHN update", test_update },
	{ "AP23: EVTCHN deassign", test_deassign },
	{ "AP24: EVTCHN flags", test_evtchn_flags },
	{ "AP26 RG42: EVTCHN eventfd", test_eventfd },
	{ "AP25 DE32: EVTCHN reset", test_reset },
	{ "AP25: EVTCHN reset, ports of FIFO", test_reset_fifo, KVM_XEN_HVM_CONFIG_EVTCHN_FIFO },
	{ "AP33 AP35 FI46: EVTCHN_PORT for FIFO alone", test_port_for_fifo,
	  KVM_XEN_HVM_CONFIG_EVTCHN_FIFO | KVM_XEN_HVM_CONFIG_MORE_HCALLS },
	{ "AP27 AP28 DE30: EVTCHN_SEND", test_send },
	{ "AP27 XSA342: EVTCHN_SEND limit, 32-bit", test_send_32 },
	{ "AP29 MG7 RG18: routing", test_route },
	{ "AP30: garbage in padding", test_garbage },
	{ "RG5: vcpu_info moves inside its page", test_vcpu_info_move },
};

int main(int argc, char *argv[])
{
	return xen_run_cases(argc, argv, cases, ARRAY_SIZE(cases));
}
