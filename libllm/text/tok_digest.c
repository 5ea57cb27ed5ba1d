/* tok_digest.c - what a tokenizer does to text, as a hash. */
#include "sha256.h"
#include "tokenizer_parts.h"

/* The merges are added up, each well mixed: a sum does not depend on where they stand. */
static void add_merges(llm_sha256 *h, const llm_bpe *b)
{
    uint64_t sum[2] = { b->n, 0 };

    for (int32_t id = 0; b->first && id < b->vocab->n; id++)
        for (uint32_t i = b->first[id]; i < b->first[id + 1]; i++) {
            bpe_pair p;
            uint64_t x;
            if (!bpe_listed(b, id, i, &p)) continue;
            x = vocab_mix(((uint64_t)(uint32_t)p.a << 32 | (uint32_t)p.b) ^ 0x9e3779b97f4a7c15u);
            x = vocab_mix(x ^ ((uint64_t)p.rank << 32 | (uint32_t)p.id));
            sum[0] += x, sum[1] += vocab_mix(x + 1);
        }
    sha256_add(h, sum, sizeof sum);
    if (b->rank) sha256_add(h, b->rank, (size_t)b->vocab->n * sizeof *b->rank);
}

void tokenizer_digest(const llm_tokenizer *t, uint8_t digest[32])
{
    const int32_t facts[] = {
        t->n_vocab, (int32_t)t->model, t->unk, t->bos, t->eos, t->adds_bos, t->adds_eos, t->byte_fallback, t->fuse_unk, t->ignore_merges, t->prefix_space,
        t->newline_whole, t->escape, t->dummy_prefix, t->prefix_first, t->prefix_if_none, t->trim, t->suffix, t->split_blanks, t->strip_first, t->n_norm,
    };
    llm_sha256 h;

    sha256_begin(&h);
    sha256_add(&h, facts, sizeof facts);
    for (int i = 0; i < t->n_norm; i++) sha256_add(&h, &t->norm[i].kind, sizeof t->norm[i].kind);
    for (int32_t id = 0; id < t->vocab.n; id++) {
        size_t len;
        const char *bytes = vocab_bytes(&t->vocab, id, &len);
        uint32_t head[2] = { (uint32_t)len, t->vocab.type[id] };
        sha256_add(&h, head, sizeof head);
        sha256_add(&h, bytes, len);
    }
    sha256_add(&h, t->end, (size_t)t->n_vocab / 8 + 1);
    add_merges(&h, &t->bpe);
    if (t->unigram.score) sha256_add(&h, t->unigram.score, (size_t)t->vocab.n * sizeof *t->unigram.score);
    sha256_end(&h, digest);
}
