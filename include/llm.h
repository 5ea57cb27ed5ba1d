/* llm.h - the public interface of libllm.
 *
 * Two nouns: an immutable llm_model that any number of threads may share, and a
 * single-threaded llm_session that holds the key/value cache and the logits of
 * one or more sequences. Nothing here prints, exits or keeps global state, and
 * what is computed does not depend on the caller's rounding mode, traps or
 * flushing of subnormal numbers, which it finds again as they were.
 *
 * Conventions. Every options struct starts with its own size, so that a program
 * built against an older header keeps working; fields that are zero mean the
 * default. A struct that is larger than this library's must be zero in the part
 * the library does not know; a struct that it fills is filled as far as it goes.
 * Every function that can fail returns an llm_status and, if err is not NULL,
 * fills it on failure with the status and one sentence naming the file, key, got
 * and wanted values. Closing NULL is fine. Enum values are never renumbered. */
#ifndef LLM_H
#define LLM_H
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define LLM_API __attribute__((visibility("default")))
#else
#define LLM_API
#endif

#define LLM_VERSION "0.1.0"

/*       code                    number  name            meaning */
#define LLM_STATUS_LIST(X) \
    X(LLM_OK,                0, "ok",            "success") \
    X(LLM_ERR_ARG,           1, "argument",      "an argument is out of range or NULL") \
    X(LLM_ERR_IO,            2, "io",            "a file could not be opened, read or written") \
    X(LLM_ERR_FORMAT,        3, "format",        "a file breaks the rules of its format") \
    X(LLM_ERR_UNSUPPORTED,   4, "unsupported",   "well-formed, but this build cannot run it") \
    X(LLM_ERR_MEMORY,        5, "memory",        "an allocation failed or would pass the limit") \
    X(LLM_ERR_CONTEXT,       6, "context",       "the tokens do not fit into the context") \
    X(LLM_ERR_CANCELLED,     7, "cancelled",     "a callback asked to stop") \
    X(LLM_ERR_MISMATCH,      8, "mismatch",      "saved state belongs to another model") \
    X(LLM_ERR_INTERNAL,      9, "internal",      "a bug in this library")

typedef enum {
#define X(code, number, name, text) code = number,
    LLM_STATUS_LIST(X)
#undef X
    LLM_STATUS_MAX_ = 0x7fffffff
} llm_status;

typedef struct { llm_status status; char text[508]; } llm_error;

LLM_API const char *llm_version(void);
LLM_API const char *llm_status_name(llm_status s);      /* "format"; never NULL */
LLM_API const char *llm_status_text(llm_status s);      /* one clause; never NULL */

typedef int32_t llm_token;
typedef struct llm_model llm_model;
typedef struct llm_session llm_session;

typedef enum { LLM_LOG_INFO = 0, LLM_LOG_WARN = 1 } llm_log_level;
typedef void (*llm_log_fn)(void *user, llm_log_level level, const char *line);    /* line has no newline */
typedef int (*llm_progress_fn)(void *user, const char *what, uint64_t done, uint64_t total); /* nonzero: stop */

/* ---- model ------------------------------------------------------------- */

typedef enum { LLM_BACKEND_CPU = 0, LLM_BACKEND_CUDA = 1 } llm_backend_kind;
typedef struct llm_session_options llm_session_options;

/* gpu_layers: so many of the last layers are on the device, weights and cache, and the CPU computes the others. One more than the model has
 * layers: the embedding and the output head as well. More than that is all. */
enum {
    LLM_GPU_AUTO = 0,               /* what fits into the device's free memory beside a session as expected; of a model with experts, those of
                                     * its first layers stay with the CPU before whole layers do. LLM_ERR_MEMORY where not one layer fits */
    LLM_GPU_ALL  = -1,
    LLM_GPU_NONE = -2
};

typedef struct {
    uint32_t         size;          /* sizeof(llm_model_options) */
    const char      *path;          /* GGUF file (any part of a split one), or a safetensors folder */
    llm_backend_kind backend;
    int              n_threads;     /* 0: the cores this process may use */
    const char      *cpu;           /* NULL: best this machine has; "scalar", "avx2", "avxvnni", "avx512", "neon", "i8mm" */
    llm_log_fn       log;
    llm_progress_fn  progress;
    void            *user;          /* handed to log and progress */
    int              vocab_only;    /* nonzero: tokenizer and metadata, no weights; path may be a tokenizer's file or folder */
    uint64_t         memory_limit;  /* hard ceiling in bytes for weights and sessions together in this machine's memory; 0: what the system says */
    int              allow_paging;  /* nonzero: weights need not fit into memory; they are read from disk again and again then */
    int              plan_only;     /* nonzero: everything but the weights' bytes is read, for llm_session_plan and llm_model_get_* */
    int              gpu_layers;    /* LLM_GPU_AUTO, _ALL, _NONE or a number; these four are for a backend that is not the CPU */
    int              cpu_moe;       /* routed experts of layers 0 .. cpu_moe - 1 stay with the CPU; -1: of all layers; 0: of none, but see AUTO */
    uint64_t         device_memory; /* ceiling in bytes on what is taken of the device's memory; 0: what is free there. With plan_only:
                                     * the plan is for a device with so much free memory, whether one is here or not */
    const llm_session_options *expect;  /* the session that must fit beside the weights on the device; NULL: one with all defaults */
    int              no_repack;     /* nonzero: the CPU reads weights where they lie in the file, always. Otherwise steps that generate copy them,
                                     * little by little, into the order in which generating streams through them, and let go of the file's pages:
                                     * the same results, faster. Not where less memory is available than that takes, as the log says then */
} llm_model_options;

/* Maps and checks a model. On failure *out is NULL. progress may return nonzero
 * to stop: LLM_ERR_CANCELLED. What opt points to is not kept. LLM_ERR_MEMORY where what gpu_layers asks for does not fit
 * on the device names the numbers and the smallest change that would; it can say so again when a session is opened that is larger than expected. */
LLM_API llm_status llm_model_open(llm_model **out, const llm_model_options *opt, llm_error *err);
LLM_API void llm_model_close(llm_model *m);             /* close its sessions first */

typedef struct {
    uint32_t    size;               /* set by the caller: sizeof(llm_model_info) */
    const char *arch;               /* "gpt-oss", "qwen3", ... owned by the model */
    const char *name;               /* what the file calls itself, or "" */
    int         n_layer, d_model, n_vocab, n_ctx_train, n_head, n_expert, n_expert_used;
    uint64_t    n_param;            /* weights bound by the forward pass; a tied table counts once */
    uint64_t    weight_bytes;       /* bytes of those weights as stored */
    llm_token   bos, eos;           /* -1: none */
    int         add_bos;            /* the model wants BOS in front of a text */
    int         gpu_layers, cpu_moe;    /* as placed: what is on the device and what is not; 0, 0 without one */
} llm_model_info;
LLM_API llm_status llm_model_get_info(const llm_model *m, llm_model_info *info);

/* Walks every tensor of the file. slot: what it is bound to ("layer 3 wq"), or
 * NULL when nothing uses it. dim [n_dim], outermost first. Index runs from 0;
 * LLM_ERR_ARG past the end. Pointers are owned by the model. */
typedef struct {
    uint32_t       size;
    const char    *name, *dtype, *slot;
    int            n_dim;
    int64_t        dim[4];
    uint64_t       bytes;
} llm_tensor_info;
LLM_API llm_status llm_model_get_tensor(const llm_model *m, size_t index, llm_tensor_info *info);

/* Metadata as text: GGUF keys, or the keys of config.json with dots between
 * levels. Values longer than cap are cut and *n says the full length. */
LLM_API llm_status llm_model_get_meta(const llm_model *m, size_t index, const char **key,
                                      char *value, size_t cap, size_t *n);

/* ---- text <-> tokens ---------------------------------------------------- */

enum {
    LLM_TOKENIZE_BOS     = 1,       /* put BOS in front if the model wants one */
    LLM_TOKENIZE_SPECIAL = 2        /* the text of control tokens becomes those tokens: only for trusted text */
};
/* text [len] bytes, any content. Writes at most cap ids to out and the full
 * count to *n (out may be NULL with cap 0 to ask for it). */
LLM_API llm_status llm_tokenize(const llm_model *m, const char *text, size_t len, unsigned flags,
                                llm_token *out, size_t cap, size_t *n, llm_error *err);
/* The bytes of one token ("" for an unknown id); *len may be NULL. Not NUL-terminated
 * text in general: a token may be any bytes. Control tokens give their spelling. */
LLM_API const char *llm_token_bytes(const llm_model *m, llm_token t, size_t *len);
LLM_API int llm_token_is_control(const llm_model *m, llm_token t);
LLM_API int llm_token_is_end(const llm_model *m, llm_token t);  /* ends an answer: EOS, end of turn, ... */
/* The id whose spelling is exactly text, or -1. */
LLM_API llm_token llm_token_find(const llm_model *m, const char *text, size_t len);

/* Streaming detokenizer: bytes come out as soon as they form whole UTF-8
 * characters; half a character is held back until it is finished or flushed. */
typedef struct llm_detok llm_detok;
enum {
    LLM_DETOK_CONTROL = 1,          /* control tokens appear as their spelling instead of nothing */
    LLM_DETOK_WHOLE   = 2           /* the tokens are a whole text and not the rest of one: the blank that a
                                     * SentencePiece vocabulary puts in front of it is taken off again */
};
LLM_API llm_status llm_detok_open(llm_detok **out, const llm_model *m, unsigned flags, llm_error *err);
LLM_API void llm_detok_close(llm_detok *d);
/* *text [*len] is valid until the next call on d. */
LLM_API llm_status llm_detok_push(llm_detok *d, llm_token t, const char **text, size_t *len, llm_error *err);
LLM_API llm_status llm_detok_flush(llm_detok *d, const char **text, size_t *len, llm_error *err);

/* ---- chat ---------------------------------------------------------------- */

typedef struct { const char *role, *text; } llm_chat_message;      /* role: "system", "user" or "assistant" */
typedef struct {
    uint32_t    size;
    const char *format;             /* NULL: the model's own; else "chatml", "harmony", "gemma", ... */
    const char *effort;             /* harmony: "low", "medium", "high"; NULL: medium */
    const char *date;               /* harmony: "2026-01-31"; NULL: the line is left out */
    int         think;              /* 0: the format's default, 1: on, -1: off, where the family can */
} llm_chat_options;

/* Name of the model's chat format, or NULL where it has none that is known. */
LLM_API const char *llm_chat_format(const llm_model *m);
/* Tokens of a conversation, BOS included where the format has one, ending where the assistant is to speak. Texts of messages
 * never become control tokens. out, cap, n as in llm_tokenize. LLM_ERR_UNSUPPORTED: no such format, or a role it cannot say. */
LLM_API llm_status llm_chat_render(const llm_model *m, const llm_chat_message *msg, size_t n_msg, const llm_chat_options *opt,
                                   llm_token *out, size_t cap, size_t *n, llm_error *err);

/* ---- chat templates ------------------------------------------------------ */

enum { LLM_TEMPLATE_CHAT = 1 };     /* vars hold "messages": treat a system message as llm_chat_render_json does */
/* Renders a chat template (Jinja as transformers sets it up) with the variables of a JSON object: for tools and tests. Writes
 * at most cap bytes, no NUL among them, and the full count to *n (out may be NULL with cap 0). now: "YYYY-MM-DD[ HH:MM:SS]" for
 * strftime_now, or NULL. Errors name line and column; loops, recursion and sizes are limited. */
LLM_API llm_status llm_template_render(const char *text, size_t len, const char *vars, size_t vars_len, const char *now,
                                       unsigned flags, char *out, size_t cap, size_t *n, llm_error *err);
/* The text of a conversation in gpt-oss's format from that format's own messages, as openai/harmony's library writes them: json has
 * "messages" (role, content, name, channel, recipient, content_type; the content of a system or developer message may be an object, or
 * a list as that library writes it),
 * "mode" ("completion", which ends with the header of "next_role"; "conversation"; "training") and "auto_drop_analysis" (true unless
 * given). out, cap, n as in llm_template_render. */
LLM_API llm_status llm_harmony_render(const char *json, size_t len, char *out, size_t cap, size_t *n, llm_error *err);
/* Tokens of a conversation by the model's own template. json is an object with "messages" (role, content, tool_calls ...), may
 * hold "tools", and anything else a template takes (enable_thinking, reasoning_effort ...); add_generation_prompt is true
 * unless given. Where the template refuses or drops a system message, its text is put in front of the first user message. No
 * text of the JSON becomes a control token. out, cap, n as in llm_tokenize. LLM_ERR_UNSUPPORTED: the model has no template. */
LLM_API llm_status llm_chat_render_json(const llm_model *m, const char *json, size_t len, const char *now,
                                        llm_token *out, size_t cap, size_t *n, llm_error *err);

/* ---- conversations --------------------------------------------------------- */

typedef struct {
    uint32_t    size;               /* set by the caller: sizeof(llm_chat_info) */
    const char *family;             /* how its output is read: "harmony", "qwen", "deepseek", "gemma" or "plain" */
    const char *format;             /* the built-in format, as llm_chat_format, or NULL */
    int         has_template;       /* the model carries a chat template */
    int         has_tools;          /* which takes tools */
    int         has_effort;         /* the reasoning effort changes the prompt */
    int         can_switch_thinking;    /* thinking on and off changes the prompt */
} llm_chat_info;
LLM_API llm_status llm_chat_get_info(const llm_model *m, llm_chat_info *info);

/* A conversation with one model: messages, tools and options. For one thread at a time. What it hands out is valid until the
 * next call on it. Rendered by the model's own template, which is parsed once; of gpt-oss, conversations with tools or with harmony's own
 * fields as the library of that format does; by a built-in format where there is no template and options name one. */
typedef struct llm_chat llm_chat;
/* opt NULL: all defaults; its strings are copied. */
LLM_API llm_status llm_chat_open(llm_chat **out, const llm_model *m, const llm_chat_options *opt, llm_error *err);
LLM_API void llm_chat_close(llm_chat *c);
LLM_API llm_status llm_chat_set_options(llm_chat *c, const llm_chat_options *opt, llm_error *err);
/* Any variable of the template, as JSON ("tools": a list of functions as OpenAI's interface has them). json NULL: removed. */
LLM_API llm_status llm_chat_set(llm_chat *c, const char *key, const char *json, size_t len, llm_error *err);
/* One message as a JSON object: role, content, reasoning_content, tool_calls (arguments as JSON or as its text), name, tool_call_id. */
LLM_API llm_status llm_chat_add(llm_chat *c, const char *json, size_t len, llm_error *err);
LLM_API llm_status llm_chat_add_text(llm_chat *c, const char *role, const char *text, size_t len, llm_error *err);  /* UTF-8 */
LLM_API size_t llm_chat_count(const llm_chat *c);
LLM_API llm_status llm_chat_get(llm_chat *c, size_t i, const char **json, size_t *len, llm_error *err);
LLM_API llm_status llm_chat_drop(llm_chat *c, size_t n, llm_error *err);        /* all messages but the first n */
/* The whole conversation as a JSON object, and back; it is as it was when loading fails. */
LLM_API llm_status llm_chat_save(llm_chat *c, const char **json, size_t *len, llm_error *err);
LLM_API llm_status llm_chat_load(llm_chat *c, const char *json, size_t len, llm_error *err);
/* Tokens of the conversation, ending where the assistant is to speak. held [n_held] (may be NULL): what a session holds; as far as
 * it spells the begin of this conversation it is kept as it is, up to a control token, so that an answer is re-used token for token
 * even where the tokenizer would have cut its text otherwise. */
LLM_API llm_status llm_chat_prompt(llm_chat *c, const llm_token *held, size_t n_held, const llm_token **ids, size_t *n, llm_error *err);

typedef enum { LLM_PART_ANSWER = 0, LLM_PART_REASONING = 1, LLM_PART_CALL = 2, LLM_PART_OTHER = 3 } llm_part;
typedef enum {
    LLM_EVENT_BEGIN = 0,            /* a message begins */
    LLM_EVENT_TEXT = 1,             /* more of its text */
    LLM_EVENT_END = 2,
    LLM_EVENT_RELABEL = 3           /* it turns out to be another part: answer that was reasoning */
} llm_event_kind;
typedef struct {
    llm_event_kind kind;
    llm_part       part;
    size_t         message;         /* number of the message in this reply */
    const char    *text;            /* TEXT: [len], whole UTF-8 characters; of a call: its arguments as JSON, as far as the model writes it */
    size_t         len;
    const char    *name;            /* CALL: the function; OTHER: the tool that speaks; else NULL */
    const char    *channel, *recipient;     /* harmony's, or NULL */
    const char    *error;           /* END: what is wrong with the message, or NULL; the text is kept */
    const char    *role;            /* "assistant"; "tool" and others where the model goes on for them */
    const char    *content_type;    /* harmony's, or NULL */
} llm_event;

typedef struct {
    uint32_t         size;
    const char      *family;        /* NULL: that of chat, else the model's; or a family as in llm_chat_info ("plain": nothing but text) */
    const llm_token *prompt;        /* [n_prompt] what the reply follows: its end says whether the reasoning is open already */
    size_t           n_prompt;
    int              budget;        /* tokens of reasoning at most, then it is closed; 0: no limit, -1: none at all */
    int              no_nudge;      /* nonzero: no words that lead to the end of the reasoning before the budget is spent */
    int              cycle_repeats; /* 0: off; else so many exact repetitions of a run of tokens (64 or more in all) end the reasoning, or the reply */
    const llm_chat  *chat;          /* may be NULL; its tools say which arguments are texts, where a family writes them without quotes */
} llm_reply_options;

/* A reply as it streams: taken apart into messages of answer, reasoning and tool calls, whatever the tokens are; the reasoning kept
 * within its budget. The events of a call are valid until the next one. */
typedef struct llm_reply llm_reply;
typedef enum { LLM_OVER_NOT = 0, LLM_OVER_END = 1, LLM_OVER_CALLS = 2 /* ended, and wants tools */, LLM_OVER_CYCLE = 3 } llm_over;
LLM_API llm_status llm_reply_open(llm_reply **out, const llm_model *m, const llm_reply_options *opt, llm_error *err);
LLM_API void llm_reply_close(llm_reply *r);
/* The token that must come next in place of a sampled one, or -1. */
LLM_API llm_token llm_reply_forced(const llm_reply *r);
/* *over (may be NULL) says whether the reply ended with this token, which then need not be decoded. */
LLM_API llm_status llm_reply_push(llm_reply *r, llm_token t, const llm_event **ev, size_t *n_ev, llm_over *over, llm_error *err);
/* No more tokens come: what was held back comes out. */
LLM_API llm_status llm_reply_finish(llm_reply *r, const llm_event **ev, size_t *n_ev, llm_error *err);
/* After it: the message for llm_chat_add, {"role": "assistant", "content", "reasoning_content", "tool_calls"}. */
LLM_API llm_status llm_reply_message(llm_reply *r, const char **json, size_t *len, llm_error *err);

typedef struct {
    uint32_t size;                  /* set by the caller: sizeof(llm_reply_stats) */
    size_t   n_reasoning, n_answer, n_call, n_format;   /* each token is in one of them; format: marks, headers, ends */
    size_t   n_forced;              /* of them, tokens that were not the model's choice */
    size_t   cycle_length;          /* tokens of the cycle that was broken, or 0 */
    int      budget_spent;          /* the budget closed the reasoning */
} llm_reply_stats;
LLM_API llm_status llm_reply_get_stats(const llm_reply *r, llm_reply_stats *stats);

/* ---- session ------------------------------------------------------------ */

typedef enum { LLM_KV_DEFAULT = 0, LLM_KV_F32 = 1, LLM_KV_F16 = 2,
               LLM_KV_Q8_0 = 3, /* heads of a multiple of 32; MLA layers stay F16 */
               LLM_KV_F8_E4M3 = 4 /* no scales: three bits of mantissa, at most 448; MLA layers stay F16 */ } llm_kv_type;

/* Limits: n_ctx up to 16777216, n_seq up to 256, n_batch up to 16384, n_threads up to 1024. */

struct llm_session_options {
    uint32_t    size;
    int         n_ctx;              /* tokens a sequence may hold; 0: min(trained context, 4096) */
    int         n_seq;              /* sequences; 0: 1 */
    int         n_batch;            /* rows computed at once; 0: 512. Does not change any result; on a device see deterministic. */
    int         n_threads;          /* 0: as the model was opened with */
    llm_kv_type kv_type;            /* 0: F16 */
    uint64_t    memory_limit;       /* as in llm_model_options, in place of the model's; 0: the model's */
    int         allow_paging;
    int         pin_threads;        /* nonzero: each thread that the session starts stays on a core of its own; the caller's is left alone */
    int         deterministic;      /* nonzero: on a device too a row's bits depend on its own sequence alone, not on what else is computed
                                     * with it or how its tokens were cut into batches. Slower there. The CPU always keeps this. */
};

/* opt NULL: all defaults. Refused before anything is taken when weights, keys, values and buffers do not fit into the memory that is
 * available (the machine's, control groups', RLIMIT_AS, memory_limit): LLM_ERR_MEMORY names the smallest change that would fit. */
LLM_API llm_status llm_session_open(llm_session **out, llm_model *m, const llm_session_options *opt, llm_error *err);
LLM_API void llm_session_close(llm_session *s);
LLM_API int llm_session_n_ctx(const llm_session *s);

/* Bytes that llm_session_open would take with these options: kv when every context is full (memory
 * is touched as it fills), scratch at once; weights are shared. A model opened with plan_only will do. */
typedef struct {
    uint32_t size;
    uint64_t kv_bytes, scratch_bytes, weight_bytes;     /* wherever they are */
    uint64_t mapped_bytes;              /* weights that are read where they lie in their file */
    uint64_t owned_bytes;               /* weights that were laid out anew, tables of where weights are, the tokenizer */
    uint64_t total_bytes;               /* mapped, owned, kv and scratch, as far as they are in this machine's memory */
    uint64_t available_bytes;           /* what there is for all of that, as far as the system says; UINT64_MAX: unknown */
    uint64_t device_weight_bytes, device_kv_bytes, device_scratch_bytes;        /* on the device; its total */
    uint64_t device_total_bytes;
    uint64_t device_available_bytes;    /* what is free there, or was stated, for all of that; 0 without a device */
} llm_memory_plan;
LLM_API llm_status llm_session_plan(llm_model *m, const llm_session_options *opt, llm_memory_plan *plan, llm_error *err);

/* Would llm_session_open find the memory? LLM_ERR_MEMORY with the numbers, and the smallest change that would fit. */
LLM_API llm_status llm_session_fits(llm_model *m, const llm_session_options *opt, llm_error *err);

/* The plan item by item; the bytes add up to total_bytes and, those of the last three kinds, to device_total_bytes. what is valid during
 * the call; nonzero: LLM_ERR_CANCELLED. */
typedef enum {
    LLM_MEMORY_MAPPED = 0,              /* pages of a file, which the system can drop and read again */
    LLM_MEMORY_MODEL = 1,               /* taken when the model is opened, shared by its sessions */
    LLM_MEMORY_KV = 2,                  /* of a session; touched as the context fills */
    LLM_MEMORY_SCRATCH = 3,             /* of a session */
    LLM_MEMORY_DEVICE_MODEL = 4,        /* the same on the device */
    LLM_MEMORY_DEVICE_KV = 5,
    LLM_MEMORY_DEVICE_SCRATCH = 6
} llm_memory_kind;
typedef int (*llm_memory_fn)(void *user, llm_memory_kind kind, const char *what, uint64_t bytes);
LLM_API llm_status llm_session_plan_items(llm_model *m, const llm_session_options *opt, llm_memory_fn fn, void *user, llm_error *err);

/* Appends n >= 1 tokens to sequence 0 and computes them; logits of the last one are
 * kept. When they do not fit nothing is changed: LLM_ERR_CONTEXT says how many
 * were asked for and how many fit. After a later failure or a cancellation the sequences
 * hold the pieces of n_batch rows that were finished (llm_session_length), and no logits are kept. */
LLM_API llm_status llm_session_decode(llm_session *s, const llm_token *tok, size_t n, llm_error *err);

/* The general form: rows of several sequences in one go. Positions follow from
 * the length of each sequence, in row order. Rows with want_logits nonzero keep
 * theirs, in row order. */
typedef struct { llm_token token; int seq; int want_logits; } llm_row;
LLM_API llm_status llm_session_decode_rows(llm_session *s, const llm_row *row, size_t n, llm_error *err);

LLM_API size_t llm_session_n_logits(const llm_session *s);           /* rows kept by the last decode */
/* [n_logits, n_vocab], until the next decode; NULL: none. Of a device they are brought here by the first call, which is NULL too where that fails. */
LLM_API const float *llm_session_logits(const llm_session *s);

LLM_API int llm_session_length(const llm_session *s, int seq);       /* tokens held; -1: no such sequence */
/* The tokens held, [llm_session_length], until the session is changed; NULL: no such sequence. */
LLM_API const llm_token *llm_session_tokens(const llm_session *s, int seq);
/* Drops tokens from position n on. LLM_ERR_ARG where a sliding window no longer
 * holds what the shorter sequence needs; the sequence is unchanged then. */
LLM_API llm_status llm_session_truncate(llm_session *s, int seq, int n, llm_error *err);
/* Cuts sequence seq to the begin it shares with tok [n >= 1], n - 1 tokens at most: tok + *reused is to be decoded next. *common
 * (may be NULL): tokens that agree; where a sliding window cannot go back to them the sequence is emptied and *reused is 0. */
LLM_API llm_status llm_session_reuse(llm_session *s, int seq, const llm_token *tok, size_t n, size_t *reused, size_t *common, llm_error *err);
LLM_API llm_status llm_session_copy(llm_session *s, int from, int to, llm_error *err);   /* to is replaced */

/* Saves every sequence and the tokens in it, and restores them into a session of the same model and
 * kv_type whose n_ctx and n_seq hold them. Written to a temporary name, then renamed. LLM_ERR_MISMATCH when
 * the file belongs to another model, LLM_ERR_FORMAT when it is damaged. On a failed restore the session is empty. */
LLM_API llm_status llm_session_save(const llm_session *s, const char *path, llm_error *err);
LLM_API llm_status llm_session_restore(llm_session *s, const char *path, llm_error *err);

/* Named activations as they are computed: data [n, width], il -1 outside layers. */
typedef void (*llm_tap_fn)(void *user, const char *name, int il, const float *data, int n, int width);
LLM_API void llm_session_set_tap(llm_session *s, llm_tap_fn tap, void *user);
/* Called with ("decode", rows done, rows in all) before every layer of each piece of n_batch rows; nonzero: LLM_ERR_CANCELLED. */
LLM_API void llm_session_set_progress(llm_session *s, llm_progress_fn progress, void *user);

/* ---- sampling ----------------------------------------------------------- */

/* The steps run in this order (llama.cpp's default): bias, penalties, top_k, typical_p, top_p, min_p, temperature,
 * draw. The filters see probabilities without the temperature and leave at least one token; at temperature 0 the
 * greatest logit after bias and penalties wins, and the lowest id among equals. */

typedef struct { llm_token token; float bias; } llm_logit_bias;

typedef struct {
    uint32_t size;
    float    temperature;           /* 0: greedy */
    int      top_k;                 /* 0: off */
    float    top_p, min_p, typical_p;   /* 0..1; 0: off; top_p and typical_p 1: off */
    float    repeat_penalty;        /* 0 or 1: off; divides positive and multiplies negative logits */
    float    frequency_penalty, presence_penalty;
    int      penalty_last_n;        /* tokens looked back on; 0: 64, -1: all */
    uint64_t seed;
    const llm_logit_bias *bias;     /* [n_bias], copied */
    size_t   n_bias;
} llm_sampler_options;

typedef struct llm_sampler llm_sampler;
/* What the model's publisher recommends (generation_config.json, or general.sampling.* of a GGUF file); greedy where there
 * is nothing. opt->size is set by the caller, the rest is overwritten. */
LLM_API llm_status llm_sampler_defaults(const llm_model *m, llm_sampler_options *opt);
/* opt NULL: the model's defaults. */
LLM_API llm_status llm_sampler_open(llm_sampler **out, const llm_model *m, const llm_sampler_options *opt, llm_error *err);
LLM_API void llm_sampler_close(llm_sampler *p);
/* Tells the penalties about a token that is part of the text (prompt or answer). */
LLM_API llm_status llm_sampler_accept(llm_sampler *p, llm_token t, llm_error *err);
/* Picks from logits [n_vocab]; the draw depends on (seed, pos), the logits and the accepted tokens alone (give each
 * sequence its own seed). Rows of the vocabulary that no token stands for are never picked. Returns -1 and an error when
 * a logit is NaN or infinite, or none is left. Does not accept. */
LLM_API llm_token llm_sampler_pick(llm_sampler *p, const float *logits, uint64_t pos, llm_error *err);

/* Does at once what is left of the copying that no_repack of llm_model_options tells of: before a measurement, or while a server has nothing
 * else to do. The model's progress hears of it ("putting weights in order") and may stop it: LLM_ERR_CANCELLED, and it goes on little by little. */
LLM_API llm_status llm_session_warm_up(llm_session *s, llm_error *err);

/* The same from row i of the logits that the last decode kept. Where they are on a device it brings here the greatest of them and those that
 * bias and penalties change, and picks from these where they prove what all of them would give; else it brings all. */
LLM_API llm_token llm_session_pick(llm_session *s, size_t i, llm_sampler *p, uint64_t pos, llm_error *err);
/* The same tokens for rows 0 .. n - 1, row i with sampler p[i] at pos[i], to out [n]: of up to 64 sequences on a device in one exchange with it
 * rather than one each. A sampler may appear more than once. On a failure the entries of out from the row that failed on are -1. */
LLM_API llm_status llm_session_pick_rows(llm_session *s, size_t n, llm_sampler *const *p, const uint64_t *pos, llm_token *out, llm_error *err);

/* ---- stop strings ------------------------------------------------------- */

/* Looks for any of n strings in a text that arrives in pieces. len [n] are their lengths, or NULL: they end at NUL. */
typedef struct llm_stop llm_stop;
LLM_API llm_status llm_stop_open(llm_stop **out, const char *const *text, const size_t *len, size_t n, llm_error *err);
LLM_API void llm_stop_close(llm_stop *p);
/* Text that can no longer be part of a stop string comes out in *out [*out_len], valid until the next call. When one is
 * complete *hit is 1, what precedes it comes out, and all later text is dropped until a flush. */
LLM_API llm_status llm_stop_push(llm_stop *p, const char *text, size_t len, const char **out, size_t *out_len, int *hit,
                                 llm_error *err);
/* At the end of the text: what was held back comes out, and p is ready for another text. */
LLM_API llm_status llm_stop_flush(llm_stop *p, const char **out, size_t *out_len, llm_error *err);

/* ---- hashes -------------------------------------------------------------- */

/* SHA-256 of a whole file, read once from beginning to end; progress ("hashing", bytes done, bytes in all) may be NULL. */
LLM_API llm_status llm_sha256_file(const char *path, llm_progress_fn progress, void *user, uint8_t digest[32], llm_error *err);
LLM_API void llm_sha256_bytes(const void *data, size_t len, uint8_t digest[32]);     /* data may be NULL where len is 0 */
/* What a model is made of, as SHA-256: to tell whether a run is repeated with the same one. weights: quickly, of the numbers of the
 * architecture, the table of tensors and up to 256 samples of their bytes; full (nonzero): of the table and every byte. tokenizer: its
 * vocabulary, merges and rules. chat_template: the template, or the built-in format's name. Zeros where the model has none. */
typedef struct {
    uint32_t size;                  /* set by the caller: sizeof(llm_model_digests) */
    uint8_t  weights[32], tokenizer[32], chat_template[32];
} llm_model_digests;
LLM_API llm_status llm_model_get_digests(const llm_model *m, int full, llm_model_digests *out, llm_error *err);

/* ---- quantizing --------------------------------------------------------- */

/* Writes a model as a GGUF file: from a safetensors folder (converted on the way) or from GGUF. One tensor at a time, whatever
 * the size of the model. The file is written under another name in the same folder and renamed when it is whole; on failure or
 * cancellation whatever was there stays. The bytes depend on the source and the options, not on threads or instruction sets.
 * LLM_ERR_FORMAT names the tensor, row and column of a weight that is not finite. */
typedef struct {
    uint32_t           size;
    const char        *in;          /* a safetensors folder, or a GGUF file (any part of a split one) */
    const char        *out;         /* the file to be written */
    const char        *type;        /* a mix, in any letter case: "Q4_K_M", "Q8_0", "MXFP4_MOE", "F16", ... */
    const char        *imatrix;     /* importance of columns, a file of llm-eval imatrix or llama.cpp; NULL: none */
    const char *const *tensor;      /* [n_tensor] "PATTERN=TYPE" for names like "blk.*.ffn_down.weight" (as a shell matches); first wins */
    size_t             n_tensor;
    int                n_threads;   /* 0: the cores this process may use */
    const char        *cpu;         /* as in llm_model_options */
    llm_log_fn         log;
    llm_progress_fn    progress;    /* ("quantizing", values done, values in all); nonzero: LLM_ERR_CANCELLED */
    void              *user;
} llm_quantize_options;

typedef struct {
    uint32_t size;
    uint64_t bytes;                 /* of the file */
    uint64_t n_tensor, n_value;
    uint64_t n_fallback;            /* tensors whose rows are not whole blocks of the type that the mix wanted */
    uint64_t n_weighted;            /* tensors that the importance matrix was used for */
} llm_quantize_result;

/* result may be NULL. */
LLM_API llm_status llm_quantize(const llm_quantize_options *opt, llm_quantize_result *result, llm_error *err);

/* The same into a cache: path [cap] becomes the name of a file in folder (made where it is not there), which is made first unless
 * a whole one is there that was made from the same source, by its files' names, sizes, times and bytes (large files in samples), with
 * the same options. A stale or damaged one is made again, and log says why. Programs that want the same file wait for the one that
 * makes it. opt->out is not looked at. result->bytes is 0 when nothing had to be made. */
LLM_API llm_status llm_quantize_cached(const llm_quantize_options *opt, const char *folder, char *path, size_t cap,
                                       llm_quantize_result *result, llm_error *err);

/* Sums up the squares of what goes into each weight while the session computes: an importance matrix, for llm_quantize. One
 * collector a session, closed before it; CPU only. The file is GGUF, in the form that llama.cpp writes and reads. text_name: of the
 * text, to be noted (may be NULL); n_chunk pieces of chunk_size tokens. */
typedef struct llm_collector llm_collector;
LLM_API llm_status llm_collector_open(llm_collector **out, llm_session *s, llm_error *err);
LLM_API void llm_collector_close(llm_collector *c);
LLM_API llm_status llm_collector_save(const llm_collector *c, const char *path, const char *text_name, int n_chunk, int chunk_size, llm_error *err);

#ifdef __cplusplus
}
#endif
#endif
