/* What every peer's process does besides its loop. */
#ifndef PROCESS_H
#define PROCESS_H

#include <stdint.h>

/* Connections that may wait to be accepted; the kernel lowers it to net.core.somaxconn. */
enum { BACKLOG = 4096 };

/* Ignores SIGPIPE and raises the limit of descriptors as far as it is permitted. */
void process_prepare(void);

/* Says on standard output that `listener`, a listening socket, accepts. */
void announce(int listener);

/* Milliseconds that the timer `index` of `count` lasts: from 5 to 65 seconds, evenly spread. */
uint64_t timer_duration(unsigned index, unsigned count);

/* Says why on standard error, in one line, and ends the process with 1. */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
