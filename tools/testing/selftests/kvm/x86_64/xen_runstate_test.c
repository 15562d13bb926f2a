// SPDX-License-Identifier: GPL-2.0-only
/*
 * Xen guests: runstate accounting and the runstate area.
 */
#include "xen.h"

int main(int argc, char *argv[])
{
	return xen_run_cases(argc, argv, NULL, 0);
}
