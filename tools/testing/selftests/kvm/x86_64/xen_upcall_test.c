// SPDX-License-Identifier: GPL-2.0-only
/*
 * Upcalls of Xen guests: the VM-wide vector, a level beside the local APIC, and the
 * per-vCPU vector, an edge in the local APIC; both with halted vCPUs, in 64-bit and
 * 32-bit guests.
 *
 * A case fails when an interrupt comes that should not, in the wrong order, too often, or
 * does not come.  Linux 6.12 fails T6, T7, U5, U12, M12, U23, U30, RG44, DT36 and X5.
 */
#include "apic.h"
#include "xen.h"

#define A		5
#define B		100		/* in another word */
#define LV		XEN_LAPIC_VECTOR(0)
#define OTHER_VECTOR	0xfe

static u32 *lapic_reg(struct kvm_lapic_state *lapic, u32 reg)
{
	return (u32 *)&lapic->regs[reg];
}

static void set_lapic(struct xen_vm *x, u32 reg, u32 value)
{
	struct kvm_lapic_state lapic;

	vcpu_ioctl(x->vcpu[0], KVM_GET_LAPIC, &lapic);
	*lapic_reg(&lapic, reg) = value;
	vcpu_ioctl(x->vcpu[0], KVM_SET_LAPIC, &lapic);
}

static u32 get_lapic(struct xen_vm *x, u32 reg)
{
	struct kvm_lapic_state lapic;

	vcpu_ioctl(x->vcpu[0], KVM_GET_LAPIC, &lapic);
	return *lapic_reg(&lapic, reg);
}

static bool isr(struct xen_vm *x, u8 vector)
{
	return get_lapic(x, 0x100 + vector / 32 * 0x10) & BIT(vector % 32);
}

static u64 guest_apic_write(u64 reg, u64 value, u64 unused)
{
	xapic_write_reg(reg, value);
	return 0;
}

static u64 guest_apic_base(u64 value, u64 unused, u64 unused2)
{
	wrmsr(MSR_IA32_APICBASE, value);
	return 0;
}

static void apic_write(struct xen_vm *x, u32 reg, u32 value)
{
	xen_call(x, 0, guest_apic_write, reg, value, 0);
}

static void assert_count(struct xen_vm *x, u8 vector, u32 count)
{
	u32 got = xen_count(x, 0, vector);

	TEST_ASSERT(got == count, "vector 0x%x came %u times, not %u", vector, got, count);
}

/* The VM-wide vector. */

static void test_priority(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);

	xen_lapic_enable(x, 0, true);
	set_lapic(x, 0x100 + 0xf0 / 32 * 0x10, BIT(0xf0 % 32));	/* ISR */
	/* With 0xff, SVM opens no window for any interrupt: its priority is 15, too. */
	set_lapic(x, APIC_TASKPRI, 0xe0);
	xen_send(x, A, 0);
	xen_window(x, 0);
	assert_count(x, XEN_VECTOR, 1);
	TEST_ASSERT(!xen_irr(x, 0, XEN_VECTOR), "vector is in the IRR");
	TEST_ASSERT(!isr(x, XEN_VECTOR), "vector is in the ISR");
}

static void test_lapic_off(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	struct kvm_sregs sregs;

	xen_lapic_enable(x, 0, false);
	xen_send(x, A, 0);
	xen_window(x, 0);
	assert_count(x, XEN_VECTOR, 1);

	vcpu_sregs_get(x->vcpu[0], &sregs);
	sregs.apic_base &= ~MSR_IA32_APICBASE_ENABLE;
	vcpu_sregs_set(x->vcpu[0], &sregs);
	xen_clear_events(x);
	xen_send(x, A, 0);
	xen_window(x, 0);
	assert_count(x, XEN_VECTOR, 1);
}

/* As long as the flag is set the vector comes again. */
static void level(enum xen_mode mode)
{
	struct xen_vm *x = xen_vm_new(1, mode, XEN_S);
	int i;

	xen_cpu(x, 0)->flags = XEN_CPU_KEEP;
	xen_send(x, A, 0);
	xen_prepare(x, 0, STEP_WINDOW);
	xen_start(x, 0);
	for (i = 0; i < 5000 && xen_count(x, 0, XEN_VECTOR) < 3; i++)
		xen_sleep_ms(1);
	TEST_ASSERT(xen_count(x, 0, XEN_VECTOR) >= 3, "came %u times",
		    xen_count(x, 0, XEN_VECTOR));
	WRITE_ONCE(xen_cpu(x, 0)->flags, 0);
	xen_expect(x, 0, xen_wait(x, 0, xen_ms(5000)), XEN_RETURNED);
	TEST_ASSERT_EQ(xen_flag(x, 0), 0);
}

static void test_level(void)
{
	level(XEN_64);
}

static void test_level_32(void)
{
	level(XEN_32);
}

/* NMI, the vector, the PIC, the local APIC: in this order. */
static void test_order(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	struct kvm_irqchip pic = { .chip_id = KVM_IRQCHIP_PIC_MASTER };
	u32 *log = xen_cpu(x, 0)->log;

	vm_ioctl(x->vm, KVM_GET_IRQCHIP, &pic);
	pic.chip.pic.irq_base = 0x60;
	pic.chip.pic.imr = 0;
	vm_ioctl(x->vm, KVM_SET_IRQCHIP, &pic);
	xen_lapic_enable(x, 0, true);
	set_lapic(x, 0x350, 0x700);				/* LVT0: ExtINT */
	set_lapic(x, APIC_IRR + OTHER_VECTOR / 32 * 0x10, BIT(OTHER_VECTOR % 32));
	kvm_irq_line(x->vm, 5, 1);
	xen_send(x, A, 0);
	vcpu_ioctl(x->vcpu[0], KVM_NMI, NULL);
	xen_window(x, 0);
	TEST_ASSERT(log[0] == NMI_VECTOR && log[1] == XEN_VECTOR && log[2] == 0x65 &&
		    log[3] == OTHER_VECTOR, "order is 0x%x 0x%x 0x%x 0x%x", log[0], log[1],
		    log[2], log[3]);
}

static void halt(enum xen_mode mode)
{
	struct xen_vm *x = xen_vm_new(2, mode, XEN_S);

	/* The flag is set: no sleep. */
	xen_send(x, A, 0);
	xen_step(x, 0, STEP_HLT);
	assert_count(x, XEN_VECTOR, 1);

	/* It comes while the vCPU sleeps. */
	xen_clear_events(x);
	xen_prepare(x, 0, STEP_HLT);
	xen_start(x, 0);
	TEST_ASSERT(xen_sleeps(x, 0, 0), "does not sleep");
	xen_send(x, A, 1);
	TEST_ASSERT_EQ(xen_wait(x, 0, 50), XEN_RUNNING_YET);
	xen_send(x, A + 1, 0);
	xen_expect(x, 0, xen_wait(x, 0, xen_ms(5000)), XEN_RETURNED);
	assert_count(x, XEN_VECTOR, 1);
}

static void test_halt(void)
{
	halt(XEN_64);
}

static void test_halt_32(void)
{
	halt(XEN_32);
}

/* A masked event does not end the sleep. */
static void test_halt_masked(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);

	xen_put_mask(x, A, true);
	xen_prepare(x, 0, STEP_HLT);
	xen_start(x, 0);
	xen_send(x, A, 0);
	TEST_ASSERT_EQ(xen_wait(x, 0, 50), XEN_RUNNING_YET);
	xen_send(x, B, 0);
	xen_expect(x, 0, xen_wait(x, 0, xen_ms(5000)), XEN_RETURNED);
}

static void test_halt_upcall_mask(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);

	x->state[0].info->upcall_mask = 1;
	xen_prepare(x, 0, STEP_HLT);
	xen_start(x, 0);
	xen_sleep_ms(20);
	xen_send(x, A, 0);
	xen_expect(x, 0, xen_wait(x, 0, xen_ms(5000)), XEN_RETURNED);
	TEST_ASSERT_EQ(x->state[0].info->upcall_mask, 0);
}

static u64 guest_halt(u64 unused, u64 unused2, u64 unused3)
{
	asm volatile("hlt" : : : "memory");
	return 0;
}

/* With interrupts off it does not wait for upcalls. */
static void test_halt_off(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);

	xen_lapic_enable(x, 0, true);
	x->state[0].info->upcall_mask = 1;
	xen_prepare_call(x, 0, guest_halt, 0, 0, 0);
	xen_start(x, 0);
	TEST_ASSERT(xen_sleeps(x, 0, 20), "does not sleep");
	xen_send_msi(x, 0, 0x400);
	xen_expect(x, 0, xen_wait(x, 0, xen_ms(5000)), XEN_RETURNED);
	assert_count(x, NMI_VECTOR, 1);
	TEST_ASSERT_EQ(x->state[0].info->upcall_mask, 1);
}

/* The vCPU sleeps, and only KVM_XEN_HVM_CONFIG lets it be a Xen guest's. */
static void test_config_while_due(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_SI | XEN_VI | XEN_UV);

	xen_put_flag(x, 0, 1);
	xen_prepare(x, 0, STEP_HLT);
	xen_start(x, 0);
	/* KVM wakes a new vCPU once to correct its clock. */
	TEST_ASSERT(xen_sleeps(x, 0, xen_ms(300)), "does not sleep");
	xen_setup(x, XEN_CFG);
	xen_expect(x, 0, xen_wait(x, 0, xen_ms(5000)), XEN_RETURNED);
	assert_count(x, XEN_VECTOR, 1);
}

/* With a shadow one more instruction is executed: here one that exits. */
static void shadow(u8 kind)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	struct kvm_vcpu_events events;

	x->state[0].irqs = true;
	xen_prepare_hcall(x, 0, 55, (u64[6]) {});
	vcpu_events_get(x->vcpu[0], &events);
	events.flags = KVM_VCPUEVENT_VALID_SHADOW;
	events.interrupt.shadow = kind;
	vcpu_events_set(x->vcpu[0], &events);
	xen_send(x, A, 0);
	xen_expect(x, 0, xen_run(x, 0), XEN_EXITED);
	assert_count(x, XEN_VECTOR, kind ? 0 : 1);
	xen_expect(x, 0, xen_run(x, 0), XEN_RETURNED);
	assert_count(x, XEN_VECTOR, 1);
}

static void test_shadow(void)
{
	shadow(0);
	shadow(KVM_X86_SHADOW_INT_MOV_SS);
	shadow(KVM_X86_SHADOW_INT_STI);
}

/* The guest sets its own flag: an upcall by the next exit at the latest. */
static u64 set_own_flag(struct xen_vcpu_info64 *info, struct xen_cpu *cpu, u64 version)
{
	u64 count;

	asm volatile("sti");
	WRITE_ONCE(info->upcall_pending, 1);
	xen_guest_hcall(HCALL_VERSION, XENVER_VERSION, 0, 0, 0, 0, 0);
	count = READ_ONCE(cpu->count[XEN_VECTOR]);
	asm volatile("cli");
	return count;
}

static void test_own_flag(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);

	xen_set(x, XEN_VERSION, xen_version, 0x40011);
	TEST_ASSERT_EQ(xen_call(x, 0, set_own_flag, XEN_SHINFO, XEN_CPU(0), 0), 1);
	TEST_ASSERT_EQ(xen_flag(x, 0), 0);
}

static void test_vector_off(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);

	xen_send(x, A, 0);
	xen_set(x, UPCALL_VECTOR, vector, 0);
	xen_window(x, 0);
	TEST_ASSERT_EQ(xen_cpu(x, 0)->nr, 0);
	xen_set(x, UPCALL_VECTOR, vector, 0x44);
	xen_window(x, 0);
	assert_count(x, 0x44, 1);
}

/* 100 ms after it first ran, a vCPU is kicked to renew its clock. */
#define SETTLED_MS	300

/* Until the guest has taken it, which runs or halts. */
static void await_upcall(struct xen_vm *x)
{
	u64 end = xen_real_ns(CLOCK_MONOTONIC) + xen_ms(5000) * NSEC_PER_MSEC;

	while (xen_flag(x, 0) && xen_real_ns(CLOCK_MONOTONIC) < end)
		xen_sleep_ms(1);
	assert_count(x, XEN_VECTOR, 1);
}

/* The flag was there first. */
static void vector_on(enum xen_step step)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG | XEN_SI | XEN_VI);

	x->state[0].irqs = step == STEP_SPIN;
	xen_put_flag(x, 0, 1);
	xen_prepare(x, 0, step);
	xen_start(x, 0);
	if (step == STEP_HLT)
		TEST_ASSERT(xen_sleeps(x, 0, SETTLED_MS), "does not sleep");
	else
		TEST_ASSERT_EQ(xen_wait(x, 0, SETTLED_MS), XEN_RUNNING_YET);
	TEST_ASSERT_EQ(xen_cpu(x, 0)->nr, 0);

	xen_set(x, UPCALL_VECTOR, vector, XEN_VECTOR);
	await_upcall(x);
	if (step == STEP_HLT)
		xen_expect(x, 0, xen_wait(x, 0, xen_ms(5000)), XEN_RETURNED);
	else
		xen_expect(x, 0, xen_interrupt(x, 0), XEN_SIGNALLED);
	assert_count(x, XEN_VECTOR, 1);
}

static void test_vector_on_halted(void)
{
	vector_on(STEP_HLT);
}

static void test_vector_on_running(void)
{
	vector_on(STEP_SPIN);
}

static void test_msr_off(void)
{
	struct xen_vm *other = xen_vm_new(1, XEN_64, XEN_S);
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_SI | XEN_VI | XEN_UV);

	xen_send(x, A, 0);
	TEST_ASSERT_EQ(xen_flag(x, 0), 1);
	xen_window(x, 0);
	TEST_ASSERT_EQ(xen_cpu(x, 0)->nr, 0);
	xen_setup(x, XEN_CFG);
	xen_window(x, 0);
	assert_count(x, XEN_VECTOR, 1);
	xen_vm_free(other);
}

/* The per-vCPU vector. */

static void lapic_vector(enum xen_mode mode)
{
	struct xen_vm *x = xen_vm_new(2, mode, XEN_SL);

	xen_send(x, A, 0);
	TEST_ASSERT(xen_irr(x, 0, LV), "vector is not in the IRR");
	TEST_ASSERT(!xen_irr(x, 1, XEN_LAPIC_VECTOR(1)), "vector of another vCPU is in the IRR");
	xen_window(x, 0);
	assert_count(x, LV, 1);
	TEST_ASSERT_EQ(xen_cpu(x, 0)->nr, 1);

	xen_clear_events(x);
	xen_prepare(x, 1, STEP_HLT);
	xen_start(x, 1);
	TEST_ASSERT(xen_sleeps(x, 1, 0), "does not sleep");
	xen_send(x, A, 1);
	xen_expect(x, 1, xen_wait(x, 1, xen_ms(5000)), XEN_RETURNED);
	TEST_ASSERT_EQ(xen_count(x, 1, XEN_LAPIC_VECTOR(1)), 1);
}

static void test_lapic_vector(void)
{
	lapic_vector(XEN_64);
}

static void test_lapic_vector_32(void)
{
	lapic_vector(XEN_32);
}

static void test_lapic_flag_set(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_SL);

	xen_put_flag(x, 0, 1);
	xen_send(x, A, 0);
	TEST_ASSERT(xen_pending(x, A), "not pending");
	TEST_ASSERT_EQ(xen_sel(x, 0), xen_sel_bit(x, A));
	TEST_ASSERT(!xen_irr(x, 0, LV), "raised although the flag was set");
}

static void test_lapic_flag_2(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_SL);

	xen_put_flag(x, 0, 2);
	xen_send(x, A, 0);
	TEST_ASSERT_EQ(xen_flag(x, 0), 3);
	xen_window(x, 0);
	assert_count(x, LV, 1);
}

static void test_eoi(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_SL);

	xen_cpu(x, 0)->flags = 0;			/* no EOI */
	xen_send(x, A, 0);
	xen_window(x, 0);
	assert_count(x, LV, 1);
	TEST_ASSERT(isr(x, LV), "vector is not in service");
	xen_put_pending(x, A, false);
	xen_put_sel(x, 0, 0);
	xen_send(x, A, 0);
	TEST_ASSERT(xen_irr(x, 0, LV), "second event is not in the IRR");
	xen_window(x, 0);
	assert_count(x, LV, 1);
	apic_write(x, APIC_EOI, 0);
	xen_window(x, 0);
	assert_count(x, LV, 2);
}

static void test_flag_kept(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_SL);

	xen_cpu(x, 0)->flags = XEN_CPU_EOI | XEN_CPU_KEEP;
	xen_send(x, A, 0);
	xen_window(x, 0);
	xen_send(x, A + 1, 0);
	xen_window(x, 0);
	assert_count(x, LV, 1);
	xen_put_sel(x, 0, 0);
	xen_send(x, B, 0);
	xen_window(x, 0);
	assert_count(x, LV, 1);
}

static void test_tpr(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_SL);

	apic_write(x, APIC_TASKPRI, LV);
	xen_send(x, A, 0);
	xen_window(x, 0);
	TEST_ASSERT_EQ(xen_cpu(x, 0)->nr, 0);
	apic_write(x, APIC_TASKPRI, LV - 0x10);
	xen_window(x, 0);
	assert_count(x, LV, 1);
}

static void test_set_vector(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG | XEN_SI | XEN_VI);

	xen_lapic_enable(x, 0, true);
	xen_vcpu_set(x, 0, UPCALL_VECTOR, vector, LV);
	TEST_ASSERT(!xen_irr(x, 0, LV), "raised although no upcall is pending");
	/* A reset of ports does not concern it. */
	TEST_ASSERT_EQ(xen_try_evtchn(x, KVM_XEN_EVTCHN_RESET, 0, 0, 0, 0), 0);
	xen_send(x, A, 0);
	TEST_ASSERT(xen_irr(x, 0, LV), "not raised");
}

static void test_set_vector_pending(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG | XEN_SI | XEN_VI);

	xen_lapic_enable(x, 0, true);
	xen_send(x, A, 0);
	xen_vcpu_set(x, 0, UPCALL_VECTOR, vector, LV);
	TEST_ASSERT(xen_irr(x, 0, LV), "not raised although an upcall is pending");
}

/* A disabled APIC drops the vector; enabling it makes up for that. */
static void test_enable(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_SL);
	int i;

	xen_lapic_enable(x, 0, false);
	xen_send(x, A, 0);
	TEST_ASSERT_EQ(xen_flag(x, 0), 1);
	for (i = 0; i < 8; i++)
		TEST_ASSERT_EQ(get_lapic(x, APIC_IRR + i * 0x10), 0);
	xen_window(x, 0);
	TEST_ASSERT_EQ(xen_cpu(x, 0)->nr, 0);
	apic_write(x, APIC_SPIV, 0xff | APIC_SPIV_APIC_ENABLED);
	TEST_ASSERT(xen_irr(x, 0, LV), "not raised by enabling the APIC");
	xen_window(x, 0);
	assert_count(x, LV, 1);
}

static void test_enable_again(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_SL);

	/* No flag, no interrupt. */
	apic_write(x, APIC_SPIV, 0xff | APIC_SPIV_APIC_ENABLED);
	TEST_ASSERT(!xen_irr(x, 0, LV), "raised without a flag");
	xen_put_flag(x, 0, 1);
	apic_write(x, APIC_SPIV, 0xff);
	TEST_ASSERT(!xen_irr(x, 0, LV), "raised by disabling the APIC");
	apic_write(x, APIC_SPIV, 0xff | APIC_SPIV_APIC_ENABLED);
	TEST_ASSERT(xen_irr(x, 0, LV), "not raised by enabling the APIC");
	xen_window(x, 0);
	assert_count(x, LV, 1);

	/* Every write with the bit set does it. */
	xen_put_flag(x, 0, 1);
	apic_write(x, APIC_SPIV, 0xff | APIC_SPIV_APIC_ENABLED);
	TEST_ASSERT(xen_irr(x, 0, LV), "not raised by writing the same value");
}

static void test_apic_base(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_SL);
	u64 base;

	TEST_ASSERT_EQ(xen_rdmsr(x, 0, MSR_IA32_APICBASE, &base), 0);
	xen_put_flag(x, 0, 1);
	xen_call(x, 0, guest_apic_base, base & ~MSR_IA32_APICBASE_ENABLE, 0, 0);
	xen_call(x, 0, guest_apic_base, base, 0, 0);
	TEST_ASSERT(!xen_irr(x, 0, LV), "raised before the APIC was enabled by software");
	apic_write(x, APIC_SPIV, 0xff | APIC_SPIV_APIC_ENABLED);
	TEST_ASSERT(xen_irr(x, 0, LV), "not raised by enabling the APIC");
}

static void test_x2apic(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_SL);
	u64 base;

	TEST_REQUIRE(kvm_cpu_has(X86_FEATURE_X2APIC));
	TEST_ASSERT_EQ(xen_rdmsr(x, 0, MSR_IA32_APICBASE, &base), 0);
	xen_call(x, 0, guest_apic_base, base | MSR_IA32_APICBASE_EXTD, 0, 0);
	xen_put_flag(x, 0, 1);
	TEST_ASSERT_EQ(xen_wrmsr(x, 0, APIC_BASE_MSR + (APIC_SPIV >> 4),
				 0xff | APIC_SPIV_APIC_ENABLED), 0);
	TEST_ASSERT(xen_irr(x, 0, LV), "not raised by enabling the APIC");
}

/* The APIC is that of the vCPU, whatever it calls itself. */
static void test_apic_id(void)
{
	struct xen_vm *x = xen_vm_new(2, XEN_64, XEN_SL);

	apic_write(x, APIC_ID, 9 << 24);
	xen_send(x, A, 0);
	TEST_ASSERT(xen_irr(x, 0, LV), "not raised");
	TEST_ASSERT(!xen_irr(x, 1, LV), "raised in another APIC");
}

/* vCPUs 1 and 257 look alike to others while in xAPIC mode. */
static void test_apic_id_alias(void)
{
	struct xen_vm *x;

	TEST_REQUIRE(kvm_check_cap(KVM_CAP_MAX_VCPU_ID) > 257);
	x = xen_vm_new(2, XEN_64, XEN_SL);
	x->vcpu[2] = vm_vcpu_add(x->vm, 257, NULL);
	x->nr_vcpus = 3;
	xen_put_vcpu_info(x, 2, XEN_SHINFO + 128);
	xen_vcpu_set(x, 2, VCPU_INFO, gpa, XEN_SHINFO + 128);
	xen_vcpu_set(x, 2, UPCALL_VECTOR, vector, 0x77);
	xen_lapic_enable(x, 2, true);
	xen_send(x, A, 257);
	TEST_ASSERT(xen_irr(x, 2, 0x77), "not raised");
	TEST_ASSERT(!xen_irr(x, 1, 0x77), "raised in another APIC");
	xen_send(x, A + 1, 1);
	TEST_ASSERT(xen_irr(x, 1, XEN_LAPIC_VECTOR(1)), "not raised");
	TEST_ASSERT(!xen_irr(x, 2, XEN_LAPIC_VECTOR(1)), "raised in another APIC");
}

/* With both kinds of vectors both interrupts come, the VM-wide one first. */
static void test_both(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_SL | XEN_UV);
	u32 *log = xen_cpu(x, 0)->log;

	xen_cpu(x, 0)->flags = 0;
	xen_send(x, A, 0);
	TEST_ASSERT(xen_irr(x, 0, LV), "not raised in the APIC");
	xen_window(x, 0);
	TEST_ASSERT_EQ(xen_cpu(x, 0)->nr, 2);
	TEST_ASSERT(log[0] == XEN_VECTOR && log[1] == LV, "order is 0x%x 0x%x", log[0], log[1]);
}

static void test_both_lapic_off(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_SL | XEN_UV);

	xen_lapic_enable(x, 0, false);
	xen_cpu(x, 0)->flags = 0;
	xen_send(x, A, 0);
	TEST_ASSERT(!xen_irr(x, 0, LV), "raised in a disabled APIC");
	xen_window(x, 0);
	TEST_ASSERT_EQ(xen_cpu(x, 0)->nr, 1);
	assert_count(x, XEN_VECTOR, 1);
}

/* A memslot of its own for vcpu_info; NULL takes it away. */
static void set_slot(struct xen_vm *x, void *page)
{
	vm_set_user_memory_region(x->vm, XEN_SLOT + 1, 0, XEN_HOLE, page ? 0x1000 : 0, page);
}

static void *vcpu_info_in_slot(struct xen_vm *x)
{
	void *page = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	set_slot(x, page);
	xen_vcpu_set(x, 0, VCPU_INFO, gpa, XEN_HOLE);
	x->state[0].info = page;
	return page;
}

static void enable_by_guest(struct xen_vm *x)
{
	apic_write(x, APIC_SPIV, 0xff | APIC_SPIV_APIC_ENABLED);
}

static void enable_by_vmm(struct xen_vm *x)
{
	xen_lapic_enable(x, 0, true);
}

static void set_vector(struct xen_vm *x)
{
	xen_vcpu_set(x, 0, UPCALL_VECTOR, vector, LV);
}

/*
 * Nobody knows whether an upcall is pending: its memslot is gone, and comes back while the
 * vCPU sleeps, or its page has to be faulted in.
 */
static void vector_waits(void (*act)(struct xen_vm *x), bool slot)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_CFG | XEN_SI);
	void *page = vcpu_info_in_slot(x);

	virt_pg_map(x->vm, XEN_HOLE, XEN_HOLE);
	xen_cpu(x, 0)->vcpu_info = XEN_HOLE;
	if (act == set_vector)
		enable_by_vmm(x);
	else
		set_vector(x);
	xen_step(x, 0, STEP_RETURN);	/* writes the clock into the page */
	xen_put_flag(x, 0, 1);
	if (slot)
		set_slot(x, NULL);
	else
		TEST_ASSERT(!madvise(page, 0x1000, MADV_DONTNEED), "madvise");
	act(x);
	if (slot) {
		TEST_ASSERT(!xen_irr(x, 0, LV), "raised without knowing why");
		xen_prepare(x, 0, STEP_HLT);
		xen_start(x, 0);
		TEST_ASSERT(xen_sleeps(x, 0, 20), "does not sleep");
		set_slot(x, page);
		xen_expect(x, 0, xen_wait(x, 0, xen_ms(5000)), XEN_RETURNED);
	} else {
		xen_step(x, 0, STEP_RETURN);
		TEST_ASSERT(xen_irr(x, 0, LV), "not raised");
		xen_window(x, 0);
	}
	assert_count(x, LV, 1);
}

static void test_enable_no_page(void)
{
	vector_waits(enable_by_guest, true);
	vector_waits(enable_by_guest, false);
}

static void test_set_lapic_no_page(void)
{
	vector_waits(enable_by_vmm, true);
	vector_waits(enable_by_vmm, false);
}

static void test_set_vector_no_page(void)
{
	vector_waits(set_vector, true);
	vector_waits(set_vector, false);
}

/* Its page was dropped, and only who looks for an upcall has a reason to map it. */
static void test_drop_page(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	void *page = vcpu_info_in_slot(x);

	virt_pg_map(x->vm, XEN_HOLE, XEN_HOLE);
	xen_cpu(x, 0)->vcpu_info = XEN_HOLE;
	x->state[0].irqs = true;
	xen_prepare(x, 0, STEP_SPIN);
	xen_start(x, 0);
	TEST_ASSERT_EQ(xen_wait(x, 0, SETTLED_MS), XEN_RUNNING_YET);

	TEST_ASSERT(!madvise(page, 0x1000, MADV_DONTNEED), "madvise");
	xen_put_flag(x, 0, 1);
	await_upcall(x);
	xen_expect(x, 0, xen_interrupt(x, 0), XEN_SIGNALLED);
}

/* HLT while vcpu_info is gone: at worst the sleep ends for nothing. */
static void test_halt_no_page(void)
{
	struct xen_vm *x = xen_vm_new(1, XEN_64, XEN_S);
	void *page = vcpu_info_in_slot(x);

	set_slot(x, NULL);
	xen_prepare(x, 0, STEP_HLT);
	xen_start(x, 0);
	if (xen_wait(x, 0, 50) == XEN_RUNNING_YET)
		xen_expect(x, 0, xen_interrupt(x, 0), XEN_SIGNALLED);

	/* The page comes back with an upcall. */
	set_slot(x, page);
	xen_put_flag(x, 0, 1);
	xen_prepare(x, 0, STEP_HLT);
	xen_start(x, 0);
	while (xen_wait(x, 0, 10) == XEN_RUNNING_YET)
		if (xen_count(x, 0, XEN_VECTOR))
			xen_put_flag(x, 0, 0);
	TEST_ASSERT(xen_count(x, 0, XEN_VECTOR), "no upcall");
}

static const struct xen_case cases[] = {
	{ "U1: VM-wide vector ignores TPR and ISR", test_priority },
	{ "U2: VM-wide vector does not need the APIC", test_lapic_off },
	{ "U3: VM-wide vector is a level, 64-bit", test_level },
	{ "U3: VM-wide vector is a level, 32-bit", test_level_32 },
	{ "U4: NMI, upcall, PIC, APIC", test_order },
	{ "U5 U28: halted vCPU, 64-bit", test_halt },
	{ "U5 U28: halted vCPU, 32-bit", test_halt_32 },
	{ "U28: masked event leaves the vCPU halted", test_halt_masked },
	{ "U30 DE28: HLT clears the upcall mask", test_halt_upcall_mask },
	{ "KVM_XEN_HVM_CONFIG while an upcall is due", test_config_while_due },
	{ "U30 DE28: HLT with interrupts off leaves the upcall mask alone", test_halt_off },
	{ "U6: interrupt shadow", test_shadow },
	{ "U7: guest sets its own flag", test_own_flag },
	{ "U8: VM-wide vector switched off and on", test_vector_off },
	{ "U5 U8: VM-wide vector set while the vCPU sleeps", test_vector_on_halted },
	{ "U8: VM-wide vector set while the vCPU runs", test_vector_on_running },
	{ "DT36: no upcall without CONFIG", test_msr_off },
	{ "U11: per-vCPU vector, 64-bit", test_lapic_vector },
	{ "U11: per-vCPU vector, 32-bit", test_lapic_vector_32 },
	{ "T6 DE11 DT23 M13: per-vCPU vector, flag already set", test_lapic_flag_set },
	{ "T7: per-vCPU vector, flag is 2", test_lapic_flag_2 },
	{ "U11: per-vCPU vector waits for EOI", test_eoi },
	{ "U12 DE11 DT23 M13: per-vCPU vector is an edge", test_flag_kept },
	{ "U13: per-vCPU vector obeys TPR", test_tpr },
	{ "U15 RE9: setting the vector, no upcall pending", test_set_vector },
	{ "U15 DT22 M12: setting the vector, upcall pending", test_set_vector_pending },
	{ "U16 U17 RG45: APIC disabled, then enabled", test_enable },
	{ "U18 U19: APIC enabled again", test_enable_again },
	{ "U20: APIC off and on by its base MSR", test_apic_base },
	{ "U17: APIC enabled in x2APIC mode", test_x2apic },
	{ "U23 DE14: guest changed its APIC ID", test_apic_id },
	{ "DE14 RG44: APIC IDs that look alike", test_apic_id_alias },
	{ "U21: both vectors", test_both },
	{ "U22: both vectors, APIC disabled", test_both_lapic_off },
	{ "U17 X5 RG45: APIC enabled while vcpu_info is out of reach", test_enable_no_page },
	{ "X5 RG45: KVM_SET_LAPIC while vcpu_info is out of reach", test_set_lapic_no_page },
	{ "U15 X5: vector set while vcpu_info is out of reach", test_set_vector_no_page },
	{ "U7 RG43: page of vcpu_info dropped while the vCPU runs", test_drop_page },
	{ "DE31 FX14 RG14 RG43: HLT while vcpu_info is gone", test_halt_no_page },
};

int main(int argc, char *argv[])
{
	return xen_run_cases(argc, argv, cases, ARRAY_SIZE(cases));
}
