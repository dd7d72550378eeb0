#include "handshake.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "sha1.h"

#define KEY_SUFFIX "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

/* Lengths in base64. */
enum { KEY_LENGTH = 24, ACCEPT_LENGTH = 28 };

struct text {
    const char *bytes;
    size_t length;
};

static bool equals(struct text text, const char *word)
{
    return text.length == strlen(word) && strncasecmp(text.bytes, word, text.length) == 0;
}

static struct text trim(struct text text)
{
    while (text.length > 0 && isspace((unsigned char)text.bytes[0]))
        text.bytes++, text.length--;
    while (text.length > 0 && isspace((unsigned char)text.bytes[text.length - 1]))
        text.length--;
    return text;
}

/* Cuts off what stands before `separator`, which goes, too; all, where there is none. */
static struct text cut(struct text *text, const char *separator)
{
    const char *found = text->length == 0 ? NULL : memmem(text->bytes, text->length, separator, strlen(separator));
    if (found == NULL) {
        struct text all = *text;
        *text = (struct text){text->bytes + text->length, 0};
        return all;
    }
    struct text before = {text->bytes, (size_t)(found - text->bytes)};
    size_t taken = before.length + strlen(separator);
    text->bytes += taken;
    text->length -= taken;
    return before;
}

static bool lists(struct text list, const char *word)
{
    while (list.length > 0)
        if (equals(trim(cut(&list, ",")), word))
            return true;
    return false;
}

/* 4.2.2, 5.4: the base64 of the SHA-1 of the key and a fixed text. */
static void accept_key(struct text key, char accept[ACCEPT_LENGTH + 1])
{
    static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char joined[KEY_LENGTH + sizeof KEY_SUFFIX];
    memcpy(joined, key.bytes, KEY_LENGTH);
    memcpy(joined + KEY_LENGTH, KEY_SUFFIX, sizeof KEY_SUFFIX);
    uint8_t digest[SHA1_LENGTH + 1];
    sha1(joined, KEY_LENGTH + strlen(KEY_SUFFIX), digest);
    digest[SHA1_LENGTH] = 0;
    for (int from = 0, to = 0; from < SHA1_LENGTH; from += 3, to += 4) {
        unsigned group = (unsigned)digest[from] << 16 | (unsigned)digest[from + 1] << 8 | digest[from + 2];
        for (int i = 0; i < 4; i++)
            accept[to + i] = DIGITS[group >> (18 - 6 * i) & 63];
    }
    accept[ACCEPT_LENGTH - 1] = '=';
    accept[ACCEPT_LENGTH] = '\0';
}

enum handshake handshake(const char *bytes, size_t length, size_t *request_length, char answer[HANDSHAKE_ANSWER_MAX])
{
    const char *end = memmem(bytes, length, "\r\n\r\n", 4);
    if (end == NULL)
        return HANDSHAKE_INCOMPLETE;
    *request_length = (size_t)(end - bytes) + 4;

    /* 4.2.1: what the request must say. */
    struct text request = {bytes, *request_length - 2};
    struct text line = cut(&request, "\r\n");
    bool get = line.length > 13 && memcmp(line.bytes, "GET ", 4) == 0 &&
               memcmp(line.bytes + line.length - 9, " HTTP/1.1", 9) == 0;
    bool upgrade = false, connection = false, version = false;
    struct text key = {0};
    while (request.length > 0) {
        struct text value = cut(&request, "\r\n");
        struct text name = cut(&value, ":");
        value = trim(value);
        if (equals(name, "Upgrade"))
            upgrade = lists(value, "websocket");
        else if (equals(name, "Connection"))
            connection = lists(value, "Upgrade");
        else if (equals(name, "Sec-WebSocket-Version"))
            version = equals(value, "13");
        else if (equals(name, "Sec-WebSocket-Key"))
            key = value;
    }
    if (!get || !upgrade || !connection || !version || key.length != KEY_LENGTH) {
        strcpy(answer, "HTTP/1.1 400 Bad Request\r\nSec-WebSocket-Version: 13\r\nConnection: close\r\n"
                       "Content-Length: 0\r\n\r\n");
        return HANDSHAKE_REFUSED;
    }
    char accept[ACCEPT_LENGTH + 1];
    accept_key(key, accept);
    snprintf(answer, HANDSHAKE_ANSWER_MAX,
             "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             "Sec-WebSocket-Accept: %s\r\n\r\n",
             accept);
    return HANDSHAKE_ACCEPTED;
}
