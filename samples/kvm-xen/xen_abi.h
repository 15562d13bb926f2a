/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Numbers and structures that a guest and its hypervisor share, as Xen's public
 * headers define them, as far as this VMM needs them.
 *
 * The structures of event channels and of hvm_op are the same for 32-bit and for
 * 64-bit callers. Pointers are not, see copy_pointer_from_guest().
 */
#ifndef KVM_XEN_XEN_ABI_H
#define KVM_XEN_XEN_ABI_H

#include "types.h"

#define XEN_VERSION			0x40011		/* 4.17 */
#define XEN_MSR				0x40000000
#define XEN_DOMID_SELF			0x7ff0
#define XEN_DOMID_GUEST			1		/* this guest; any number will do */

/* Xen's errno values are those of Linux. This is its ENOSYS. */
#define NOT_IMPLEMENTED			(-38)

/* CPUID, see cpuid.c */
#define XEN_CPUID_BASE			0x40000000
#define XEN_CPUID_SIGNATURE_EBX		0x566e6558	/* "XenVMMXenVMM" */
#define XEN_CPUID_SIGNATURE_ECX		0x65584d4d
#define XEN_CPUID_SIGNATURE_EDX		0x4d4d566e
#define XEN_CPUID_VCPU_ID		BIT(3)
#define XEN_CPUID_UPCALL_VECTOR		BIT(6)

/* Hypercalls */
#define XEN_MEMORY_OP			12
#define XEN_SET_TIMER_OP		15
#define XEN_VERSION_OP			17
#define XEN_VM_ASSIST			21
#define XEN_VCPU_OP			24
#define XEN_SCHED_OP			29
#define XEN_EVENT_CHANNEL_OP		32
#define XEN_HVM_OP			34

/* xen_version */
#define XENVER_VERSION			0
#define XENVER_EXTRAVERSION		1
#define XENVER_COMPILE_INFO		2
#define XENVER_CAPABILITIES		3
#define XENVER_CHANGESET		4
#define XENVER_PLATFORM_PARAMETERS	5
#define XENVER_GET_FEATURES		6
#define XENVER_PAGESIZE			7
#define XENVER_GUEST_HANDLE		8

#define XENFEAT_WRITABLE_PAGE_TABLES	BIT(0)
#define XENFEAT_AUTO_TRANSLATED_PHYSMAP	BIT(2)
#define XENFEAT_HVM_CALLBACK_VECTOR	BIT(8)
#define XENFEAT_HVM_SAFE_PVCLOCK	BIT(9)

struct xen_feature_info {
	u32 submap_idx;
	u32 submap;
};

/* memory_op */
#define XENMEM_ADD_TO_PHYSMAP		7
#define XENMAPSPACE_SHARED_INFO		0

/* vm_assist */
#define VMASST_CMD_ENABLE		0
#define VMASST_CMD_DISABLE		1
#define VMASST_TYPE_RUNSTATE_UPDATE	5

/* vcpu_op */
#define VCPUOP_IS_UP			3
#define VCPUOP_REGISTER_RUNSTATE_AREA	5
#define VCPUOP_STOP_PERIODIC_TIMER	7
#define VCPUOP_SET_SINGLESHOT_TIMER	8
#define VCPUOP_STOP_SINGLESHOT_TIMER	9
#define VCPUOP_REGISTER_VCPU_INFO	10
#define VCPUOP_REGISTER_TIME_AREA	13

struct vcpu_register_vcpu_info {
	u64 mfn;
	u32 offset;
	u32 rsvd;
};

/* sched_op */
#define SCHEDOP_SHUTDOWN		2

#define SHUTDOWN_POWEROFF		0
#define SHUTDOWN_REBOOT			1
#define SHUTDOWN_CRASH			3
#define SHUTDOWN_SOFT_RESET		5

/* hvm_op */
#define HVMOP_SET_PARAM			0
#define HVMOP_GET_PARAM			1
#define HVMOP_SET_EVTCHN_UPCALL_VECTOR	23

#define HVM_PARAM_CALLBACK_IRQ		0
#define HVM_PARAM_CALLBACK_TYPE_VECTOR	2
#define HVM_NR_PARAMS			39

struct hvm_param {
	u16 domid;
	u16 pad;
	u32 index;
	u64 value;
};

struct hvm_evtchn_upcall_vector {
	u32 vcpu;
	u8 vector;
	u8 pad[3];
};

/* event_channel_op */
#define EVTCHNOP_BIND_INTERDOMAIN	0
#define EVTCHNOP_BIND_VIRQ		1
#define EVTCHNOP_CLOSE			3
#define EVTCHNOP_SEND			4
#define EVTCHNOP_STATUS			5
#define EVTCHNOP_ALLOC_UNBOUND		6
#define EVTCHNOP_BIND_IPI		7
#define EVTCHNOP_BIND_VCPU		8
#define EVTCHNOP_UNMASK			9
#define EVTCHNOP_RESET			10
#define EVTCHNOP_INIT_CONTROL		11
#define EVTCHNOP_EXPAND_ARRAY		12
#define EVTCHNOP_SET_PRIORITY		13

#define EVTCHNSTAT_CLOSED		0
#define EVTCHNSTAT_UNBOUND		1
#define EVTCHNSTAT_INTERDOMAIN		2
#define EVTCHNSTAT_VIRQ			4
#define EVTCHNSTAT_IPI			5

#define XEN_NR_VIRQS			24
#define VIRQ_TIMER			0
#define VIRQ_DEBUG			1
#define VIRQ_XENOPROF			7
#define VIRQ_XENPMU			13

#define EVTCHN_FIFO_NR_CHANNELS		BIT(17)
#define EVTCHN_FIFO_LINK_BITS		17
#define EVTCHN_FIFO_PENDING		BIT(31)
#define EVTCHN_FIFO_LINKED		BIT(29)
#define EVTCHN_FIFO_PRIORITY_DEFAULT	7
#define EVTCHN_FIFO_PRIORITY_MIN	15
#define EVTCHN_FIFO_WORDS_PER_PAGE	1024
#define EVTCHN_FIFO_MAX_PAGES		128
#define EVTCHN_FIFO_MAX_OFFSET		4024	/* of a control block in its page */

union evtchn_op {
	struct {
		u16 remote_dom;
		u32 remote_port;
		u32 local_port;		/* out */
	} bind_interdomain;
	struct {
		u32 virq;
		u32 vcpu;
		u32 port;		/* out */
	} bind_virq;
	u32 port;			/* of close, send, unmask */
	struct {
		u16 dom;
		u32 port;
		u32 status;		/* out, as is the rest */
		u32 vcpu;
		union {
			struct {
				u16 dom;
			} unbound;
			struct {
				u16 dom;
				u32 port;
			} interdomain;
			u32 virq;
		} u;
	} status;
	struct {
		u16 dom;
		u16 remote_dom;
		u32 port;		/* out */
	} alloc_unbound;
	struct {
		u32 vcpu;
		u32 port;		/* out */
	} bind_ipi;
	struct {
		u32 port;
		u32 vcpu;
	} bind_vcpu;
	u16 reset_dom;
	struct {
		u64 gfn;
		u32 offset;
		u32 vcpu;
		u8 link_bits;		/* out */
		u8 pad[7];
	} init_control;
	u64 expand_array_gfn;
	struct {
		u32 port;
		u32 priority;
	} set_priority;
};

/* Offsets in the shared_info page, by the mode of the VM; see evtchn_2l.c */
#define SHINFO_EVTCHN_PENDING		0x800
#define SHINFO_EVTCHN_MASK_32		0x880
#define SHINFO_EVTCHN_MASK_64		0xa00

/* A vcpu_info; the first 32 are at the start of the shared_info page */
#define VCPU_INFO_SIZE			64
#define VCPU_INFO_UPCALL_PENDING	0
#define VCPU_INFO_PENDING_SEL_32	4
#define VCPU_INFO_PENDING_SEL_64	8
#define VCPU_INFO_IN_SHINFO		32

#endif /* KVM_XEN_XEN_ABI_H */
