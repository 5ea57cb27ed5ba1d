/* charsmap.c - reading the normalizer_spec.precompiled_charsmap of a SentencePiece model. A unit of the trie holds: bits 0-7 the label
 * and bit 31 "is a value"; bit 8 "has a value below"; bits 10-30 the offset, shifted by eight more where bit 9 is set
 * (Darts-clone, include/darts.h). Every index is checked: the blob comes from a file. */
#include "charsmap.h"

void charsmap_free(llm_charsmap *m)
{
    free(m->unit), free(m->text);
    *m = (llm_charsmap){ 0 };
}

llm_status charsmap_open(llm_charsmap *m, const void *blob, size_t len, llm_error *err)
{
    const uint8_t *p = blob;
    size_t n_trie;

    if (len < 4) return llm_fail(err, LLM_ERR_FORMAT, "tokenizer: precompiled_charsmap has %zu bytes", len);
    n_trie = p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16 | (size_t)p[3] << 24;
    if (n_trie > len - 4 || n_trie % 4 || n_trie == 0)
        return llm_fail(err, LLM_ERR_FORMAT, "tokenizer: precompiled_charsmap has a trie of %zu bytes in %zu", n_trie, len - 4);
    m->n_unit = n_trie / 4, m->n_text = len - 4 - n_trie;
    m->unit = malloc(n_trie), m->text = malloc(m->n_text + 1);
    if (m->unit == NULL || m->text == NULL) return llm_fail_memory(err, len, "normalization rules");
    for (size_t i = 0; i < m->n_unit; i++) {
        const uint8_t *q = p + 4 + 4 * i;
        m->unit[i] = q[0] | (uint32_t)q[1] << 8 | (uint32_t)q[2] << 16 | (uint32_t)q[3] << 24;
    }
    memcpy(m->text, p + 4 + n_trie, m->n_text);
    m->text[m->n_text] = 0;
    return LLM_OK;
}

static size_t offset_of(uint32_t unit) { return (size_t)(unit >> 10) << ((unit & 512) >> 6); }

size_t charsmap_match(const llm_charsmap *m, const char *s, size_t n, const char **to, size_t *n_to)
{
    size_t at = 0, found = 0;

    if (m->n_unit == 0) return 0;
    at ^= offset_of(m->unit[0]);
    for (size_t i = 0; i < n; i++) {
        uint32_t unit;

        at ^= (uint8_t)s[i];
        if (at >= m->n_unit || ((unit = m->unit[at]) & 0x800000ffu) != (uint8_t)s[i]) break;
        at ^= offset_of(unit);
        if (unit & 256 && at < m->n_unit) {
            size_t value = m->unit[at] & 0x7fffffffu;

            if (value > m->n_text) continue;
            *to = m->text + value, *n_to = strlen(*to), found = i + 1;
        }
    }
    return found;
}
