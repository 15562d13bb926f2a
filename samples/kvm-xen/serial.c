// SPDX-License-Identifier: GPL-2.0
/*
 * A 16550A serial port for output: what the guest sends goes to stdout, at
 * once, so the transmitter always is empty. Of the interrupts, there is only that
 * of the transmitter.
 */
#include <err.h>
#include <linux/serial_reg.h>
#include <unistd.h>
#include "vmm.h"

static struct {
	u8 ier, lcr, mcr, scr, fcr;
	u16 divisor;
	bool thr_interrupt;	/* not acknowledged yet */
} serial;

static void update_interrupt(struct vm *vm)
{
	struct kvm_irq_level irq = {
		.irq = GSI_SERIAL,
		.level = serial.thr_interrupt && serial.ier & UART_IER_THRI,
	};

	must_ioctl(vm->fd, KVM_IRQ_LINE, &irq);
}

static void send(u8 byte)
{
	if (write(STDOUT_FILENO, &byte, 1) != 1)
		err(1, "write to stdout");
}

static bool divisor_access(u16 offset)
{
	return serial.lcr & UART_LCR_DLAB && offset <= UART_DLM;
}

static void write_divisor(u16 offset, u8 value)
{
	u32 shift = offset == UART_DLM ? 8 : 0;

	serial.divisor = (serial.divisor & ~(0xff << shift)) | value << shift;
}

void serial_write(struct vm *vm, u16 offset, u8 value)
{
	if (divisor_access(offset)) {
		write_divisor(offset, value);
		return;
	}
	switch (offset) {
	case UART_TX:
		if (!(serial.mcr & UART_MCR_LOOP))
			send(value);
		serial.thr_interrupt = true;
		update_interrupt(vm);
		break;
	case UART_IER:
		/* Enabling this interrupt raises it, if the transmitter is empty. */
		if (value & ~serial.ier & UART_IER_THRI)
			serial.thr_interrupt = true;
		serial.ier = value & 0xf;
		update_interrupt(vm);
		break;
	case UART_FCR:
		serial.fcr = value;
		break;
	case UART_LCR:
		serial.lcr = value;
		break;
	case UART_MCR:
		serial.mcr = value & 0x1f;
		break;
	case UART_SCR:
		serial.scr = value;
		break;
	}
}

/* Reading it acknowledges the interrupt that it tells of. */
static u8 read_iir(struct vm *vm)
{
	u8 value = serial.fcr & UART_FCR_ENABLE_FIFO ? 0xc0 : 0;

	if (!serial.thr_interrupt || !(serial.ier & UART_IER_THRI))
		return value | UART_IIR_NO_INT;
	serial.thr_interrupt = false;
	update_interrupt(vm);
	return value | UART_IIR_THRI;
}

/* In loopback mode, by which drivers probe, the modem's lines are our own. */
static u8 read_msr(void)
{
	u8 value = 0;

	if (!(serial.mcr & UART_MCR_LOOP))
		return UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS;
	if (serial.mcr & UART_MCR_RTS)
		value |= UART_MSR_CTS;
	if (serial.mcr & UART_MCR_DTR)
		value |= UART_MSR_DSR;
	if (serial.mcr & UART_MCR_OUT1)
		value |= UART_MSR_RI;
	if (serial.mcr & UART_MCR_OUT2)
		value |= UART_MSR_DCD;
	return value;
}

u8 serial_read(struct vm *vm, u16 offset)
{
	if (divisor_access(offset))
		return serial.divisor >> (offset == UART_DLM ? 8 : 0);
	switch (offset) {
	case UART_IER:
		return serial.ier;
	case UART_IIR:
		return read_iir(vm);
	case UART_LCR:
		return serial.lcr;
	case UART_MCR:
		return serial.mcr;
	case UART_LSR:
		return UART_LSR_TEMT | UART_LSR_THRE;
	case UART_MSR:
		return read_msr();
	case UART_SCR:
		return serial.scr;
	}
	return 0;
}
