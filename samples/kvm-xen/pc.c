// SPDX-License-Identifier: GPL-2.0
/*
 * The I/O ports of the machine: a serial port, and the registers by which ACPI
 * powers off and resets. Everywhere else, reads give ones and writes get lost,
 * which also says that there is no PCI bus.
 */
#include <err.h>
#include <stdlib.h>
#include <string.h>
#include "vmm.h"

#define SERIAL_PORTS	8
#define SLEEP_ENABLE	BIT(5)
#define SLEEP_TYPE(x)	((x) << 2)

static void out(struct vm *vm, u16 port, u8 value)
{
	if (port >= PORT_SERIAL && port < PORT_SERIAL + SERIAL_PORTS)
		serial_write(vm, port - PORT_SERIAL, value);
	else if (port == PORT_SLEEP_CONTROL && value == (SLEEP_TYPE(SLEEP_TYPE_S5) | SLEEP_ENABLE))
		exit(0);
	else if (port == PORT_RESET)
		errx(1, "the guest has reset the machine");
}

static u8 in(struct vm *vm, u16 port)
{
	if (port >= PORT_SERIAL && port < PORT_SERIAL + SERIAL_PORTS)
		return serial_read(vm, port - PORT_SERIAL);
	if (port == PORT_SLEEP_CONTROL || port == PORT_SLEEP_STATUS)
		return 0;
	return 0xff;
}

/* All registers are bytes: of a wider access, the first one counts. */
void pc_io(struct vm *vm, struct kvm_run *run)
{
	u8 *data = (u8 *)run + run->io.data_offset;
	u32 i;

	for (i = 0; i < run->io.count; i++, data += run->io.size) {
		if (run->io.direction == KVM_EXIT_IO_OUT) {
			out(vm, run->io.port, data[0]);
		} else {
			memset(data, 0xff, run->io.size);
			data[0] = in(vm, run->io.port);
		}
	}
}
