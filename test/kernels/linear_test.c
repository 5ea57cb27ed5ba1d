/* The matrix products: the reference against double precision, every kernel set against the reference bit for bit. */
#include "../llm_test.h"
#include "kernel_case.h"
#include "matrix.h"
#include "packed.h"
#include "peak.h"

static const int row_counts[] = { 1, 3, 16, 17, 33 };
static const int float_cols[] = { 1, 15, 16, 17, 31, 100, 256, 520 }, block_cols[] = { 32, 96, 256, 512, 2880 };
static const int n_counts[] = { 1, 2, 3, 5, 6, 7, 8, 9, 17, 64 };
#define COUNT(a) (int)(sizeof (a) / sizeof (a)[0])

static const llm_limits limits = { .n_batch = 64, .max_cols = 4096, .max_rows = 4096, .n_expert = 9, .n_expert_used = 3, .d_ff_expert = 288, .d_model = 512 };

static const llm_isa sets[] = { ISA_AVX2, ISA_AVXVNNI, ISA_AVX512, ISA_NEON, ISA_I8MM };

static bool has_block(llm_dtype t) { return dtype_info(t)->block > 1; }
static int col_choices(llm_dtype t) { return has_block(t) ? COUNT(block_cols) : COUNT(float_cols); }
static int col_choice(llm_dtype t, int i) { return has_block(t) ? block_cols[i] : float_cols[i]; }
static bool fits(llm_dtype t, int cols) { return cols % dtype_info(t)->block == 0; }

static llm_rows blank(int n, int width)
{
    llm_rows r = case_rows(n, width);
    memset(r.data, 0, (size_t)n * (size_t)r.stride * sizeof(float));
    return r;
}
static size_t bytes_of(llm_rows r) { return (size_t)r.n * (size_t)r.stride * sizeof(float); }

static void check_same(llm_rows want, llm_rows got, const char *what, llm_isa isa, int rows, int cols)
{
    for (int i = 0; i < want.n; i++)
        for (int j = 0; j < want.stride; j++)
            ck_assert_msg(float_bits(row_at(want, i)[j]) == float_bits(row_at(got, i)[j]), "%s %s rows %d cols %d n %d: y[%d][%d] = %a, want %a",
                          what, isa_name(isa), rows, cols, want.n, i, j, (double)row_at(got, i)[j], (double)row_at(want, i)[j]);
}

/* Largest |error| of the reference over rows of sum |w x| in double precision. Float types differ by rounding of about
 * K/16 + 4 steps; quantized ones also by the rounding of x to 8 bits: half of d, about max|x|/254 per value. */
START_TEST(reference_is_near_double_precision)
{
    case_backend c;
    case_open(&c, ISA_SCALAR, 1, &limits);
    for (int t = 0; t < N_CASE_TYPE; t++) {
        int rows = 17, cols = 512, n = 3;
        case_state = (uint64_t)t;
        llm_tensor w = case_tensor(case_types[t], 0, rows, cols);
        llm_rows x = case_rows(n, cols), y = blank(n, rows);
        llm_linear l = { y, &w, NULL };
        float row[512];
        c.be.op.linear(&c.be, &l, 1, x);
        ck_assert(backend_ok(&c.be));
        for (int r = 0; r < rows; r++) {
            dequant_row(w.dtype, (const uint8_t *)w.data + (size_t)r * w.row_bytes, row, cols);
            for (int i = 0; i < n; i++) {
                double sum = 0, size = 0, weight = 0;
                for (int k = 0; k < cols; k++) {
                    sum += (double)row[k] * (double)row_at(x, i)[k];
                    size += fabs((double)row[k] * (double)row_at(x, i)[k]), weight += fabs((double)row[k]);
                }
                double allowed = matrix_form(w.dtype) == X_F32 ? 1e-6 * size : 1e-6 * size + weight / 254;
                double error = fabs((double)row_at(y, i)[r] - sum);
                ck_assert_msg(error <= allowed, "%s row %d: got %g want %g, error %g of %g", dtype_name(w.dtype), r, (double)row_at(y, i)[r], sum, error, allowed);
                /* rounding errors of x have random signs, so all of them together stay far below the bound */
                ck_assert_msg(matrix_form(w.dtype) == X_F32 || error < 0.35 * allowed, "%s row %d: error %g of %g", dtype_name(w.dtype), r, error, allowed);
            }
        }
        free((void *)(uintptr_t)w.data), free(x.data), free(y.data);
    }
    case_close(&c);
}
END_TEST

/* Integer blocks mean what the dequantizer says. */
START_TEST(integer_blocks_equal_dequantized)
{
    for (int t = 0; t < N_CASE_TYPE; t++) {
        llm_dtype type = case_types[t];
        const llm_dtype_info *info = dtype_info(type);
        uint8_t b[512];
        float want[256];
        case_state = 1000 + (uint64_t)t;
        for (int round = 0; round < 50 && matrix_form(type) != X_F32; round++) {
            block32 u;
            block256 s;
            case_block(type, b, info->block_bytes);
            dequant_row(type, b, want, info->block);
            if (info->block == 32) unpack32(type, b, &u);
            else unpack256(type, b, &s);
            for (int k = 0; k < info->block; k++) {
                float got = info->block == 32 ? (float)u.w[k] * u.d + u.m
                          : s.d * (float)s.sc[k / s.sub] * (float)s.w[k] - s.dmin * (float)s.mn[k / s.sub];
                ck_assert_msg(got == want[k], "%s value %d: got %a want %a", info->name, k, (double)got, (double)want[k]);
            }
        }
    }
}
END_TEST

/* One for all, for tiles of 16, for each row, for tiles that split 16 values, for 32 values of each row. */
static void fp8_scale(llm_tensor *w, int64_t rows, int64_t cols, int kind)
{
    const int64_t tile_rows[] = { rows, 16, 1, 24, 1 }, tile_cols[] = { cols, 16, cols, 24, 32 };
    int64_t tr = tile_rows[kind], tc = tile_cols[kind], n = ((rows + tr - 1) / tr) * ((cols + tc - 1) / tc);
    float *s = malloc((size_t)n * sizeof *s);
    for (int64_t i = 0; i < n; i++) s[i] = 1.0f + case_float() / 2;
    w->scale = (llm_scale){ .data = s, .dtype = DT_F32, .tile_rows = tr, .tile_cols = tc };
}

START_TEST(every_set_equals_the_reference)
{
    case_backend ref;
    case_open(&ref, ISA_SCALAR, 1, &limits);
    for (int s = 0; s < COUNT(sets); s++) {
        if (!cpu_has_isa(sets[s])) continue;
        for (int t = 0; t < N_CASE_TYPE; t++) {
            llm_dtype type = case_types[t];
            for (int ic = 0; ic < col_choices(type); ic++) for (int ir = 0; ir < COUNT(row_counts); ir++) {
                int cols = col_choice(type, ic), rows = row_counts[ir];
                if (!fits(type, cols)) continue;
                case_state = (uint64_t)(t * 1000 + ic * 100 + ir);
                llm_tensor w = case_tensor(type, 0, rows, cols), bias = case_tensor(ir % 2 ? DT_F32 : DT_BF16, 0, rows, 1);
                if (type == DT_F8_E4M3 || (type == DT_F8_E5M2 && ir != 3)) fp8_scale(&w, rows, cols, (ir + ic) % 5);
                for (int in = 0; in < COUNT(n_counts); in++) {
                    int n = n_counts[in];
                    if ((cols > 1000 && n > 9) || (TEST_IS_SLOW && (t + 2 * ic + 3 * ir + in) % 7 != 0)) continue;
                    case_backend c;
                    llm_rows x = case_rows(n, cols), want = blank(n, rows), got = blank(n, rows);
                    llm_linear lw = { want, &w, ir % 3 ? &bias : NULL }, lg = { got, &w, lw.bias };
                    case_open(&c, sets[s], 1 + in % 4, &limits);
                    ref.be.op.linear(&ref.be, &lw, 1, x);
                    c.be.op.linear(&c.be, &lg, 1, x);
                    ck_assert(backend_ok(&c.be));
                    check_same(want, got, dtype_name(type), sets[s], rows, cols);
                    case_close(&c);
                    free(x.data), free(want.data), free(got.data);
                }
                free((void *)(uintptr_t)w.data), free((void *)(uintptr_t)bias.data), free((void *)(uintptr_t)w.scale.data);
            }
        }
    }
    case_close(&ref);
}
END_TEST

/* Codes of NaN, and scales near the end of what a float holds or beyond, spoil their rows alone; elsewhere bits are the reference's. */
START_TEST(fp8_that_is_no_number_stays_in_its_row)
{
    enum { ROWS = 23, COLS = 100, NAN_ROW = 2, LARGE_ROW = 9, INFINITE_ROW = 14 };
    case_backend ref;

    case_open(&ref, ISA_SCALAR, 1, &limits);
    for (int s = 0; s < COUNT(sets); s++) for (int n = 1; n < 11 && cpu_has_isa(sets[s]); n++) for (int at = 0; at < COLS; at += 33) {
        llm_tensor w = case_tensor(DT_F8_E4M3, 0, ROWS, COLS);
        llm_rows x = case_rows(n, COLS), want = blank(n, ROWS), got = blank(n, ROWS);
        llm_linear lw = { want, &w, NULL }, lg = { got, &w, NULL };
        float scale[ROWS];
        uint8_t *data = (uint8_t *)(uintptr_t)w.data;
        case_backend c;
        for (int r = 0; r < ROWS; r++) scale[r] = r == LARGE_ROW ? 1e37f : r == INFINITE_ROW ? INFINITY : 0.5f + 0.01f * (float)r;
        for (size_t i = 0; i < ROWS * w.row_bytes; i++) if ((data[i] & 0x7f) == 0x7f) data[i] = 0x11;
        data[NAN_ROW * w.row_bytes + (size_t)at] = at % 2 ? 0xff : 0x7f;
        w.scale = (llm_scale){ .data = scale, .dtype = DT_F32, .tile_rows = 1, .tile_cols = COLS };
        case_open(&c, sets[s], 1, &limits);
        ref.be.op.linear(&ref.be, &lw, 1, x);
        c.be.op.linear(&c.be, &lg, 1, x);
        for (int i = 0; i < n; i++) for (int r = 0; r < ROWS; r++) {
            float a = row_at(want, i)[r], b = row_at(got, i)[r];
            ck_assert_msg(float_bits(a) == float_bits(b) || (isnan(a) && isnan(b)), "%s n %d at %d: row %d: %a, want %a", isa_name(sets[s]), n, at, r, (double)b, (double)a);
            ck_assert_msg((r == NAN_ROW || r == INFINITE_ROW) == !isfinite(b) || r == LARGE_ROW, "row %d: %a", r, (double)b);
        }
        case_close(&c);
        free(data), free(x.data), free(want.data), free(got.data);
    }
    case_close(&ref);
}
END_TEST

/* Float types with more columns than a tile of sums has room for, rows longer than a piece, and rows that are packed in part. */
START_TEST(long_float_rows_and_many_columns_equal_the_reference)
{
    static const llm_dtype types[] = { DT_F32, DT_F16, DT_BF16, DT_F8_E4M3, DT_Q8_K };
    static const int cols_of[] = { 2560, 2817, 5200 }, n_of[] = { 64, 65, 128, 139 };
    static const llm_limits large = { .n_batch = 139, .max_cols = 5200, .max_rows = 64, .d_model = 512 };
    enum { ROWS = 51 };
    case_backend ref;

    case_open(&ref, ISA_SCALAR, 1, &large);
    for (int s = 0; s < COUNT(sets); s++) for (int t = 0; t < COUNT(types) && cpu_has_isa(sets[s]); t++) for (int ic = 0; ic < COUNT(cols_of); ic++) {
        int cols = cols_of[ic] - cols_of[ic] % dtype_info(types[t])->block;
        llm_tensor w = case_tensor(types[t], 0, ROWS, cols), bias = case_tensor(DT_F32, 0, ROWS, 1);
        for (int in = 0; in < COUNT(n_of); in++) {
            int n = n_of[in];
            case_backend c;
            llm_packed p;
            llm_rows x = case_rows(n, cols), want = blank(n, ROWS), got = blank(n, ROWS);
            llm_linear lw = { want, &w, in % 2 ? &bias : NULL }, lg = { got, &w, lw.bias };
            if (TEST_IS_SLOW && (s + t + ic + in) % 4 != 0) { free(x.data), free(want.data), free(got.data); continue; }
            case_open(&c, sets[s], 1 + in % 3, &large);
            w.repacked = NULL;
            ref.be.op.linear(&ref.be, &lw, 1, x);
            uint8_t *memory = case_pack(&c, &w, &p, 16 * in);
            c.be.op.linear(&c.be, &lg, 1, x);
            check_same(want, got, dtype_name(types[t]), sets[s], ROWS, cols);
            case_close(&c);
            free(memory), free(x.data), free(want.data), free(got.data);
        }
        free((void *)(uintptr_t)w.data), free((void *)(uintptr_t)bias.data);
    }
    case_close(&ref);
}
END_TEST

/* A set's rows of x do not see each other, and threads do not matter: row i of a batch == row i alone. */
START_TEST(batch_equals_single)
{
    for (int isa = ISA_SCALAR; isa < N_ISA; isa++) {
        case_backend c[4];
        if (!cpu_has_isa((llm_isa)isa)) continue;
        for (int i = 0; i < 4; i++) case_open(&c[i], (llm_isa)isa, 1 + i, &limits);
        for (int t = 0; t < N_CASE_TYPE; t++) {
            int n = 13, rows = 290, cols = 256;
            case_state = (uint64_t)(t + 77);
            llm_tensor w = case_tensor(case_types[t], 0, rows, cols);
            llm_rows x = case_rows(n, cols), want = blank(n, rows), got = blank(n, rows);
            llm_linear l = { want, &w, NULL };
            c[0].be.op.linear(&c[0].be, &l, 1, x);
            for (int i = 1; i < 4; i++) {
                l.y = got;
                c[i].be.op.linear(&c[i].be, &l, 1, x);
                check_same(want, got, dtype_name(w.dtype), (llm_isa)isa, rows, cols);
            }
            memset(got.data, 0, bytes_of(got));
            for (int i = 0; i < n; i++) {
                llm_rows xi = { row_at(x, i), 1, cols, x.stride };
                l.y = (llm_rows){ row_at(got, i), 1, rows, got.stride };
                c[2].be.op.linear(&c[2].be, &l, 1, xi);
            }
            check_same(want, got, dtype_name(w.dtype), (llm_isa)isa, rows, cols);
            free((void *)(uintptr_t)w.data), free(x.data), free(want.data), free(got.data);
        }
        for (int i = 0; i < 4; i++) case_close(&c[i]);
    }
}
END_TEST

/* Codes and activations as large as they can be, in every sign: where sums are narrow for a while they are at their edge. */
START_TEST(extreme_codes_equal_the_reference)
{
    static const struct { llm_dtype type; int at, n; } scale[] = {          /* bytes of a block that are no codes */
        { DT_Q4_0, 0, 2 }, { DT_Q4_1, 0, 4 }, { DT_Q5_0, 0, 2 }, { DT_Q5_1, 0, 4 }, { DT_Q8_0, 0, 2 }, { DT_IQ4_NL, 0, 2 }, { DT_MXFP4, 0, 1 },
        { DT_Q2_K, 80, 4 }, { DT_Q3_K, 108, 2 }, { DT_Q4_K, 0, 4 }, { DT_Q5_K, 0, 4 }, { DT_Q6_K, 208, 2 }, { DT_IQ4_XS, 0, 2 },
        { DT_IQ2_XXS, 0, 2 }, { DT_IQ2_XS, 0, 2 }, { DT_IQ2_S, 0, 2 }, { DT_IQ3_XXS, 0, 2 }, { DT_IQ3_S, 0, 2 }, { DT_IQ1_S, 0, 2 }, { DT_IQ1_M, 48, 8 },
        { DT_TQ1_0, 52, 2 }, { DT_TQ2_0, 64, 2 }, { DT_Q8_K, 0, 4 },
    };
    static const uint8_t byte[] = { 0x00, 0xff, 0x80, 0x7f, 0x08, 0x77 };
    static const int n_of[] = { 1, 2, 4, 9 };
    enum { ROWS = 33, COLS = 512, BATCH = 9 };
    case_backend ref;

    case_open(&ref, ISA_SCALAR, 1, &limits);
    for (int t = 0; t < COUNT(scale); t++) for (int b = 0; b < COUNT(byte); b++) {
        llm_tensor w = case_tensor(scale[t].type, 0, ROWS, COLS);
        llm_rows x = case_rows(BATCH, COLS), want = blank(BATCH, ROWS), got = blank(BATCH, ROWS);
        llm_linear lw = { want, &w, NULL }, lg = { got, &w, NULL };
        int size = dtype_info(w.dtype)->block_bytes;
        for (size_t i = 0; i < ROWS * w.row_bytes; i++)
            if ((int)(i % (size_t)size) < scale[t].at || (int)(i % (size_t)size) >= scale[t].at + scale[t].n) ((uint8_t *)(uintptr_t)w.data)[i] = byte[b];
        for (int i = 0; i < BATCH; i++) for (int k = 0; k < COLS; k++) row_at(x, i)[k] = i == 0 ? 1 : i == 1 ? -1 : k >> (i - 2) & 1 ? -1 : 1;
        ref.be.op.linear(&ref.be, &lw, 1, x);
        for (int s = 0; s < COUNT(sets); s++) for (int in = 0; in < 2 * COUNT(n_of) && cpu_has_isa(sets[s]); in++) {
            int n = n_of[in / 2];
            case_backend c;
            llm_packed p;
            uint8_t *memory;
            case_open(&c, sets[s], 2, &limits);
            memory = in % 2 ? case_pack(&c, &w, &p, ROWS) : NULL;
            lg.y.n = x.n = n;
            c.be.op.linear(&c.be, &lg, 1, x);
            for (int i = 0; i < n; i++)
                ck_assert_msg(memcmp(row_at(got, i), row_at(want, i), ROWS * sizeof(float)) == 0, "%s, byte %02x, set %d, packed %d: row %d of %d", dtype_name(w.dtype), byte[b],
                              (int)sets[s], in % 2, i, n);
            case_close(&c), free(memory);
            w.repacked = NULL;
        }
        free((void *)(uintptr_t)w.data), free(x.data), free(want.data), free(got.data);
    }
    case_close(&ref);
}
END_TEST

/* Codebooks with their greatest scales and x with the signs of the codes: the sums of a super-block pass 2^24, and are rounded once.
 * (Those of IQ3_XXS are even, and do not reach 2^25 here.) */
START_TEST(great_sums_are_rounded_once)
{
    static const struct { llm_dtype type; int at, step, n; uint8_t bits; float factor; } scale[] = {
        { DT_IQ2_XXS, 9, 8, 8, 0xf0, 0.125f }, { DT_IQ2_XS, 66, 1, 8, 0xff, 0.125f }, { DT_IQ2_S, 74, 1, 8, 0xff, 0.125f },
    };
    enum { ROWS = 19, COLS = 256 };

    for (int t = 0; t < COUNT(scale); t++) {
        llm_tensor w = case_tensor(scale[t].type, 0, ROWS, COLS);
        llm_rows x = case_rows(ROWS, COLS), want = blank(ROWS, ROWS), got = blank(ROWS, ROWS);
        int great = 0, n_of[] = { 1, 2, 9, ROWS };
        for (int r = 0; r < ROWS; r++) {
            uint8_t *b = (uint8_t *)(uintptr_t)w.data + (size_t)r * w.row_bytes;
            float v[COLS];
            memcpy(b, "\x00\x3c", 2);
            for (int i = 0; i < scale[t].n; i++) b[scale[t].at + i * scale[t].step] |= scale[t].bits;
            ck_assert(dequant_row(w.dtype, b, v, COLS));
            for (int k = 0; k < COLS; k++) row_at(x, r)[k] = v[k] < 0 ? -1 : 1;
        }
        for (int r = 0; r < ROWS; r++) {
            float v[COLS];
            dequant_row(w.dtype, (const uint8_t *)w.data + (size_t)r * w.row_bytes, v, COLS);
            for (int i = 0; i < ROWS; i++) {
                int sum = 0;
                for (int k = 0; k < COLS; k++) sum += (int)(v[k] / scale[t].factor) * (int)(127 * row_at(x, i)[k]);
                row_at(want, i)[r] = fmaf(scale[t].factor * (1.0f / 127), (float)sum, 0.0f);
                great += abs(sum) > 1 << 24 && sum % 2 != 0;
            }
        }
        ck_assert_msg(great > 2, "%s: %d", dtype_name(w.dtype), great);
        for (int s = -1; s < COUNT(sets); s++) for (int j = 0; j < COUNT(n_of) && (s < 0 || cpu_has_isa(sets[s])); j++) {
            case_backend c;
            llm_linear l = { got, &w, NULL };
            case_open(&c, s < 0 ? ISA_SCALAR : sets[s], 2, &limits);
            l.y.n = x.n = n_of[j];
            c.be.op.linear(&c.be, &l, 1, x);
            for (int i = 0; i < n_of[j]; i++) for (int r = 0; r < ROWS; r++)
                ck_assert_msg(row_at(got, i)[r] == row_at(want, i)[r], "%s, set %d: column %d of %d, row %d: %.9g, not %.9g", dtype_name(w.dtype), s, i, n_of[j], r,
                              row_at(got, i)[r], row_at(want, i)[r]);
            case_close(&c);
        }
        free((void *)(uintptr_t)w.data), free(x.data), free(want.data), free(got.data);
    }
}
END_TEST

/* linear_peaks: what linear gives, and the greatest of each block of it, with any number of threads; a broken value is seen. */
START_TEST(peaks_are_those_of_the_rows)
{
    static const llm_dtype types[] = { DT_Q6_K, DT_Q8_0, DT_BF16 };
    static const int row_count[] = { 1, 63, 64, 700, 2051 }, n_count[] = { 1, 2, 9 };
    enum { COLS = 256 };

    for (int isa = ISA_SCALAR; isa < N_ISA; isa++) for (int t = 0; t < COUNT(types); t++) for (int ir = 0; ir < COUNT(row_count); ir++) for (int in = 0; in < COUNT(n_count); in++) {
        case_backend c;
        int rows = row_count[ir], n = n_count[in], n_peak = (rows + PEAK_OF - 1) / PEAK_OF;
        float *peak = calloc((size_t)(n * n_peak), sizeof *peak);
        if (!cpu_has_isa((llm_isa)isa)) { free(peak); continue; }
        llm_tensor w = case_tensor(types[t], 0, rows, COLS);
        llm_rows x = case_rows(n, COLS), want = blank(n, rows), got = blank(n, rows);
        llm_linear lw = { want, &w, NULL }, lg = { got, &w, NULL };
        case_open(&c, (llm_isa)isa, 1 + (ir + in) % 4, &limits);
        if (t == 2 && ir > 0) for (int k = 0; k < COLS; k++) ((uint16_t *)(uintptr_t)w.data)[62 * COLS + k] = ir % 2 ? 0x7f80 : 0xff80;   /* +-infinity: NaN or one of them */
        c.be.op.linear(&c.be, &lw, 1, x);
        c.be.block.linear_peaks(&c.be, &lg, x, peak);
        ck_assert(backend_ok(&c.be));
        check_same(want, got, dtype_name(w.dtype), (llm_isa)isa, rows, COLS);
        for (int i = 0; i < n; i++) for (int b = 0; b < n_peak; b++) {
            float most = -INFINITY, is = peak[i * n_peak + b];
            bool broken = false;
            for (int r = b * PEAK_OF; r < rows && r < (b + 1) * PEAK_OF; r++) {
                float v = row_at(want, i)[r];
                broken |= !(v < INFINITY), most = v > most ? v : most;
            }
            ck_assert_msg(broken ? isnan(is) : is == most, "%s, %d rows, row %d, block %d: %g, want %g", dtype_name(w.dtype), rows, i, b, is, broken ? NAN : most);
        }
        case_close(&c);
        free(peak), free((void *)(uintptr_t)w.data), free(x.data), free(want.data), free(got.data);
    }
}
END_TEST

/* One call with many weights of mixed forms and permutations == one call for each. */
START_TEST(joined_equals_separate)
{
    static const llm_dtype mix[] = { DT_Q4_0, DT_Q6_K, DT_F16, DT_Q4_G, DT_Q4_G, DT_Q8_0, DT_F32, DT_Q4_K, DT_BF16, DT_Q4_0, DT_IQ2_S };
    enum { N = COUNT(mix), COLS = 512, ROWS = 21, BATCH = 5 };
    int32_t perm[2][COLS];
    for (int k = 0; k < COLS; k++) perm[0][k] = (k * 37 + 5) % COLS, perm[1][k] = COLS - 1 - k;
    for (int isa = ISA_SCALAR; isa < N_ISA; isa++) {
        case_backend c;
        llm_tensor w[N];
        llm_linear one[N], all[N];
        if (!cpu_has_isa((llm_isa)isa)) continue;
        case_open(&c, (llm_isa)isa, 3, &limits);
        llm_rows x = case_rows(BATCH, COLS);
        for (int i = 0; i < N; i++) {
            w[i] = case_tensor(mix[i], 0, ROWS, COLS);
            if (i == 3 || i == 4 || i == 6) w[i].perm = perm[i % 2];
            one[i] = (llm_linear){ blank(BATCH, ROWS), &w[i], NULL }, all[i] = (llm_linear){ blank(BATCH, ROWS), &w[i], NULL };
            c.be.op.linear(&c.be, &one[i], 1, x);
        }
        c.be.op.linear(&c.be, all, N, x);
        for (int i = 0; i < N; i++) {
            check_same(one[i].y, all[i].y, dtype_name(mix[i]), (llm_isa)isa, i, COLS);
            if (w[i].perm != NULL) {                        /* gathering first is the same thing */
                llm_rows g = case_rows(BATCH, COLS);
                const int32_t *p = w[i].perm;
                for (int r = 0; r < BATCH; r++) for (int k = 0; k < COLS; k++) row_at(g, r)[k] = row_at(x, r)[p[k]];
                w[i].perm = NULL;
                c.be.op.linear(&c.be, &all[i], 1, g);
                check_same(one[i].y, all[i].y, "gathered", (llm_isa)isa, i, COLS);
                free(g.data);
            }
            free((void *)(uintptr_t)w[i].data), free(one[i].y.data), free(all[i].y.data);
        }
        free(x.data);
        case_close(&c);
    }
}
END_TEST

START_TEST(absorb_is_a_product_per_head)
{
    enum { HEADS = 5, ROWS = 40, COLS = 96, BATCH = 4, XSTEP = 100, YSTEP = 44 };
    llm_limits tight = limits;          /* room for three heads at a time */
    tight.n_batch = BATCH, tight.max_cols = 130, tight.d_model = 130;
    static const llm_dtype types[] = { DT_F32, DT_BF16, DT_Q8_0, DT_Q5_0 };
    for (int isa = ISA_SCALAR; isa < N_ISA; isa++) for (int t = 0; t < COUNT(types); t++) {
        case_backend c;
        if (!cpu_has_isa((llm_isa)isa)) continue;
        case_open(&c, (llm_isa)isa, 2, &tight);
        llm_tensor w = case_tensor(types[t], HEADS, ROWS, COLS);
        llm_rows x = case_rows(BATCH, HEADS * XSTEP), got = blank(BATCH, HEADS * YSTEP), want = blank(BATCH, HEADS * YSTEP);
        c.be.op.absorb(&c.be, got, YSTEP, x, XSTEP, &w);
        for (int h = 0; h < HEADS; h++) {
            llm_tensor wh = w;
            wh.data = (const uint8_t *)w.data + (size_t)(h * ROWS) * w.row_bytes, wh.dim[0] = ROWS, wh.dim[1] = COLS, wh.dim[2] = 1;
            llm_linear l = { { want.data + h * YSTEP, BATCH, ROWS, want.stride }, &wh, NULL };
            c.be.op.linear(&c.be, &l, 1, (llm_rows){ x.data + h * XSTEP, BATCH, COLS, x.stride });
        }
        ck_assert(backend_ok(&c.be));
        check_same(want, got, dtype_name(types[t]), (llm_isa)isa, ROWS, COLS);
        free((void *)(uintptr_t)w.data), free(x.data), free(got.data), free(want.data);
        case_close(&c);
    }
}
END_TEST

START_TEST(embed_dequantizes_rows)
{
    static const int32_t token[] = { 4, 0, 32, 4 };
    for (int t = 0; t < N_CASE_TYPE; t++) {
        case_backend c;
        float row[256];
        case_open(&c, ISA_SCALAR, 2, &limits);
        llm_tensor w = case_tensor(case_types[t], 0, 33, 256);
        llm_rows y = blank(4, 256);
        c.be.op.embed(&c.be, y, &w, token, 1.5f);
        for (int i = 0; i < 4; i++) {
            dequant_row(w.dtype, (const uint8_t *)w.data + (size_t)token[i] * w.row_bytes, row, 256);
            for (int k = 0; k < 256; k++) ck_assert(row_at(y, i)[k] == row[k] * 1.5f);
        }
        int32_t bad = 33;
        y.n = 1;
        c.be.op.embed(&c.be, y, &w, &bad, 1.0f);
        ck_assert_int_eq(c.be.err.status, LLM_ERR_ARG);
        free((void *)(uintptr_t)w.data), free(y.data);
        case_close(&c);
    }
}
END_TEST

/* NaN and infinities go in, NaN comes out of the rows that hold them, the other rows are untouched. */
START_TEST(bad_activations_stay_in_their_row)
{
    for (int isa = ISA_SCALAR; isa < N_ISA; isa++) for (int t = 0; t < N_CASE_TYPE; t++) {
        enum { ROWS = 19, COLS = 512, N = 6 };
        case_backend c;
        if (!cpu_has_isa((llm_isa)isa)) continue;
        case_open(&c, (llm_isa)isa, 2, &limits);
        case_state = (uint64_t)t;
        llm_tensor w = case_tensor(case_types[t], 0, ROWS, COLS);
        llm_rows x = case_rows(N, COLS), good = blank(N, ROWS), got = blank(N, ROWS);
        llm_linear l = { good, &w, NULL };
        c.be.op.linear(&c.be, &l, 1, x);
        row_at(x, 1)[300] = NAN, row_at(x, 4)[17] = -INFINITY, row_at(x, 4)[18] = NAN;
        l.y = got;
        c.be.op.linear(&c.be, &l, 1, x);
        for (int i = 0; i < N; i++) for (int r = 0; r < ROWS; r++) {
            if (i == 1 || i == 4) ck_assert_msg(isnan(row_at(got, i)[r]), "%s", dtype_name(w.dtype));
            else ck_assert(float_bits(row_at(got, i)[r]) == float_bits(row_at(good, i)[r]));
        }
        free((void *)(uintptr_t)w.data), free(x.data), free(good.data), free(got.data);
        case_close(&c);
    }
}
END_TEST

/* Rows that are in order, whether all or some, one column or several: what the file's rows give. */
START_TEST(packed_rows_equal_the_file)
{
    static const int rows_of[] = { 16, 33, 64, 100 }, n_of[] = { 1, 2, 3, 4, 5, 7, 8, 9 };
    for (int isa = ISA_SCALAR; isa < N_ISA; isa++) {
        case_backend c;
        if (!cpu_has_isa((llm_isa)isa)) continue;
        case_open(&c, (llm_isa)isa, 2, &limits);
        for (int t = 0; t < N_CASE_TYPE; t++) for (int ic = 0; ic < COUNT(block_cols); ic++) for (int ir = 0; ir < COUNT(rows_of); ir++) {
            int cols = has_block(case_types[t]) ? block_cols[ic] : float_cols[ic + 2], rows = rows_of[ir];
            if (!fits(case_types[t], cols)) continue;
            case_state = (uint64_t)(t * 100 + ic * 10 + ir);
            llm_tensor w = case_tensor(case_types[t], 0, rows, cols), bias = case_tensor(DT_F32, 0, rows, 1);
            if (case_types[t] == DT_F8_E4M3) fp8_scale(&w, rows, cols, ic);
            for (int some = 0; some < 2; some++) for (int in = 0; in < COUNT(n_of); in++) {
                if (TEST_IS_SLOW && (t + 2 * ic + ir + in + 2 * some) % 9 != 0) continue;
                llm_packed p;
                llm_rows x = case_rows(n_of[in], cols), want = blank(n_of[in], rows), got = blank(n_of[in], rows);
                llm_linear l = { want, &w, ir % 2 ? &bias : NULL };
                w.repacked = NULL;
                c.be.op.linear(&c.be, &l, 1, x);
                uint8_t *memory = case_pack(&c, &w, &p, some ? 17 : rows);
                l.y = got;
                c.be.op.linear(&c.be, &l, 1, x);
                ck_assert(backend_ok(&c.be));
                check_same(want, got, dtype_name(case_types[t]), (llm_isa)isa, rows, cols);
                free(memory), free(x.data), free(want.data), free(got.data);
            }
            free((void *)(uintptr_t)w.data), free((void *)(uintptr_t)bias.data), free((void *)(uintptr_t)w.scale.data);
        }
        case_close(&c);
    }
}
END_TEST

/* Matrices of a stack, some of them in order; and rows of a table. */
START_TEST(packed_stacks_and_tables_equal_the_file)
{
    enum { HEADS = 3, ROWS = 36, COLS = 512 };
    for (int isa = ISA_SCALAR; isa < N_ISA; isa++) for (int t = 0; t < N_CASE_TYPE; t++) for (int n = 1; n < 4; n += 2) {
        static const int32_t token[] = { 0, 15, 16, 35, 31 };
        case_backend c;
        llm_packed p;
        if (!cpu_has_isa((llm_isa)isa)) continue;
        case_open(&c, (llm_isa)isa, 2, &limits);
        case_state = (uint64_t)t;
        llm_tensor w = case_tensor(case_types[t], HEADS, ROWS, COLS), table = case_tensor(case_types[t], 0, ROWS, COLS);
        llm_rows x = case_rows(n, HEADS * COLS), want = blank(n, HEADS * ROWS), got = blank(n, HEADS * ROWS), a = blank(5, COLS), b = blank(5, COLS);
        c.be.op.absorb(&c.be, want, ROWS, x, COLS, &w);
        uint8_t *memory = case_pack(&c, &w, &p, 32 + 16);
        c.be.op.absorb(&c.be, got, ROWS, x, COLS, &w);
        check_same(want, got, dtype_name(case_types[t]), (llm_isa)isa, ROWS, COLS);
        free(memory);
        c.be.op.embed(&c.be, a, &table, token, 2.0f);
        memory = case_pack(&c, &table, &p, ROWS);
        c.be.op.embed(&c.be, b, &table, token, 2.0f);
        check_same(a, b, "table", (llm_isa)isa, ROWS, COLS);
        ck_assert(backend_ok(&c.be));
        free(memory), free(x.data), free(want.data), free(got.data), free(a.data), free(b.data);
        free((void *)(uintptr_t)w.data), free((void *)(uintptr_t)table.data);
        case_close(&c);
    }
}
END_TEST

/* Two stacks whose rows lie in turn, codes here and scales there, as MXFP4 and as F4_E2M1; which: the first or the second of them. */
typedef struct { uint8_t *code, *scale, *block; llm_tensor whole, apart; } two_forms;
static two_forms forms_of(int heads, int rows, int cols, int which)
{
    int n = cols / 32, all = heads * rows * 2 * n;
    two_forms f = { malloc((size_t)all * 16), malloc((size_t)all), malloc((size_t)all / 2 * 17), { 0 }, { 0 } };

    for (int i = 0; i < 16 * all; i++) f.code[i] = (uint8_t)case_bits();
    for (int i = 0; i < all; i++) f.scale[i] = (uint8_t)(i % 50 == 0 ? (unsigned)i / 50 % 2 : 120 + case_bits() % 9);
    for (int i = 0; i < all / 2; i++) {
        int from = (i / n * 2 + which) * n + i % n;
        uint8_t v[32], *b = f.block + 17 * i;
        for (int k = 0; k < 32; k++) v[k] = f.code[16 * from + k / 2] >> 4 * (k % 2) & 15;
        b[0] = f.scale[from];
        for (int k = 0; k < 16; k++) b[1 + k] = (uint8_t)(v[k] | v[k + 16] << 4);
    }
    f.whole = (llm_tensor){ .data = f.block, .dtype = DT_MXFP4, .dim = { heads, rows, cols }, .row_bytes = (size_t)n * 17 };
    f.apart = (llm_tensor){ .data = f.code + which * n * 16, .dtype = DT_F4_E2M1, .dim = { heads, rows, cols }, .row_bytes = (size_t)n * 32 };
    f.apart.scale = (llm_scale){ .data = f.scale + which * n, .dtype = DT_F8_E8M0, .tile_rows = 1, .tile_cols = 32, .row_bytes = (size_t)n * 2 };
    return f;
}

/* Codes whose scales lie in another place give what whole blocks give, none, some or all of them in order; rows of a table, too. */
START_TEST(scales_apart_equal_whole_blocks)
{
    enum { HEADS = 3, MOST = 544 };
    static const int cols_of[] = { 32, 96, 256, 288, MOST }, rows_of[] = { 16, 48 }, n_of[] = { 1, 2, 9 };
    for (int isa = ISA_SCALAR; isa < N_ISA; isa++) for (int ic = 0; ic < COUNT(cols_of); ic++) for (int ir = 0; ir < COUNT(rows_of); ir++) {
        int cols = cols_of[ic], rows = rows_of[ir];
        case_backend c;
        if (!cpu_has_isa((llm_isa)isa)) continue;
        case_open(&c, (llm_isa)isa, 2, &limits);
        case_state = (uint64_t)(ic * 10 + ir);
        two_forms f = forms_of(HEADS, rows, cols, ir % 2);
        for (int in = 0; in < COUNT(n_of); in++) for (int some = 0; some < 3; some++) {
            if (TEST_IS_SLOW && (ic + in + some) % 3 != 0) continue;
            int n = n_of[in];
            llm_packed p;
            llm_rows x = case_rows(n, HEADS * cols), want = blank(n, HEADS * rows), got = blank(n, HEADS * rows), a = blank(3, cols), b = blank(3, cols);
            uint8_t *memory = NULL;
            c.be.op.absorb(&c.be, want, rows, x, cols, &f.whole);
            f.apart.repacked = NULL;
            if (some > 0) memory = case_pack(&c, &f.apart, &p, some == 1 ? rows + 16 : HEADS * rows);
            c.be.op.absorb(&c.be, got, rows, x, cols, &f.apart);
            check_same(want, got, "stack", (llm_isa)isa, rows, cols);
            for (int h = 0; h < HEADS; h++) {               /* the tables that start there */
                static const int32_t token[] = { 0, 15, 7 };
                llm_tensor tw = f.whole, ta = f.apart;
                tw.data = f.block + (size_t)(h * rows) * tw.row_bytes, ta.data = (const uint8_t *)ta.data + (size_t)(h * rows) * ta.row_bytes;
                ta.scale.data = (const uint8_t *)ta.scale.data + (size_t)(h * rows) * ta.scale.row_bytes, ta.repacked = h == 0 ? ta.repacked : NULL;
                tw.dim[0] = ta.dim[0] = rows, tw.dim[1] = ta.dim[1] = cols, tw.dim[2] = ta.dim[2] = 1;
                c.be.op.embed(&c.be, a, &tw, token, 2.0f), c.be.op.embed(&c.be, b, &ta, token, 2.0f);
                check_same(a, b, "table", (llm_isa)isa, rows, cols);
            }
            ck_assert(backend_ok(&c.be));
            free(memory), free(x.data), free(want.data), free(got.data), free(a.data), free(b.data);
        }
        free(f.code), free(f.scale), free(f.block);
        case_close(&c);
    }
}
END_TEST

LLM_TEST_MAIN("kernels/linear", fp8_that_is_no_number_stays_in_its_row, reference_is_near_double_precision, integer_blocks_equal_dequantized,
              every_set_equals_the_reference, long_float_rows_and_many_columns_equal_the_reference, batch_equals_single,
              extreme_codes_equal_the_reference, great_sums_are_rounded_once, peaks_are_those_of_the_rows, joined_equals_separate,
              absorb_is_a_product_per_head, embed_dequantizes_rows, bad_activations_stay_in_their_row, packed_rows_equal_the_file,
              packed_stacks_and_tables_equal_the_file, scales_apart_equal_whole_blocks)
