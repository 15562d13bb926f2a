// SPDX-License-Identifier: GPL-2.0-only
/*
 * Xen guests: VCPUOP singleshot timers, set_timer_op and VIRQ_TIMER.
 */
#include "xen.h"

int main(int argc, char *argv[])
{
	return xen_run_cases(argc, argv, NULL, 0);
}
