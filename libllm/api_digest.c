/* api_digest.c - the public function that says what a model is made of. */
#include "api_parts.h"
#include "chat_model.h"
#include "model.h"
#include "sha256.h"

/* Every byte of every tensor. */
static llm_status weights(const llm_model *m, uint8_t digest[32], llm_error *err)
{
    size_t n = store_n_tensor(m->store);
    uint64_t done = 0, total = 0;
    llm_sha256 h;

    for (size_t i = 0; i < n; i++) total += store_tensor_at(m->store, i)->bytes;
    sha256_begin(&h);
    for (size_t i = 0; i < n; i++) {
        const store_tensor *t = store_tensor_at(m->store, i);
        int32_t type = (int32_t)t->dtype;
        if (t->data == NULL) return llm_fail(err, LLM_ERR_UNSUPPORTED, "%s: opened without its weights", store_path(m->store));
        sha256_add(&h, t->name, strlen(t->name) + 1);
        sha256_add(&h, &type, sizeof type);
        sha256_add(&h, t->dim, (size_t)t->n_dim * sizeof t->dim[0]);
        sha256_add(&h, t->data, t->bytes);
        done += t->bytes;
        if (m->progress && m->progress(m->user, "hashing", done, total)) return llm_fail(err, LLM_ERR_CANCELLED, "stopped while hashing the weights");
    }
    sha256_end(&h, digest);
    return LLM_OK;
}

static void chat_digest(const llm_model *m, uint8_t digest[32])
{
    const char *part[] = { m->chat->plain.text, m->chat->tools.text, m->chat->format };
    llm_sha256 h;

    sha256_begin(&h);
    for (size_t i = 0; i < sizeof part / sizeof part[0]; i++)
        if (part[i]) sha256_add(&h, part[i], strlen(part[i]) + 1);
        else sha256_add(&h, "\1", 1);
    sha256_end(&h, digest);
}

llm_status llm_model_get_digests(const llm_model *m, int full, llm_model_digests *out, llm_error *err)
{
    llm_model_digests d = { .size = sizeof d };
    llm_status st;

    if (m == NULL || out == NULL) return null_arg("llm_model_get_digests", "the model or out", err);
    memcpy(d.weights, m->identity, sizeof d.weights);
    if (full && m->store == NULL) return llm_fail(err, LLM_ERR_UNSUPPORTED, "a tokenizer on its own has no weights");
    if (full && (st = weights(m, d.weights, err)) != LLM_OK) return st;
    if (m->tokenizer) tokenizer_digest(m->tokenizer, d.tokenizer);
    if (m->chat) chat_digest(m, d.chat_template);
    if (give(out, &d, sizeof d) != LLM_OK) return llm_fail(err, LLM_ERR_ARG, "llm_model_get_digests: out->size is not set");
    return LLM_OK;
}
