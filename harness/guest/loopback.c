// SPDX-License-Identifier: GPL-2.0
/*
 * loopback FILE: two event channels of the guest, connected to each other, and events
 * to and fro, until FILE is deleted. Prints how many went and came; 0 if one was lost.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define domid_t		unsigned short		/* the header does not define it */
#include <xen/evtchn.h>

#define DOMID_SELF	0x7ff0
#define PATIENCE_MS	30000

static int fd;

/* Wait for an event and let the next one come: its port, or -1 if there is none. */
static int receive(void)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	unsigned int port;

	if (poll(&poll_fd, 1, PATIENCE_MS) != 1 || read(fd, &port, sizeof(port)) != sizeof(port) ||
	    write(fd, &port, sizeof(port)) != sizeof(port))
		return -1;
	return port;
}

/* Send by one port, which has to arrive at the other. */
static int ping(int from, int to)
{
	struct ioctl_evtchn_notify notify = { .port = from };

	return !ioctl(fd, IOCTL_EVTCHN_NOTIFY, &notify) && receive() == to;
}

int main(int argc, char *argv[])
{
	struct ioctl_evtchn_bind_unbound_port unbound = { .remote_domain = DOMID_SELF };
	struct ioctl_evtchn_bind_interdomain bind = { .remote_domain = DOMID_SELF };
	int one, other, count = 0;

	fd = open("/dev/xen/evtchn", O_RDWR);
	one = ioctl(fd, IOCTL_EVTCHN_BIND_UNBOUND_PORT, &unbound);
	bind.remote_port = one;
	other = ioctl(fd, IOCTL_EVTCHN_BIND_INTERDOMAIN, &bind);
	if (one < 0 || other < 0) {
		perror("loopback");
		return 1;
	}
	/* A port that is bound to another one begins with an event. */
	if (receive() != other) {
		puts("0 (no event of the new port)");
		return 1;
	}
	while (argc > 1 && !access(argv[1], F_OK)) {
		if (!ping(other, one) || !ping(one, other)) {
			printf("0 (lost after %d)\n", count);
			return 1;
		}
		count += 2;
	}
	printf("%d\n", count);
	return 0;
}
