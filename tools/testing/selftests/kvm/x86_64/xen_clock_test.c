// SPDX-License-Identifier: GPL-2.0-only
/*
 * Xen guests: pvclock, wallclock and the time leaves of CPUID.
 */
#include "xen.h"

int main(int argc, char *argv[])
{
	return xen_run_cases(argc, argv, NULL, 0);
}
