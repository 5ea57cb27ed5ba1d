/* fuzz.h - one function per parser that eats any bytes. `make fuzz` feeds them through libFuzzer; replay_test.c feeds
 * every file of test/fuzz/corpus/NAME through the function of that name.
 *
 * A further target: test/fuzz/fuzz_NAME.c with `FUZZ_TARGET(NAME) { ... use data [size] ... }`, a row here, and a folder
 * of small seeds. It must not keep anything allocated, nor abort on bad input. */
#ifndef LLM_FUZZ_H
#define LLM_FUZZ_H
#include <stddef.h>
#include <stdint.h>

#define FUZZ_TARGETS(X) \
    X(gguf) \
    X(convo) \
    X(reply) \
    X(model) \
    X(template) \
    X(tokenizer) \
    X(encode) \
    X(safetensors)

#define X(name) void fuzz_##name(const uint8_t *data, size_t size);
FUZZ_TARGETS(X)
#undef X

#ifdef LLM_FUZZ
#define FUZZ_TARGET(name) \
    int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size); \
    int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) { fuzz_##name(data, size); return 0; } \
    void fuzz_##name(const uint8_t *data, size_t size)
#else
#define FUZZ_TARGET(name) void fuzz_##name(const uint8_t *data, size_t size)
#endif
#endif
