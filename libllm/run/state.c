/* state.c - a session's sequences in a file.
 *
 * The file, all numbers in the byte order of the machine:
 *     8 bytes   "LLMSTATE"
 *     u32       1 (version), 0x01020304 (byte order), dtype of the cells, n_layer, n_seq
 *     32 bytes  the model's identity (llm_model.identity)
 *     u32       length of each of the n_seq sequences
 *     then per sequence: its tokens (i32), and per layer the keys and values of positions kv_first .. length - 1
 *               in blocks of at most KV_BLOCK: all keys of the block, then all values
 *     32 bytes  SHA-256 of everything before
 * The size follows from the head, so a file that is cut or has bytes to spare is found before anything is read. */
#include "session.h"
#include "sha256.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char magic[8] = { 'L', 'L', 'M', 'S', 'T', 'A', 'T', 'E' };
enum { VERSION = 1, BYTE_ORDER_MARK = 0x01020304, MAX_SAVED_SEQ = 256 };

typedef struct {
    char magic[8];
    uint32_t version, byte_order, dtype, n_layer, n_seq;
    uint8_t identity[32];
} state_head;
_Static_assert(sizeof(state_head) == 60, "the head is written as it lies in memory");

/* A file being written or read, and the hash of what went through. */
typedef struct {
    int fd;
    const char *path;
    llm_sha256 hash;
    llm_error *err;
} state_file;

static llm_status put(state_file *f, const void *data, size_t n)
{
    const char *p = data;

    sha256_add(&f->hash, data, n);
    while (n > 0) {
        ssize_t did = write(f->fd, p, n);
        if (did < 0 && errno == EINTR) continue;
        if (did <= 0) return llm_fail(f->err, LLM_ERR_IO, "%s: cannot write: %s", f->path, strerror(did < 0 ? errno : ENOSPC));
        p += did, n -= (size_t)did;
    }
    return LLM_OK;
}

static llm_status get(state_file *f, void *data, size_t n)
{
    char *p = data;
    size_t left = n;

    while (left > 0) {
        ssize_t did = read(f->fd, p, left);
        if (did < 0 && errno == EINTR) continue;
        if (did < 0) return llm_fail(f->err, LLM_ERR_IO, "%s: cannot read: %s", f->path, strerror(errno));
        if (did == 0) return llm_fail(f->err, LLM_ERR_FORMAT, "%s: ends %zu bytes too early", f->path, left);
        p += did, left -= (size_t)did;
    }
    sha256_add(&f->hash, data, n);
    return LLM_OK;
}

/* One layer's cells of one sequence through buf, to the file or from it. */
static llm_status cells(state_file *f, const llm_kv *kv, int il, int seq, int length, char *buf, bool save)
{
    llm_kv_layer *l = &kv->layer[il];
    size_t k_bytes = kv_row_bytes(l, false), v_bytes = kv_row_bytes(l, true);
    llm_status st = LLM_OK;

    for (int pos = kv_first(kv, il, length), n; st == LLM_OK && pos < length; pos += n) {
        n = length - pos < KV_BLOCK ? length - pos : KV_BLOCK;
        size_t bytes = (size_t)n * (k_bytes + v_bytes);
        char *v = l->latent ? NULL : buf + (size_t)n * k_bytes;
        if (save) {
            if ((st = kv_read(kv, il, seq, pos, n, buf, v, f->err)) == LLM_OK) st = put(f, buf, bytes);
        } else if ((st = get(f, buf, bytes)) == LLM_OK) {
            st = kv_write(kv, il, seq, pos, n, buf, v, f->err);
        }
    }
    return st;
}

/* ---- saving ---- */

static llm_status save_body(state_file *f, const llm_session *s)
{
    const llm_kv *kv = &s->kv;
    state_head head = { .version = VERSION, .byte_order = BYTE_ORDER_MARK, .dtype = (uint32_t)kv->dtype,
                        .n_layer = (uint32_t)kv->n_layer, .n_seq = (uint32_t)kv->n_seq };
    uint8_t digest[32];
    char *buf = malloc(kv_block_bytes(kv));
    llm_status st;

    if (buf == NULL) return llm_fail_memory(f->err, kv_block_bytes(kv), "saving cells");
    memcpy(head.magic, magic, sizeof magic), memcpy(head.identity, s->model->identity, sizeof head.identity);
    sha256_begin(&f->hash);
    st = put(f, &head, sizeof head);
    for (int i = 0; st == LLM_OK && i < kv->n_seq; i++) {
        uint32_t length = (uint32_t)kv->seq[i].length;
        st = put(f, &length, sizeof length);
    }
    for (int i = 0; st == LLM_OK && i < kv->n_seq; i++) {
        st = put(f, kv_tokens(kv, i), (size_t)kv->seq[i].length * sizeof(llm_token));
        for (int il = 0; st == LLM_OK && il < kv->n_layer; il++)
            st = cells(f, kv, il, i, kv->seq[i].length, buf, true);
    }
    free(buf);
    if (st != LLM_OK) return st;
    sha256_end(&f->hash, digest);
    return put(f, digest, sizeof digest);
}

/* Makes the rename itself durable. name is cut to the folder. A file system that cannot do this is not an error. */
static void sync_folder(char *name)
{
    char *slash = strrchr(name, '/');
    int fd;

    if (slash != NULL) slash[slash == name] = 0;
    fd = open(slash ? name : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    (void)fsync(fd);
    close(fd);
}

llm_status state_save(const llm_session *s, const char *path, llm_error *err)
{
    size_t n = strlen(path) + sizeof ".XXXXXX";
    state_file f = { .path = path, .err = err };
    char *temp = malloc(n);
    llm_status st;

    if (temp == NULL) return llm_fail_memory(err, n, "a file name");
    snprintf(temp, n, "%s.XXXXXX", path);
    f.fd = mkostemp(temp, O_CLOEXEC);           /* readable by its owner alone: it holds the text */
    if (f.fd < 0) {
        st = llm_fail(err, LLM_ERR_IO, "%s: cannot create: %s", temp, strerror(errno));
        free(temp);
        return st;
    }
    st = save_body(&f, s);
    if (st == LLM_OK && fsync(f.fd) != 0) st = llm_fail(err, LLM_ERR_IO, "%s: cannot write: %s", temp, strerror(errno));
    if (close(f.fd) != 0 && st == LLM_OK) st = llm_fail(err, LLM_ERR_IO, "%s: cannot write: %s", temp, strerror(errno));
    if (st == LLM_OK && rename(temp, path) != 0)
        st = llm_fail(err, LLM_ERR_IO, "%s: cannot rename %s to it: %s", path, temp, strerror(errno));
    if (st == LLM_OK) sync_folder(temp);
    else unlink(temp);
    free(temp);
    return st;
}

/* ---- restoring ---- */

static llm_status head_check(state_file *f, const llm_session *s, const state_head *h)
{
    const llm_kv *kv = &s->kv;
    const char *p = f->path;

    if (memcmp(h->magic, magic, sizeof magic) != 0) return llm_fail(f->err, LLM_ERR_FORMAT, "%s: not a saved session", p);
    if (h->byte_order != BYTE_ORDER_MARK)
        return llm_fail(f->err, LLM_ERR_UNSUPPORTED, "%s: written by a machine of another byte order, or damaged", p);
    if (h->version != VERSION)
        return llm_fail(f->err, LLM_ERR_UNSUPPORTED, "%s: version %" PRIu32 ", want %d", p, h->version, (int)VERSION);
    if (memcmp(h->identity, s->model->identity, sizeof h->identity) != 0)
        return llm_fail(f->err, LLM_ERR_MISMATCH, "%s: belongs to another model", p);
    if (h->n_layer != (uint32_t)kv->n_layer)
        return llm_fail(f->err, LLM_ERR_FORMAT, "%s: %" PRIu32 " layers, the model has %d", p, h->n_layer, kv->n_layer);
    if (h->dtype != (uint32_t)kv->dtype)
        return llm_fail(f->err, LLM_ERR_MISMATCH, "%s: keys and values are %s, those of this session %s", p,
                        dtype_name((int)h->dtype), dtype_name(kv->dtype));
    if (h->n_seq < 1 || h->n_seq > MAX_SAVED_SEQ)
        return llm_fail(f->err, LLM_ERR_FORMAT, "%s: %" PRIu32 " sequences, want 1..%d", p, h->n_seq, (int)MAX_SAVED_SEQ);
    return LLM_OK;
}

/* Lengths fit this session, and the file has exactly the bytes they call for. */
static llm_status size_check(state_file *f, const llm_kv *kv, const uint32_t *length, uint32_t n_seq)
{
    uint64_t want = sizeof(state_head) + n_seq * sizeof *length + 32;
    struct stat info;

    for (uint32_t i = 0; i < n_seq; i++) {
        if (length[i] > (uint32_t)kv->n_ctx || (length[i] > 0 && i >= (uint32_t)kv->n_seq))
            return llm_fail(f->err, LLM_ERR_CONTEXT, "%s: sequence %" PRIu32 " holds %" PRIu32 " tokens, this session has %d sequences of %d",
                            f->path, i, length[i], kv->n_seq, kv->n_ctx);
        want += (uint64_t)length[i] * sizeof(llm_token);
        for (int il = 0; il < kv->n_layer; il++) {
            const llm_kv_layer *l = &kv->layer[il];
            uint64_t held = length[i] - (uint64_t)kv_first(kv, il, (int)length[i]);
            want += held * (kv_row_bytes(l, false) + kv_row_bytes(l, true));    /* no more than the cache itself: it cannot wrap */
        }
    }
    if (fstat(f->fd, &info) != 0) return llm_fail(f->err, LLM_ERR_IO, "%s: cannot read: %s", f->path, strerror(errno));
    if (!S_ISREG(info.st_mode)) return llm_fail(f->err, LLM_ERR_FORMAT, "%s: not a regular file", f->path);
    if ((uint64_t)info.st_size != want)
        return llm_fail(f->err, LLM_ERR_FORMAT, "%s: has %" PRIu64 " bytes, want %" PRIu64, f->path, (uint64_t)info.st_size, want);
    return LLM_OK;
}

static llm_status restore_sequence(state_file *f, llm_session *s, int seq, int length, char *buf)
{
    llm_token *token = kv_tokens(&s->kv, seq);
    llm_status st = get(f, token, (size_t)length * sizeof *token);

    for (int i = 0; st == LLM_OK && i < length; i++)
        if (token[i] < 0 || token[i] >= s->model->config.n_vocab)
            st = llm_fail(f->err, LLM_ERR_FORMAT, "%s: sequence %d holds token %d, want 0..%d", f->path, seq, (int)token[i],
                          s->model->config.n_vocab - 1);
    for (int il = 0; st == LLM_OK && il < s->kv.n_layer; il++)
        st = cells(f, &s->kv, il, seq, length, buf, false);
    return st;
}

static llm_status restore_body(state_file *f, llm_session *s, uint32_t length[MAX_SAVED_SEQ], uint32_t *n_seq)
{
    state_head head;
    uint8_t digest[32], want[32];
    char *buf = NULL;
    llm_status st;

    sha256_begin(&f->hash);
    if ((st = get(f, &head, sizeof head)) != LLM_OK || (st = head_check(f, s, &head)) != LLM_OK) return st;
    *n_seq = head.n_seq;
    if ((st = get(f, length, head.n_seq * sizeof *length)) != LLM_OK) return st;
    if ((st = size_check(f, &s->kv, length, head.n_seq)) != LLM_OK) return st;
    if ((buf = malloc(kv_block_bytes(&s->kv))) == NULL) return llm_fail_memory(f->err, kv_block_bytes(&s->kv), "restoring cells");
    for (uint32_t i = 0; st == LLM_OK && i < head.n_seq; i++)
        if (length[i] > 0) st = restore_sequence(f, s, (int)i, (int)length[i], buf);
    free(buf);
    if (st != LLM_OK) return st;
    sha256_end(&f->hash, digest);
    if ((st = get(f, want, sizeof want)) != LLM_OK) return st;
    if (memcmp(digest, want, sizeof want) != 0)
        return llm_fail(f->err, LLM_ERR_FORMAT, "%s: damaged: its checksum does not match its contents", f->path);
    return LLM_OK;
}

llm_status state_restore(llm_session *s, const char *path, llm_error *err)
{
    state_file f = { .path = path, .err = err };
    uint32_t length[MAX_SAVED_SEQ], n_seq = 0;
    llm_status st;

    for (int i = 0; i < s->kv.n_seq; i++) kv_clear(&s->kv, i);
    s->n_logits = 0;
    if ((f.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)) < 0)
        return llm_fail(err, LLM_ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    st = restore_body(&f, s, length, &n_seq);
    close(f.fd);
    if (st != LLM_OK) return st;
    for (uint32_t i = 0; i < n_seq; i++)
        if (length[i] > 0) s->kv.seq[i] = (kv_seq){ .length = (int)length[i], .top = (int)length[i], .restored = (int)length[i] };
    return LLM_OK;
}
