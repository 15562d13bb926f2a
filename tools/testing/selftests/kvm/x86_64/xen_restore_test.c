// SPDX-License-Identifier: GPL-2.0-only
/*
 * Xen guests: save and restore, in every order that a VMM may use.
 */
#include "xen.h"

int main(int argc, char *argv[])
{
	return xen_run_cases(argc, argv, NULL, 0);
}
