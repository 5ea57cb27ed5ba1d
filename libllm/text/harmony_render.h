/* harmony_render.h - conversations in gpt-oss's own format, from structured messages (openai/harmony docs/format.md).
 *
 * A conversation is {"messages": [...]}. A message has role, content, and may have name, channel, recipient, content_type. The
 * content of a system message may be an object: model_identity, reasoning_effort, conversation_start_date, knowledge_cutoff,
 * required_channels, browser_tool; of a developer message: instructions, function_tools. */
#ifndef LLM_HARMONY_RENDER_H
#define LLM_HARMONY_RENDER_H
#include "template.h"

typedef enum { HARMONY_COMPLETION, HARMONY_CONVERSATION, HARMONY_TRAINING } harmony_mode;

/* COMPLETION ends with the header of next_role (NULL: assistant); TRAINING ends a last final message with <|return|>. keep_analysis:
 * analysis in front of the first final message stays even where the last message of the assistant is final. */
llm_status harmony_render(const json_t *conversation, harmony_mode mode, const char *next_role, bool keep_analysis, template_output *out, llm_error *err);
#endif
