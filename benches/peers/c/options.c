#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <netdb.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "process.h"

#define DEFAULT_ADDRESS "127.0.0.1:1833"

static const struct {
    struct option option;
    unsigned taken; /* 0: by every peer */
    const char *help;
} OPTIONS[] = {
    {{"addr", required_argument, NULL, 'a'}, 0,
     "--addr HOST:PORT   listen there (default " DEFAULT_ADDRESS "; port 0: the system chooses)"},
    {{"framing", required_argument, NULL, 'f'}, TAKES_FRAMING,
     "--framing FRAMING  raw (default), length-prefixed (a big-endian u32 and the payload) or lines (each ends with \\n)"},
    {{"workers", required_argument, NULL, 'w'}, 0,
     "--workers N        event loops; only 1 (default) is possible"},
    {{"timers", required_argument, NULL, 't'}, TAKES_TIMERS,
     "--timers N         besides, keep N timers of 5 to 65 seconds running (default 0)"},
    {{"broadcast", no_argument, NULL, 'b'}, TAKES_BROADCAST,
     "--broadcast        send every message to all connections, not just back"},
    {{"tls-cert", required_argument, NULL, 'c'}, TAKES_TLS,
     "--tls-cert FILE    PEM file with the certificate"},
    {{"tls-key", required_argument, NULL, 'k'}, TAKES_TLS,
     "--tls-key FILE     PEM file with the private key"},
    {{"help", no_argument, NULL, 'h'}, 0,
     "--help             print this"},
};

enum { OPTION_COUNT = sizeof OPTIONS / sizeof *OPTIONS };

static bool has(unsigned taken, int index)
{
    return OPTIONS[index].taken == 0 || (OPTIONS[index].taken & taken) != 0;
}

static _Noreturn void help(unsigned taken)
{
    printf("Usage: %s [OPTION]...\nAn echo server to measure beside others.\n\n", program_invocation_short_name);
    for (int i = 0; i < OPTION_COUNT; i++)
        if (has(taken, i))
            printf("  %s\n", OPTIONS[i].help);
    exit(EXIT_SUCCESS);
}

static unsigned parse_count(const char *name, const char *text)
{
    char *end;
    errno = 0;
    unsigned long count = strtoul(text, &end, 10);
    if (errno != 0 || *end != '\0' || text[0] < '0' || text[0] > '9' || count > INT_MAX)
        fail("--%s: '%s' is not a count", name, text);
    return (unsigned)count;
}

static enum framing parse_framing(const char *text)
{
    if (strcmp(text, "raw") == 0)
        return FRAMING_RAW;
    if (strcmp(text, "length-prefixed") == 0)
        return FRAMING_LENGTH_PREFIXED;
    if (strcmp(text, "lines") == 0)
        return FRAMING_LINES;
    fail("--framing: '%s' is not raw, length-prefixed or lines", text);
}

/* HOST:PORT, where an IPv6 address stands in brackets. */
static void parse_address(struct options *options, const char *text)
{
    char host[NI_MAXHOST];
    const char *colon = strrchr(text, ':');
    size_t length = colon == NULL ? 0 : (size_t)(colon - text);
    if (length == 0 || length >= sizeof host)
        fail("--addr: '%s' is not HOST:PORT", text);
    if (parse_count("addr: port", colon + 1) > UINT16_MAX)
        fail("--addr: '%s': no such port", text);
    bool bracketed = length > 2 && text[0] == '[' && text[length - 1] == ']';
    if (bracketed)
        length -= 2;
    memcpy(host, text + (bracketed ? 1 : 0), length);
    host[length] = '\0';

    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found;
    int problem = getaddrinfo(host, colon + 1, &hints, &found);
    if (problem != 0)
        fail("--addr: '%s': %s", text, gai_strerror(problem));
    memcpy(&options->address, found->ai_addr, found->ai_addrlen);
    options->address_length = found->ai_addrlen;
    freeaddrinfo(found);
}

struct options options_parse(int argc, char **argv, unsigned taken)
{
    struct option known[OPTION_COUNT + 1] = {0};
    for (int i = 0, count = 0; i < OPTION_COUNT; i++)
        if (has(taken, i))
            known[count++] = OPTIONS[i].option;

    struct options options = {0};
    const char *address = DEFAULT_ADDRESS;
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        switch (option) {
        case 'a': address = optarg; break;
        case 'f': options.framing = parse_framing(optarg); break;
        case 'w':
            if (parse_count("workers", optarg) != 1)
                fail("--workers: this peer has one event loop");
            break;
        case 't': options.timers = parse_count("timers", optarg); break;
        case 'b': options.broadcast = true; break;
        case 'c': options.tls_cert = optarg; break;
        case 'k': options.tls_key = optarg; break;
        case 'h': help(taken);
        default: exit(EXIT_FAILURE); /* getopt_long has said why */
        }
    }
    if (optind < argc)
        fail("unexpected argument '%s'", argv[optind]);
    if ((taken & TAKES_TLS) != 0 && (options.tls_cert == NULL || options.tls_key == NULL))
        fail("--tls-cert and --tls-key are needed");
    parse_address(&options, address);
    return options;
}
