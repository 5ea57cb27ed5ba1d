/* Values of templates: making, comparing, looking into them; JSON in. */
#include "template_parts.h"
#include "checked.h"
#include <math.h>

tpl_value tpl_undef(const char *name, size_t n) { return (tpl_value){ .type = V_UNDEF, .n = n, .u.s = name }; }
tpl_value tpl_none(void) { return (tpl_value){ .type = V_NONE, .trust = TRUST_TEMPLATE }; }
tpl_value tpl_bool(bool x) { return (tpl_value){ .type = V_BOOL, .trust = TRUST_TEMPLATE, .u.i = x }; }
tpl_value tpl_int(int64_t x) { return (tpl_value){ .type = V_INT, .trust = TRUST_TEMPLATE, .u.i = x }; }
tpl_value tpl_float(double x) { return (tpl_value){ .type = V_FLOAT, .trust = TRUST_TEMPLATE, .u.f = x }; }
tpl_value tpl_str(const char *s, size_t n, int trust) { return (tpl_value){ .type = V_STR, .trust = (uint8_t)trust, .n = n, .u.s = s }; }
tpl_value tpl_text(const char *literal) { return tpl_str(literal, strlen(literal), TRUST_TEMPLATE); }

tpl_value tpl_sub(tpl_value s, size_t at, size_t n)
{
    s.u.s += at, s.n = n;
    if (s.trust == TRUST_MIXED) s.mark += at;
    return s;
}

bool tpl_is_name(tpl_value v, const char *name)
{
    return v.type == V_STR && v.n == strlen(name) && memcmp(v.u.s, name, v.n) == 0;
}

bool tpl_is_num(tpl_value v) { return v.type == V_INT || v.type == V_FLOAT || v.type == V_BOOL; }
double tpl_num(tpl_value v) { return v.type == V_FLOAT ? v.u.f : (double)v.u.i; }

const char *tpl_type_name(tpl_value v)
{
    static const char *const names[] = { "undefined", "none", "boolean", "integer", "float", "string", "list", "tuple", "dict", "namespace", "loop",
                                         "macro", "method", "function" };
    return names[v.type];
}

/* ---- lists and dicts ---- */

tpl_value tpl_list_new(tpl *t, tpl_type type, size_t cap)
{
    tpl_list *l = tpl_zalloc(&t->b, sizeof *l);

    if (cap) l->item = tpl_array(&t->b, cap, sizeof *l->item);
    l->cap = cap;
    return (tpl_value){ .type = (uint8_t)type, .u.list = l };
}

void tpl_list_add(tpl *t, tpl_value list, tpl_value item)
{
    tpl_list *l = list.u.list;

    tpl_steps(t, 1);
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 4;
        tpl_value *more = tpl_array(&t->b, cap, sizeof *more);
        if (l->n) memcpy(more, l->item, l->n * sizeof *more);
        l->item = more, l->cap = cap;
    }
    l->item[l->n++] = item;
}

tpl_value tpl_pair(tpl *t, tpl_value a, tpl_value b)
{
    tpl_value p = tpl_list_new(t, V_TUPLE, 2);

    tpl_list_add(t, p, a);
    tpl_list_add(t, p, b);
    return p;
}

tpl_value tpl_dict_new(tpl *t, tpl_type type)
{
    return (tpl_value){ .type = (uint8_t)type, .u.dict = tpl_zalloc(&t->b, sizeof(tpl_dict)) };
}

/* Index of key, or n. */
static size_t dict_index(tpl *t, const tpl_dict *d, tpl_value key)
{
    size_t i = 0;

    tpl_steps(t, 1 + d->n / 16);
    if (key.type == V_STR) {
        for (; i < d->n; i++)
            if (d->key[i].type == V_STR && d->key[i].n == key.n && memcmp(d->key[i].u.s, key.u.s, key.n) == 0) return i;
        return d->n;
    }
    if (key.type == V_LIST || key.type == V_DICT) tpl_fail(&t->b, LLM_ERR_FORMAT, "a %s cannot be a key", tpl_type_name(key));
    for (; i < d->n && !tpl_equal(t, d->key[i], key); i++) {}
    return i;
}

static void dict_append(tpl *t, tpl_dict *d, tpl_value key, tpl_value value)
{
    if (d->n == d->cap) {
        size_t cap = d->cap ? d->cap * 2 : 4;
        tpl_value *k = tpl_array(&t->b, cap, sizeof *k), *v = tpl_array(&t->b, cap, sizeof *v);
        if (d->n) memcpy(k, d->key, d->n * sizeof *k), memcpy(v, d->value, d->n * sizeof *v);
        d->key = k, d->value = v, d->cap = cap;
    }
    d->key[d->n] = key, d->value[d->n++] = value;
}

void tpl_dict_set(tpl *t, tpl_value dict, tpl_value key, tpl_value value)
{
    tpl_dict *d = dict.u.dict;
    size_t i = dict_index(t, d, key);

    if (i < d->n) d->value[i] = value;
    else dict_append(t, d, key, value);
}

bool tpl_dict_get(tpl *t, tpl_value dict, tpl_value key, tpl_value *value)
{
    const tpl_dict *d = dict.u.dict;
    size_t i = dict_index(t, d, key);

    if (i == d->n) return false;
    *value = d->value[i];
    return true;
}

/* ---- truth, equality, order ---- */

bool tpl_true(tpl_value v)
{
    switch (v.type) {
    case V_UNDEF: case V_NONE: return false;
    case V_BOOL: case V_INT: return v.u.i != 0;
    case V_FLOAT: return v.u.f != 0;
    case V_STR: return v.n > 0;
    case V_LIST: case V_TUPLE: return v.u.list->n > 0;
    case V_DICT: return v.u.dict->n > 0;
    default: return true;
    }
}

static int num_order(tpl_value a, tpl_value b)
{
    if (a.type != V_FLOAT && b.type != V_FLOAT) return (a.u.i > b.u.i) - (a.u.i < b.u.i);
    return (tpl_num(a) > tpl_num(b)) - (tpl_num(a) < tpl_num(b));
}

static void deeper(tpl *t)
{
    tpl_steps(t, 1);
    if (++t->depth > TPL_MAX_DEPTH) tpl_fail(&t->b, LLM_ERR_FORMAT, "values or calls nested deeper than %d levels", TPL_MAX_DEPTH);
}

static bool dict_equal(tpl *t, const tpl_dict *a, tpl_value b)
{
    tpl_value other;

    if (a->n != b.u.dict->n) return false;
    for (size_t i = 0; i < a->n; i++)
        if (!tpl_dict_get(t, b, a->key[i], &other) || !tpl_equal(t, a->value[i], other)) return false;
    return true;
}

bool tpl_equal(tpl *t, tpl_value a, tpl_value b)
{
    bool same;

    if (tpl_is_num(a) && tpl_is_num(b)) {
        if (isnan(tpl_num(a)) || isnan(tpl_num(b))) return false;
        return num_order(a, b) == 0;
    }
    if (a.type != b.type) return false;
    switch (a.type) {
    case V_UNDEF: case V_NONE: return true;
    case V_STR:
        if (a.n != b.n) return false;
        tpl_steps(t, a.n / 64);
        return memcmp(a.u.s, b.u.s, a.n) == 0;
    case V_LIST: case V_TUPLE:
        if (a.u.list == b.u.list) return true;
        same = a.u.list->n == b.u.list->n;
        deeper(t);
        for (size_t i = 0; same && i < a.u.list->n; i++) same = tpl_equal(t, a.u.list->item[i], b.u.list->item[i]);
        t->depth--;
        return same;
    case V_DICT:
        if (a.u.dict == b.u.dict) return true;
        deeper(t);
        same = dict_equal(t, a.u.dict, b);
        t->depth--;
        return same;
    case V_FUNC: return a.u.func == b.u.func;
    default: return a.u.list == b.u.list;           /* the same object */
    }
}

int tpl_order(tpl *t, tpl_value a, tpl_value b)
{
    if (tpl_is_num(a) && tpl_is_num(b)) return num_order(a, b);
    if (a.type == V_STR && b.type == V_STR) {
        size_t n = a.n < b.n ? a.n : b.n;
        int c = n ? memcmp(a.u.s, b.u.s, n) : 0;
        tpl_steps(t, n / 64);
        return c ? c : (a.n > b.n) - (a.n < b.n);
    }
    if (a.type == b.type && (a.type == V_LIST || a.type == V_TUPLE)) {
        int c = 0;
        deeper(t);
        for (size_t i = 0; c == 0 && i < a.u.list->n && i < b.u.list->n; i++)
            if (!tpl_equal(t, a.u.list->item[i], b.u.list->item[i])) c = tpl_order(t, a.u.list->item[i], b.u.list->item[i]);
        t->depth--;
        return c ? c : (a.u.list->n > b.u.list->n) - (a.u.list->n < b.u.list->n);
    }
    tpl_fail(&t->b, LLM_ERR_FORMAT, "a %s and a %s have no order", tpl_type_name(a), tpl_type_name(b));
}

bool tpl_contains(tpl *t, tpl_value in, tpl_value v)
{
    tpl_value found;

    switch (in.type) {
    case V_UNDEF: return false;
    case V_STR:
        if (v.type != V_STR) tpl_fail(&t->b, LLM_ERR_FORMAT, "'in <string>' needs a string on its left, not %s", tpl_type_name(v));
        tpl_steps(t, in.n / 16);
        return tpl_find(in.u.s, in.n, v.u.s, v.n, 0) != SIZE_MAX;
    case V_DICT: return tpl_dict_get(t, in, v, &found);
    case V_LIST: case V_TUPLE:
        for (size_t i = 0; i < in.u.list->n; i++) {
            tpl_steps(t, 1);
            if (tpl_equal(t, in.u.list->item[i], v)) return true;
        }
        return false;
    default: tpl_fail(&t->b, LLM_ERR_FORMAT, "a %s contains nothing", tpl_type_name(in));
    }
}

/* ---- sequences ---- */

tpl_list *tpl_iterate(tpl *t, tpl_value v)
{
    tpl_value out;

    switch (v.type) {
    case V_LIST: case V_TUPLE: {
        tpl_list *l = tpl_alloc(&t->b, sizeof *l);
        *l = *v.u.list;
        tpl_steps(t, l->n);
        if (l->n) l->item = memcpy(tpl_array(&t->b, l->n, sizeof *l->item), l->item, l->n * sizeof *l->item);
        return l;
    }
    case V_UNDEF: return tpl_list_new(t, V_LIST, 0).u.list;
    case V_DICT:
        out = tpl_list_new(t, V_LIST, v.u.dict->n);
        for (size_t i = 0; i < v.u.dict->n; i++) tpl_list_add(t, out, v.u.dict->key[i]);
        return out.u.list;
    case V_STR:
        out = tpl_list_new(t, V_LIST, v.n);
        for (size_t at = 0, n; at < v.n; at += n) {
            int32_t cp;
            n = tpl_char(v.u.s + at, v.n - at, &cp);
            tpl_list_add(t, out, tpl_sub(v, at, n));
        }
        return out.u.list;
    default: tpl_fail(&t->b, LLM_ERR_FORMAT, "a %s cannot be looped over", tpl_type_name(v));
    }
}

size_t tpl_length(tpl *t, tpl_value v)
{
    switch (v.type) {
    case V_UNDEF: return 0;
    case V_STR:
        tpl_steps(t, v.n / 64);
        return tpl_chars(v.u.s, v.n);
    case V_LIST: case V_TUPLE: return v.u.list->n;
    case V_DICT: return v.u.dict->n;
    case V_LOOP: return v.u.loop->items->n;
    default: tpl_fail(&t->b, LLM_ERR_FORMAT, "a %s has no length", tpl_type_name(v));
    }
}

/* ---- JSON ---- */

/* Words that templates put between "<|" and "|>" themselves; any other role is plain text. */
static bool known_role(tpl_value v)
{
    static const char *const roles[] = { "system", "user", "assistant", "tool", "developer", "model", "function", "ipython", "observation" };

    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++)
        if (tpl_is_name(v, roles[i])) return true;
    return false;
}

static tpl_value json_text(tpl *t, const char *s, size_t n, int trust)
{
    char *copy = tpl_alloc(&t->b, n + 1);

    memcpy(copy, s, n);
    tpl_steps(t, n / 64);
    return tpl_str(copy, n, trust);
}

static tpl_value object_value(tpl *t, const json_t *j, int trust)
{
    tpl_value out = tpl_dict_new(t, V_DICT), v;
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)j, key, value) {          /* keys differ: no look for an older one */
        tpl_steps(t, 1);
        v = tpl_from_json(t, value, trust);
        if (strcmp(key, "role") == 0 && known_role(v)) v.trust = TRUST_TEMPLATE;
        dict_append(t, out.u.dict, json_text(t, key, strlen(key), trust), v);
    }
    return out;
}

tpl_value tpl_from_json(tpl *t, const json_t *j, int trust)
{
    tpl_value out;

    deeper(t);
    switch (json_typeof(j)) {
    case JSON_OBJECT: out = object_value(t, j, trust); break;
    case JSON_ARRAY:
        out = tpl_list_new(t, V_LIST, json_array_size(j));
        for (size_t i = 0; i < json_array_size(j); i++) tpl_list_add(t, out, tpl_from_json(t, json_array_get(j, i), trust));
        break;
    case JSON_STRING: out = json_text(t, json_string_value(j), json_string_length(j), trust); break;
    case JSON_INTEGER: out = tpl_int(json_integer_value(j)); break;
    case JSON_REAL: out = tpl_float(json_real_value(j)); break;
    case JSON_TRUE: out = tpl_bool(true); break;
    case JSON_FALSE: out = tpl_bool(false); break;
    default: out = tpl_none(); break;
    }
    if (out.type != V_STR) out.trust = (uint8_t)trust;
    t->depth--;
    return out;
}
