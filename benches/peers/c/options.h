/* The command line of a peer. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>
#include <sys/socket.h>

enum framing { FRAMING_RAW, FRAMING_LENGTH_PREFIXED, FRAMING_LINES };

struct options {
    struct sockaddr_storage address;
    socklen_t address_length;
    enum framing framing;
    unsigned timers;
    bool broadcast;
    /* PEM files; a peer that takes them has both. */
    const char *tls_cert, *tls_key;
};

/* Options that not every peer has. */
enum { TAKES_FRAMING = 1, TAKES_TIMERS = 2, TAKES_BROADCAST = 4, TAKES_TLS = 8 };

/* Reads the command line of a peer that has the options in `taken`. Ends the process: with 0 after --help, with 1 and one
 * line on standard error where the command line is wrong. */
struct options options_parse(int argc, char **argv, unsigned taken);

#endif
