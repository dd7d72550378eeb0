#include "buffer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "process.h"

enum { SMALLEST = 256 };

uint8_t *buffer_reserve(struct buffer *buffer, size_t length)
{
    size_t kept = buffer_length(buffer);
    if (buffer->capacity - buffer->end >= length)
        return buffer->memory + buffer->end;
    if (buffer->start > 0) {
        memmove(buffer->memory, buffer_bytes(buffer), kept);
        buffer->start = 0;
        buffer->end = kept;
    }
    if (buffer->capacity - kept < length) {
        size_t capacity = buffer->capacity < SMALLEST / 2 ? SMALLEST : buffer->capacity * 2;
        if (capacity < kept + length)
            capacity = kept + length;
        uint8_t *memory = realloc(buffer->memory, capacity);
        if (memory == NULL)
            fail("out of memory");
        buffer->memory = memory;
        buffer->capacity = capacity;
    }
    return buffer->memory + buffer->end;
}

void buffer_append(struct buffer *buffer, const void *bytes, size_t length)
{
    if (length == 0)
        return;
    memcpy(buffer_reserve(buffer, length), bytes, length);
    buffer->end += length;
}

void buffer_consume(struct buffer *buffer, size_t length)
{
    assert(length <= buffer_length(buffer));
    buffer->start += length;
    if (buffer->start == buffer->end)
        buffer_free(buffer);
}

void buffer_free(struct buffer *buffer)
{
    free(buffer->memory);
    *buffer = (struct buffer){0};
}
