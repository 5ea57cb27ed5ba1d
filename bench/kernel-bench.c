/* kernel-bench - how close the matrix products come to what the machine can do.
 *
 *     kernel-bench [-t THREADS] [-k SET] [-y TYPE[,TYPE...]] [-s ROWSxCOLS[,...]] [-n BATCH[,...]] [-r REPEATS] [-u]
 *
 * Each line: a weight type and shape, rows of x, GB/s of weights read and GOPS (multiply and add count as two), and the share
 * of the limit that binds: streaming read for few rows, int8 or float peak for many. Limits are measured first, in the same run.
 * Integer weights are in the order that sessions put them into (kernels/cpu/pack.h); with -u as they lie in a file. Weights of a line fill
 * at least 768 MB, so that none is in a cache when its turn comes again; -w MB changes that. Built with BLAS=1 it measures products of
 * several rows with F32, F16 and BF16 weights a second time, through OpenBLAS: a yardstick. */
#include "backend.h"
#include "cpu.h"
#include "cpu_impl.h"
#include "machine.h"
#include "list.h"
#include "linear.h"
#include "linear_blas.h"
#include "matrix.h"
#include "memory.h"
#include "packed.h"
#include "threads.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct {
    int n_thread, repeats;
    size_t weight_mb;
    bool unpacked;
    const char *set, *types, *shapes, *batches;
} options;

static const char all_types[] = "F32,F16,BF16,F8_E4M3,Q8_0,Q4_0,Q4_1,Q5_0,Q5_1,Q2_K,Q3_K,Q4_K,Q5_K,Q6_K,IQ4_NL,IQ4_XS,MXFP4";

typedef struct {
    llm_backend be;
    cpu_impl impl;
    llm_tensor *w;                      /* [n_w] */
    llm_packed *p;                      /* [n_w] */
    int n_w;
    uint8_t *mem, *packed;
    size_t mem_bytes, packed_bytes;
    llm_rows x, y;
} rig;

/* Bytes that make ordinary scales and random codes in every format: 0x20..0x2f. */
static void fill(void *arg, int64_t begin, int64_t end, int thread)
{
    uint8_t *p = arg;
    uint32_t s = 12345u + (uint32_t)begin;

    (void)thread;
    for (int64_t i = begin << 20; i < end << 20; i++) s = s * 1664525u + 1013904223u, p[i] = (uint8_t)(0x20 | s >> 28);
}

/* Every weight in order, one behind the other. */
static bool pack_all(rig *r, const options *o)
{
    size_t one = 0, bytes;
    const void *from;

    r->p = calloc((size_t)r->n_w, sizeof *r->p), r->packed = NULL;
    if (r->p == NULL) return false;
    if (o->unpacked || r->impl.isa == ISA_SCALAR || (one = backend_cpu_packed(&r->p[0], &r->w[0])) == 0) return true;
    r->packed_bytes = (size_t)r->n_w * one + (1 << 21);
    if ((r->packed = memory_map(r->packed_bytes)) == NULL) return false;
    madvise(r->packed, r->packed_bytes, MADV_HUGEPAGE);
    for (int i = 0; i < r->n_w; i++) {
        backend_cpu_packed(&r->p[i], &r->w[i]);
        r->p[i].data = r->packed + (size_t)i * one, r->w[i].repacked = &r->p[i];
        while (backend_cpu_pack(&r->be, &r->w[i], r->w[i].dim[0], &from, &bytes) > 0) {}
    }
    return true;
}

static bool rig_open(rig *r, const options *o, llm_dtype type, int64_t rows, int64_t cols, int n)
{
    size_t row, one, room;

    if (!dtype_bytes(type, cols, &row)) return false;
    one = (size_t)rows * row;
    r->n_w = (int)(((o->weight_mb << 20) + one - 1) / one);
    if (n > 16) r->n_w = 1;
    room = ((size_t)r->n_w * one + (1 << 21)) >> 20 << 20;
    r->mem_bytes = room + (1 << 21);
    r->mem = memory_map(r->mem_bytes);
    r->w = calloc((size_t)r->n_w, sizeof *r->w);
    r->x = (llm_rows){ malloc((size_t)n * (size_t)cols * sizeof(float)), n, (int)cols, cols };
    r->y = (llm_rows){ calloc((size_t)n * (size_t)rows, sizeof(float)), n, (int)rows, rows };
    if (r->mem == NULL || r->w == NULL || r->x.data == NULL || r->y.data == NULL) return false;
    madvise(r->mem, r->mem_bytes, MADV_HUGEPAGE);
    pool_run(r->impl.pool, (int64_t)(room >> 20), 16, fill, r->mem);
    for (int i = 0; i < r->n_w; i++)
        r->w[i] = (llm_tensor){ .data = r->mem + (size_t)i * one, .dtype = type, .dim = { rows, cols, 1 }, .row_bytes = row };
    for (int64_t i = 0; i < (int64_t)n * cols; i++) r->x.data[i] = (float)(i * 2654435761 % 1000) / 500.0f - 1.0f;
    return pack_all(r, o);
}

static void rig_close(rig *r)
{
    memory_unmap(r->mem, r->mem_bytes), memory_unmap(r->packed, r->packed_bytes);
    free(r->p), free(r->w), free(r->x.data), free(r->y.data);
    r->mem = r->packed = NULL, r->p = NULL, r->w = NULL, r->x.data = r->y.data = NULL;
}

static int compare(const void *a, const void *b) { return *(const double *)a < *(const double *)b ? -1 : 1; }

/* Least seconds of one product, every weight used once a round. */
static double time_products(rig *r, int repeats)
{
    double t[64];

    for (int k = -1; k < repeats; k++) {
        double start = machine_seconds();
        for (int i = 0; i < r->n_w; i++) {
            llm_linear l = { r->y, &r->w[i], NULL };
            r->be.op.linear(&r->be, &l, 1, r->x);
        }
        if (k >= 0) t[k] = (machine_seconds() - start) / r->n_w;
    }
    qsort(t, (size_t)repeats, sizeof *t, compare);
    return t[0];
}

static void print_line(const rig *r, const machine_limits *m, llm_dtype type, int64_t rows, int64_t cols, int n, double seconds, const char *by)
{
    bool floats = matrix_form(type) == X_F32;
    double gbs = (double)rows * (double)r->w[0].row_bytes / seconds / 1e9, gops = 2.0 * (double)rows * (double)cols * n / seconds / 1e9;

    printf("%-8s %6lld x %-6lld n %-4d %10.2f us %8.1f GB/s (%3.0f %% of read) %8.1f GOPS (%3.0f %% of %s)%s\n",
           dtype_name(type), (long long)rows, (long long)cols, n, seconds * 1e6, gbs, 100 * gbs / m->read_gbs, gops, 100 * gops / (floats ? m->f32_gflops : m->int8_gops), floats ? "f32" : "int8", by);
    fflush(stdout);
}

/* The same through OpenBLAS, where it is built in and takes such weights. */
static void blas_line(rig *r, const options *o, const machine_limits *m, llm_dtype type, int64_t rows, int64_t cols, int n)
{
#ifdef LLM_BLAS
    llm_ops own = r->be.op;

    if (n < 2 || (type != DT_F32 && type != DT_F16 && type != DT_BF16)) return;
    linear_ops_blas(&r->be.op, &r->impl);
    print_line(r, m, type, rows, cols, n, time_products(r, o->repeats), " OpenBLAS");
    r->be.op = own;
#else
    (void)r, (void)o, (void)m, (void)type, (void)rows, (void)cols, (void)n;
#endif
}

static void line(rig *r, const options *o, const machine_limits *m, llm_dtype type, int64_t rows, int64_t cols, int n)
{
    if (cols % dtype_info(type)->block != 0) return;
    if (rig_open(r, o, type, rows, cols, n)) {
        print_line(r, m, type, rows, cols, n, time_products(r, o->repeats), "");
        blas_line(r, o, m, type, rows, cols, n);
    } else fprintf(stderr, "kernel-bench: no memory for %s\n", dtype_name(type));
    rig_close(r);
}

static bool set_up(rig *r, const options *o, const llm_limits *limits)
{
    llm_error err = { 0 };
    llm_isa isa;

    if (cpu_choose_isa(&isa, o->set, &err) != LLM_OK || pool_open(&r->impl.pool, o->n_thread, &err) != LLM_OK) {
        fprintf(stderr, "kernel-bench: %s\n", err.text);
        return false;
    }
    r->impl.isa = isa, r->impl.n_thread = o->n_thread, r->impl.limits = *limits;
    r->impl.linear_bytes = linear_scratch_bytes(limits, o->n_thread);
    r->impl.linear = memory_map(r->impl.linear_bytes);
    r->be.impl = &r->impl;
    linear_ops_ref(&r->be.op);
#if defined(__x86_64__)
    if (isa == ISA_AVX2) linear_ops_avx2(&r->be.op);
    if (isa == ISA_AVXVNNI) linear_ops_avxvnni(&r->be.op);
    if (isa == ISA_AVX512) linear_ops_avx512(&r->be.op);
#elif defined(__aarch64__)
    if (isa == ISA_NEON) linear_ops_neon(&r->be.op);
    if (isa == ISA_I8MM) linear_ops_i8mm(&r->be.op);
#endif
    printf("kernel set %s, %d threads\n", isa_name(isa), o->n_thread);
    return r->impl.linear != NULL;
}

static int usage(void)
{
    fprintf(stderr, "usage: kernel-bench [-t threads] [-k set] [-y types] [-s RxC,...] [-n batch,...] [-r repeats] [-w MB] [-u]\n");
    return 2;
}

int main(int argc, char **argv)
{
    options o = { threads_available(), 5, 768, false, NULL, all_types, "4096x2560", "1,512" };
    const llm_limits limits = { .n_batch = 2048, .max_cols = 32768, .max_rows = 32768, .d_model = 32768 };
    machine_limits m;
    rig r = { 0 };
    char type[64], shape[64], batch[64];

    for (int c; (c = getopt(argc, argv, "t:k:y:s:n:r:w:u")) != -1;) {
        switch (c) {
        case 't': o.n_thread = atoi(optarg); break;
        case 'k': o.set = optarg; break;
        case 'y': o.types = optarg; break;
        case 's': o.shapes = optarg; break;
        case 'n': o.batches = optarg; break;
        case 'r': o.repeats = atoi(optarg) < 1 ? 1 : atoi(optarg) > 64 ? 64 : atoi(optarg); break;
        case 'w': o.weight_mb = (size_t)atoi(optarg); break;
        case 'u': o.unpacked = true; break;
        default:  return usage();
        }
    }
    if (o.n_thread < 1 || o.n_thread > 1024 || o.weight_mb < 1 || o.weight_mb > 1 << 20) return usage();
    if (!set_up(&r, &o, &limits)) return 1;
    m = limits_measure(o.n_thread);
    printf("limits: read %.1f GB/s, int8 %.0f GOPS, f32 %.0f GFLOPS\n", m.read_gbs, m.int8_gops, m.f32_gflops);
    for (int is = 0; list_item(o.shapes, is, shape); is++)
        for (int in = 0; list_item(o.batches, in, batch); in++)
            for (int it = 0; list_item(o.types, it, type); it++) {
                const llm_dtype_info *info = dtype_find(type);
                long long rows = 0, cols = 0;
                int n = atoi(batch);
                bool shaped = sscanf(shape, "%lldx%lld", &rows, &cols) == 2 && rows >= 1 && cols >= 1;
                if (info == NULL || !shaped || rows > limits.max_rows || cols > limits.max_cols || n < 1 || n > limits.n_batch) {
                    fprintf(stderr, "kernel-bench: cannot run %s %s n %s\n", type, shape, batch);
                    return 2;
                }
                line(&r, &o, &m, info->dtype, rows, cols, n);
            }
    pool_close(r.impl.pool);
    memory_unmap(r.impl.linear, r.impl.linear_bytes);
    return 0;
}
