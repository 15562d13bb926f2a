// SPDX-License-Identifier: GPL-2.0
/*
 * The bits of the 2-level ABI, in the shared_info page: for each port, one that says it
 * is pending, and one that masks it.
 *
 * By KVM_XEN_HVM_CONFIG_EVTCHN_SEND we have promised not to raise events here; KVM would
 * not notice. Clearing bits is allowed, if it is atomic.
 */
#include "vmm.h"

u32 evtchn_2l_limit(struct vm *vm)
{
	u32 bits = vm_long_mode(vm) ? 64 : 32;

	return bits * bits;
}

/* Returns whether the bit was set. The bytes are the same for 32-bit and 64-bit words. */
static bool test_and_clear(struct vm *vm, u32 base, u32 port)
{
	u8 bit = 1 << port % 8;

	return __atomic_fetch_and(vm->shared_info + base + port / 8, ~bit, __ATOMIC_SEQ_CST) & bit;
}

void evtchn_2l_clear_pending(struct vm *vm, u32 port)
{
	if (port < evtchn_2l_limit(vm))
		test_and_clear(vm, SHINFO_EVTCHN_PENDING, port);
}

/* For kernels that do not do it themselves. What is pending, KVM has to raise anew. */
void evtchn_2l_unmask(struct vm *vm, struct port *p)
{
	u32 base = vm_long_mode(vm) ? SHINFO_EVTCHN_MASK_64 : SHINFO_EVTCHN_MASK_32;
	u32 port = port_number(p);

	if (port < evtchn_2l_limit(vm) && test_and_clear(vm, base, port) &&
	    test_and_clear(vm, SHINFO_EVTCHN_PENDING, port))
		port_raise(vm, p);
}
