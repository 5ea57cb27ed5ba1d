/* Runs the syntax tree of a template. */
#include "template_parts.h"
#include <stdio.h>
#include <stdlib.h>
#include "checked.h"
#include <stdarg.h>

typedef enum { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE } flow;

enum { FUNC_RANGE, FUNC_NAMESPACE, FUNC_RAISE, FUNC_STRFTIME, FUNC_DICT };

static tpl_value eval(tpl *t, const tpl_node *n);
static flow run(tpl *t, const tpl_node *n);

/* ---- arena and failure ---- */

void *tpl_alloc(tpl_base *b, size_t n)
{
    enum { CHUNK = 16384 };
    tpl_chunk *c = b->chunks;
    size_t size;
    void *p;

    if (!ck_align(n ? n : 1, 16, &n)) tpl_fail(b, LLM_ERR_MEMORY, "a value too large for memory");
    if (c == NULL || n > c->size - c->used) {
        size = b->used / 4 > CHUNK ? b->used / 4 : CHUNK;
        if (size < n) size = n;
        if (size > ((size_t)1 << 22) && n < ((size_t)1 << 22)) size = (size_t)1 << 22;
        if (b->used > b->limit || n > b->limit - b->used) tpl_fail(b, LLM_ERR_MEMORY, "more than %zu bytes of values", b->limit);
        c = malloc(sizeof *c + size);
        if (c == NULL) {
            b->status = llm_fail_memory(b->err, size, "a chat template");
            longjmp(b->jump, 1);
        }
        c->next = b->chunks, c->used = 0, c->size = size;
        b->chunks = c, b->used += size;
    }
    p = c->data + c->used;
    c->used += n;
    return p;
}

void *tpl_zalloc(tpl_base *b, size_t n) { return memset(tpl_alloc(b, n), 0, n); }

void *tpl_array(tpl_base *b, size_t n, size_t size)
{
    size_t bytes;

    if (!ck_mul(n, size, &bytes)) tpl_fail(b, LLM_ERR_MEMORY, "a value too large for memory");
    return tpl_alloc(b, bytes);
}

void tpl_free_all(tpl_base *b)
{
    while (b->chunks) {
        tpl_chunk *next = b->chunks->next;
        free(b->chunks);
        b->chunks = next;
    }
    b->used = 0;
}

_Noreturn void tpl_fail(tpl_base *b, llm_status status, const char *fmt, ...)
{
    char text[360];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    b->status = llm_fail(b->err, status, "template: line %d, column %d: %s", b->line, b->col, text);
    longjmp(b->jump, 1);
}

void tpl_steps(tpl *t, size_t n)
{
    if (n > t->max_steps - t->steps) tpl_fail(&t->b, LLM_ERR_UNSUPPORTED, "the template takes more than %zu steps", t->max_steps);
    t->steps += n;
}

/* ---- variables ---- */

static tpl_var *find_here(const tpl_scope *s, tpl_value name)
{
    for (tpl_var *v = s->var; v; v = v->next)
        if (v->n == name.n && memcmp(v->name, name.u.s, name.n) == 0) return v;
    return NULL;
}

static void assign(tpl *t, tpl_value name, tpl_value value)
{
    tpl_var *v = find_here(t->scope, name);

    if (v == NULL) {
        v = tpl_zalloc(&t->b, sizeof *v);
        v->name = name.u.s, v->n = name.n, v->next = t->scope->var, t->scope->var = v;
    }
    v->value = value;
}

static tpl_scope *scope_in(tpl *t, tpl_scope *up)
{
    tpl_scope *s = tpl_zalloc(&t->b, sizeof *s), *before = t->scope;

    s->up = up;
    t->scope = s;
    return before;
}

static tpl_value lookup(tpl *t, tpl_value name)
{
    static const char *const funcs[] = { "range", "namespace", "raise_exception", "strftime_now", "dict" };

    for (const tpl_scope *s = t->scope; s; s = s->up) {
        tpl_var *v = find_here(s, name);
        tpl_steps(t, 1);
        if (v) return v->value;
    }
    for (int i = 0; i < (int)(sizeof funcs / sizeof funcs[0]); i++)
        if (tpl_is_name(name, funcs[i])) return (tpl_value){ .type = V_FUNC, .u.func = i };
    return tpl_undef(name.u.s, name.n);
}

static void assign_to(tpl *t, const tpl_node *target, tpl_value value)
{
    tpl_list *l;
    size_t n = 0;

    t->b.line = target->line, t->b.col = target->col;
    if (target->kind == N_NAME) { assign(t, target->value, value); return; }
    if (target->kind == N_ATTR) {
        tpl_value ns = lookup(t, target->a->value);
        if (ns.type != V_NAMESPACE) tpl_fail(&t->b, LLM_ERR_FORMAT, "'%.*s' is no namespace, its attributes cannot be set", (int)target->a->value.n, target->a->value.u.s);
        tpl_dict_set(t, ns, target->value, value);
        return;
    }
    l = tpl_iterate(t, value);
    for (const tpl_node *k = target->a; k; k = k->next) n++;
    if (n != l->n) tpl_fail(&t->b, LLM_ERR_FORMAT, "%zu values for %zu names", l->n, n);
    n = 0;
    for (const tpl_node *k = target->a; k; k = k->next) assign_to(t, k, l->item[n++]);
}

/* ---- attributes and items ---- */

static tpl_value loop_attr(tpl *t, tpl_loop *l, tpl_value name)
{
    tpl_value self = { .type = V_LOOP, .u.loop = l };
    int64_t at = (int64_t)l->at, n = (int64_t)l->items->n;
    tpl_method *m;

    if (tpl_is_name(name, "index")) return tpl_int(at + 1);
    if (tpl_is_name(name, "index0")) return tpl_int(at);
    if (tpl_is_name(name, "revindex")) return tpl_int(n - at);
    if (tpl_is_name(name, "revindex0")) return tpl_int(n - at - 1);
    if (tpl_is_name(name, "first")) return tpl_bool(at == 0);
    if (tpl_is_name(name, "last")) return tpl_bool(at + 1 == n);
    if (tpl_is_name(name, "length")) return tpl_int(n);
    if (tpl_is_name(name, "depth")) return tpl_int(l->depth);
    if (tpl_is_name(name, "depth0")) return tpl_int(l->depth - 1);
    if (tpl_is_name(name, "previtem")) return at > 0 ? l->items->item[at - 1] : tpl_undef("loop.previtem", 13);
    if (tpl_is_name(name, "nextitem")) return at + 1 < n ? l->items->item[at + 1] : tpl_undef("loop.nextitem", 13);
    if (!tpl_is_name(name, "cycle") && !tpl_is_name(name, "changed")) return tpl_undef(name.u.s, name.n);
    m = tpl_zalloc(&t->b, sizeof *m);
    m->self = self, m->name = tpl_is_name(name, "cycle") ? "cycle" : "changed";
    return (tpl_value){ .type = V_METHOD, .u.method = m };
}

_Noreturn static void undefined_used(tpl *t, tpl_value v, tpl_value name)
{
    tpl_fail(&t->b, LLM_ERR_FORMAT, "'%.*s' is undefined and has no '%.*s'", v.n > 60 ? 60 : (int)v.n, v.u.s ? v.u.s : "",
             name.type != V_STR ? 0 : name.n > 60 ? 60 : (int)name.n, name.type == V_STR ? name.u.s : "");
}

static bool method_of(tpl *t, tpl_value v, tpl_value name, tpl_value *out)
{
    const char *known;
    tpl_method *m;

    if (!tpl_has_method(v, name.u.s, name.n, &known)) return false;
    m = tpl_zalloc(&t->b, sizeof *m);
    m->self = v, m->name = known;
    *out = (tpl_value){ .type = V_METHOD, .u.method = m };
    return true;
}

tpl_value tpl_getattr(tpl *t, tpl_value v, tpl_value name)
{
    tpl_value out;

    if (v.type == V_UNDEF) undefined_used(t, v, name);
    if (v.type == V_LOOP) return loop_attr(t, v.u.loop, name);
    if (v.type == V_NAMESPACE) return tpl_dict_get(t, v, name, &out) ? out : tpl_undef(name.u.s, name.n);
    if (method_of(t, v, name, &out)) return out;
    if (v.type == V_DICT && tpl_dict_get(t, v, name, &out)) return out;
    return tpl_undef(name.u.s, name.n);
}

tpl_value tpl_getitem(tpl *t, tpl_value v, tpl_value key)
{
    tpl_value out;
    int64_t n, i;

    if (v.type == V_UNDEF) undefined_used(t, v, key);
    if (v.type == V_DICT && key.type != V_LIST && key.type != V_DICT && tpl_dict_get(t, v, key, &out)) return out;
    if ((key.type == V_INT || key.type == V_BOOL) && (v.type == V_LIST || v.type == V_TUPLE || v.type == V_STR)) {
        n = (int64_t)tpl_length(t, v), i = key.u.i < 0 ? key.u.i + n : key.u.i;
        if (i < 0 || i >= n) return tpl_undef("an item past the end", 20);
        if (v.type != V_STR) return v.u.list->item[i];
        size_t at = tpl_char_at(v.u.s, v.n, (size_t)i);
        return tpl_sub(v, at, tpl_char_at(v.u.s + at, v.n - at, 1));
    }
    if (key.type != V_STR) return tpl_undef("", 0);
    if (v.type == V_NAMESPACE || v.type == V_LOOP) return tpl_getattr(t, v, key);
    if (method_of(t, v, key, &out)) return out;
    return tpl_undef(key.u.s, key.n);
}

/* ---- calls ---- */

tpl_value tpl_arg(tpl_args *args, size_t i, const char *name, tpl_value dflt)
{
    if (i < args->n_pos) return args->pos[i];
    for (size_t k = 0; name && k < args->n_kw; k++)
        if (args->kw[k].n == strlen(name) && memcmp(args->kw[k].name, name, args->kw[k].n) == 0) return args->n_seen++, args->kw[k].value;
    return dflt;
}

void tpl_args_done(tpl *t, const tpl_args *args, size_t max_pos, const char *what, tpl_value name)
{
    int n = name.n > 60 ? 60 : (int)name.n;

    if (args->n_pos > max_pos) tpl_fail(&t->b, LLM_ERR_FORMAT, "%s '%.*s' takes at most %zu arguments, not %zu", what, n, name.u.s, max_pos, args->n_pos);
    if (args->n_seen < args->n_kw) tpl_fail(&t->b, LLM_ERR_UNSUPPORTED, "%s '%.*s' does not take all of its %zu named arguments", what, n, name.u.s, args->n_kw);
}

static tpl_args eval_args(tpl *t, const tpl_node *n)
{
    tpl_args args = { 0 };
    size_t count = 0;

    for (const tpl_node *k = n; k; k = k->next) count++;
    args.pos = tpl_array(&t->b, count, sizeof *args.pos);
    args.kw = tpl_array(&t->b, count, sizeof *args.kw);
    for (; n; n = n->next) {
        if (n->kind == N_KEYWORD) {
            args.kw[args.n_kw].name = n->value.u.s, args.kw[args.n_kw].n = n->value.n;
            args.kw[args.n_kw++].value = eval(t, n->a);
        } else args.pos[args.n_pos++] = eval(t, n);
    }
    return args;
}

/* What a body writes, as a string. */
static tpl_value captured(tpl *t, const tpl_node *body)
{
    tpl_buf b = { 0 }, *before = t->out;

    t->out = &b;
    run(t, body);
    t->out = before;
    return tpl_buf_str(&b);
}

static tpl_value call_macro(tpl *t, tpl_macro *m, tpl_args *args)
{
    tpl_scope *before = scope_in(t, m->scope);
    const tpl_value caller_name = tpl_text("caller");
    size_t i = 0;
    tpl_value out;

    for (const tpl_node *p = m->node->a; p; p = p->next, i++) {
        tpl_value v = tpl_undef(p->value.u.s, p->value.n);
        bool given = i < args->n_pos;
        if (given) v = args->pos[i];
        for (size_t k = 0; k < args->n_kw; k++)
            if (args->kw[k].n == p->value.n && memcmp(args->kw[k].name, p->value.u.s, p->value.n) == 0) {
                if (given) tpl_fail(&t->b, LLM_ERR_FORMAT, "argument '%.*s' is given twice", (int)p->value.n, p->value.u.s);
                v = args->kw[k].value, given = true, args->n_seen++;
            }
        if (!given && p->a) v = eval(t, p->a);
        assign(t, p->value, v);
    }
    assign(t, caller_name, tpl_arg(args, SIZE_MAX, "caller", tpl_undef("caller", 6)));
    tpl_args_done(t, args, i, "macro", m->node->value);
    out = captured(t, m->node->c);
    t->scope = before;
    return out;
}

static tpl_value call_range(tpl *t, tpl_args *args)
{
    tpl_value out = tpl_list_new(t, V_LIST, 0), v[3];
    int64_t begin = 0, end, step = 1;

    if (args->n_pos < 1 || args->n_pos > 3 || args->n_kw) tpl_fail(&t->b, LLM_ERR_FORMAT, "range takes 1 to 3 arguments");
    for (size_t i = 0; i < args->n_pos; i++) {
        v[i] = args->pos[i];
        if (v[i].type != V_INT && v[i].type != V_BOOL) tpl_fail(&t->b, LLM_ERR_FORMAT, "range needs integers, not %s", tpl_type_name(v[i]));
    }
    end = v[0].u.i;
    if (args->n_pos > 1) begin = v[0].u.i, end = v[1].u.i;
    if (args->n_pos > 2) step = v[2].u.i;
    if (step == 0) tpl_fail(&t->b, LLM_ERR_FORMAT, "range with a step of 0");
    for (int64_t i = begin; step > 0 ? i < end : i > end;) {
        if (out.u.list->n >= TPL_MAX_RANGE) tpl_fail(&t->b, LLM_ERR_UNSUPPORTED, "a range of more than %d numbers", TPL_MAX_RANGE);
        tpl_list_add(t, out, tpl_int(i));
        if (__builtin_add_overflow(i, step, &i)) break;
    }
    return out;
}

static tpl_value call_dict(tpl *t, tpl_args *args, tpl_type type)
{
    tpl_value out = tpl_dict_new(t, type);

    if (args->n_pos > 1 || (args->n_pos == 1 && args->pos[0].type != V_DICT)) tpl_fail(&t->b, LLM_ERR_FORMAT, "this call takes one dict and named values");
    for (size_t i = 0; args->n_pos && i < args->pos[0].u.dict->n; i++) tpl_dict_set(t, out, args->pos[0].u.dict->key[i], args->pos[0].u.dict->value[i]);
    for (size_t i = 0; i < args->n_kw; i++) tpl_dict_set(t, out, tpl_str(args->kw[i].name, args->kw[i].n, TRUST_TEMPLATE), args->kw[i].value);
    return out;
}

static tpl_value call_function(tpl *t, int func, tpl_args *args)
{
    tpl_value text;

    switch (func) {
    case FUNC_RANGE: return call_range(t, args);
    case FUNC_NAMESPACE: return call_dict(t, args, V_NAMESPACE);
    case FUNC_DICT: return call_dict(t, args, V_DICT);
    case FUNC_STRFTIME: return tpl_strftime(t, tpl_arg(args, 0, "format", tpl_none()));
    default:
        text = tpl_string(t, tpl_arg(args, 0, "message", tpl_text("")));
        tpl_fail(&t->b, LLM_ERR_UNSUPPORTED, "the template refuses: %.*s", text.n > 300 ? 300 : (int)text.n, text.u.s);
    }
}

static void deeper(tpl *t)
{
    if (++t->depth > TPL_MAX_DEPTH) tpl_fail(&t->b, LLM_ERR_UNSUPPORTED, "values or calls nested deeper than %d levels", TPL_MAX_DEPTH);
}

tpl_value tpl_call(tpl *t, tpl_value f, tpl_args *args)
{
    tpl_value out;
    int line = t->b.line, col = t->b.col;

    deeper(t);
    if (f.type == V_MACRO) out = call_macro(t, f.u.macro, args);
    else if (f.type == V_METHOD) out = tpl_call_method(t, f.u.method, args);
    else if (f.type == V_FUNC) out = call_function(t, f.u.func, args);
    else if (f.type == V_UNDEF) tpl_fail(&t->b, LLM_ERR_FORMAT, "'%.*s' is undefined and cannot be called", f.n > 60 ? 60 : (int)f.n, f.u.s ? f.u.s : "");
    else tpl_fail(&t->b, LLM_ERR_FORMAT, "a %s cannot be called", tpl_type_name(f));
    t->depth--;
    t->b.line = line, t->b.col = col;
    return out;
}

/* ---- expressions ---- */

static tpl_value eval_list(tpl *t, const tpl_node *n, tpl_type type)
{
    tpl_value out = tpl_list_new(t, type, 0);

    for (n = n->a; n; n = n->next) tpl_list_add(t, out, eval(t, n));
    return out;
}

static tpl_value eval_dict(tpl *t, const tpl_node *n)
{
    tpl_value out = tpl_dict_new(t, V_DICT), key;

    for (n = n->a; n; n = n->next) key = eval(t, n->a), tpl_dict_set(t, out, key, eval(t, n->b));
    return out;
}

static tpl_value eval_item(tpl *t, const tpl_node *n)
{
    tpl_value v = eval(t, n->a), part[3];
    const tpl_node *s = n->b;

    if (s->kind != N_SLICE) { part[0] = eval(t, s); t->b.line = n->line, t->b.col = n->col; return tpl_getitem(t, v, part[0]); }
    part[0] = s->a ? eval(t, s->a) : tpl_none();
    part[1] = s->b ? eval(t, s->b) : tpl_none();
    part[2] = s->c ? eval(t, s->c) : tpl_none();
    return tpl_slice(t, v, part[0], part[1], part[2]);
}

static tpl_value eval_concat(tpl *t, const tpl_node *n)
{
    tpl_buf b = { 0 };

    for (n = n->a; n; n = n->next) tpl_put_str(t, &b, tpl_string(t, eval(t, n)));
    return tpl_buf_str(&b);
}

static tpl_value eval_compare(tpl *t, const tpl_node *n)
{
    tpl_value left = eval(t, n->a), right;

    for (n = n->b; n; n = n->next, left = right) {
        right = eval(t, n->a);
        if (!tpl_compare(t, n->op, left, right)) return tpl_bool(false);
    }
    return tpl_bool(true);
}

static tpl_value eval_sign(tpl *t, const tpl_node *n)
{
    tpl_value v = eval(t, n->a);

    if (!tpl_is_num(v)) tpl_fail(&t->b, LLM_ERR_FORMAT, "a sign before a value of type %s", tpl_type_name(v));
    if (n->kind == N_NEG) return v.type == V_FLOAT ? tpl_float(-v.u.f) : tpl_binary(t, OP_SUB, tpl_int(0), v);
    return v;
}

static tpl_value eval_one(tpl *t, const tpl_node *n)
{
    tpl_value v, w;
    tpl_args args;

    switch (n->kind) {
    case N_CONST: return n->value;
    case N_NAME: return lookup(t, n->value);
    case N_LIST: return eval_list(t, n, V_LIST);
    case N_TUPLE: return eval_list(t, n, V_TUPLE);
    case N_DICT: return eval_dict(t, n);
    case N_ATTR: v = eval(t, n->a), t->b.line = n->line, t->b.col = n->col; return tpl_getattr(t, v, n->value);
    case N_ITEM: return eval_item(t, n);
    case N_CALL: v = eval(t, n->a), args = eval_args(t, n->b), t->b.line = n->line, t->b.col = n->col; return tpl_call(t, v, &args);
    case N_FILTER: v = eval(t, n->a), args = eval_args(t, n->b), t->b.line = n->line, t->b.col = n->col; return tpl_filter(t, n->value, v, &args);
    case N_TEST: v = eval(t, n->a), args = eval_args(t, n->b); return tpl_bool(tpl_test(t, n->value, v, &args));
    case N_NOT: return tpl_bool(!tpl_true(eval(t, n->a)));
    case N_NEG: case N_POS: return eval_sign(t, n);
    case N_AND: v = eval(t, n->a); return tpl_true(v) ? eval(t, n->b) : v;
    case N_OR: v = eval(t, n->a); return tpl_true(v) ? v : eval(t, n->b);
    case N_BINARY: v = eval(t, n->a), w = eval(t, n->b), t->b.line = n->line, t->b.col = n->col; return tpl_binary(t, n->op, v, w);
    case N_COMPARE: return eval_compare(t, n);
    case N_COND: return tpl_true(eval(t, n->a)) ? eval(t, n->b) : n->c ? eval(t, n->c) : tpl_undef("inline if", 9);
    case N_CONCAT: return eval_concat(t, n);
    default: tpl_fail(&t->b, LLM_ERR_INTERNAL, "a node of kind %d in an expression", n->kind);
    }
}

static tpl_value eval(tpl *t, const tpl_node *n)
{
    tpl_value v;

    tpl_steps(t, 1);
    deeper(t);
    t->b.line = n->line, t->b.col = n->col;
    v = eval_one(t, n);
    t->depth--;
    return v;
}

/* ---- statements ---- */

static tpl_list *loop_items(tpl *t, const tpl_node *n)
{
    tpl_list *all = tpl_iterate(t, eval(t, n->b)), *kept;
    tpl_scope *before = t->scope;

    if (n->e == NULL) return all;
    kept = tpl_list_new(t, V_LIST, 0).u.list;
    for (size_t i = 0; i < all->n; i++) {
        scope_in(t, before);
        assign_to(t, n->a, all->item[i]);
        if (tpl_true(eval(t, n->e))) tpl_list_add(t, (tpl_value){ .type = V_LIST, .u.list = kept }, all->item[i]);
        t->scope = before;
    }
    return kept;
}

static void run_for(tpl *t, const tpl_node *n)
{
    tpl_loop *l = tpl_zalloc(&t->b, sizeof *l);
    tpl_scope *before = t->scope;
    flow f = FLOW_ON;

    l->items = loop_items(t, n);
    l->depth = ++t->loop_depth;
    for (l->at = 0; l->at < l->items->n && f != FLOW_BREAK; l->at++) {
        tpl_steps(t, 1);
        scope_in(t, before);
        assign(t, tpl_text("loop"), (tpl_value){ .type = V_LOOP, .u.loop = l });
        assign_to(t, n->a, l->items->item[l->at]);
        f = run(t, n->c);
        t->scope = before;
    }
    t->loop_depth--;
    if (l->items->n == 0 && n->d) scope_in(t, before), run(t, n->d), t->scope = before;
}

static tpl_value apply_filters(tpl *t, const tpl_node *n, tpl_value in)
{
    tpl_args args;

    if (n == NULL) return in;
    in = apply_filters(t, n->a, in);
    args = eval_args(t, n->b);
    return tpl_filter(t, n->value, in, &args);
}

static tpl_value new_macro(tpl *t, const tpl_node *n)
{
    tpl_macro *m = tpl_zalloc(&t->b, sizeof *m);

    m->node = n, m->scope = t->scope;
    return (tpl_value){ .type = V_MACRO, .u.macro = m };
}

static void run_call_block(tpl *t, const tpl_node *n)
{
    tpl_value f = eval(t, n->b->a), kw = new_macro(t, n);
    tpl_args args = eval_args(t, n->b->b), more = args;

    more.kw = tpl_array(&t->b, args.n_kw + 1, sizeof *more.kw);
    if (args.n_kw) memcpy(more.kw, args.kw, args.n_kw * sizeof *more.kw);
    more.kw[args.n_kw].name = "caller", more.kw[args.n_kw].n = 6, more.kw[args.n_kw].value = kw, more.n_kw++;
    tpl_put_str(t, t->out, tpl_string(t, tpl_call(t, f, &more)));
}

static flow run_block(tpl *t, const tpl_node *n)
{
    tpl_scope *before = scope_in(t, t->scope);
    flow f;

    for (const tpl_node *s = n->a; s; s = s->next) assign_to(t, s->a, eval(t, s->b));
    f = run(t, n->c);
    t->scope = before;
    return f;
}

static flow run_one(tpl *t, const tpl_node *n)
{
    tpl_value v;

    t->b.line = n->line, t->b.col = n->col;
    tpl_steps(t, 1);
    switch (n->kind) {
    case N_TEXT: tpl_put_str(t, t->out, n->value); break;
    case N_PRINT: v = eval(t, n->a), tpl_put_str(t, t->out, tpl_string(t, v)); break;
    case N_IF:
        for (; n; n = n->d) {
            if (tpl_true(eval(t, n->a))) return run(t, n->b);
            if (n->d == NULL) return run(t, n->c);
        }
        break;
    case N_FOR: run_for(t, n); break;
    case N_SET: assign_to(t, n->a, eval(t, n->b)); break;
    case N_SET_BLOCK: v = captured(t, n->c), assign_to(t, n->a, apply_filters(t, n->b, v)); break;
    case N_MACRO: assign(t, n->value, new_macro(t, n)); break;
    case N_CALL_BLOCK: run_call_block(t, n); break;
    case N_FILTER_BLOCK: v = captured(t, n->c), tpl_put_str(t, t->out, tpl_string(t, apply_filters(t, n->b, v))); break;
    case N_WITH: case N_GENERATION: return run_block(t, n);
    case N_BREAK: return FLOW_BREAK;
    case N_CONTINUE: return FLOW_CONTINUE;
    default: tpl_fail(&t->b, LLM_ERR_INTERNAL, "a node of kind %d as a statement", n->kind);
    }
    return FLOW_ON;
}

static flow run(tpl *t, const tpl_node *n)
{
    flow f = FLOW_ON;

    deeper(t);
    for (; n && f == FLOW_ON; n = n->next) f = run_one(t, n);
    t->depth--;
    return f;
}

/* ---- entry points ---- */

llm_status template_parse(llm_template **out, const char *text, size_t len, llm_error *err)
{
    llm_template *t = calloc(1, sizeof *t);

    *out = NULL;
    if (t == NULL) return llm_fail_memory(err, sizeof *t, "a chat template");
    t->base.err = err, t->base.limit = (size_t)256 << 20, t->base.line = t->base.col = 1;
    if (setjmp(t->base.jump)) {
        llm_status status = t->base.status;
        template_close(t);
        return status;
    }
    t->body = tpl_parse(&t->base, tpl_lex(&t->base, text, len));
    t->base.err = NULL;
    *out = t;
    return LLM_OK;
}

void template_close(llm_template *t)
{
    if (t == NULL) return;
    tpl_free_all(&t->base);
    free(t);
}

static void set_variables(tpl *t, const json_t *vars, int trust)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)vars, key, value) {
        size_t n = strlen(key);
        char *name = tpl_alloc(&t->b, n + 1);
        memcpy(name, key, n);
        assign(t, tpl_str(name, n, trust), tpl_from_json(t, value, trust));
    }
}

static size_t count_spans(const tpl_buf *b)
{
    size_t n = 0;
    for (size_t i = 0; i < b->n; i++) n += b->mark[i] && (i == 0 || !b->mark[i - 1]);
    return n;
}

static llm_status output_copy(const tpl_buf *b, template_output *out, llm_error *err)
{
    size_t n = count_spans(b);

    out->text = malloc(b->n + 1);
    out->trusted = malloc((n + 1) * sizeof *out->trusted);
    if (out->text == NULL || out->trusted == NULL) {
        template_output_free(out);
        return llm_fail_memory(err, b->n, "the text of a chat template");
    }
    if (b->n) memcpy(out->text, b->s, b->n);
    out->text[b->n] = '\0', out->len = b->n;
    for (size_t i = 0; i < b->n; i++) {
        if (!b->mark[i]) continue;
        if (i == 0 || !b->mark[i - 1]) out->trusted[out->n_trusted++].begin = i;
        out->trusted[out->n_trusted - 1].end = i + 1;
    }
    return LLM_OK;
}

static void render(tpl *t, const llm_template *tmpl, const json_t *vars, const json_t *trusted)
{
    scope_in(t, NULL);
    set_variables(t, vars, TRUST_DATA);
    if (trusted) set_variables(t, trusted, TRUST_TEMPLATE);
    run(t, tmpl->body);
}

/* Where failures land; apart, so that no local variable is changed between setjmp and the jump. */
static llm_status render_or_fail(tpl *t, const llm_template *tmpl, const json_t *vars, const json_t *trusted)
{
    if (setjmp(t->b.jump) == 0) render(t, tmpl, vars, trusted);
    return t->b.status;
}

llm_status template_render(const llm_template *tmpl, const json_t *vars, const template_options *opt, template_output *out, llm_error *err)
{
    static const template_options defaults;
    const template_options *o = opt ? opt : &defaults;
    llm_status status;
    tpl_buf buf = { 0 };
    tpl *t = calloc(1, sizeof *t);

    *out = (template_output){ 0 };
    if (t == NULL) return llm_fail_memory(err, sizeof *t, "a chat template");
    t->b.err = err, t->b.limit = o->max_memory ? o->max_memory : (size_t)512 << 20;
    t->max_steps = o->max_steps ? o->max_steps : 20000000, t->max_output = o->max_output ? o->max_output : (size_t)64 << 20;
    t->now = o->now, t->out = &buf;
    status = render_or_fail(t, tmpl, vars, o->trusted);
    if (status == LLM_OK) status = output_copy(&buf, out, err);
    json_decref(t->json);
    tpl_free_all(&t->b);
    free(t);
    return status;
}

void template_output_free(template_output *out)
{
    if (out == NULL) return;
    free(out->text);
    free(out->trusted);
    *out = (template_output){ 0 };
}
