#include "sha1.h"

#include <string.h>

enum { BLOCK = 64, LENGTH_FIELD = 8 };

static uint32_t rotate(uint32_t word, int count)
{
    return word << count | word >> (32 - count);
}

static void store(uint8_t *bytes, uint32_t word)
{
    for (int i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(word >> (24 - 8 * i));
}

/* FIPS 180-4, 6.1.2 */
static void add_block(uint32_t state[5], const uint8_t block[BLOCK])
{
    uint32_t w[80];
    for (int t = 0; t < 16; t++)
        w[t] = (uint32_t)block[4 * t] << 24 | (uint32_t)block[4 * t + 1] << 16 | (uint32_t)block[4 * t + 2] << 8 |
               block[4 * t + 3];
    for (int t = 16; t < 80; t++)
        w[t] = rotate(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);

    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    for (int t = 0; t < 80; t++) {
        uint32_t f = t < 20   ? ((b & c) | (~b & d)) + 0x5a827999
                     : t < 40 ? (b ^ c ^ d) + 0x6ed9eba1
                     : t < 60 ? ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc
                              : (b ^ c ^ d) + 0xca62c1d6;
        uint32_t next = rotate(a, 5) + f + e + w[t];
        e = d;
        d = c;
        c = rotate(b, 30);
        b = a;
        a = next;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
}

void sha1(const void *message, size_t length, uint8_t digest[SHA1_LENGTH])
{
    uint32_t state[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    const uint8_t *bytes = message;
    size_t left = length;
    for (; left >= BLOCK; left -= BLOCK, bytes += BLOCK)
        add_block(state, bytes);

    /* 5.1.1: a one bit, zeros, and the length in bits end the last block, or one more. */
    uint8_t last[2 * BLOCK] = {0};
    memcpy(last, bytes, left);
    last[left] = 0x80;
    size_t padded = left + 1 + LENGTH_FIELD <= BLOCK ? BLOCK : 2 * BLOCK;
    store(last + padded - 8, (uint32_t)((uint64_t)length >> 29));
    store(last + padded - 4, (uint32_t)((uint64_t)length << 3));
    for (size_t at = 0; at < padded; at += BLOCK)
        add_block(state, last + at);

    for (int i = 0; i < 5; i++)
        store(digest + 4 * i, state[i]);
}
