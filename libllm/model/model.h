/* model.h - an open model: config, weights and tokenizer. Immutable once open; sessions share it. */
#ifndef LLM_MODEL_H
#define LLM_MODEL_H
#include "config.h"
#include "tokenizer.h"
#include <stdatomic.h>

/* Memory that load transforms made; freed with the model, or (released: nothing may be read there any more) once it is on the device. */
typedef struct llm_owned { struct llm_owned *next; void *data; size_t bytes; bool mapped, released; } llm_owned;
/* Bytes of such memory; small: those of them that count as tables. */
typedef struct { uint64_t all, small; } llm_relaid;

/* What of a model is on its device; all zero: nothing. The rest is on this machine, and the CPU computes it. */
typedef struct {
    int n_layer;                        /* the last so many layers */
    int host_experts;                   /* of them, those below this one leave their routed experts here */
    bool whole;                         /* embedding, last norm and head, too */
} llm_place;

/* Bytes that follow from it. */
typedef struct {
    uint64_t device;                    /* weights on the device */
    uint64_t tables;                    /* of where they are, here */
    uint64_t spared;                    /* of the file, that are read once, to be uploaded */
    llm_relaid freed;                   /* laid out anew, and given back after they were uploaded */
} llm_placed;

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
    llm_relaid freed;                   /* of them no longer there: 0 until placed.freed is done, and not in owned_bytes or table_bytes */
    uint64_t released_bytes;            /* of the weights they came from, which are not read again */
    uint64_t table_bytes;               /* part of owned_bytes: small pieces, for names and pointers */
    uint64_t memory_limit;              /* of this machine's; 0: none */
    uint64_t device_limit;              /* of the device's memory; 0: none */
    bool allow_paging, no_repack;
    bool scales_apart;                  /* MXFP4 with its scales in another tensor is read where it lies; else it is joined at load */
    struct llm_repack *repack;          /* repack.h; NULL: weights are read where they lie */
    _Atomic uint64_t claimed[N_SITE];   /* bytes of its sessions */
    bool plan_only;                     /* no weights were read: good for plans, not for sessions */
    uint64_t n_param, weight_bytes;
    llm_isa isa;
    llm_device *device;                 /* holds copies of some weights; NULL: the CPU reads them all where they lie */
    llm_place place;                    /* which */
    llm_placed placed;
    uint64_t uploaded;                  /* placed.device once they are there */
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
/* Gives back the memory of one load transform; its place stays on the list. */
void weights_disown(llm_model *m, llm_owned *o);
/* Sets m->place and what it takes. LLM_ERR_UNSUPPORTED: the device has no kernels for a type among those weights. */
llm_status weights_place(llm_model *m, llm_place place, llm_error *err);
/* Copies the weights that belong there to m->device; nothing to do without one. */
llm_status weights_upload(llm_model *m, llm_error *err);

static inline llm_site site_of_layer(const llm_model *m, int il) { return il >= m->config.n_layer - m->place.n_layer ? SITE_DEVICE : SITE_HOST; }
/* Routed experts of layer il, and the embedding, the last norm and the head. */
static inline llm_site site_of_experts(const llm_model *m, int il) { return il < m->place.host_experts ? SITE_HOST : site_of_layer(m, il); }
static inline llm_site site_of_ends(const llm_model *m) { return m->place.whole ? SITE_DEVICE : SITE_HOST; }
llm_site site_of_weight(const llm_model *m, int il, llm_slot slot);
/* Does any part of the forward pass run there? */
bool model_uses(const llm_model *m, llm_site site);
/* Number a shape symbol stands for in layer il (-1: whole model). */
int64_t config_dim(const llm_config *c, int il, llm_sym sym);
#endif
