#include "file_text.h"
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static llm_status fail(llm_error *err, const char *path, const char *what, const char *why)
{
    snprintf(err->text, sizeof err->text, "%.300s: %s%s%s", path, what, *what ? ": " : "", why);
    return err->status = LLM_ERR_IO;
}

char *text_file_read(const char *path, size_t *len, llm_error *err)
{
    struct stat info;
    FILE *f = fopen(path, "rb");
    char *text;

    if (f == NULL) { fail(err, path, "", strerror(errno)); return NULL; }
    if (fstat(fileno(f), &info) != 0 || !S_ISREG(info.st_mode)) {
        fclose(f);
        fail(err, path, "", "not a file");
        return NULL;
    }
    text = malloc((size_t)info.st_size + 1);
    if (text) *len = fread(text, 1, (size_t)info.st_size, f);
    if (text == NULL || ferror(f)) {
        fail(err, path, "", text ? "cannot read" : "out of memory");
        free(text), text = NULL;
    }
    fclose(f);
    if (text) text[*len] = '\0';
    return text;
}

static bool put(const char *path, const char *text, size_t len)
{
    FILE *f = fopen(path, "wb");
    bool wrote;

    if (f == NULL) return false;
    errno = 0;
    wrote = fwrite(text, 1, len, f) == len && fflush(f) == 0;
    return fclose(f) == 0 && wrote;
}

llm_status text_file_write(const char *path, const char *text, size_t len, llm_error *err)
{
    char temporary[4096];
    struct stat info;

    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode))           /* a device or a pipe is written to, not replaced */
        return put(path, text, len) ? LLM_OK : fail(err, path, "cannot write", strerror(errno));
    if (snprintf(temporary, sizeof temporary, "%s.%ld.tmp", path, (long)getpid()) >= (int)sizeof temporary) return fail(err, path, "", "too long a name");
    if (put(temporary, text, len) && rename(temporary, path) == 0) return LLM_OK;
    fail(err, path, "cannot write", strerror(errno));
    unlink(temporary);
    return err->status;
}
