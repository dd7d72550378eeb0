/* Echo on libuv: one buffer that every connection is read into, uv_try_write first, and uv_write for what the socket did
 * not take. */

#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "framing.h"
#include "options.h"
#include "process.h"

enum {
    READ_BUFFER = 64 * 1024,
    /* Reading from a connection pauses while more than this waits to be written to it. */
    PAUSE_ABOVE = 1024 * 1024,
    /* Messages that are written at once. */
    BATCH = 256,
};

struct connection {
    uv_tcp_t tcp; /* first: a handle is its connection */
    struct splitter splitter;
    bool paused;
    bool ended; /* the client has sent its FIN; the connection is closed when all is written */
};

/* What the socket did not take. */
struct rest {
    uv_write_t request; /* first: a request is its rest */
    char bytes[];
};

static struct options options;
static char read_buffer[READ_BUFFER];

static void *allocate(size_t size)
{
    void *memory = malloc(size);
    if (memory == NULL)
        fail("out of memory");
    return memory;
}

static void check(int status, const char *what)
{
    if (status < 0)
        fail("%s: %s", what, uv_strerror(status));
}

static void on_closed(uv_handle_t *handle)
{
    struct connection *connection = (struct connection *)handle;
    splitter_free(&connection->splitter);
    free(connection);
}

static void close_connection(struct connection *connection)
{
    if (!uv_is_closing((uv_handle_t *)&connection->tcp))
        uv_close((uv_handle_t *)&connection->tcp, on_closed);
}

static void give_read_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    (void)handle, (void)suggested;
    *buffer = uv_buf_init(read_buffer, sizeof read_buffer);
}

static void on_read(uv_stream_t *stream, ssize_t length, const uv_buf_t *buffer);

static void on_written(uv_write_t *request, int status)
{
    uv_stream_t *stream = request->handle;
    struct connection *connection = (struct connection *)stream;
    free(request);
    if (uv_is_closing((uv_handle_t *)stream))
        return;
    size_t waiting = uv_stream_get_write_queue_size(stream);
    if (status < 0 || (connection->ended && waiting == 0)) {
        close_connection(connection);
    } else if (connection->paused && waiting <= PAUSE_ABOVE / 2) {
        connection->paused = false;
        if (uv_read_start(stream, give_read_buffer, on_read) < 0)
            close_connection(connection);
    }
}

/* Writes all of the buffers, later what does not go at once. Answers 0 or an error of libuv. */
static int write_all(struct connection *connection, uv_buf_t *buffers, unsigned count)
{
    uv_stream_t *stream = (uv_stream_t *)&connection->tcp;
    int status = uv_try_write(stream, buffers, count);
    if (status < 0 && status != UV_EAGAIN)
        return status;

    size_t written = status < 0 ? 0 : (size_t)status;
    size_t left = 0;
    for (unsigned i = 0; i < count; i++)
        left += buffers[i].len;
    left -= written;
    if (left == 0)
        return 0;

    struct rest *rest = allocate(sizeof *rest + left);
    char *end = rest->bytes;
    for (unsigned i = 0; i < count; i++) {
        size_t skipped = written < buffers[i].len ? written : buffers[i].len;
        memcpy(end, buffers[i].base + skipped, buffers[i].len - skipped);
        end += buffers[i].len - skipped;
        written -= skipped;
    }
    uv_buf_t buffer = uv_buf_init(rest->bytes, (unsigned)left);
    status = uv_write(&rest->request, stream, &buffer, 1, on_written);
    if (status < 0)
        free(rest);
    return status;
}

/* Answers 0 or an error of libuv. */
static int echo_messages(struct connection *connection, struct span input)
{
    uv_buf_t answers[BATCH];
    unsigned count = 0;
    struct span message;
    enum split split;
    while ((split = splitter_next(&connection->splitter, options.framing, &input, &message)) == SPLIT_MESSAGE) {
        answers[count++] = uv_buf_init((char *)message.bytes, (unsigned)message.length);
        if (count == BATCH) {
            int status = write_all(connection, answers, count);
            if (status < 0)
                return status;
            count = 0;
        }
    }
    int status = count == 0 ? 0 : write_all(connection, answers, count);
    if (status < 0)
        return status;
    if (split == SPLIT_TOO_LONG)
        return UV_EMSGSIZE;
    splitter_keep(&connection->splitter, input);
    return 0;
}

static void on_read(uv_stream_t *stream, ssize_t length, const uv_buf_t *buffer)
{
    struct connection *connection = (struct connection *)stream;
    if (length == UV_EOF && uv_stream_get_write_queue_size(stream) > 0) {
        connection->ended = true;
        uv_read_stop(stream);
        return;
    }
    if (length < 0) {
        close_connection(connection);
        return;
    }
    if (length == 0)
        return;

    int status;
    if (options.framing == FRAMING_RAW) {
        uv_buf_t bytes = uv_buf_init(buffer->base, (unsigned)length);
        status = write_all(connection, &bytes, 1);
    } else {
        status = echo_messages(connection, (struct span){(uint8_t *)buffer->base, (size_t)length});
    }
    if (status < 0) {
        close_connection(connection);
    } else if (uv_stream_get_write_queue_size(stream) > PAUSE_ABOVE) {
        connection->paused = true;
        uv_read_stop(stream);
    }
}

static void on_connection(uv_stream_t *listener, int status)
{
    if (status < 0)
        return; /* that connection has failed before it was accepted */
    struct connection *connection = allocate(sizeof *connection);
    *connection = (struct connection){0};
    check(uv_tcp_init(listener->loop, &connection->tcp), "uv_tcp_init");
    uv_stream_t *stream = (uv_stream_t *)&connection->tcp;
    if (uv_accept(listener, stream) < 0 || uv_tcp_nodelay(&connection->tcp, 1) < 0 ||
        uv_read_start(stream, give_read_buffer, on_read) < 0)
        close_connection(connection);
}

static void on_timer(uv_timer_t *timer)
{
    check(uv_timer_start(timer, on_timer, *(uint64_t *)timer->data, 0), "uv_timer_start");
}

static void start_timers(uv_loop_t *loop, unsigned count)
{
    struct {
        uv_timer_t timer;
        uint64_t duration;
    } *timers = allocate(count * sizeof *timers);
    for (unsigned i = 0; i < count; i++) {
        check(uv_timer_init(loop, &timers[i].timer), "uv_timer_init");
        timers[i].duration = timer_duration(i, count);
        timers[i].timer.data = &timers[i].duration;
        on_timer(&timers[i].timer);
    }
}

int main(int argc, char **argv)
{
    options = options_parse(argc, argv, TAKES_FRAMING | TAKES_TIMERS);
    process_prepare();

    uv_loop_t *loop = uv_default_loop();
    uv_tcp_t listener;
    check(uv_tcp_init(loop, &listener), "uv_tcp_init");
    check(uv_tcp_bind(&listener, (struct sockaddr *)&options.address, 0), "uv_tcp_bind");
    check(uv_listen((uv_stream_t *)&listener, BACKLOG, on_connection), "uv_listen");
    if (options.timers > 0)
        start_timers(loop, options.timers);

    uv_os_fd_t descriptor;
    check(uv_fileno((uv_handle_t *)&listener, &descriptor), "uv_fileno");
    announce(descriptor);
    return uv_run(loop, UV_RUN_DEFAULT);
}
