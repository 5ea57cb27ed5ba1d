/* meta_chat.h - where Hugging Face folders keep chat templates, brought together under one key. */
#ifndef LLM_META_CHAT_H
#define LLM_META_CHAT_H
#include "json.h"

/* Leaves "chat_template" of *tokenizer (the object of tokenizer_config.json, made where it is NULL and needed) as one text, or as an
 * object of texts by name ("default", "tool_use" ...), from, later ones first:
 *   chat_template in tokenizer_config.json: a text, or a list of {"name", "template"}
 *   chat_template.json ({"chat_template": text}) of processors
 *   chat_template.jinja, and additional_chat_templates/NAME.jinja for the common names */
llm_status meta_chat_templates(json_t **tokenizer, const char *dir, llm_error *err);
#endif
