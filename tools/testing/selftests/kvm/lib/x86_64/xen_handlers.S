/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Interrupt and exception handlers of 32-bit Xen guests, 16 bytes per vector;
 * copied to guest memory, so nothing here depends on its own address.  They do
 * what guest_interrupt() and guest_fault() of xen.c do for 64-bit guests.
 */

/* struct xen_cpu, at GS */
#define CPU_VCPU_INFO	8
#define CPU_FLAGS	12
#define CPU_FAULT	16
#define CPU_NR		20
#define CPU_LOG		24
#define CPU_COUNT	280
#define CPU_TWICE	1304

#define NR_LOG		64
#define FLAG_KEEP	1
#define FLAG_EOI	2

#define EFLAGS_IF	0x200

#define PORT_FAULT	0xe9
#define APIC_EOI	0xfee000b0

.pushsection .rodata
.code32
.balign 16
.globl xen_handlers32
xen_handlers32:
vector = 0
.rept 256
	.balign 16
	.byte 0x68				/* push imm32 */
	.long vector
	.byte 0xe9				/* jmp rel32 */
	.long handle - . - 4
	vector = vector + 1
.endr

handle:
	push %eax
	push %ecx
	mov 8(%esp), %eax
	cmp $2, %eax				/* NMI */
	je interrupt
	cmp $32, %eax
	jae interrupt

	/* With an error code this is not RIP; the vector tells enough then. */
	mov 12(%esp), %ecx
	mov %ecx, %gs:CPU_FAULT
	out %al, $PORT_FAULT
	ud2

interrupt:
	mov 12(%esp), %ecx			/* as came_twice() of xen.c */
	shr $4, %ecx
	cmp %al, %cl
	jne 0f
	testl $EFLAGS_IF, 20(%esp)
	jnz 0f
	incl %gs:CPU_TWICE
	jmp 3f
0:	incl %gs:CPU_COUNT(,%eax,4)
	mov %gs:CPU_NR, %ecx
	cmp $NR_LOG, %ecx
	jae 1f
	mov %eax, %gs:CPU_LOG(,%ecx,4)
1:	incl %gs:CPU_NR
	cmp $2, %eax
	je 3f
	mov %gs:CPU_FLAGS, %eax
	test $FLAG_KEEP, %eax
	jnz 2f
	mov %gs:CPU_VCPU_INFO, %ecx
	movb $0, (%ecx)				/* evtchn_upcall_pending */
2:	test $FLAG_EOI, %eax
	jz 3f
	movl $0, APIC_EOI
3:	pop %ecx
	pop %eax
	add $4, %esp
	iret

.globl xen_handlers32_end
xen_handlers32_end:
.popsection

.section .note.GNU-stack, "", %progbits
