/* Bytes on the heap that grow at their end and are taken from their front. All zero is empty and owns nothing. */
#ifndef BUFFER_H
#define BUFFER_H

#include <stddef.h>
#include <stdint.h>

struct buffer {
    uint8_t *memory;
    size_t start, end; /* start <= end <= capacity; when start == end, both are 0 */
    size_t capacity;
};

static inline size_t buffer_length(const struct buffer *buffer)
{
    return buffer->end - buffer->start;
}

static inline uint8_t *buffer_bytes(const struct buffer *buffer)
{
    return buffer->memory + buffer->start;
}

/* Makes room for `length` more bytes and answers where they belong; `buffer->end` says how many were put there. Ends the
 * process when there is no memory. */
uint8_t *buffer_reserve(struct buffer *buffer, size_t length);

void buffer_append(struct buffer *buffer, const void *bytes, size_t length);

/* Takes `length` bytes, of those there are, from the front. Memory is given back with the last one. */
void buffer_consume(struct buffer *buffer, size_t length);

void buffer_free(struct buffer *buffer);

#endif
