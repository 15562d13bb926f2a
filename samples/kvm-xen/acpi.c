// SPDX-License-Identifier: GPL-2.0
/*
 * ACPI tables, as few as tell the guest how many CPUs there are, which number Xen gives
 * to each, where the serial port is, and how to power off.
 *
 * The FADT says "hardware-reduced": no power management timer, no legacy interrupt
 * controller and timer, no RTC, no keyboard controller. So none of them has to be emulated.
 */
#include <err.h>
#include <string.h>
#include "vmm.h"

/* None of the structures has padding. */
#pragma pack(push, 1)

struct acpi_header {
	char signature[4];
	u32 length;
	u8 revision;
	u8 checksum;
	char oem_id[6];
	char oem_table_id[8];
	u32 oem_revision;
	char creator_id[4];
	u32 creator_revision;
};

struct acpi_address {
	u8 space;		/* 1: I/O */
	u8 width;
	u8 offset;
	u8 access;		/* 1: byte */
	u64 address;
};

struct acpi_rsdp {
	char signature[8];
	u8 checksum;
	char oem_id[6];
	u8 revision;
	u32 rsdt;
	u32 length;
	u64 xsdt;
	u8 checksum_all;
	u8 reserved[3];
};

struct acpi_xsdt {
	struct acpi_header header;
	u64 table[2];
};

struct acpi_fadt {
	struct acpi_header header;
	u8 unused1[73];
	u16 boot_flags;
	u8 unused2;
	u32 flags;
	struct acpi_address reset;
	u8 reset_value;
	u8 unused3[2];
	u8 minor_revision;
	u64 facs;
	u64 dsdt;
	u8 unused4[96];
	struct acpi_address sleep_control;
	struct acpi_address sleep_status;
	u64 hypervisor;
};

#define FADT_BOOT_NO_RTC	BIT(5)
#define FADT_RESET_SUPPORTED	BIT(10)
#define FADT_HW_REDUCED		BIT(20)

struct acpi_lapic {
	u8 type;		/* 0 */
	u8 length;
	u8 processor_id;	/* Linux takes this for Xen's vCPU ID */
	u8 apic_id;
	u32 flags;		/* 1: enabled */
};

struct acpi_ioapic {
	u8 type;		/* 1 */
	u8 length;
	u8 id;
	u8 reserved;
	u32 address;
	u32 gsi_base;
};

struct acpi_madt {
	struct acpi_header header;
	u32 lapic_address;
	u32 flags;
	struct acpi_ioapic ioapic;
	struct acpi_lapic lapic[MAX_VCPUS];
};

/*
 * Name (_S5, Package () { 5, 0, 0, 0 })
 * Scope (\_SB) {
 *	Device (COM1) {
 *		Name (_HID, EisaId ("PNP0501"))
 *		Name (_UID, 1)
 *		Name (_CRS, ResourceTemplate () {
 *			IO (Decode16, 0x3f8, 0x3f8, 1, 8)
 *			IRQ (Edge, ActiveHigh, Exclusive) { 4 }
 *		})
 *	}
 * }
 */
static const u8 aml[] = {
	0x08, '_', 'S', '5', '_', 0x12, 7, 4, 0x0a, SLEEP_TYPE_S5, 0, 0, 0,
	0x10, 0x34, '\\', '_', 'S', 'B', '_',
	0x5b, 0x82, 0x2c, 'C', 'O', 'M', '1',
	0x08, '_', 'H', 'I', 'D', 0x0c, 0x41, 0xd0, 0x05, 0x01,
	0x08, '_', 'U', 'I', 'D', 1,
	0x08, '_', 'C', 'R', 'S', 0x11, 0x11, 0x0a, 14,
	0x47, 1, PORT_SERIAL & 0xff, PORT_SERIAL >> 8, PORT_SERIAL & 0xff, PORT_SERIAL >> 8, 1, 8,
	0x23, 1 << GSI_SERIAL, 0, 1,
	0x79, 0,
};

struct acpi_tables {
	struct acpi_rsdp rsdp;
	struct acpi_xsdt xsdt;
	struct acpi_fadt fadt;
	struct acpi_madt madt;
	struct {
		struct acpi_header header;
		u8 aml[sizeof(aml)];
	} dsdt;
};

#pragma pack(pop)

#define GPA_OF(table)	(ACPI_BASE + offsetof(struct acpi_tables, table))

static u8 checksum(const void *data, u32 size)
{
	const u8 *bytes = data;
	u8 sum = 0;

	while (size--)
		sum += *bytes++;
	return -sum;
}

/* When everything else is in the table. */
static void finish(void *table, const char *signature, u8 revision, u32 length)
{
	struct acpi_header *header = table;

	memcpy(header->signature, signature, sizeof(header->signature));
	memcpy(header->oem_id, "KVMXEN", sizeof(header->oem_id));
	memcpy(header->oem_table_id, "KVMXEN  ", sizeof(header->oem_table_id));
	memcpy(header->creator_id, "KVMX", sizeof(header->creator_id));
	header->revision = revision;
	header->length = length;
	header->checksum = checksum(table, length);
}

static struct acpi_address io_port(u16 port)
{
	return (struct acpi_address){ .space = 1, .width = 8, .access = 1, .address = port };
}

static void build_fadt(struct acpi_fadt *fadt)
{
	/* Were there no VGA either, Linux would take this for a PVH guest. */
	fadt->boot_flags = FADT_BOOT_NO_RTC;
	fadt->flags = FADT_HW_REDUCED | FADT_RESET_SUPPORTED;
	fadt->reset = io_port(PORT_RESET);
	fadt->minor_revision = 1;
	fadt->dsdt = GPA_OF(dsdt);
	fadt->sleep_control = io_port(PORT_SLEEP_CONTROL);
	fadt->sleep_status = io_port(PORT_SLEEP_STATUS);
	finish(fadt, "FACP", 6, sizeof(*fadt));
}

static void build_madt(struct vm *vm, struct acpi_madt *madt)
{
	u32 i;

	madt->lapic_address = 0xfee00000;
	madt->ioapic = (struct acpi_ioapic){
		.type = 1, .length = sizeof(madt->ioapic), .address = 0xfec00000,
	};
	for (i = 0; i < vm->nr_vcpus; i++)
		madt->lapic[i] = (struct acpi_lapic){
			.length = sizeof(madt->lapic[i]), .processor_id = i, .apic_id = i,
			.flags = 1,
		};
	finish(madt, "APIC", 5, offsetof(struct acpi_madt, lapic[vm->nr_vcpus]));
}

static void build_rsdp(struct acpi_rsdp *rsdp)
{
	memcpy(rsdp->signature, "RSD PTR ", sizeof(rsdp->signature));
	memcpy(rsdp->oem_id, "KVMXEN", sizeof(rsdp->oem_id));
	rsdp->revision = 2;
	rsdp->length = sizeof(*rsdp);
	rsdp->xsdt = GPA_OF(xsdt);
	rsdp->checksum = checksum(rsdp, offsetof(struct acpi_rsdp, length));
	rsdp->checksum_all = checksum(rsdp, sizeof(*rsdp));
}

void acpi_build(struct vm *vm)
{
	struct acpi_tables *tables = gpa_to_hva(vm, ACPI_BASE, sizeof(*tables));

	if (!tables)
		errx(1, "there is not enough memory for the ACPI tables");
	build_rsdp(&tables->rsdp);
	tables->xsdt.table[0] = GPA_OF(fadt);
	tables->xsdt.table[1] = GPA_OF(madt);
	finish(&tables->xsdt, "XSDT", 1, sizeof(tables->xsdt));
	build_fadt(&tables->fadt);
	build_madt(vm, &tables->madt);
	memcpy(tables->dsdt.aml, aml, sizeof(aml));
	finish(&tables->dsdt, "DSDT", 2, sizeof(tables->dsdt));
}
