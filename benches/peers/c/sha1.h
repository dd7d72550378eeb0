/* SHA-1 (FIPS 180-4), which the WebSocket handshake asks for; it protects nothing there. */
#ifndef SHA1_H
#define SHA1_H

#include <stddef.h>
#include <stdint.h>

enum { SHA1_LENGTH = 20 };

void sha1(const void *message, size_t length, uint8_t digest[SHA1_LENGTH]);

#endif
