/* The first byte chooses family and start; \1 in the rest switches between text and one control token. The messages must be the same
 * whole and byte by byte. */
#include "fuzz.h"
#include "convo.h"
#include <stdlib.h>
#include <string.h>

static convo_parser *parse(const uint8_t *data, size_t size, size_t piece)
{
    convo_parser *p;
    bool control = false, harmony = data[0] % 5 == CONVO_HARMONY, inside = data[0] & 128;

    if (convo_open(&p, (convo_family)(data[0] % 5), inside && !harmony, inside && harmony, NULL) != LLM_OK) return NULL;
    for (size_t at = 1; at < size; control = !control) {
        const uint8_t *end = memchr(data + at, 1, size - at);
        size_t n = end ? (size_t)(end - data) - at : size - at;
        for (size_t i = 0; i < n; i += control ? n : piece) convo_push(p, (const char *)data + at + i, control || n - i < piece ? n - i : piece, control, NULL);
        at += n + 1;
    }
    convo_finish(p, NULL);
    return p;
}

static bool same_text(const char *a, const char *b) { return a && b ? strcmp(a, b) == 0 : a == b; }

FUZZ_TARGET(convo)
{
    convo_parser *a, *b;
    const convo_message *x, *y;
    size_t n, m;

    if (size == 0 || size > 100000) return;
    a = parse(data, size, size), b = parse(data, size, 1);
    if (a && b) {
        x = convo_messages(a, &n), y = convo_messages(b, &m);
        if (n != m) abort();
        for (size_t i = 0; i < n; i++)
            if (x[i].len != y[i].len || memcmp(x[i].text, y[i].text, x[i].len) != 0 || x[i].error != y[i].error || !same_text(x[i].call, y[i].call)
                || !same_text(x[i].channel, y[i].channel) || !same_text(x[i].recipient, y[i].recipient)) abort();
    }
    convo_close(a), convo_close(b);
}
