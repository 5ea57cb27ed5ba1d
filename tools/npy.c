/* Format: NumPy Enhancement Proposal 1 (NEP 1), "A simple file format for NumPy arrays". */
#include "npy.h"
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

bool npy_write_header(FILE *f, size_t rows, size_t cols)
{
    char dict[118];                     /* 10 + 118 = 128 bytes in all, a multiple of 64 */
    int n = snprintf(dict, sizeof dict, "{'descr': '<f4', 'fortran_order': False, 'shape': (%zu, %zu), }", rows, cols);

    memset(dict + n, ' ', sizeof dict - (size_t)n);
    dict[sizeof dict - 1] = '\n';
    return fwrite("\x93NUMPY\x01\x00\x76\x00", 1, 10, f) == 10 && fwrite(dict, 1, sizeof dict, f) == sizeof dict;
}

static bool parse_shape(const char *dict, npy_array *out)
{
    const char *s = strstr(dict, "'shape': (");
    unsigned long long a = 0, b = 0;
    int n = s ? sscanf(s + 10, "%llu, %llu", &a, &b) : 0;

    if (n < 1) return false;
    out->rows = n == 2 ? (size_t)a : 1, out->cols = n == 2 ? (size_t)b : (size_t)a;
    return true;
}

static bool read_values(FILE *f, bool is_int, npy_array *out)
{
    size_t n = out->rows * out->cols;

    if (out->cols != 0 && n / out->cols != out->rows) return false;
    if (n > SIZE_MAX / sizeof(float) || (out->data = malloc(n * sizeof(float) + 1)) == NULL) return false;
    if (fread(out->data, sizeof(float), n, f) != n) { free(out->data); return false; }
    for (size_t i = 0; is_int && i < n; i++) {
        int32_t v;
        memcpy(&v, &out->data[i], sizeof v);
        out->data[i] = (float)v;
    }
    return true;
}

bool npy_read(const char *path, npy_array *out, char *why, size_t cap)
{
    FILE *f = fopen(path, "rb");
    unsigned char head[10];
    char dict[1024];
    size_t n;
    bool is_int, ok;

    if (f == NULL) { snprintf(why, cap, "%s", strerror(errno)); return false; }
    ok = fread(head, 1, 10, f) == 10 && memcmp(head, "\x93NUMPY\x01", 7) == 0;
    n = ok ? (size_t)head[8] | (size_t)head[9] << 8 : 0;
    if (!ok || n >= sizeof dict || fread(dict, 1, n, f) != n) {
        snprintf(why, cap, "not a version 1 .npy file");
        fclose(f);
        return false;
    }
    dict[n] = '\0';
    is_int = strstr(dict, "'<i4'") != NULL;
    if ((!is_int && strstr(dict, "'<f4'") == NULL) || strstr(dict, "False") == NULL || !parse_shape(dict, out)) {
        snprintf(why, cap, "want float32 or int32 in C order, got %.100s", dict);
        fclose(f);
        return false;
    }
    ok = read_values(f, is_int, out);
    if (!ok) snprintf(why, cap, "shape (%zu, %zu) does not fit the file or the memory", out->rows, out->cols);
    fclose(f);
    return ok;
}
