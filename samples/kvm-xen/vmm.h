/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of this VMM share: the VM, its vCPUs, and who does what.
 *
 * Locking: one lock. A vCPU thread holds vm->lock whenever it is out of the guest
 * with something to do, so everything below runs one at a time. A thread that
 * waits for the lock is out of KVM_RUN, so that others can set attributes of its
 * vCPU meanwhile; see vcpu_set_attr().
 */
#ifndef KVM_XEN_VMM_H
#define KVM_XEN_VMM_H

#include <linux/kvm.h>
#include <pthread.h>
#include "types.h"
#include "xen_abi.h"

#define MAX_VCPUS		VCPU_INFO_IN_SHINFO
#define NO_GFN			KVM_XEN_INVALID_GFN

struct boot_params;

struct vcpu {
	struct vm *vm;
	u32 id;			/* KVM's number, the APIC ID, the ACPI ID and Xen's vCPU ID */
	int fd;
	struct kvm_run *run;
	pthread_t thread;
	bool has_vcpu_info;	/* the guest has registered one */
	bool has_control;	/* likewise a FIFO control block */
	u8 upcall_vector;
};

struct vm {
	int kvm_fd;
	int fd;
	int mem_fd;		/* the guest's memory, then the shared_info page */
	u8 *mem;
	u64 mem_size;
	u32 xen_caps;		/* KVM_CAP_XEN_HVM: KVM_XEN_HVM_CONFIG_* */
	bool offer_fifo;
	bool trace;		/* print hypercalls */
	u8 *shared_info;	/* our view of the page, wherever the guest has it */
	u64 shared_info_gfn;	/* where that is */
	u64 hvm_param[HVM_NR_PARAMS];
	pthread_mutex_t lock;
	u32 nr_vcpus;
	struct vcpu vcpu[MAX_VCPUS];
};

/* A hypercall that the kernel has left to us. */
struct call {
	struct vcpu *v;
	bool longmode;		/* the caller executes 64-bit code */
	u32 cmd;		/* the low half of the first argument */
	u64 arg[6];
};

/*
 * vm.c: the VM, its memory, its attributes
 *
 * The first is for ioctls that fail only if the host cannot do what we need.
 */
#define must_ioctl(fd, request, arg) \
	ioctl_or_die(fd, #request, request, (unsigned long)(arg))

int ioctl_or_die(int fd, const char *name, unsigned long request, unsigned long arg);
void vm_create(struct vm *vm);
void *gpa_to_hva(struct vm *vm, u64 gpa, u64 size);
void shared_info_map(struct vm *vm, u64 gfn);
int vm_set_attr(struct vm *vm, struct kvm_xen_hvm_attr *attr);
bool vm_long_mode(struct vm *vm);

/* vcpu.c: vCPUs, their threads, their attributes */
void vcpu_create(struct vm *vm, u32 id);
void vcpu_start(struct vcpu *v);
struct vcpu *vcpu_find(struct vm *vm, u32 xen_id);
int vcpu_set_attr(struct vcpu *v, struct kvm_xen_vcpu_attr *attr);
int vcpu_get_attr(struct vcpu *v, struct kvm_xen_vcpu_attr *attr);
int vcpu_set_gpa(struct vcpu *v, u16 type, u64 gpa);

/* cpuid.c: what CPUID tells the guest */
void cpuid_set(struct vcpu *v);

/* boot.c: the kernel, and the state of the first vCPU when it starts */
void boot_load(struct vm *vm, const char *kernel, const char *initrd, const char *cmdline);
void boot_registers(struct vcpu *v);

/* acpi.c: tables that tell of the CPUs, the serial port, and power off */
#define ACPI_BASE		0xe0000
void acpi_build(struct vm *vm);

/* pc.c: the I/O ports of the machine; serial.c: its serial port */
#define PORT_SERIAL		0x3f8
#define PORT_SLEEP_CONTROL	0x600
#define PORT_SLEEP_STATUS	0x601
#define PORT_RESET		0x602
#define GSI_SERIAL		4
#define SLEEP_TYPE_S5		5
void pc_io(struct vm *vm, struct kvm_run *run);
void serial_write(struct vm *vm, u16 offset, u8 value);
u8 serial_read(struct vm *vm, u16 offset);

/* guest.c: arguments of hypercalls, at virtual addresses of the guest */
int gva_to_gpa(struct vcpu *v, u64 gva, u64 *gpa);
int copy_from_guest(struct call *c, void *to, u64 gva, size_t size);
int copy_to_guest(struct call *c, u64 gva, const void *from, size_t size);
int copy_pointer_from_guest(struct call *c, u64 *pointer, u64 gva);

/* hypercall.c: which call goes where; and the short ones */
void hypercall(struct vcpu *v);
long memory_op(struct call *c);		/* shinfo.c */
long hvm_op(struct call *c);		/* hvm.c */
long vcpu_op(struct call *c);		/* vcpu_op.c */
long event_channel_op(struct call *c);	/* evtchn.c */

/* shinfo.c: the shared_info page and the vcpu_info structures in it */
long vcpu_info_register(struct vcpu *v, u64 gpa);
void shared_info_reset(struct vm *vm);

/* ports.c: the table of ports, and what the kernel is told about them */
struct port {
	u8 type;		/* EVTCHNSTAT_* */
	u8 priority;		/* counts in the FIFO ABI */
	u8 virq;
	u16 remote_dom;		/* unbound: who may bind */
	u32 vcpu;		/* whom it notifies */
	u32 peer;		/* interdomain: the other end, a port of this guest, too */
};

struct port *port_get(u32 nr);
u32 port_number(const struct port *p);
struct port *port_alloc(struct vm *vm);
void port_publish(struct vm *vm, struct port *p);
void port_changed(struct vm *vm, struct port *p);
void port_close(struct vm *vm, struct port *p);
void port_raise(struct vm *vm, struct port *p);
void ports_reset(struct vm *vm);

/* evtchn_2l.c: the bits of the 2-level ABI */
u32 evtchn_2l_limit(struct vm *vm);
void evtchn_2l_clear_pending(struct vm *vm, u32 port);
void evtchn_2l_unmask(struct vm *vm, struct port *p);

/* evtchn_fifo.c: into the FIFO ABI and out of it; its event words */
bool evtchn_fifo_in_force(void);
bool evtchn_fifo_linked(struct vm *vm, u32 port);
void evtchn_fifo_clear_pending(struct vm *vm, u32 port);
void evtchn_fifo_leave(struct vm *vm);
long evtchn_fifo_init_control(struct vcpu *v, union evtchn_op *op);
long evtchn_fifo_expand_array(struct vcpu *v, union evtchn_op *op);
long evtchn_fifo_set_priority(struct vcpu *v, union evtchn_op *op);

#endif /* KVM_XEN_VMM_H */
