/* Echo on libevent's bufferevents: what was read is moved to the output, not copied, and watermarks say when a message is
 * whole and when a slow client has taken enough. */

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "process.h"

enum {
    PREFIX = 4,
    /* The longest message, with its framing: 16 MiB of payload. */
    MESSAGE_MAX = 16 * 1024 * 1024 + PREFIX,
    /* Reading from a connection pauses while more than this waits to be written to it, until half of it does. */
    PAUSE_ABOVE = 1024 * 1024,
};

struct connection {
    struct bufferevent *events;
    size_t searched; /* bytes of the input that are known to have no end of a line */
    bool ended;      /* the client has sent its FIN; the connection is closed when all is written */
};

static struct options options;

static void *require(void *made, const char *what)
{
    if (made == NULL)
        fail("%s: %s", what, strerror(errno));
    return made;
}

static void close_connection(struct connection *connection)
{
    bufferevent_free(connection->events);
    free(connection);
}

/* The length of the message at the front of the input, 0 when it is not whole, more than MESSAGE_MAX when it is too long. */
static size_t next_prefixed(struct connection *connection, struct evbuffer *input)
{
    uint8_t prefix[PREFIX];
    if (evbuffer_copyout(input, prefix, PREFIX) < PREFIX) {
        bufferevent_setwatermark(connection->events, EV_READ, PREFIX, 0);
        return 0;
    }
    size_t size =
        PREFIX + ((size_t)prefix[0] << 24 | (size_t)prefix[1] << 16 | (size_t)prefix[2] << 8 | (size_t)prefix[3]);
    if (size <= MESSAGE_MAX && evbuffer_get_length(input) < size) {
        /* No callback before all of it has been read. */
        bufferevent_setwatermark(connection->events, EV_READ, size, 0);
        return 0;
    }
    return size;
}

/* As next_prefixed. */
static size_t next_line(struct connection *connection, struct evbuffer *input)
{
    size_t length = evbuffer_get_length(input);
    struct evbuffer_ptr start;
    evbuffer_ptr_set(input, &start, connection->searched, EVBUFFER_PTR_SET);
    struct evbuffer_ptr newline = evbuffer_search_eol(input, &start, NULL, EVBUFFER_EOL_LF);
    connection->searched = newline.pos < 0 ? length : 0;
    if (newline.pos >= 0)
        return (size_t)newline.pos + 1;
    return length > MESSAGE_MAX ? length : 0;
}

/* Moves whole messages, or all bytes, from the input to the output until it is full. False for a message too long. */
static bool echo(struct connection *connection, struct evbuffer *input, struct evbuffer *output)
{
    if (options.framing == FRAMING_RAW)
        return evbuffer_add_buffer(output, input) == 0;
    bufferevent_setwatermark(connection->events, EV_READ, 0, 0); /* that of the last message is met */
    while (evbuffer_get_length(input) > 0 && evbuffer_get_length(output) <= PAUSE_ABOVE) {
        size_t size = options.framing == FRAMING_LINES ? next_line(connection, input) : next_prefixed(connection, input);
        if (size > MESSAGE_MAX)
            return false;
        if (size == 0)
            break;
        evbuffer_remove_buffer(input, output, size);
    }
    return true;
}

static void on_readable(struct bufferevent *events, void *context)
{
    struct connection *connection = context;
    struct evbuffer *output = bufferevent_get_output(events);
    if (!echo(connection, bufferevent_get_input(events), output)) {
        close_connection(connection);
    } else if (evbuffer_get_length(output) > PAUSE_ABOVE) {
        bufferevent_setwatermark(events, EV_WRITE, PAUSE_ABOVE / 2, 0);
        bufferevent_disable(events, EV_READ);
    }
}

static void on_written(struct bufferevent *events, void *context)
{
    struct connection *connection = context;
    if (connection->ended) {
        close_connection(connection);
    } else if (!(bufferevent_get_enabled(events) & EV_READ)) {
        bufferevent_setwatermark(events, EV_WRITE, 0, 0);
        bufferevent_enable(events, EV_READ);
        on_readable(events, context); /* for the messages that were read before the pause */
    }
}

static void on_end(struct bufferevent *events, short what, void *context)
{
    struct connection *connection = context;
    if ((what & BEV_EVENT_EOF) && evbuffer_get_length(bufferevent_get_output(events)) > 0) {
        connection->ended = true;
        bufferevent_disable(events, EV_READ);
    } else {
        close_connection(connection);
    }
}

static void on_connection(struct evconnlistener *listener, evutil_socket_t socket, struct sockaddr *address, int length,
                          void *context)
{
    (void)address, (void)length, (void)context;
    int on = 1;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct connection *connection = require(calloc(1, sizeof *connection), "calloc");
    connection->events = require(
        bufferevent_socket_new(evconnlistener_get_base(listener), socket, BEV_OPT_CLOSE_ON_FREE), "bufferevent_socket_new");
    bufferevent_setcb(connection->events, on_readable, on_written, on_end, connection);
    if (bufferevent_enable(connection->events, EV_READ) != 0)
        close_connection(connection);
}

static void accept_again(evutil_socket_t socket, short what, void *listener)
{
    (void)socket, (void)what;
    evconnlistener_enable(listener);
}

/* Most likely there are no descriptors left, which would be reported without end. */
static void on_accept_failed(struct evconnlistener *listener, void *context)
{
    (void)context;
    const struct timeval pause = {.tv_usec = 100 * 1000};
    evconnlistener_disable(listener);
    event_base_once(evconnlistener_get_base(listener), -1, EV_TIMEOUT, accept_again, listener, &pause);
}

struct timer {
    struct event *event;
    struct timeval duration;
};

static void on_timer(evutil_socket_t socket, short what, void *context)
{
    (void)socket, (void)what;
    struct timer *timer = context;
    if (evtimer_add(timer->event, &timer->duration) != 0)
        fail("evtimer_add: %s", strerror(errno));
}

static void start_timers(struct event_base *base, unsigned count)
{
    struct timer *timers = require(calloc(count, sizeof *timers), "calloc");
    for (unsigned i = 0; i < count; i++) {
        uint64_t milliseconds = timer_duration(i, count);
        timers[i].duration.tv_sec = (time_t)(milliseconds / 1000);
        timers[i].duration.tv_usec = (suseconds_t)(milliseconds % 1000 * 1000);
        timers[i].event = require(evtimer_new(base, on_timer, &timers[i]), "evtimer_new");
        on_timer(-1, 0, &timers[i]);
    }
}

int main(int argc, char **argv)
{
    options = options_parse(argc, argv, TAKES_FRAMING | TAKES_TIMERS);
    process_prepare();

    struct event_config *config = require(event_config_new(), "event_config_new");
    /* One thread needs no locks, and no descriptor here is a duplicate, which the list of changes would not bear. */
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    event_config_set_flag(config, EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST);
    struct event_base *base = require(event_base_new_with_config(config), "event_base_new_with_config");
    event_config_free(config);

    struct evconnlistener *listener = require(
        evconnlistener_new_bind(base, on_connection, NULL, LEV_OPT_REUSEABLE | LEV_OPT_CLOSE_ON_FREE, BACKLOG,
                                (struct sockaddr *)&options.address, (int)options.address_length),
        "listen");
    evconnlistener_set_error_cb(listener, on_accept_failed);
    if (options.timers > 0)
        start_timers(base, options.timers);

    announce(evconnlistener_get_fd(listener));
    return event_base_dispatch(base);
}
