/* convo_parts.h - what the output parsers share. */
#ifndef LLM_CONVO_PARTS_H
#define LLM_CONVO_PARTS_H
#include "convo.h"
#include "text_buf.h"

typedef struct { convo_message m; text_buf text; } convo_slot;

/* What a mark in the text does (convo_tags.c). */
typedef enum { MARK_THINK, MARK_THINK_END, MARK_CALL, MARK_CALL_END, MARK_SKIP, MARK_END } convo_mark_kind;
typedef struct { const char *text; convo_mark_kind kind; } convo_mark;

struct convo_parser {
    convo_family family;
    convo_slot *slot;
    convo_message *list;                /* [n] as the caller sees them */
    size_t n, cap;
    bool open, failed;                  /* open: the last message takes text */
    bool ended, in_header, in_call, thinking, trimming;      /* trimming: newlines in front of a text are dropped */
    bool has_role;                      /* harmony: the header began behind the role */
    const json_t *tools;                /* or NULL */
    const convo_mark *mark;
    size_t n_mark;
    size_t n_mark_seen;                 /* marks and control tokens that structured the output */
    text_buf header;                    /* harmony: \1 stands for <|channel|>, \2 for <|constrain|> */
    text_buf body;                      /* of a tool call */
    text_buf hold;                      /* text that may be the begin of a mark, or newlines that may be dropped */
    unsigned char part[4];              /* an unfinished character */
    int n_part;
};

/* A fresh last message; channel may be NULL. The one before is closed. */
convo_slot *convo_begin(convo_parser *p, const char *role, const char *channel);
void convo_end(convo_parser *p);                                    /* closes the last message */
void convo_put(convo_parser *p, const char *s, size_t n);           /* text of the last message; wrong bytes become U+FFFD */
void convo_error(convo_parser *p, const char *error);               /* of the last message, unless it has one */
void convo_drop(convo_parser *p, size_t n);                         /* all messages but the first n, which are closed */
char *convo_copy(convo_parser *p, const char *s, size_t n);         /* wrong bytes as '?'; NULL and failed: out of memory */

void harmony_push(convo_parser *p, const char *s, size_t n, bool control);
void harmony_finish(convo_parser *p);
void tags_open(convo_parser *p);
void tags_push(convo_parser *p, const char *s, size_t n, bool control);
void tags_end(convo_parser *p);                                     /* an end token came */
void tags_finish(convo_parser *p);

/* convo_calls.c: the body of a call as one or more call messages; false: malformed, nothing added. */
bool convo_calls(convo_parser *p, const char *s, size_t n);
#endif
