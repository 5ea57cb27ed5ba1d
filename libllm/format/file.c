#include "file.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

const char *file_label(const char *path)
{
    size_t len = strlen(path);

    if (len <= 160) return path;
    path += len - 160;
    while (((unsigned char)*path & 0xc0) == 0x80) path++;       /* not into the middle of a UTF-8 character */
    return path;
}

char *file_join(const char *dir, const char *name)
{
    size_t nd = strlen(dir), nn = strlen(name);
    char *path = malloc(nd + nn + 2);

    if (path == NULL) return NULL;
    memcpy(path, dir, nd);
    path[nd] = '/';
    memcpy(path + nd + 1, name, nn + 1);
    return path;
}

bool file_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

bool file_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static llm_status fail_errno(llm_error *err, const char *path, const char *what, int code)
{
    char text[128];

    return llm_fail(err, code == ENOMEM ? LLM_ERR_MEMORY : LLM_ERR_IO, "%s: %s: %s", file_label(path), what,
                    strerror_r(code, text, sizeof text));
}

static const char *kind_name(mode_t mode)
{
    return S_ISDIR(mode) ? "a folder" : S_ISFIFO(mode) ? "a pipe" : S_ISSOCK(mode) ? "a socket"
         : S_ISCHR(mode) || S_ISBLK(mode) ? "a device" : "a special file";
}

/* O_NONBLOCK: opening a pipe that nobody writes to must not wait. */
static llm_status open_regular(int *fd, size_t *size, const char *path, llm_error *err)
{
    struct stat st;
    llm_status status;

    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (*fd < 0) return fail_errno(err, path, "cannot be opened", errno);
    if (fstat(*fd, &st) != 0)
        status = fail_errno(err, path, "cannot be examined", errno);
    else if (!S_ISREG(st.st_mode))
        status = llm_fail(err, LLM_ERR_IO, "%s: is %s, wanted a regular file", file_label(path), kind_name(st.st_mode));
    else if ((uintmax_t)st.st_size > (uintmax_t)(SIZE_MAX / 2))
        status = llm_fail(err, LLM_ERR_IO, "%s: %ju bytes do not fit into the address space", file_label(path),
                          (uintmax_t)st.st_size);
    else {
        *size = (size_t)st.st_size;
        return LLM_OK;
    }
    close(*fd);
    return status;
}

llm_status file_map_open(file_map *out, const char *path, llm_error *err)
{
    file_map m = { 0 };
    llm_status status;
    int fd;

    memset(out, 0, sizeof *out);
    if ((status = open_regular(&fd, &m.size, path, err)) != LLM_OK) return status;
    if ((m.path = strdup(path)) == NULL) {
        close(fd);
        return llm_fail_memory(err, strlen(path) + 1, "a path");
    }
    if (m.size > 0) {
        void *data = mmap(NULL, m.size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            status = fail_errno(err, path, "cannot be mapped", errno);
            free(m.path);
            close(fd);
            return status;
        }
        m.data = data;
    }
    close(fd);
    *out = m;
    return LLM_OK;
}

void file_map_close(file_map *m)
{
    if (m->data) munmap((void *)(uintptr_t)m->data, m->size);
    free(m->path);
    memset(m, 0, sizeof *m);
}

/* Reads until the end of the file or size bytes; what is missing then was cut off meanwhile. */
static llm_status read_all(int fd, char *text, size_t size, const char *path, llm_error *err)
{
    size_t got = 0;

    while (got < size) {
        ssize_t n = read(fd, text + got, size - got);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail_errno(err, path, "cannot be read", errno);
        if (n == 0) return llm_fail(err, LLM_ERR_IO, "%s: ended at byte %zu of %zu while it was read", file_label(path), got, size);
        got += (size_t)n;
    }
    return LLM_OK;
}

llm_status file_read(char **text, size_t *len, const char *path, size_t limit, llm_error *err)
{
    llm_status status;
    size_t size;
    char *buf;
    int fd;

    *text = NULL, *len = 0;
    if ((status = open_regular(&fd, &size, path, err)) != LLM_OK) return status;
    if (size > limit) {
        close(fd);
        return llm_fail(err, LLM_ERR_FORMAT, "%s: got %zu bytes, wanted at most %zu", file_label(path), size, limit);
    }
    if ((buf = malloc(size + 1)) == NULL) {
        close(fd);
        return llm_fail_memory(err, size + 1, "a file");
    }
    status = read_all(fd, buf, size, path, err);
    close(fd);
    if (status != LLM_OK) {
        free(buf);
        return status;
    }
    buf[size] = '\0';
    *text = buf, *len = size;
    return LLM_OK;
}

llm_status file_stream(const char *path, file_fn fn, void *user, llm_error *err)
{
    const size_t piece = 1 << 20;
    uint8_t *buf = malloc(piece);
    size_t size, done = 0;
    llm_status status;
    int fd;

    if (buf == NULL) return llm_fail_memory(err, piece, "a piece of a file");
    if ((status = open_regular(&fd, &size, path, err)) != LLM_OK) { free(buf); return status; }
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    while (done < size && status == LLM_OK) {
        size_t n = size - done < piece ? size - done : piece;
        status = read_all(fd, (char *)buf, n, path, err);
        done += n;
        if (status == LLM_OK && fn(user, buf, n, done, size) != 0)
            status = llm_fail(err, LLM_ERR_CANCELLED, "%s: reading was stopped after %zu of %zu bytes", file_label(path), done, size);
    }
    close(fd);
    free(buf);
    return status;
}
