#include "framing.h"

#include <assert.h>
#include <string.h>

enum { PREFIX = 4 };

/* How long the message is that starts with these bytes, as far as they say. */
static size_t size_from_prefix(const uint8_t *bytes, size_t length)
{
    if (length < PREFIX)
        return PREFIX;
    return PREFIX + ((size_t)bytes[0] << 24 | (size_t)bytes[1] << 16 | (size_t)bytes[2] << 8 | bytes[3]);
}

/* As many bytes of the input as end the line in it; all, where there is no end. */
static size_t size_to_newline(struct span input, bool *ends)
{
    const uint8_t *newline = input.length == 0 ? NULL : memchr(input.bytes, '\n', input.length);
    *ends = newline != NULL;
    return *ends ? (size_t)(newline - input.bytes) + 1 : input.length;
}

static void advance(struct span *input, size_t length)
{
    input->bytes += length;
    input->length -= length;
}

static void move(struct buffer *partial, struct span *input, size_t length)
{
    if (length > input->length)
        length = input->length;
    buffer_append(partial, input->bytes, length);
    advance(input, length);
}

static enum split complete(struct splitter *splitter, enum framing framing, struct span *input, struct span *message)
{
    struct buffer *partial = &splitter->partial;
    bool ends;
    if (framing == FRAMING_LINES) {
        size_t more = size_to_newline(*input, &ends);
        if (buffer_length(partial) + more > MESSAGE_MAX)
            return SPLIT_TOO_LONG;
        move(partial, input, more);
    } else {
        if (buffer_length(partial) < PREFIX)
            move(partial, input, PREFIX - buffer_length(partial));
        size_t size = size_from_prefix(buffer_bytes(partial), buffer_length(partial));
        if (size > MESSAGE_MAX)
            return SPLIT_TOO_LONG;
        move(partial, input, size - buffer_length(partial));
        /* Four bytes may be all of an empty message, or a prefix that has just been completed. */
        ends = buffer_length(partial) >= PREFIX && buffer_length(partial) == size;
    }
    if (!ends)
        return SPLIT_NEEDS_MORE;
    splitter->completed = true;
    *message = (struct span){buffer_bytes(partial), buffer_length(partial)};
    return SPLIT_MESSAGE;
}

enum split splitter_next(struct splitter *splitter, enum framing framing, struct span *input, struct span *message)
{
    assert(framing != FRAMING_RAW);
    if (!splitter->completed && buffer_length(&splitter->partial) > 0)
        return complete(splitter, framing, input, message);

    size_t size;
    bool ends;
    if (framing == FRAMING_LINES) {
        size = size_to_newline(*input, &ends);
    } else {
        size = size_from_prefix(input->bytes, input->length);
        ends = size <= input->length;
    }
    if (size > MESSAGE_MAX)
        return SPLIT_TOO_LONG;
    if (!ends)
        return SPLIT_NEEDS_MORE;
    *message = (struct span){input->bytes, size};
    advance(input, size);
    return SPLIT_MESSAGE;
}

void splitter_keep(struct splitter *splitter, struct span input)
{
    if (splitter->completed) {
        buffer_free(&splitter->partial);
        splitter->completed = false;
    }
    buffer_append(&splitter->partial, input.bytes, input.length);
}

void splitter_free(struct splitter *splitter)
{
    buffer_free(&splitter->partial);
}
