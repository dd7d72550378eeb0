/* The floor for WebSocket: an echo on the system calls themselves (RFC 6455 without extensions, fragments or a check of
 * UTF-8). The frames that one read has brought are unmasked and reframed where they lie, and answered by one write. */

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "buffer.h"
#include "handshake.h"
#include "options.h"
#include "process.h"

enum {
    READ_BUFFER = 64 * 1024,
    EVENTS = 1024,
    REQUEST_MAX = 8 * 1024,
    PAYLOAD_MAX = 16 * 1024 * 1024,
    /* A connection that leaves more than this of other connections' messages untaken is closed. */
    UNSENT_MAX = 64 * 1024 * 1024,
    /* Milliseconds before connections are accepted again after that has failed, most likely for want of descriptors. */
    ACCEPT_PAUSE = 100,
};

/* 5.2: the first byte, the second, and the lengths of a frame's parts. */
enum { FIN = 0x80, RESERVED = 0x70, OPCODE = 0x0f, MASKED = 0x80, MASK = 4, CONTROL_MAX = 125, HEADER_MAX = 10 };
enum { TEXT = 1, BINARY = 2, CONTROL = 8, CLOSE = 8, PING = 9, PONG = 10 };

/* 7.4.1 */
enum { PROTOCOL_ERROR = 1002, UNSUPPORTED = 1003, TOO_BIG = 1009 };

enum state {
    HANDSHAKE,
    OPEN,
    ENDING, /* what is unsent goes, then the FIN; what the client sends until its own is dropped */
};

struct connection {
    int socket;
    enum state state;
    size_t index; /* in `connections` */
    /* The beginning of a request or a frame whose end has not been read. */
    struct buffer input;
    /* What the socket refused. Nothing is read while there is any, so there is none at the client's FIN. */
    struct buffer unsent;
};

struct frame {
    uint8_t opcode;
    uint8_t *mask;
    uint8_t *payload;
    size_t length; /* of the payload */
    size_t size;   /* of all */
    unsigned problem; /* 0, or the code to close with; of the rest, nothing is then valid */
};

static struct options options;
static struct connection **connections; /* all of them */
static size_t connection_count, connection_capacity;
static uint8_t read_buffer[READ_BUFFER];

/* ---- frames ---- */

static size_t read_big_endian(const uint8_t *bytes, int count)
{
    size_t value = 0;
    for (int i = 0; i < count; i++)
        value = value << 8 | bytes[i];
    return value;
}

/* 5.2. False when the header is not whole. */
static bool parse_header(uint8_t *bytes, size_t length, struct frame *frame)
{
    *frame = (struct frame){0};
    if (length < 2)
        return false;
    frame->opcode = bytes[0] & OPCODE;
    bool control = frame->opcode >= CONTROL;
    size_t short_length = bytes[1] & ~MASKED;
    if ((bytes[0] & RESERVED) || !(bytes[1] & MASKED) || frame->opcode > PONG ||
        (frame->opcode > BINARY && frame->opcode < CONTROL) ||
        (control && (!(bytes[0] & FIN) || short_length > CONTROL_MAX)))
        frame->problem = PROTOCOL_ERROR;
    else if (!(bytes[0] & FIN) || frame->opcode == 0)
        frame->problem = UNSUPPORTED;
    if (frame->problem != 0)
        return true;

    int extended = short_length < 126 ? 0 : short_length == 126 ? 2 : 8;
    size_t header = 2 + (size_t)extended + MASK;
    if (length < header)
        return false;
    frame->length = extended == 0 ? short_length : read_big_endian(bytes + 2, extended);
    if (frame->length > PAYLOAD_MAX)
        frame->problem = TOO_BIG;
    frame->mask = bytes + header - MASK;
    frame->payload = bytes + header;
    frame->size = header + frame->length;
    return true;
}

static size_t write_header(uint8_t *bytes, uint8_t opcode, size_t length)
{
    int extended = length < 126 ? 0 : length <= UINT16_MAX ? 2 : 8;
    bytes[0] = FIN | opcode;
    bytes[1] = (uint8_t)(extended == 0 ? length : extended == 2 ? 126 : 127);
    for (int i = 0; i < extended; i++)
        bytes[2 + i] = (uint8_t)((uint64_t)length >> (8 * (extended - 1 - i)));
    return 2 + (size_t)extended;
}

/* 5.3, and moves the payload to the front. It may lie over itself: each word is read before anything is written there. */
static void unmask(uint8_t *to, const uint8_t *from, size_t length, const uint8_t mask[MASK])
{
    assert(to <= from);
    uint64_t keys, word;
    memcpy(&keys, mask, MASK);
    memcpy((uint8_t *)&keys + MASK, mask, MASK);
    size_t i = 0;
    for (; i + sizeof word <= length; i += sizeof word) {
        memcpy(&word, from + i, sizeof word);
        word ^= keys;
        memcpy(to + i, &word, sizeof word);
    }
    for (const uint8_t *key = (const uint8_t *)&keys; i < length; i++)
        to[i] = from[i] ^ *key++;
}

/* ---- output ---- */

/* Sends until all has gone or the socket is full. Answers how much has, or -1. */
static ssize_t send_some(int socket, const uint8_t *bytes, size_t length)
{
    size_t sent = 0;
    while (sent < length) {
        ssize_t count = send(socket, bytes + sent, length - sent, 0);
        if (count >= 0)
            sent += (size_t)count;
        else if (errno == EAGAIN)
            break;
        else if (errno != EINTR)
            return -1;
    }
    return (ssize_t)sent;
}

/* Sends now or keeps. A connection that fails is shut down: it is closed when epoll reports that, in its own turn. */
static void send_to(struct connection *connection, const uint8_t *bytes, size_t length)
{
    ssize_t sent = 0;
    if (buffer_length(&connection->unsent) == 0)
        sent = send_some(connection->socket, bytes, length);
    if (sent < 0 || buffer_length(&connection->unsent) + length - (size_t)sent > UNSENT_MAX) {
        buffer_free(&connection->unsent);
        shutdown(connection->socket, SHUT_RDWR);
        connection->state = ENDING;
        return;
    }
    buffer_append(&connection->unsent, bytes + sent, length - (size_t)sent);
}

static void deliver(struct connection *sender, const uint8_t *messages, size_t length)
{
    if (length == 0)
        return;
    if (!options.broadcast) {
        send_to(sender, messages, length);
        return;
    }
    for (size_t i = 0; i < connection_count; i++)
        if (connections[i]->state == OPEN)
            send_to(connections[i], messages, length);
}

static void end(struct connection *connection)
{
    connection->state = ENDING;
    if (buffer_length(&connection->unsent) == 0)
        shutdown(connection->socket, SHUT_WR);
}

static void send_control(struct connection *connection, uint8_t opcode, const uint8_t *payload, size_t length)
{
    uint8_t frame[HEADER_MAX + CONTROL_MAX];
    size_t header = write_header(frame, opcode, length);
    memcpy(frame + header, payload, length);
    send_to(connection, frame, header + length);
}

static void end_with(struct connection *connection, unsigned code)
{
    const uint8_t payload[] = {(uint8_t)(code >> 8), (uint8_t)code};
    send_control(connection, CLOSE, payload, sizeof payload);
    end(connection);
}

/* ---- input ---- */

static void answer_control(struct connection *connection, struct frame frame)
{
    unmask(frame.payload, frame.payload, frame.length, frame.mask);
    if (frame.opcode == PING)
        send_control(connection, PONG, frame.payload, frame.length);
    if (frame.opcode == CLOSE) {
        if (frame.length == 1) { /* 5.5.1: a code has two bytes */
            end_with(connection, PROTOCOL_ERROR);
            return;
        }
        send_control(connection, CLOSE, frame.payload, frame.length);
        end(connection);
    }
}

/* Answers the frames that are whole. Says how many bytes they were; the answers have overwritten some of them. */
static size_t answer_frames(struct connection *connection, uint8_t *bytes, size_t length)
{
    size_t taken = 0;
    size_t answered = 0; /* bytes of answers, from the front; each is shorter than its frame by the mask */
    struct frame frame;
    while (connection->state == OPEN && parse_header(bytes + taken, length - taken, &frame)) {
        if (frame.problem == 0 && frame.size > length - taken)
            break;
        if (frame.problem != 0 || frame.opcode >= CONTROL) {
            deliver(connection, bytes, answered);
            answered = 0;
            if (connection->state != OPEN)
                break;
            if (frame.problem != 0) {
                end_with(connection, frame.problem);
                break;
            }
            answer_control(connection, frame);
        } else {
            uint8_t mask[MASK]; /* where it lies, the answer's header may go */
            memcpy(mask, frame.mask, MASK);
            answered += write_header(bytes + answered, frame.opcode, frame.length);
            unmask(bytes + answered, frame.payload, frame.length, mask);
            answered += frame.length;
        }
        taken += frame.size;
    }
    deliver(connection, bytes, answered);
    return taken;
}

static size_t answer_request(struct connection *connection, uint8_t *bytes, size_t length)
{
    char answer[HANDSHAKE_ANSWER_MAX];
    size_t size = 0;
    enum handshake outcome = handshake((const char *)bytes, length, &size, answer);
    if (outcome == HANDSHAKE_INCOMPLETE) {
        if (length > REQUEST_MAX)
            end(connection);
        return 0;
    }
    send_to(connection, (const uint8_t *)answer, strlen(answer));
    if (outcome == HANDSHAKE_REFUSED)
        end(connection);
    else if (connection->state == HANDSHAKE)
        connection->state = OPEN;
    return size;
}

/* Answers what is whole and says how many bytes that was. When the connection ends, that is all. */
static size_t answer(struct connection *connection, uint8_t *bytes, size_t length)
{
    size_t taken = 0;
    if (connection->state == HANDSHAKE)
        taken = answer_request(connection, bytes, length);
    if (connection->state == OPEN)
        taken += answer_frames(connection, bytes + taken, length - taken);
    return connection->state == ENDING ? length : taken;
}

/* One read, and its answers. Answers what recv does. */
static ssize_t read_once(struct connection *connection, size_t *room)
{
    struct buffer *input = &connection->input;
    bool begun = buffer_length(input) > 0;
    uint8_t *to = begun ? buffer_reserve(input, READ_BUFFER) : read_buffer;
    *room = begun ? input->capacity - input->end : READ_BUFFER;
    ssize_t length = recv(connection->socket, to, *room, 0);
    if (length <= 0)
        return length;
    if (begun) {
        input->end += (size_t)length;
        buffer_consume(input, answer(connection, buffer_bytes(input), buffer_length(input)));
    } else {
        size_t taken = answer(connection, to, (size_t)length);
        buffer_append(input, to + taken, (size_t)length - taken);
    }
    return length;
}

/* Sends what is unsent, and answers until the socket is drained or full. False when the connection is to be closed;
 * `ended` says that the client is known to have ended. */
static bool serve(struct connection *connection, bool ended)
{
    size_t unsent = buffer_length(&connection->unsent);
    if (unsent > 0) {
        ssize_t sent = send_some(connection->socket, buffer_bytes(&connection->unsent), unsent);
        if (sent < 0)
            return false;
        buffer_consume(&connection->unsent, (size_t)sent);
        if (connection->state == ENDING && (size_t)sent == unsent)
            shutdown(connection->socket, SHUT_WR);
    }
    while (buffer_length(&connection->unsent) == 0) {
        size_t room;
        ssize_t length = read_once(connection, &room);
        if (length < 0 && errno == EINTR)
            continue;
        if (length <= 0)
            return length < 0 && errno == EAGAIN;
        /* The edge of an end that came with the data is this one: there will be no other. */
        if ((size_t)length < room && !ended)
            break;
    }
    return true;
}

/* ---- connections ---- */

static void add_connection(int epoll, int socket)
{
    struct connection *connection = calloc(1, sizeof *connection);
    if (connection_count == connection_capacity) {
        connection_capacity = connection_capacity == 0 ? EVENTS : connection_capacity * 2;
        connections = realloc(connections, connection_capacity * sizeof(struct connection *));
    }
    if (connection == NULL || connections == NULL)
        fail("out of memory");
    connection->socket = socket;
    connection->index = connection_count;
    connections[connection_count++] = connection;

    int on = 1;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = connection};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, socket, &event) != 0)
        fail("epoll_ctl: %s", strerror(errno));
}

/* Only in the connection's own turn: epoll_wait reports each once, so no other report of it is left then. */
static void close_connection(struct connection *connection)
{
    struct connection *last = connections[--connection_count];
    connections[connection->index] = last;
    last->index = connection->index;
    close(connection->socket);
    buffer_free(&connection->input);
    buffer_free(&connection->unsent);
    free(connection);
}

/* False when it has failed, and should pause. */
static bool accept_all(int listener, int epoll)
{
    for (;;) {
        int socket = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (socket >= 0)
            add_connection(epoll, socket);
        else if (errno == EAGAIN)
            return true;
        else if (errno != EINTR && errno != ECONNABORTED)
            return false;
    }
}

static int listen_on(const struct options *options)
{
    const struct sockaddr *address = (const struct sockaddr *)&options->address;
    int listener = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;
    if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(listener, address, options->address_length) != 0 || listen(listener, BACKLOG) != 0)
        fail("listen: %s", strerror(errno));
    return listener;
}

int main(int argc, char **argv)
{
    options = options_parse(argc, argv, TAKES_BROADCAST);
    process_prepare();

    int listener = listen_on(&options);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event listening = {.events = EPOLLIN | EPOLLET};
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &listening) != 0)
        fail("epoll: %s", strerror(errno));
    announce(listener);

    struct epoll_event events[EVENTS];
    bool accepting = true;
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, accepting ? -1 : ACCEPT_PAUSE);
        if (count < 0 && errno != EINTR)
            fail("epoll_wait: %s", strerror(errno));
        if (!accepting)
            accepting = accept_all(listener, epoll);
        for (int i = 0; i < count; i++) {
            struct connection *connection = events[i].data.ptr;
            if (connection == NULL)
                accepting = accept_all(listener, epoll);
            else if (!serve(connection, (events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0))
                close_connection(connection);
        }
    }
}
