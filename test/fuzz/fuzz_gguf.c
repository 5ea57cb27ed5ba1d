#include "fuzz_model.h"
#include "gguf.h"

FUZZ_TARGET(gguf)
{
    tensor_list list = { 0 };
    llm_error err;
    char path[64];
    gguf *g;
    int fd;

    if (gguf_parse(&g, &list, data, size, 0, "fuzz", &err) == LLM_OK) gguf_close(g);    /* in memory of exactly its size */
    tensors_close(&list);
    if ((fd = fuzz_file(data, size, path)) < 0) return;
    fuzz_open(path, false);
    close(fd);
}
