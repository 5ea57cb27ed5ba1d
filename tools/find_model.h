/* find_model.h - from what a user types as MODEL to the path that llm_model_open takes. */
#ifndef TOOL_FIND_MODEL_H
#define TOOL_FIND_MODEL_H
#include "stores.h"

/* MODEL is a path; FOLDER:LABEL; org/name[@revision][:label] in the Hugging Face cache or LM Studio's folders; name[:tag] in Ollama's
 * store; any of these with "hf:", "lmstudio:" or "ollama:" in front. On success *e is filled (free with store_list). Ends the
 * program with EXIT_MODEL and every place that was looked at, or the choices where there are several. */
void find_model(const char *model, store_list *list, const store_entry **e);
#define FIND_MODEL_HELP \
    "MODEL is a file, a folder, org/name[:quant] of the Hugging Face cache or of LM Studio, or name[:tag] of Ollama."
#endif
