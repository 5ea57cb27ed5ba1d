/* kernel-bench - how close the matrix products come to what the machine, or with --device cuda the card, can do.
 *
 *     kernel-bench [--device cpu|cuda [--deterministic]] [-t THREADS] [-k SET] [-y TYPE[,TYPE...]] [-s ROWSxCOLS[,...]] [-n BATCH[,...]]
 *                  [-e EXPERTS:USED] [-r REPEATS] [-w MB] [-u]
 *
 * Each line: a weight type and shape, rows of x, GB/s of weights read and GOPS (multiply and add count as two), and the share
 * of the limit that binds: streaming read for few rows, int8 or float peak for many. Limits are measured first, in the same run.
 * With -e the products are those of experts: gate and up, ROWSxCOLS each, activation and down of the USED experts of each row, which are
 * spread evenly; read are those that any row chose. Weights of a line fill at least 768 MB, so that none is in a cache when its turn comes
 * again; -w MB changes that.
 * On the processor integer weights are in the order that sessions put them into (kernels/cpu/pack.h); with -u as they lie in a file. Built with
 * BLAS=1 it measures products of several rows with F32, F16 and BF16 weights a second time, through OpenBLAS: a yardstick.
 * On a device they are as a model's upload puts them, and time is the device's own. Up to 64 rows are those of sequences that generate together:
 * a recorded step, replayed. Bringing x into the form that the weights meet it in counts, as it does in use. */
#include "cpu_impl.h"
#include "list.h"
#include "matrix.h"
#include "memory.h"
#include "packed.h"
#include "target.h"
#include "threads.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MOST = 32768, MOST_BATCH = 2048, MOST_EXPERTS = 1024, TOGETHER = 64 };

typedef struct {
    bool unpacked;
    int n_expert, n_used;               /* 0: one matrix */
    const char *types, *shapes, *batches;
} options;

static const char all_types[] = "F32,F16,BF16,F8_E4M3,Q8_0,Q4_0,Q4_1,Q5_0,Q5_1,Q2_K,Q3_K,Q4_K,Q5_K,Q6_K,IQ4_NL,IQ4_XS,MXFP4";

/* What a line measures: y = w x, w [rows, cols]; or with experts gate and up of that shape, and down of the other. */
typedef struct { llm_dtype type; int64_t rows, cols; int n, n_expert, n_used; } product;

typedef struct {
    const product *p;
    llm_device *device;
    llm_backend be;
    llm_tensor *w;                      /* [n_w]; of experts gate, up and down by turns */
    llm_packed *packing;                /* [n_w] */
    int n_w;
    uint8_t *mem, *packed;
    size_t mem_bytes, packed_bytes;
    llm_rows x, y, weight;
    int32_t *expert;                    /* [n, n_used] where be's rows are */
    target_rows rows;
} rig;

static bool has_experts(const product *p) { return p->n_expert > 0; }
static int n_matrix(const product *p) { return has_experts(p) ? 3 : 1; }
static size_t expert_bytes(const product *p) { return (size_t)p->n * (size_t)p->n_used * sizeof(int32_t); }

/* ---- weights ------------------------------------------------------------------------- */

/* Bytes that make ordinary scales and random codes in every format: 0x20..0x2f. */
static void fill(void *arg, int64_t begin, int64_t end, int thread)
{
    uint8_t *p = arg;
    uint32_t s = 12345u + (uint32_t)begin;

    (void)thread;
    for (int64_t i = begin << 20; i < end << 20; i++) s = s * 1664525u + 1013904223u, p[i] = (uint8_t)(0x20 | s >> 28);
}

static bool fill_all(const target *t, uint8_t *mem, size_t room)
{
    llm_pool *pool;

    if (pool_open(&pool, t->n_thread, NULL) != LLM_OK) return false;
    pool_run(pool, (int64_t)(room >> 20), 16, fill, mem);
    pool_close(pool);
    return true;
}

/* Tensor i of the line, at data. */
static llm_tensor tensor_of(const product *p, int i, const uint8_t *data)
{
    bool down = has_experts(p) && i % 3 == 2;
    int64_t rows = down ? p->cols : p->rows, cols = down ? p->rows : p->cols;
    llm_tensor w = { .data = data, .dtype = p->type, .dim = { rows, cols, 1 } };

    (void)dtype_bytes(p->type, cols, &w.row_bytes);
    if (has_experts(p)) w.dim[0] = p->n_expert, w.dim[1] = rows, w.dim[2] = cols;
    return w;
}

/* Products that fill what they must; many rows take the processor long, and need no more than one. */
static int n_product(const product *p, const target *t, size_t bytes)
{
    size_t n = (((size_t)t->mb << 20) + bytes - 1) / bytes;
    return n < 1 || (p->n > 16 && !t->on_device) ? 1 : (int)n;
}

/* Random weights, one behind the other. */
static bool make_weights(rig *r, const target *t)
{
    const product *p = r->p;
    size_t row, one, room;

    if (!dtype_bytes(p->type, p->cols, &row)) return false;
    one = (size_t)p->rows * row * (size_t)(has_experts(p) ? p->n_expert : 1);
    r->n_w = n_matrix(p) * n_product(p, t, (size_t)n_matrix(p) * one);
    room = ((size_t)r->n_w * one + (1 << 21)) >> 20 << 20;
    r->mem_bytes = room + (1 << 21);
    r->mem = memory_map(r->mem_bytes);
    r->w = calloc((size_t)r->n_w, sizeof *r->w);
    if (r->mem == NULL || r->w == NULL) return false;
    madvise(r->mem, r->mem_bytes, MADV_HUGEPAGE);
    for (int i = 0; i < r->n_w; i++) r->w[i] = tensor_of(p, i, r->mem + (size_t)i * one);
    return fill_all(t, r->mem, room);
}

/* The processor's integer weights in order, one behind the other. */
static bool pack_all(rig *r, const target *t, const options *o)
{
    size_t one = 0, bytes;
    const void *from;

    if (t->on_device || o->unpacked || t->isa == ISA_SCALAR) return true;
    if ((r->packing = calloc((size_t)r->n_w, sizeof *r->packing)) == NULL) return false;
    for (int i = 0; i < n_matrix(r->p); i++) {
        size_t n = backend_cpu_packed(&r->packing[i], &r->w[i]);
        one = n > one ? n : one;
    }
    if (one == 0) return true;
    r->packed_bytes = (size_t)r->n_w * one + (1 << 21);
    if ((r->packed = memory_map(r->packed_bytes)) == NULL) return false;
    madvise(r->packed, r->packed_bytes, MADV_HUGEPAGE);
    for (int i = 0; i < r->n_w; i++) {
        if (backend_cpu_packed(&r->packing[i], &r->w[i]) == 0) continue;
        r->packing[i].data = r->packed + (size_t)i * one, r->w[i].repacked = &r->packing[i];
        while (backend_cpu_pack(&r->be, &r->w[i], r->packing[i].rows, &from, &bytes) > 0) {}
    }
    return true;
}

/* ---- a line ------------------------------------------------------------------------------ */

/* Experts of all rows in turn. */
static bool choose_experts(rig *r)
{
    int n = r->p->n * r->p->n_used;
    int32_t *chosen = malloc(expert_bytes(r->p));

    r->weight = target_values(&r->be, r->p->n, r->p->n_used);
    r->expert = backend_alloc(&r->be, expert_bytes(r->p));
    for (int i = 0; chosen && i < n; i++) chosen[i] = i % r->p->n_expert;
    if (chosen && r->expert) backend_upload(&r->be, r->expert, chosen, expert_bytes(r->p));
    free(chosen);
    return chosen != NULL && r->expert != NULL && r->weight.data != NULL;
}

static bool open_backend(rig *r, const target *t)
{
    const product *p = r->p;
    int wide = (int)(p->rows > p->cols ? p->rows : p->cols);
    llm_limits l = { .n_batch = p->n, .max_cols = wide, .max_rows = wide, .d_model = (int)p->cols,
                     .n_expert = p->n_expert, .n_expert_used = p->n_used, .d_ff_expert = has_experts(p) ? (int)p->rows : 0 };
    llm_tensor **w = calloc((size_t)r->n_w, sizeof(llm_tensor *));
    bool good = w != NULL;

    for (int i = 0; good && i < r->n_w; i++) w[i] = &r->w[i];
    good = good && target_open(t, &r->device, &r->be, w, (size_t)r->n_w, &l);
    free(w);
    return good;
}

static bool rig_open(rig *r, const target *t, const options *o)
{
    const product *p = r->p;

    if (!make_weights(r, t) || !open_backend(r, t) || !pack_all(r, t, o)) return false;
    r->x = target_values(&r->be, p->n, (int)p->cols);
    r->y = target_values(&r->be, p->n, (int)(has_experts(p) ? p->cols : p->rows));
    return r->x.data && r->y.data && (!has_experts(p) || choose_experts(r)) && target_rows_open(&r->rows, p->n, 0, p->n <= TOGETHER);
}

static void rig_close(rig *r)
{
    target_release(&r->be, r->x), target_release(&r->be, r->y), target_release(&r->be, r->weight);
    backend_release(&r->be, r->expert, expert_bytes(r->p));
    target_close(r->device, &r->be), target_rows_close(&r->rows);
    memory_unmap(r->mem, r->mem_bytes), memory_unmap(r->packed, r->packed_bytes);
    free(r->packing), free(r->w);
}

/* Every weight once. */
static void multiply(void *arg)
{
    rig *r = arg;

    for (int i = 0; i < r->n_w && !has_experts(r->p); i++) {
        llm_linear l = { r->y, &r->w[i], NULL };
        r->be.op.linear(&r->be, &l, 1, r->x);
    }
    for (int i = 0; i < r->n_w && has_experts(r->p); i += 3) {
        llm_moe_args a = { .gate = &r->w[i], .up = &r->w[i + 1], .down = &r->w[i + 2], .act = ACT_SILU };
        r->be.op.moe(&r->be, r->y, r->x, r->weight, r->expert, &a);
    }
}

/* Matrices that are read, and those that a row of x meets. */
static double matrices_read(const product *p)
{
    int chosen = p->n * p->n_used < p->n_expert ? p->n * p->n_used : p->n_expert;
    return has_experts(p) ? 3.0 * chosen : 1;
}
static double matrices_met(const product *p) { return has_experts(p) ? 3.0 * p->n_used : 1; }

/* Weights in blocks meet x as 8-bit codes on a device; on the processor those with an integer form do. */
static bool floats(const target *t, llm_dtype type) { return t->on_device ? dtype_info(type)->block == 1 : matrix_form(type) == X_F32; }

static void print_line(const rig *r, const target *t, double seconds, const char *by)
{
    const product *p = r->p;
    bool f = floats(t, p->type);
    double gbs = matrices_read(p) * (double)p->rows * (double)r->w[0].row_bytes / seconds / 1e9;
    double gops = 2.0 * matrices_met(p) * (double)p->rows * (double)p->cols * p->n / seconds / 1e9;

    printf("%-8s %6lld x %-6lld n %-4d %10.2f us %8.1f GB/s (%3.0f %% of read) %8.1f GOPS (%3.0f %% of %s)", dtype_name(p->type), (long long)p->rows,
           (long long)p->cols, p->n, seconds * 1e6, gbs, 100 * gbs / t->limits.read_gbs, gops, 100 * gops / (f ? t->limits.f32_gflops : t->limits.int8_gops),
           f ? target_floats(t) : "int8");
    if (has_experts(p)) printf(" %d of %d experts", p->n_used, p->n_expert);
    printf("%s\n", by);
    fflush(stdout);
}

/* Seconds of one product, or of one layer's experts. */
static bool measure(rig *r, const target *t, const char *by)
{
    double seconds = target_seconds(t, &r->be, &r->rows, multiply, r);

    if (seconds > 0) print_line(r, t, seconds * n_matrix(r->p) / r->n_w, by);
    return seconds > 0;
}

/* With the kernels here; and again through OpenBLAS, where it is built in and takes such weights. */
static bool measure_all(rig *r, const target *t)
{
#ifdef LLM_BLAS
    const product *p = r->p;
    llm_ops both = r->be.op;
    bool good;

    if (!t->on_device && !has_experts(p) && p->n > 1 && (p->type == DT_F32 || p->type == DT_F16 || p->type == DT_BF16)) {
        r->be.op.linear = cpu_of(&r->be)->linear_own;
        good = measure(r, t, "");
        r->be.op = both;
        return good && measure(r, t, " OpenBLAS");
    }
#endif
    return measure(r, t, "");
}

/* False after a message. Shapes that are no whole blocks of the type are left out. */
static bool line(const target *t, const options *o, const product *p)
{
    int block = dtype_info(p->type)->block;
    rig r = { .p = p };
    bool good;

    if (p->cols % block != 0 || (has_experts(p) && p->rows % block != 0)) return true;
    good = rig_open(&r, t, o) && measure_all(&r, t);
    if (!good) fprintf(stderr, "kernel-bench: %s %lld x %lld n %d was not measured\n", dtype_name(p->type), (long long)p->rows, (long long)p->cols, p->n);
    rig_close(&r);
    return good;
}

/* ---- what to measure ------------------------------------------------------------------------ */

static bool product_of(const options *o, const char *type, const char *shape, const char *batch, product *p)
{
    const llm_dtype_info *info = dtype_find(type);
    long long rows = 0, cols = 0;

    if (info == NULL || sscanf(shape, "%lldx%lld", &rows, &cols) != 2) return false;
    *p = (product){ info->dtype, rows, cols, atoi(batch), o->n_expert, o->n_used };
    return rows >= 1 && rows <= MOST && cols >= 1 && cols <= MOST && p->n >= 1 && p->n <= MOST_BATCH;
}

static int all_lines(const target *t, const options *o)
{
    char type[64], shape[64], batch[64];
    bool good = true;
    product p;

    for (int is = 0; list_item(o->shapes, is, shape); is++)
        for (int in = 0; list_item(o->batches, in, batch); in++)
            for (int it = 0; list_item(o->types, it, type); it++) {
                if (!product_of(o, type, shape, batch, &p)) {
                    fprintf(stderr, "kernel-bench: cannot run %s %s n %s\n", type, shape, batch);
                    return 2;
                }
                good = line(t, o, &p) && good;
            }
    return good ? 0 : 1;
}

static bool set_experts(options *o, const char *text)
{
    char end;
    return sscanf(text, "%d:%d%c", &o->n_expert, &o->n_used, &end) == 2 && o->n_used >= 1 && o->n_used <= o->n_expert && o->n_expert <= MOST_EXPERTS;
}

static int usage(void)
{
    fprintf(stderr, "usage: kernel-bench " TARGET_USAGE " [-y types] [-s RxC,...] [-n batch,...] [-e experts:used] [-u]\n");
    return 2;
}

int main(int argc, char **argv)
{
    target t = { .name = "kernel-bench", .n_thread = limits_cores(), .repeats = 5, .mb = 768 };
    options o = { .types = all_types, .shapes = "4096x2560", .batches = "1,512" };
    int code;

    for (int c; (c = target_option(&t, argc, argv, TARGET_LETTERS "y:s:n:e:u")) != -1;) {
        switch (c) {
        case 'y': o.types = optarg; break;
        case 's': o.shapes = optarg; break;
        case 'n': o.batches = optarg; break;
        case 'e': if (!set_experts(&o, optarg)) return usage(); break;
        case 'u': o.unpacked = true, t.cpu_letter = 'u'; break;
        default:  return usage();
        }
    }
    if ((code = target_start(&t)) != 0) return code;
    return all_lines(&t, &o);
}
