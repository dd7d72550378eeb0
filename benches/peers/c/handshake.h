/* The server's side of the WebSocket opening handshake (RFC 6455, 4.2). */
#ifndef HANDSHAKE_H
#define HANDSHAKE_H

#include <stddef.h>

/* Room for any answer. */
enum { HANDSHAKE_ANSWER_MAX = 256 };

enum handshake { HANDSHAKE_ACCEPTED, HANDSHAKE_REFUSED, HANDSHAKE_INCOMPLETE };

/* Reads the request at the front of `bytes`; says how long it is, and the answer, which ends with a NUL, unless it is
 * incomplete. */
enum handshake handshake(const char *bytes, size_t length, size_t *request_length, char answer[HANDSHAKE_ANSWER_MAX]);

#endif
