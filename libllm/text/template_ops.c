/* Operators of templates, with Python's meaning. Integers have 64 bits; past them is an error. */
#include "template_parts.h"
#include "checked.h"
#include <math.h>
#include <stdio.h>

_Noreturn static void no_operator(tpl *t, const char *op, tpl_value a, tpl_value b)
{
    const tpl_value *u = a.type == V_UNDEF ? &a : b.type == V_UNDEF ? &b : NULL;

    if (u) tpl_fail(&t->b, LLM_ERR_FORMAT, "'%.*s' is undefined, and '%s' needs a value", u->n > 60 ? 60 : (int)u->n, u->u.s ? u->u.s : "", op);
    tpl_fail(&t->b, LLM_ERR_FORMAT, "'%s' between a value of type %s and one of type %s", op, tpl_type_name(a), tpl_type_name(b));
}

static tpl_value joined(tpl *t, tpl_value a, tpl_value b)
{
    tpl_value out = tpl_list_new(t, a.type, a.u.list->n + b.u.list->n);

    for (size_t i = 0; i < a.u.list->n; i++) tpl_list_add(t, out, a.u.list->item[i]);
    for (size_t i = 0; i < b.u.list->n; i++) tpl_list_add(t, out, b.u.list->item[i]);
    return out;
}

static tpl_value add_strings(tpl *t, tpl_value a, tpl_value b)
{
    tpl_buf out = { 0 };
    tpl_value v;
    bool safe = a.safe || b.safe;

    if (safe) a = tpl_escape(t, a), b = tpl_escape(t, b);        /* as markupsafe's strings */
    if (a.n == 0 && !safe) return b;
    if (b.n == 0 && !safe) return a;
    tpl_put_str(t, &out, a);
    tpl_put_str(t, &out, b);
    v = tpl_buf_str(&out), v.safe = safe;
    return v;
}

static tpl_value repeated(tpl *t, tpl_value v, int64_t n)
{
    tpl_buf b = { 0 };
    tpl_value out;

    if (v.type == V_STR) {
        if (v.n > 0 && n > 0 && (uint64_t)n > t->max_output / v.n) tpl_fail(&t->b, LLM_ERR_MEMORY, "a text repeated to more than %zu bytes", t->max_output);
        for (int64_t i = 0; v.n && i < n; i++) tpl_steps(t, 1), tpl_put_str(t, &b, v);
        return tpl_buf_str(&b);
    }
    out = tpl_list_new(t, v.type, 0);
    for (int64_t i = 0; v.u.list->n && i < n; i++)
        for (size_t k = 0; k < v.u.list->n; k++) tpl_list_add(t, out, v.u.list->item[k]);
    return out;
}

static bool is_sequence(tpl_value v) { return v.type == V_STR || v.type == V_LIST || v.type == V_TUPLE; }

static tpl_value integer_op(tpl *t, tpl_op op, int64_t a, int64_t b)
{
    int64_t x = 0;
    bool wraps = false;

    switch (op) {
    case OP_ADD: wraps = __builtin_add_overflow(a, b, &x); break;
    case OP_SUB: wraps = __builtin_sub_overflow(a, b, &x); break;
    case OP_MUL: wraps = __builtin_mul_overflow(a, b, &x); break;
    case OP_FLOORDIV: case OP_MOD:
        if (b == 0) tpl_fail(&t->b, LLM_ERR_FORMAT, "division by zero");
        if (b == -1) { if (op == OP_FLOORDIV) wraps = __builtin_sub_overflow((int64_t)0, a, &x); break; }
        x = op == OP_MOD ? a % b : a / b;
        if (a % b != 0 && (a < 0) != (b < 0)) x += op == OP_MOD ? b : -1;
        break;
    default:                                        /* OP_POW, b >= 0 */
        x = 1;
        if (b > 64 && a != 0 && a != 1 && a != -1) wraps = true;
        else if (b > 64) x = a == -1 && b % 2 == 0 ? 1 : a;
        else for (int64_t i = 0; i < b && !wraps; i++) wraps = __builtin_mul_overflow(x, a, &x);
    }
    if (wraps) tpl_fail(&t->b, LLM_ERR_UNSUPPORTED, "an integer of more than 64 bits");
    return tpl_int(x);
}

static tpl_value float_op(tpl *t, tpl_op op, double a, double b)
{
    double r;

    if (b == 0 && (op == OP_DIV || op == OP_FLOORDIV || op == OP_MOD)) tpl_fail(&t->b, LLM_ERR_FORMAT, "division by zero");
    switch (op) {
    case OP_ADD: return tpl_float(a + b);
    case OP_SUB: return tpl_float(a - b);
    case OP_MUL: return tpl_float(a * b);
    case OP_DIV: return tpl_float(a / b);
    case OP_FLOORDIV: return tpl_float(floor(a / b));
    case OP_MOD:
        r = fmod(a, b);
        return tpl_float(r != 0 && (r < 0) != (b < 0) ? r + b : r);
    default: return tpl_float(pow(a, b));
    }
}

tpl_value tpl_binary(tpl *t, tpl_op op, tpl_value a, tpl_value b)
{
    static const char *const text[] = { "", "+", "-", "*", "/", "//", "%", "**" };
    bool real = a.type == V_FLOAT || b.type == V_FLOAT || op == OP_DIV || (op == OP_POW && tpl_is_num(b) && tpl_num(b) < 0);
    tpl_value v;

    if (tpl_is_num(a) && tpl_is_num(b)) {
        v = real ? float_op(t, op, tpl_num(a), tpl_num(b)) : integer_op(t, op, a.u.i, b.u.i);
        v.trust = a.trust & b.trust;
        return v;
    }
    if (op == OP_ADD && a.type == V_STR && b.type == V_STR) return add_strings(t, a, b);
    if (op == OP_ADD && a.type == b.type && is_sequence(a)) return joined(t, a, b);
    if (op == OP_MUL && is_sequence(a) && (b.type == V_INT || b.type == V_BOOL)) return repeated(t, a, b.u.i);
    if (op == OP_MUL && is_sequence(b) && (a.type == V_INT || a.type == V_BOOL)) return repeated(t, b, a.u.i);
    if (op == OP_MOD && a.type == V_STR) return tpl_percent(t, a, b);
    no_operator(t, text[op], a, b);
}

bool tpl_compare(tpl *t, tpl_op op, tpl_value a, tpl_value b)
{
    bool nan = (a.type == V_FLOAT && isnan(a.u.f)) || (b.type == V_FLOAT && isnan(b.u.f));

    switch (op) {
    case OP_EQ: return tpl_equal(t, a, b);
    case OP_NE: return !tpl_equal(t, a, b);
    case OP_IN: return tpl_contains(t, b, a);
    case OP_NOT_IN: return !tpl_contains(t, b, a);
    default: break;
    }
    if (a.type == V_UNDEF || b.type == V_UNDEF) no_operator(t, "<", a, b);
    if (nan) return false;
    switch (op) {
    case OP_LT: return tpl_order(t, a, b) < 0;
    case OP_LE: return tpl_order(t, a, b) <= 0;
    case OP_GT: return tpl_order(t, a, b) > 0;
    default: return tpl_order(t, a, b) >= 0;
    }
}

/* ---- slices ---- */

static int64_t bound(tpl *t, tpl_value v, int64_t n, int64_t low, int64_t high, int64_t missing)
{
    int64_t i;

    if (v.type == V_NONE) return missing;
    if (v.type != V_INT && v.type != V_BOOL) tpl_fail(&t->b, LLM_ERR_FORMAT, "a slice needs integers, not %s", tpl_type_name(v));
    i = v.u.i < 0 ? (v.u.i < -n ? low : v.u.i + n) : v.u.i;
    return i < low ? low : i > high ? high : i;
}

static tpl_value slice_string(tpl *t, tpl_value s, int64_t begin, int64_t count, int64_t step)
{
    size_t *place, n = tpl_chars(s.u.s, s.n), at = 0;
    tpl_buf b = { 0 };
    int32_t cp;

    if (count == 0) return tpl_sub(s, 0, 0);
    if (step == 1) {
        size_t from = tpl_char_at(s.u.s, s.n, (size_t)begin);
        return tpl_sub(s, from, tpl_char_at(s.u.s + from, s.n - from, (size_t)count));
    }
    place = tpl_array(&t->b, n + 1, sizeof *place);
    for (size_t i = 0; i < n; i++) place[i] = at, at += tpl_char(s.u.s + at, s.n - at, &cp);
    place[n] = s.n;
    for (int64_t i = begin; count > 0; count--, i += step) tpl_steps(t, 1), tpl_put_str(t, &b, tpl_sub(s, place[i], place[i + 1] - place[i]));
    return tpl_buf_str(&b);
}

tpl_value tpl_slice(tpl *t, tpl_value v, tpl_value start, tpl_value stop, tpl_value step)
{
    int64_t n, by = step.type == V_NONE ? 1 : step.u.i, begin, end, count;
    tpl_value out;

    if (!is_sequence(v)) {
        if (v.type == V_UNDEF) no_operator(t, "[:]", v, v);
        return tpl_undef("", 0);
    }
    if (step.type != V_NONE && step.type != V_INT) tpl_fail(&t->b, LLM_ERR_FORMAT, "a slice needs integers, not %s", tpl_type_name(step));
    if (by == 0) tpl_fail(&t->b, LLM_ERR_FORMAT, "a slice whose step is 0");
    n = (int64_t)tpl_length(t, v);
    if (by > n + 1) by = n + 1;                             /* beyond that steps make no difference, and cannot wrap */
    if (by < -n - 1) by = -n - 1;
    begin = by > 0 ? bound(t, start, n, 0, n, 0) : bound(t, start, n, -1, n - 1, n - 1);
    end = by > 0 ? bound(t, stop, n, 0, n, n) : bound(t, stop, n, -1, n - 1, -1);
    count = by > 0 ? (end > begin ? (end - begin - 1) / by + 1 : 0) : (begin > end ? (begin - end - 1) / -by + 1 : 0);
    if (v.type == V_STR) return slice_string(t, v, begin, count, by);
    out = tpl_list_new(t, v.type, (size_t)count);
    for (int64_t i = begin; count > 0; count--, i += by) tpl_list_add(t, out, v.u.list->item[i]);
    return out;
}

/* ---- % formats ---- */

/* One conversion such as "-5.2f" at f[*at]; what it needs of v goes to b. */
static void conversion(tpl *t, tpl_buf *b, tpl_value f, size_t *at, tpl_value v, size_t begin)
{
    char kind, spec[24], text[400];
    size_t n = *at - begin;

    kind = f.u.s[(*at)++];
    if (kind == 's' && n == 1) { tpl_put_str(t, b, tpl_string(t, v)); return; }
    if (kind == 'r' && n == 1) { tpl_put_repr(t, b, v, 0); return; }
    if (n > 6 || strchr("dixXf", kind) == NULL || kind == '\0') tpl_fail(&t->b, LLM_ERR_UNSUPPORTED, "the format '%%%.*s'", (int)(n > 20 ? 20 : n), f.u.s + begin + 1);
    if (!tpl_is_num(v)) tpl_fail(&t->b, LLM_ERR_FORMAT, "the format '%%%c' needs a number, not %s", kind, tpl_type_name(v));
    memcpy(spec, f.u.s + begin, n);
    if (kind == 'f') {
        spec[n] = 'f', spec[n + 1] = '\0';
        if (fabs(tpl_num(v)) > 1e20) tpl_fail(&t->b, LLM_ERR_UNSUPPORTED, "the format '%%f' of a number beyond 1e20");
        n = (size_t)snprintf(text, sizeof text, spec, tpl_num(v));
    } else {
        if (v.type == V_FLOAT && !(fabs(v.u.f) < 9e18)) tpl_fail(&t->b, LLM_ERR_UNSUPPORTED, "an integer of more than 64 bits");
        memcpy(spec + n, "ll", 2), spec[n + 2] = kind, spec[n + 3] = '\0';
        n = (size_t)snprintf(text, sizeof text, spec, v.type == V_FLOAT ? (long long)v.u.f : (long long)v.u.i);
    }
    if (n >= sizeof text) tpl_fail(&t->b, LLM_ERR_UNSUPPORTED, "a number formatted to more than %zu bytes", sizeof text - 1);
    tpl_put(t, b, text, n, v.trust);
}

tpl_value tpl_percent(tpl *t, tpl_value f, tpl_value args)
{
    tpl_buf b = { 0 };
    size_t used = 0, n = args.type == V_TUPLE ? args.u.list->n : 1;

    for (size_t at = 0; at < f.n;) {
        size_t begin = at;
        tpl_steps(t, 1);
        if (f.u.s[at] != '%') {
            while (at < f.n && f.u.s[at] != '%') at++;
            tpl_put_str(t, &b, tpl_sub(f, begin, at - begin));
            continue;
        }
        for (at++; at < f.n && strchr("-+ 0123456789.", f.u.s[at]) && f.u.s[at];) at++;
        if (at >= f.n) tpl_fail(&t->b, LLM_ERR_FORMAT, "a format that ends behind '%%'");
        if (f.u.s[at] == '%') { tpl_put_str(t, &b, tpl_sub(f, at, 1)), at++; continue; }
        if (used >= n) tpl_fail(&t->b, LLM_ERR_FORMAT, "not enough arguments for the format");
        conversion(t, &b, f, &at, args.type == V_TUPLE ? args.u.list->item[used] : args, begin), used++;
    }
    if (used < n && args.type != V_DICT) tpl_fail(&t->b, LLM_ERR_FORMAT, "not all arguments of the format are used");
    return tpl_buf_str(&b);
}
