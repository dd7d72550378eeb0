/* The floor for TLS in C: an echo by OpenSSL over bare epoll.
 *
 * Readiness is reported by level, so that a read that has brought everything needs no second one to find nothing. OpenSSL reads
 * as much as its buffer holds at once, and gives its buffers back while they are empty. */

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "buffer.h"
#include "options.h"
#include "process.h"

enum {
    READ_BUFFER = 64 * 1024,
    EVENTS = 1024,
    /* Milliseconds before connections are accepted again after that has failed, most likely for want of descriptors. */
    ACCEPT_PAUSE = 100,
};

struct connection {
    int socket;
    SSL *ssl;
    uint32_t interest; /* the events that epoll reports */
    /* Plaintext that OpenSSL refused because the socket was full. Nothing is read while there is any. */
    struct buffer unsent;
};

/* What a step of a connection needs next. */
enum next { NEXT_READ, NEXT_WRITE, NEXT_CLOSE };

static uint8_t read_buffer[READ_BUFFER];

/* ---- TLS ---- */

static _Noreturn void fail_by_openssl(const char *file)
{
    fail("%s: %s", file, ERR_reason_error_string(ERR_peek_error()));
}

static SSL_CTX *make_context(const struct options *options)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (context == NULL)
        fail_by_openssl("OpenSSL");
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(context, 1);
    /* Tickets hold all that resumption needs. */
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    if (SSL_CTX_use_certificate_chain_file(context, options->tls_cert) != 1)
        fail_by_openssl(options->tls_cert);
    if (SSL_CTX_use_PrivateKey_file(context, options->tls_key, SSL_FILETYPE_PEM) != 1)
        fail_by_openssl(options->tls_key);
    return context;
}

/* What follows when a call has answered `result`, which says that it has not done all. */
static enum next after(const SSL *ssl, int result)
{
    switch (SSL_get_error(ssl, result)) {
    case SSL_ERROR_WANT_READ: return NEXT_READ;
    case SSL_ERROR_WANT_WRITE: return NEXT_WRITE;
    default: ERR_clear_error(); return NEXT_CLOSE;
    }
}

/* Encrypts and sends `length` bytes. `*sent` says how many were taken; the rest is for later. */
static enum next send_some(SSL *ssl, const uint8_t *bytes, size_t length, size_t *sent)
{
    *sent = 0;
    while (*sent < length) {
        int result = SSL_write(ssl, bytes + *sent, (int)(length - *sent));
        if (result <= 0)
            return after(ssl, result);
        *sent += (size_t)result;
    }
    return NEXT_READ;
}

/* Decrypts what has come, up to a full buffer. `*length` says how many bytes that is. The first calls do the handshake. */
static enum next read_some(SSL *ssl, size_t *length)
{
    *length = 0;
    do {
        int result = SSL_read(ssl, read_buffer + *length, (int)(READ_BUFFER - *length));
        if (result <= 0)
            return after(ssl, result);
        *length += (size_t)result;
    } while (*length < READ_BUFFER && SSL_has_pending(ssl));
    return NEXT_READ;
}

static enum next serve(struct connection *connection)
{
    size_t sent;
    if (buffer_length(&connection->unsent) > 0) {
        enum next next =
            send_some(connection->ssl, buffer_bytes(&connection->unsent), buffer_length(&connection->unsent), &sent);
        buffer_consume(&connection->unsent, sent);
        if (next != NEXT_READ || buffer_length(&connection->unsent) > 0)
            return next;
    }
    /* What OpenSSL holds already, epoll does not report. */
    do {
        size_t length;
        enum next after_read = read_some(connection->ssl, &length);
        enum next after_write = send_some(connection->ssl, read_buffer, length, &sent);
        if (after_write == NEXT_CLOSE)
            return NEXT_CLOSE;
        if (sent < length) {
            /* An end is met again by the next read. */
            buffer_append(&connection->unsent, read_buffer + sent, length - sent);
            return after_write;
        }
        if (after_read != NEXT_READ || length < READ_BUFFER)
            return after_read;
    } while (SSL_has_pending(connection->ssl));
    return NEXT_READ;
}

/* ---- connections ---- */

static void close_connection(struct connection *connection)
{
    if (SSL_is_init_finished(connection->ssl))
        SSL_shutdown(connection->ssl);
    ERR_clear_error();
    SSL_free(connection->ssl);
    close(connection->socket);
    buffer_free(&connection->unsent);
    free(connection);
}

static void handle(int epoll, struct connection *connection)
{
    enum next next = serve(connection);
    if (next == NEXT_CLOSE) {
        close_connection(connection);
        return;
    }
    uint32_t interest = next == NEXT_READ ? EPOLLIN : EPOLLOUT;
    if (interest == connection->interest)
        return;
    connection->interest = interest;
    struct epoll_event event = {.events = interest, .data.ptr = connection};
    if (epoll_ctl(epoll, EPOLL_CTL_MOD, connection->socket, &event) != 0)
        fail("epoll_ctl: %s", strerror(errno));
}

static void add_connection(int epoll, int socket, SSL_CTX *context)
{
    struct connection *connection = calloc(1, sizeof *connection);
    SSL *ssl = SSL_new(context);
    if (connection == NULL || ssl == NULL || SSL_set_fd(ssl, socket) != 1)
        fail("out of memory");
    SSL_set_accept_state(ssl);
    *connection = (struct connection){.socket = socket, .ssl = ssl, .interest = EPOLLIN};

    int on = 1;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event event = {.events = connection->interest, .data.ptr = connection};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, socket, &event) != 0)
        fail("epoll_ctl: %s", strerror(errno));
}

/* False when it has failed, and should pause. */
static bool accept_all(int listener, int epoll, SSL_CTX *context)
{
    for (;;) {
        int socket = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (socket >= 0)
            add_connection(epoll, socket, context);
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
    struct options options = options_parse(argc, argv, TAKES_TLS);
    process_prepare();
    SSL_CTX *context = make_context(&options);

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
            accepting = accept_all(listener, epoll, context);
        for (int i = 0; i < count; i++) {
            struct connection *connection = events[i].data.ptr;
            if (connection == NULL)
                accepting = accept_all(listener, epoll, context);
            else
                handle(epoll, connection);
        }
    }
}
