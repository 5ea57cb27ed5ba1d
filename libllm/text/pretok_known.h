/* pretok_known.h - the hand-written splits; see pretok_known.c for the pattern of each. */
#ifndef LLM_PRETOK_KNOWN_H
#define LLM_PRETOK_KNOWN_H
#include "pretok.h"

size_t pre_llama3(const uni_table *u, const uint8_t *s, const uint8_t *end);
size_t pre_qwen2(const uni_table *u, const uint8_t *s, const uint8_t *end);
size_t pre_qwen35(const uni_table *u, const uint8_t *s, const uint8_t *end);
size_t pre_o200k(const uni_table *u, const uint8_t *s, const uint8_t *end);
size_t pre_newline(const uni_table *u, const uint8_t *s, const uint8_t *end);          /* [\r\n] */
size_t pre_digit3(const uni_table *u, const uint8_t *s, const uint8_t *end);           /* \p{N}{1,3} */
size_t pre_letters(const uni_table *u, const uint8_t *s, const uint8_t *end);          /* DeepSeek LLM, second split */
size_t pre_marks(const uni_table *u, const uint8_t *s, const uint8_t *end);            /* third */
size_t pre_tail(const uni_table *u, const uint8_t *s, const uint8_t *end);             /* \s+$ */
size_t pre_cjk(const uni_table *u, const uint8_t *s, const uint8_t *end);              /* U+0800-9FA5, AC00-D7FF */
size_t pre_cjk_kana(const uni_table *u, const uint8_t *s, const uint8_t *end);         /* DeepSeek V3, second split */
size_t pre_blank_l(const uni_table *u, const uint8_t *s, const uint8_t *end);          /* \s?\p{L}+ */
size_t pre_blank_p(const uni_table *u, const uint8_t *s, const uint8_t *end);          /* \s?\p{P}+ */
size_t pre_deepseek3(const uni_table *u, const uint8_t *s, const uint8_t *end);        /* DeepSeek V3, third split */
size_t pre_lines(const uni_table *u, const uint8_t *s, const uint8_t *end);            /* [^\n]+|[\n]+ */
#endif
