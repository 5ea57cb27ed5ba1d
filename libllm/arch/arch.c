/* arch.c - the families there are. A new one: its file, a line here. */
#include "model.h"
#include <stdio.h>
#include <string.h>

extern const llm_arch llm_arch_llama, llm_arch_mistral, llm_arch_qwen, llm_arch_qwen2, llm_arch_qwen2moe, llm_arch_qwen3, llm_arch_qwen3moe, llm_arch_gemma,
    llm_arch_gemma2, llm_arch_gemma3, llm_arch_gpt_oss, llm_arch_deepseek, llm_arch_deepseek2, llm_arch_deepseek_v3;

static const llm_arch *const families[] = {
    &llm_arch_llama, &llm_arch_mistral, &llm_arch_qwen, &llm_arch_qwen2, &llm_arch_qwen2moe, &llm_arch_qwen3, &llm_arch_qwen3moe, &llm_arch_gemma,
    &llm_arch_gemma2, &llm_arch_gemma3, &llm_arch_gpt_oss, &llm_arch_deepseek, &llm_arch_deepseek2, &llm_arch_deepseek_v3,
};
enum { N_FAMILY = sizeof families / sizeof families[0] };

const llm_arch *arch_find(llm_meta *m, llm_error *err)
{
    bool gguf = meta_kind(m) == STORE_GGUF;
    const char *name = meta_arch(m);
    char have[256] = "";

    if (name == NULL || *name == '\0') {
        llm_fail(err, LLM_ERR_FORMAT, "%s is missing: the file does not say what model it is", gguf ? "general.architecture" : "config.json: model_type");
        return NULL;
    }
    for (int i = 0; i < N_FAMILY; i++) {
        const char *own = gguf ? families[i]->gguf_name : families[i]->hf_name;
        if (own == NULL) continue;
        if (strcmp(own, name) == 0 || (!gguf && strcmp(own, "gemma3_text") == 0 && strcmp(name, "gemma3") == 0)) return families[i];
        snprintf(have + strlen(have), sizeof have - strlen(have), "%s%s", *have ? ", " : "", own);
    }
    llm_fail(err, LLM_ERR_UNSUPPORTED, "model family '%.60s' is not supported; there is %s", name, have);
    return NULL;
}
