/* Splits a stream into messages, for a library that has no means to. */
#ifndef FRAMING_H
#define FRAMING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"
#include "options.h"

/* The longest message, with its framing: 16 MiB of payload. */
enum { MESSAGE_MAX = 16 * 1024 * 1024 + 4 };

struct span {
    uint8_t *bytes;
    size_t length;
};

/* All zero is the beginning of a stream. */
struct splitter {
    struct buffer partial; /* the beginning of a message whose end has not been read */
    bool completed;        /* the message in `partial` is whole and was given out */
};

enum split { SPLIT_MESSAGE, SPLIT_NEEDS_MORE, SPLIT_TOO_LONG };

/* Takes the next message, framing included, from what was kept and `input`, of which it is cut off. The message lies in
 * `input` or in the splitter, and stays until splitter_keep. */
enum split splitter_next(struct splitter *splitter, enum framing framing, struct span *input, struct span *message);

/* Keeps what splitter_next has left of the input, for the next one. The messages that were given out are gone after it. */
void splitter_keep(struct splitter *splitter, struct span input);

void splitter_free(struct splitter *splitter);

#endif
