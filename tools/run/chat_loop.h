/* chat_loop.h - a conversation at a terminal, and its /commands. */
#ifndef CHAT_LOOP_H
#define CHAT_LOOP_H
#include "chat_line.h"
#include "talk.h"

typedef struct {
    talk t;
    run_options *o;
    chat_line *line;
    show_options look;
    char *attached;                     /* of /read: goes before the next message; NULL: nothing */
    size_t n_attached;
    uint64_t n_again;                   /* how often /regen was used on this answer: each takes the next seed */
    turn_result last;                   /* of the last turn; n_prompt 0: none yet */
    size_t total_reasoning, total_answer;
    char **kept;                        /* [n_kept] texts that options point to */
    size_t n_kept;
    bool over;
} chat;

/* Says something that is not part of the conversation. */
void chat_say(const chat *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Where the conversation stands, and going back to it. */
size_t chat_mark(const chat *c);
void chat_back(chat *c, size_t mark);
/* One message of the user and its answer; what /read brought is put in front. */
void chat_user(chat *c, const char *text);
/* Answers the conversation as it stands. False: it failed, or was stopped before the answer. */
bool chat_answer(chat *c);
/* The look of answers follows the options again. */
void chat_reshow(chat *c);

/* chat_commands.c. line begins with '/'. */
void chat_command(chat *c, char *line);
extern const char *const chat_command_words[];      /* for Tab; ends with NULL */
#endif
