#include "repack.h"
#include "checked.h"
#include "memory.h"
#include "packed.h"
#include "threads.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

typedef struct { llm_tensor *w; llm_packed packed; size_t bytes; } repack_item;

struct llm_repack {
    atomic_flag busy;                   /* somebody is copying */
    repack_item *item;                  /* in the order of the forward pass */
    size_t n, next;                     /* next: the first that is not complete; of who is busy */
    uint8_t *map;
    size_t map_bytes, bytes, file_bytes;
    bool whole;                         /* several memory nodes: a matrix at a time, so that a thread first writes what it will read (run/place.h) */
    _Atomic uint64_t resident;
};

enum { STRETCH = 4 << 20 };
static const uint64_t spare = 512 << 20;        /* left to the system beside the copy */

double repack_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static const void *first_byte(const llm_tensor *w) { return w->part ? w->part[0] : w->data; }

/* Of a row and its scales. */
static size_t file_row_bytes(const llm_tensor *w)
{
    int64_t cols = w->dim[2] > 1 ? w->dim[2] : w->dim[1];
    size_t bytes;

    if (w->dtype != DT_F4_E2M1 || w->scale.data == NULL || !dtype_bytes(w->dtype, cols, &bytes)) return w->row_bytes;
    return bytes + (size_t)(cols / w->scale.tile_cols);
}

static bool is_bias(const char *name)
{
    size_t n = strlen(name);
    return n >= 5 && strcmp(name + n - 5, ".bias") == 0;
}

/* Matrices that can be put in order and lie in the file: of others nothing could be let go. name: GGUF's. */
static void note(struct llm_repack *r, const llm_model *m, llm_tensor *w, const char *name)
{
    repack_item *it = &r->item[r->n];

    if (is_bias(name)) return;
    if ((it->bytes = backend_cpu_packed(&it->packed, w)) == 0 || store_file_of(m->store, first_byte(w)) == NULL) return;
    it->w = w, r->n++;
    r->bytes += it->bytes, r->file_bytes += (size_t)(it->packed.n_matrix * it->packed.rows) * file_row_bytes(w);
}

static void note_all(struct llm_repack *r, llm_model *m)
{
    for (int il = 0; il < m->config.n_layer; il++) {
        llm_layer *w = &m->layer[il];
#define X(slot, g, h, a, b, c) note(r, m, &w->slot, g);
        LLM_LAYER_WEIGHTS(X)
#undef X
    }
    note(r, m, &m->head, "output.weight");
}

static void say(const llm_model *m, const char *why)
{
    char text[160];

    if (m->log == NULL) return;
    snprintf(text, sizeof text, "weights are read where they lie in the file: %s", why);
    m->log(m->user, LLM_LOG_INFO, text);
}

/* Address space for all of it; every weight knows where its copy will be. */
static bool make_room(struct llm_repack *r, llm_model *m)
{
    uint8_t *at;

    if (!ck_add(r->bytes, 2 * LARGE_PAGE, &r->map_bytes) || (r->map = memory_map(r->map_bytes)) == NULL) return false;
    (void)madvise(r->map, r->map_bytes, MADV_HUGEPAGE);
    at = (uint8_t *)(((uintptr_t)r->map + LARGE_PAGE - 1) & ~(uintptr_t)(LARGE_PAGE - 1));
    for (size_t i = 0; i < r->n; i++) {
        r->item[i].packed.data = at, r->item[i].w->repacked = &r->item[i].packed;
        at += r->item[i].bytes;
    }
    if (m->embed.data == m->head.data) m->embed.repacked = m->head.repacked;        /* rows of a tied table are read there, too */
    return true;
}

static size_t most_items(const llm_model *m) { return (size_t)m->config.n_layer * W_COUNT + 1; }

/* Makes room for the copy, or for a plan only asks whether there is some. Returns NULL, or what is in the way. */
static const char *take_room(llm_model *m)
{
    struct llm_repack *r = m->repack;
    const char *what;

    if (memory_physical(&what) < (uint64_t)r->bytes + spare) return "there is too little memory to copy them";
    return m->plan_only || make_room(r, m) ? NULL : "the address space is too small to copy them";
}

llm_status repack_open(llm_model *m, llm_error *err)
{
    struct llm_repack *r;
    core_list cores;
    const char *why;

    if (m->isa == ISA_SCALAR || m->device != NULL || m->allow_paging || m->no_repack) return LLM_OK;
    if ((r = m->repack = calloc(1, sizeof *r)) == NULL) return llm_fail_memory(err, sizeof *r, "the order of weights");
    atomic_flag_clear(&r->busy);
    threads_cores(&cores), r->whole = cores.n_node > 1;
    if ((r->item = calloc(most_items(m), sizeof *r->item)) == NULL) return llm_fail_memory(err, most_items(m) * sizeof *r->item, "the order of weights");
    note_all(r, m);
    if (r->n == 0) { repack_close(m); return LLM_OK; }
    if ((why = take_room(m)) != NULL) say(m, why), repack_close(m);
    return LLM_OK;
}

void repack_close(llm_model *m)
{
    struct llm_repack *r = m->repack;

    if (r == NULL) return;
    for (size_t i = 0; i < r->n; i++) r->item[i].w->repacked = NULL;
    m->embed.repacked = NULL;
    memory_unmap(r->map, r->map_bytes);
    free(r->item);
    free(r);
    m->repack = NULL;
}

static void release_scales(llm_model *m, const llm_tensor *w)
{
    bool stack = w->dim[2] > 1;
    int64_t rows = w->dim[stack] * (stack ? w->dim[0] : 1);

    if (w->dtype == DT_F4_E2M1 && w->scale.data) store_release(m->store, w->scale.data, (size_t)rows * scale_row_bytes(&w->scale, w->dim[1 + stack]));
}

/* One stretch; false: nothing is left. */
static bool copy_stretch(llm_model *m, llm_backend *be)
{
    struct llm_repack *r = m->repack;

    while (r->next < r->n) {
        repack_item *it = &r->item[r->next];
        const void *from;
        size_t bytes;
        int64_t rows = backend_cpu_pack(be, it->w, r->whole ? it->packed.rows : (int64_t)(STRETCH / it->packed.row_bytes) + 1, &from, &bytes);
        if (rows > 0) {
            store_release(m->store, from, bytes);
            atomic_fetch_add(&r->resident, (uint64_t)rows * it->packed.row_bytes);
            return true;
        }
        release_scales(m, it->w);
        r->next++;
    }
    return false;
}

void repack_some(llm_model *m, llm_backend *be, double seconds)
{
    struct llm_repack *r = m->repack;
    double end = repack_clock() + seconds;

    if (r == NULL || seconds <= 0 || atomic_load(&r->resident) == r->bytes || atomic_flag_test_and_set(&r->busy)) return;
    while (copy_stretch(m, be) && repack_clock() < end) {}
    atomic_flag_clear(&r->busy);
}

llm_status repack_all(llm_model *m, llm_backend *be, llm_error *err)
{
    struct llm_repack *r = m->repack;
    llm_status st = LLM_OK;

    if (r == NULL) return LLM_OK;
    while (atomic_flag_test_and_set(&r->busy)) nanosleep(&(struct timespec){ 0, 1000000 }, NULL);       /* a stretch, or all, is being copied */
    while (st == LLM_OK && copy_stretch(m, be))
        if (m->progress && m->progress(m->user, "putting weights in order", atomic_load(&r->resident), r->bytes))
            st = llm_fail(err, LLM_ERR_CANCELLED, "stopped while weights were put in order");
    atomic_flag_clear(&r->busy);
    return st;
}

uint64_t repack_arena(const llm_model *m) { return m->repack ? m->repack->map_bytes : 0; }
uint64_t repack_resident(const llm_model *m) { return m->repack ? atomic_load(&m->repack->resident) : 0; }
uint64_t repack_tables(const llm_model *m) { return m->repack ? sizeof *m->repack + most_items(m) * sizeof(repack_item) : 0; }
uint64_t repack_padding(const llm_model *m) { return m->repack && m->repack->bytes > m->repack->file_bytes ? m->repack->bytes - m->repack->file_bytes : 0; }
