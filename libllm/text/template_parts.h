/* template_parts.h - what the files of the template engine share: arena, values, syntax tree, evaluation state.
 *
 * All memory of a parse or a render comes from one arena that is freed at its end, and the first failure jumps to the entry
 * point (tpl_fail does not return), so the code between them has no error paths of its own. */
#ifndef LLM_TEMPLATE_PARTS_H
#define LLM_TEMPLATE_PARTS_H
#include "template.h"
#include <setjmp.h>
#include <stdint.h>
#include <string.h>

enum { TPL_MAX_NEST = 100, TPL_MAX_DEPTH = 400, TPL_MAX_RANGE = 100000 };

typedef struct tpl_chunk { struct tpl_chunk *next; size_t used, size; _Alignas(16) char data[]; } tpl_chunk;

typedef struct {
    tpl_chunk *chunks;
    size_t used, limit;
    jmp_buf jump;
    llm_status status;
    llm_error *err;
    int line, col;                      /* where we are, for messages */
} tpl_base;

/* n bytes, aligned, not cleared. */
void *tpl_alloc(tpl_base *b, size_t n);
void *tpl_zalloc(tpl_base *b, size_t n);
/* n items of size; fails on overflow. */
void *tpl_array(tpl_base *b, size_t n, size_t size);
void tpl_free_all(tpl_base *b);
/* "template: line L, column C: ..." */
_Noreturn void tpl_fail(tpl_base *b, llm_status status, const char *fmt, ...) LLM_PRINTF(3, 4);

/* ---- values ---- */

typedef enum { V_UNDEF, V_NONE, V_BOOL, V_INT, V_FLOAT, V_STR, V_LIST, V_TUPLE, V_DICT, V_NAMESPACE, V_LOOP, V_MACRO, V_METHOD, V_FUNC } tpl_type;
enum { TRUST_DATA = 0, TRUST_TEMPLATE = 1, TRUST_MIXED = 2 };       /* of strings; of numbers only the first two */

typedef struct tpl_list tpl_list;
typedef struct tpl_dict tpl_dict;
typedef struct tpl_loop tpl_loop;
typedef struct tpl_macro tpl_macro;
typedef struct tpl_method tpl_method;

typedef struct {
    uint8_t type, trust;
    bool safe;                          /* strings: went through |safe or |escape */
    size_t n;                           /* strings: bytes; undefined: of the name */
    union {
        int64_t i;                      /* integers and booleans */
        double f;
        const char *s;                  /* strings; undefined: its name */
        tpl_list *list;                 /* lists and tuples */
        tpl_dict *dict;                 /* dicts and namespaces */
        tpl_loop *loop;
        tpl_macro *macro;
        tpl_method *method;
        int func;
    } u;
    const uint8_t *mark;                /* TRUST_MIXED: one byte for each byte of the string, nonzero: the template's */
} tpl_value;

struct tpl_list { tpl_value *item; size_t n, cap; };
struct tpl_dict { tpl_value *key, *value; size_t n, cap; };
struct tpl_method { tpl_value self; const char *name; };

/* A string as it is put together, with the mark of each byte. */
typedef struct { char *s; uint8_t *mark; size_t n, cap; } tpl_buf;

/* ---- syntax tree ---- */

typedef enum {
    N_CONST, N_NAME, N_LIST, N_TUPLE, N_DICT, N_PAIR, N_ATTR, N_ITEM, N_SLICE, N_CALL, N_KEYWORD, N_FILTER, N_TEST, N_NOT, N_NEG, N_POS,
    N_AND, N_OR, N_BINARY, N_COMPARE, N_COND, N_CONCAT,
    N_TEXT, N_PRINT, N_IF, N_FOR, N_SET, N_SET_BLOCK, N_MACRO, N_PARAM, N_CALL_BLOCK, N_FILTER_BLOCK, N_WITH, N_GENERATION, N_BREAK, N_CONTINUE
} tpl_kind;

typedef enum { OP_ADD = 1, OP_SUB, OP_MUL, OP_DIV, OP_FLOORDIV, OP_MOD, OP_POW, OP_EQ, OP_NE, OP_LT, OP_LE, OP_GT, OP_GE, OP_IN, OP_NOT_IN } tpl_op;

typedef struct tpl_node tpl_node;
struct tpl_node {
    uint8_t kind, op;
    int line, col;
    tpl_value value;                    /* the constant, or the name */
    /*                   a          b           c         d          e
     * ATTR, TEST, FILTER input     arguments                          (name in value)
     * ITEM              object     key or N_SLICE (a start, b stop, c step)
     * CALL              callee     arguments (N_KEYWORD: name, a)
     * COMPARE           first      rest, each with op in its wrapper N_COMPARE (a)
     * COND, IF          test       then        else      elif
     * FOR               target     iterable    body      else       condition
     * SET, WITH         target     value       body (WITH: a is a list of N_SET)
     * MACRO             parameters (N_PARAM: name, a default)  c body
     * CALL_BLOCK        parameters call        body */
    tpl_node *a, *b, *c, *d, *e;
    tpl_node *next;                     /* in a list */
};

/* tokens of one tag */
typedef enum { K_END, K_NAME, K_STRING, K_INT, K_FLOAT, K_OP } tpl_token_kind;
typedef struct { uint8_t kind; char op[3]; tpl_value value; int line, col; } tpl_token;
typedef enum { PIECE_TEXT, PIECE_PRINT, PIECE_BLOCK } tpl_piece_kind;
typedef struct tpl_piece tpl_piece;
struct tpl_piece { uint8_t kind; int line, col; tpl_value text; tpl_token *token; size_t n_token; tpl_piece *next; };    /* tokens end with K_END */

tpl_piece *tpl_lex(tpl_base *b, const char *text, size_t len);
tpl_node *tpl_parse(tpl_base *b, tpl_piece *first);

struct llm_template { tpl_base base; tpl_node *body; };

/* ---- evaluation ---- */

typedef struct tpl_var { const char *name; size_t n; tpl_value value; struct tpl_var *next; } tpl_var;
typedef struct tpl_scope { struct tpl_scope *up; tpl_var *var; } tpl_scope;
struct tpl_macro { const tpl_node *node; tpl_scope *scope; };
struct tpl_loop { tpl_list *items; size_t at; int depth; bool has_changed; tpl_value changed; };

typedef struct {
    tpl_base b;                         /* first: &t->b is the arena */
    size_t steps, max_steps, max_output;
    int depth, loop_depth;
    tpl_scope *scope;
    tpl_buf *out;
    const char *now;
    json_t *json;                       /* being converted; released at the end */
} tpl;

typedef struct { tpl_value *pos; size_t n_pos; struct { const char *name; size_t n; tpl_value value; } *kw; size_t n_kw, n_seen; } tpl_args;

void tpl_steps(tpl *t, size_t n);                                       /* counts n steps and fails past the limit */
tpl_value tpl_call(tpl *t, tpl_value callee, tpl_args *args);
tpl_value tpl_getattr(tpl *t, tpl_value v, tpl_value name);             /* v.name */
tpl_value tpl_getitem(tpl *t, tpl_value v, tpl_value key);              /* v[key] */
/* Argument i or name; dflt where it is missing. */
tpl_value tpl_arg(tpl_args *args, size_t i, const char *name, tpl_value dflt);
/* Fails where arguments are left that no tpl_arg asked for. */
void tpl_args_done(tpl *t, const tpl_args *args, size_t max_pos, const char *what, tpl_value name);

/* template_value.c */
tpl_value tpl_undef(const char *name, size_t n);
tpl_value tpl_none(void);
tpl_value tpl_bool(bool x);
tpl_value tpl_int(int64_t x);
tpl_value tpl_float(double x);
tpl_value tpl_str(const char *s, size_t n, int trust);
tpl_value tpl_text(const char *literal);                                /* of the template's own */
tpl_value tpl_sub(tpl_value s, size_t at, size_t n);                    /* bytes at .. at + n of a string */
tpl_value tpl_list_new(tpl *t, tpl_type type, size_t cap);
void tpl_list_add(tpl *t, tpl_value list, tpl_value item);
tpl_value tpl_pair(tpl *t, tpl_value a, tpl_value b);
tpl_value tpl_dict_new(tpl *t, tpl_type type);
void tpl_dict_set(tpl *t, tpl_value dict, tpl_value key, tpl_value value);
bool tpl_dict_get(tpl *t, tpl_value dict, tpl_value key, tpl_value *value);
bool tpl_is_num(tpl_value v);                                           /* integer, float or boolean */
bool tpl_is_name(tpl_value v, const char *name);                        /* the string or name v is name */
double tpl_num(tpl_value v);
const char *tpl_type_name(tpl_value v);
bool tpl_true(tpl_value v);
bool tpl_equal(tpl *t, tpl_value a, tpl_value b);
int tpl_order(tpl *t, tpl_value a, tpl_value b);                        /* <0, 0, >0 */
bool tpl_contains(tpl *t, tpl_value in, tpl_value v);
tpl_list *tpl_iterate(tpl *t, tpl_value v);                             /* a list of what a loop over v sees */
size_t tpl_length(tpl *t, tpl_value v);
tpl_value tpl_from_json(tpl *t, const json_t *j, int trust);

/* template_string.c */
void tpl_put(tpl *t, tpl_buf *b, const char *s, size_t n, int trust);
void tpl_put_str(tpl *t, tpl_buf *b, tpl_value s);
tpl_value tpl_buf_str(const tpl_buf *b);
tpl_value tpl_string(tpl *t, tpl_value v);                              /* Python's str() */
void tpl_put_repr(tpl *t, tpl_buf *b, tpl_value v, int depth);          /* Python's repr() */
size_t tpl_float_text(char out[40], double x);
typedef struct { bool ascii, sort; int indent; tpl_value item_sep, key_sep; } tpl_json_style;
void tpl_put_json(tpl *t, tpl_buf *b, tpl_value v, const tpl_json_style *style, int depth);
bool tpl_parse_int(const char *s, size_t n, int base, int64_t *out);
bool tpl_parse_float(const char *s, size_t n, double *out);
/* One character at s [n > 0]: its length; *cp is U+DC80.. for a byte that is no UTF-8. */
size_t tpl_char(const char *s, size_t n, int32_t *cp);
size_t tpl_char_at(const char *s, size_t n, size_t index);              /* byte offset of character index, n past the end */
size_t tpl_chars(const char *s, size_t n);
bool tpl_space(int32_t cp);
tpl_value tpl_strip(tpl_value s, const tpl_value *chars, bool left, bool right);
typedef enum { CASE_UPPER, CASE_LOWER, CASE_TITLE, CASE_CAPITALIZE } tpl_case;
tpl_value tpl_recase(tpl *t, tpl_value s, tpl_case how);
tpl_value tpl_replace(tpl *t, tpl_value s, tpl_value from, tpl_value to, int64_t count);
tpl_value tpl_percent(tpl *t, tpl_value format, tpl_value args);        /* format % args */
tpl_value tpl_escape(tpl *t, tpl_value s);
size_t tpl_find(const char *s, size_t n, const char *what, size_t len, size_t from);   /* SIZE_MAX: nowhere */

/* template_methods.c */
bool tpl_has_method(tpl_value self, const char *name, size_t n, const char **known);
tpl_value tpl_call_method(tpl *t, const tpl_method *m, tpl_args *args);
tpl_value tpl_strftime(tpl *t, tpl_value format);

/* template_ops.c */
tpl_value tpl_binary(tpl *t, tpl_op op, tpl_value a, tpl_value b);
bool tpl_compare(tpl *t, tpl_op op, tpl_value a, tpl_value b);
tpl_value tpl_slice(tpl *t, tpl_value v, tpl_value start, tpl_value stop, tpl_value step);

/* template_filters.c */
tpl_value tpl_filter(tpl *t, tpl_value name, tpl_value in, tpl_args *args);
bool tpl_filter_known(tpl_value name);
/* template_tests.c */
bool tpl_test(tpl *t, tpl_value name, tpl_value in, tpl_args *args);
#endif
