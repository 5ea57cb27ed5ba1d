/* linear_blas.c - Bound by the float peak: a panel of weight rows becomes floats in the thread's own scratch (F32 rows stay where they
 * are) and is multiplied with all rows of x by one sgemm. Panels are as large as the scratch allows, since sgemm packs x anew for each. */
#include "linear_blas.h"
#include "dequant.h"
#include "matrix.h"
#include <cblas.h>

enum { PANEL_ROWS = 256, MAX_THREAD = 64 /* OpenBLAS has buffers for so many callers at once */ };

typedef struct { llm_backend *be; matrix w; llm_rows y, x; int64_t panel; float *floats; } blas_job;

static const float *panel_of(const blas_job *j, int64_t row0, int64_t n, int thread)
{
    float *out = j->floats ? j->floats + (size_t)thread * (size_t)(j->panel * j->w.cols) : (float *)(void *)thread_scratch(j->be, thread);
    int64_t together = n;
    matrix w = matrix_part(&j->w, row0, &together);
    const uint8_t *src;

    if (together < n) w.data = j->w.data, w.row_bytes = j->w.row_bytes;         /* some are packed: all lie in the file */
    src = w.data + (size_t)row0 * w.row_bytes;
    if (w.dtype == DT_F32) return (const float *)(const void *)src;
    for (int64_t r = 0; r < n; r++) dequant_row(w.dtype, src + (size_t)r * w.row_bytes, out + r * w.cols, w.cols);
    return out;
}

static void run_panels(void *arg, int64_t begin, int64_t end, int thread)
{
    const blas_job *j = arg;

    for (int64_t t = begin; t < end; t++) {
        int64_t row0 = t * j->panel, n = j->w.rows - row0 < j->panel ? j->w.rows - row0 : j->panel;
        const float *w = panel_of(j, row0, n, thread);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, j->x.n, (int)n, (int)j->w.cols, 1, j->x.data, (int)j->x.stride, w, (int)j->w.cols, 0,
                    j->y.data + row0, (int)j->y.stride);
        for (int64_t r = 0; j->w.bias && r < n; r++) {
            float b = matrix_bias(&j->w, row0 + r);
            for (int i = 0; i < j->x.n; i++) row_at(j->y, i)[row0 + r] += b;
        }
    }
}

static bool takes(const cpu_impl *impl, const llm_tensor *w, llm_rows x)
{
    bool whole = w->dtype != DT_F32 || w->row_bytes == (size_t)w->dim[1] * sizeof(float);

    return x.n > 1 && impl->n_thread <= MAX_THREAD && w->perm == NULL && whole && x.stride <= INT32_MAX && (w->dtype == DT_F32 || w->dtype == DT_F16 || w->dtype == DT_BF16);
}

/* Rows of a panel: a share of the area that is there for rows of x, or an item's rows in the thread's scratch. */
static void measure_panel(blas_job *j, const cpu_impl *impl)
{
    linear_areas a;
    int64_t rows;

    linear_measure(&a, &impl->limits, impl->n_thread);
    rows = (int64_t)(a.floats / sizeof(float)) / j->w.cols / impl->n_thread / 16 * 16;
    j->floats = rows > ITEM_ROWS ? (float *)(void *)impl->linear : NULL;
    j->panel = rows <= ITEM_ROWS ? ITEM_ROWS : rows < PANEL_ROWS ? rows : PANEL_ROWS;
}

static void linear_blas(llm_backend *be, const llm_linear *l, int n, llm_rows x)
{
    cpu_impl *impl = cpu_of(be);

    for (int i = 0, k; i < n && backend_ok(be); i = k) {
        blas_job j = { .be = be, .y = l[i].y, .x = x };
        for (k = i; k < n && !takes(impl, l[k].w, x); k++) { }
        if (k > i) { impl->linear_own(be, l + i, k - i, x); continue; }
        k = i + 1, j.w = matrix_of(l[i].w, l[i].bias, -1);
        measure_panel(&j, impl);
        pool_run(impl->pool, (j.w.rows + j.panel - 1) / j.panel, 1, run_panels, &j);
    }
}

void linear_ops_blas(llm_ops *op, llm_blocks *block, cpu_impl *impl)
{
    openblas_set_num_threads(1);
    impl->linear_own = op->linear, op->linear = linear_blas;
    block->linear_peaks = NULL;         /* it would not go this way */
}
