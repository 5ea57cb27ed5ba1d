/* added.c - a trie over the added tokens. Tokens are at most ADDED_MAX_BYTES long, so a text is searched in linear time. */
#include "added.h"

void added_free(llm_added *a)
{
    free(a->node);
    *a = (llm_added){ 0 };
}

static int32_t new_node(llm_added *a, uint8_t byte)
{
    if (a->n == a->cap) {
        size_t cap = a->cap ? 2 * a->cap : 256;
        added_node *p = cap > INT32_MAX / 2 ? NULL : realloc(a->node, cap * sizeof *p);

        if (p == NULL) return -1;
        a->node = p, a->cap = cap;
    }
    a->node[a->n] = (added_node){ -1, -1, -1, byte, 0 };
    return (int32_t)a->n++;
}

static int32_t child(const llm_added *a, int32_t node, uint8_t byte)
{
    int32_t c = a->node[node].child;

    while (c >= 0 && a->node[c].byte != byte) c = a->node[c].sibling;
    return c;
}

llm_status added_put(llm_added *a, const char *s, size_t len, int32_t id, unsigned flags, llm_error *err)
{
    int32_t at = 0;

    if (len == 0 || len > ADDED_MAX_BYTES)
        return llm_fail(err, LLM_ERR_FORMAT, "tokenizer: added token %d has %zu bytes, wanted 1..%d", id, len, ADDED_MAX_BYTES);
    if (a->n == 0 && new_node(a, 0) < 0) return llm_fail_memory(err, sizeof *a->node, "added tokens");
    for (size_t i = 0; i < len; i++) {
        uint8_t byte = (uint8_t)s[i];
        int32_t c = child(a, at, byte);

        if (c < 0) {
            if ((c = new_node(a, byte)) < 0) return llm_fail_memory(err, a->n * sizeof *a->node, "added tokens");
            a->node[c].sibling = a->node[at].child;
            a->node[at].child = c;
        }
        at = c;
    }
    a->starts[(uint8_t)s[0]] = 1;
    a->node[at].id = id, a->node[at].flags = (uint8_t)flags;
    return LLM_OK;
}

size_t added_match(const llm_added *a, const char *s, size_t n, bool control, int32_t *id, unsigned *flags)
{
    int32_t at = 0;
    size_t found = 0;

    if (n == 0 || a->n == 0 || !a->starts[(uint8_t)s[0]]) return 0;
    for (size_t i = 0; i < n && (at = child(a, at, (uint8_t)s[i])) >= 0; i++) {
        const added_node *p = &a->node[at];

        if (p->id < 0 || (!control && p->flags & ADDED_CONTROL)) continue;
        found = i + 1, *id = p->id, *flags = p->flags;
    }
    return found;
}

size_t added_next(const llm_added *a, const char *s, size_t n, size_t from, bool control, size_t *len, int32_t *id, unsigned *flags)
{
    int32_t first = a->n ? a->node[0].child : -1;
    int only = first >= 0 && a->node[first].sibling < 0 ? a->node[first].byte : -1;      /* nearly always all begin with the same byte */

    if (a->n == 0) return n;
    for (size_t i = from; i < n; i++) {
        if (only >= 0) {
            const char *p = memchr(s + i, only, n - i);
            if (p == NULL) return n;
            i = (size_t)(p - s);
        }
        if (!a->starts[(uint8_t)s[i]]) continue;
        if ((*len = added_match(a, s + i, n - i, control, id, flags)) > 0) return i;
    }
    return n;
}

int32_t added_find(const llm_added *a, const char *s, size_t n)
{
    int32_t at = a->n && n ? 0 : -1;

    for (size_t i = 0; i < n && at >= 0; i++) at = child(a, at, (uint8_t)s[i]);
    return at >= 0 ? a->node[at].id : -1;
}
