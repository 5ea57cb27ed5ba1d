/* A safetensors file, a JSON text, a shard index, and a config.json: whatever the bytes are. */
#include "fuzz_model.h"
#include "safetensors.h"

static char dir[64];

static void remove_dir(void)
{
    char path[96];

    snprintf(path, sizeof path, "%s/config.json", dir);
    remove(path);
    rmdir(dir);
}

static void open_config(const uint8_t *data, size_t size)
{
    char path[96];
    FILE *f;

    if (dir[0] == '\0') {
        snprintf(dir, sizeof dir, "%s/llm-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
        if (mkdtemp(dir) == NULL) abort();
        atexit(remove_dir);
    }
    snprintf(path, sizeof path, "%s/config.json", dir);
    if ((f = fopen(path, "wb")) == NULL || fwrite(data, 1, size, f) != size || fclose(f) != 0) abort();
    fuzz_open(dir, true);
}

FUZZ_TARGET(safetensors)
{
    tensor_list list = { 0 };
    shard_index x;
    llm_error err;
    char path[64];
    json_t *j;
    int fd;

    safetensors_parse(&list, data, size, 0, "fuzz", &err);
    tensors_close(&list);
    if (json_read_text(&j, (const char *)data, size, "fuzz", &err) == LLM_OK) json_decref(j);
    if (shard_index_parse(&x, (const char *)data, size, "fuzz", &err) == LLM_OK) shard_index_close(&x);
    if (size && data[0] == '{') open_config(data, size);
    else if ((fd = fuzz_file(data, size, path)) >= 0) {
        fuzz_open(path, true);
        close(fd);
    }
}
