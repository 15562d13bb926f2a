/* SPDX-License-Identifier: GPL-2.0 */
/* The kernel's short names of integer types, and what else its headers would give. */
#ifndef KVM_XEN_TYPES_H
#define KVM_XEN_TYPES_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;

#define ARRAY_SIZE(a)		(sizeof(a) / sizeof((a)[0]))
#define BIT(n)			(1U << (n))
#define PAGE_SIZE		4096UL

#endif /* KVM_XEN_TYPES_H */
