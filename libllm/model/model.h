/* model.h - an open model: config, weights and tokenizer. Immutable once open; sessions share it. */
#ifndef LLM_MODEL_H
#define LLM_MODEL_H
#include "config.h"
#include "tokenizer.h"
#include <stdatomic.h>

/* Memory that load transforms made; freed with the model. */
typedef struct llm_owned { struct llm_owned *next; void *data; size_t bytes; bool mapped; } llm_owned;

struct llm_model {
    llm_store *store;
    llm_meta *meta;
    llm_tokenizer *tokenizer;           /* NULL: the file carries none */
    struct chat_model *chat;            /* chat_model.h: templates and output format; NULL without a tokenizer */
    const llm_arch *arch;
    llm_config config;
    llm_tensor embed, out_norm, head;   /* head is embed where the table is tied */
    llm_layer *layer;                   /* [n_layer] */
    const char **slot;                  /* [store_n_tensor] what each tensor is bound to, or NULL */
    llm_owned *owned;
    uint64_t owned_bytes;               /* of re-laid weights */
    uint64_t released_bytes;            /* of the weights they came from, which are not read again */
    uint64_t table_bytes;               /* part of owned_bytes: small pieces, for names and pointers */
    uint64_t memory_limit;              /* 0: none */
    bool allow_paging;
    _Atomic uint64_t claimed;           /* bytes of its sessions */
    bool plan_only;                     /* no weights were read: good for plans, not for sessions */
    uint64_t n_param, weight_bytes;
    llm_isa isa;
    llm_device *device;                 /* holds copies of the weights; NULL: the CPU reads them where they lie */
    int n_thread;
    llm_log_fn log;
    llm_progress_fn progress;
    void *user;
    const char *name;                   /* what the file calls itself, or "" */
    llm_sampler_options sampler;        /* what the publisher recommends */
    uint8_t identity[32];               /* of config, tensor table and sampled weight bytes: for saved sessions */
};

/* config.c: shared keys, then the family's; ranges and products checked before any allocation follows from them. */
llm_status config_read(llm_config *c, const llm_arch *arch, llm_meta *m, llm_error *err);
void config_free(llm_config *c);
/* arch.c */
const llm_arch *arch_find(llm_meta *m, llm_error *err);     /* NULL: unknown, err lists what there is */
/* weights.c: names, shapes, dtypes, load transforms. Tensors that nothing binds are logged. */
llm_status weights_bind(llm_model *m, llm_error *err);
void weights_free(llm_model *m);
/* Copies every bound weight to m->device; nothing to do without one. */
llm_status weights_upload(llm_model *m, llm_error *err);
/* Number a shape symbol stands for in layer il (-1: whole model). */
int64_t config_dim(const llm_config *c, int il, llm_sym sym);
#endif
