/* convo.h - what a model wrote, taken apart as it streams: messages with channels, reasoning, tool calls.
 *
 * A parser is total: every sequence of pieces gives a list of messages, and what cannot be understood becomes a message or a
 * text with a named error. The result does not depend on how text is cut into pieces. */
#ifndef LLM_CONVO_H
#define LLM_CONVO_H
#include "json.h"
#include <stdbool.h>

typedef enum { CONVO_HARMONY, CONVO_QWEN, CONVO_DEEPSEEK, CONVO_GEMMA, CONVO_PLAIN } convo_family;

typedef struct {
    char *role;                         /* "assistant"; "tool" for a tool's own message */
    char *name;                         /* of the tool whose message this is, or NULL */
    char *channel;                      /* "analysis" (reasoning), "commentary", "final"; NULL: harmony without one */
    char *recipient, *content_type;     /* harmony's; NULL: none */
    char *call;                         /* a tool call: the function's name, and text is its arguments; else NULL */
    char *text;                         /* [len], NUL behind it; valid UTF-8 */
    size_t len;
    const char *error;                  /* NULL, or what is wrong with it: one of the CONVO_ texts */
    bool closed;                        /* nothing more will be added */
} convo_message;

#define CONVO_NO_HEADER  "text without a message header"
#define CONVO_NO_END     "message without its end"
#define CONVO_BAD_CALL   "malformed tool call"
#define CONVO_CUT_CALL   "tool call without its end"
#define CONVO_STRAY      "control token where none belongs"
#define CONVO_AFTER_END  "text behind the end of the answer"

typedef struct convo_parser convo_parser;

/* reasoning: the prompt ended inside the reasoning (a forced <think>). assistant: harmony only, the prompt ended with
 * "<|start|>assistant", so a header is under way. */
llm_status convo_open(convo_parser **out, convo_family family, bool reasoning, bool assistant, llm_error *err);
void convo_close(convo_parser *p);
/* tools: a list of functions with the JSON schema of their parameters, which must outlive p; NULL: none are known. */
void convo_set_tools(convo_parser *p, const json_t *tools);
/* text [len]: bytes of ordinary tokens in any portions, or (control) the spelling of one control token. */
llm_status convo_push(convo_parser *p, const char *text, size_t len, bool control, llm_error *err);
/* An end token came, as it is not among the family's own marks. */
llm_status convo_push_end(convo_parser *p, llm_error *err);
/* The output is over: what was held back comes out, open messages are closed or marked. */
llm_status convo_finish(convo_parser *p, llm_error *err);
/* Messages so far [*n], until the next call on p; the last may grow. */
const convo_message *convo_messages(const convo_parser *p, size_t *n);

/* What a message, or the text that comes next, is for the reader. */
typedef enum { CONVO_PART_ANSWER, CONVO_PART_REASONING, CONVO_PART_CALL, CONVO_PART_OTHER } convo_part;
convo_part convo_part_of(const convo_message *m);

/* Where a parser stands. */
typedef struct {
    convo_part part;                    /* of what is open */
    bool waits;                         /* the last piece may be the begin of a mark, or stands in a header */
    bool ended;                         /* a mark ended the answer */
    size_t n_mark;                      /* marks seen so far */
} convo_state;
convo_state convo_now(const convo_parser *p);
#endif
