// SPDX-License-Identifier: GPL-2.0
/*
 * Print the frequency of this machine's TSC in kHz. QEMU's emulation hands the
 * machine's TSC to its guest, and the guest is told the frequency instead of
 * guessing it from emulated timers.
 */
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

static long long now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_RAW, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

/* The tightest of several pairs: one interrupted between two reads is not. */
static void sample(long long *ns, unsigned long long *tsc)
{
	long long best = -1;

	for (int i = 0; i < 50; i++) {
		long long before = now_ns();
		unsigned long long t = __rdtsc();
		long long after = now_ns();

		if (best < 0 || after - before < best) {
			best = after - before;
			*ns = before + best / 2;
			*tsc = t;
		}
	}
}

int main(void)
{
	struct timespec wait = { .tv_nsec = 200000000 };
	unsigned long long t0, t1;
	long long n0, n1;

	sample(&n0, &t0);
	nanosleep(&wait, NULL);
	sample(&n1, &t1);
	printf("%.0f\n", (double)(t1 - t0) * 1e6 / (double)(n1 - n0));
	return 0;
}
