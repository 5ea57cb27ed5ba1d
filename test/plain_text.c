/* plain_text.c - stands for libllm/text, libllm/quant and jansson in test programs for a processor that their libraries are not
 * installed for: a GGUF file is opened without its tokenizer, and whatever else would be asked of them ends the program. */
#include "chat_model.h"
#include <stdio.h>
#include <stdlib.h>

llm_status tokenizer_open(llm_tokenizer **out, llm_meta *m, llm_store *s, int n_vocab, llm_error *err)
{
    (void)m, (void)s, (void)n_vocab, (void)err;
    *out = NULL;
    return LLM_OK;
}
void tokenizer_close(llm_tokenizer *t) { (void)t; }
size_t tokenizer_memory(const llm_tokenizer *t) { (void)t; return 0; }
void chat_model_close(chat_model *c) { (void)c; }

__attribute__((used)) static void not_here(void)
{
    puts("a test without libllm/text, libllm/quant and jansson called them");
    abort();
}
#define NOT_HERE(name) __asm__(".globl " #name "\n.set " #name ", not_here\n");
#define NAMES(X) \
    X(imatrix_write) X(tokenizer_open_path) X(tokenizer_n_vocab) X(tokenizer_bos) X(tokenizer_eos) X(tokenizer_adds_bos) X(tokenizer_is_control) \
    X(tokenizer_is_end) X(tokenizer_set_end) X(tokenizer_encode) X(tokenizer_bytes) X(tokenizer_find) X(detok_open) X(chat_model_open) \
    X(json_array_get) X(json_array_size) X(json_delete) X(json_dump_callback) X(json_integer_value) X(json_load_callback) X(json_loadb) \
    X(json_object) X(json_object_del) X(json_object_get) X(json_object_iter) X(json_object_iter_key) X(json_object_iter_next) \
    X(json_object_iter_value) X(json_object_key_to_iter) X(json_object_set_new) X(json_object_size) X(json_object_update) \
    X(json_real_value) X(json_string_length) X(json_string_value) X(json_stringn)
NAMES(NOT_HERE)
