/* The filters behind '|' (jinja2 documentation, "List of Builtin Filters"), and transformers' tojson. */
#include "template_parts.h"
#include <math.h>
#include <stdio.h>

static int64_t int_arg(tpl *t, tpl_args *a, size_t i, const char *name, int64_t dflt)
{
    tpl_value v = tpl_arg(a, i, name, tpl_int(dflt));
    if (v.type != V_INT && v.type != V_BOOL) tpl_fail(&t->b, LLM_ERR_FORMAT, "'%s' should be an integer, not %s", name, tpl_type_name(v));
    return v.u.i;
}

static bool bool_arg(tpl_args *a, size_t i, const char *name, bool dflt) { return tpl_true(tpl_arg(a, i, name, tpl_bool(dflt))); }

static tpl_value text_arg(tpl *t, tpl_args *a, size_t i, const char *name, const char *dflt)
{
    return tpl_string(t, tpl_arg(a, i, name, dflt ? tpl_text(dflt) : tpl_undef(name, strlen(name))));
}

static tpl_value list_of(tpl_list *l) { return (tpl_value){ .type = V_LIST, .u.list = l }; }

/* ---- text ---- */

static tpl_value f_string(tpl *t, tpl_value v, tpl_args *a) { (void)a; return tpl_string(t, v); }
static tpl_value f_safe(tpl *t, tpl_value v, tpl_args *a) { (void)a; v = tpl_string(t, v), v.safe = true; return v; }
static tpl_value f_escape(tpl *t, tpl_value v, tpl_args *a) { (void)a; return tpl_escape(t, tpl_string(t, v)); }
static tpl_value f_upper(tpl *t, tpl_value v, tpl_args *a) { (void)a; return tpl_recase(t, tpl_string(t, v), CASE_UPPER); }
static tpl_value f_lower(tpl *t, tpl_value v, tpl_args *a) { (void)a; return tpl_recase(t, tpl_string(t, v), CASE_LOWER); }
static tpl_value f_capitalize(tpl *t, tpl_value v, tpl_args *a) { (void)a; return tpl_recase(t, tpl_string(t, v), CASE_CAPITALIZE); }

/* Words begin behind blanks, '-' and brackets here, unlike str.title. */
static tpl_value f_title(tpl *t, tpl_value v, tpl_args *a)
{
    tpl_value s = tpl_string(t, v);
    tpl_buf b = { 0 };
    int32_t cp;

    (void)a;
    for (size_t at = 0; at < s.n;) {
        size_t end = at;
        for (size_t n; end < s.n; end += n) {
            n = tpl_char(s.u.s + end, s.n - end, &cp);
            if (tpl_space(cp) || (cp < 0x80 && cp && strchr("-({[<", (int)cp))) break;
        }
        if (end > at) tpl_put_str(t, &b, tpl_recase(t, tpl_sub(s, at, end - at), CASE_CAPITALIZE));
        if (end < s.n) at = end + tpl_char(s.u.s + end, s.n - end, &cp), tpl_put_str(t, &b, tpl_sub(s, end, at - end)); else at = end;
    }
    return tpl_buf_str(&b);
}

static tpl_value f_trim(tpl *t, tpl_value v, tpl_args *a)
{
    tpl_value chars = tpl_arg(a, 0, "chars", tpl_none()), s = tpl_string(t, v);

    tpl_steps(t, s.n / 16);
    if (chars.type != V_NONE) chars = tpl_string(t, chars);
    return tpl_strip(s, chars.type == V_NONE ? NULL : &chars, true, true);
}

static tpl_value f_replace(tpl *t, tpl_value v, tpl_args *a)
{
    tpl_value from = text_arg(t, a, 0, "old", NULL), to = text_arg(t, a, 1, "new", NULL), n = tpl_arg(a, 2, "count", tpl_none());
    return tpl_replace(t, tpl_string(t, v), from, to, n.type == V_INT ? n.u.i : -1);
}

static tpl_value f_indent(tpl *t, tpl_value v, tpl_args *a)
{
    tpl_value s = tpl_string(t, v), width = tpl_arg(a, 0, "width", tpl_int(4)), pad;
    bool first = bool_arg(a, 1, "first", false), blank = bool_arg(a, 2, "blank", false);
    tpl_buf b = { 0 };

    pad = width.type == V_STR ? width : tpl_binary(t, OP_MUL, tpl_text(" "), width);
    for (size_t at = 0, line = 0; at <= s.n; line++) {
        size_t end = at;
        while (end < s.n && s.u.s[end] != '\n') end++;
        tpl_steps(t, 1);
        if ((line > 0 || first) && (blank || end > at || (line == 0 && first))) tpl_put_str(t, &b, pad);
        tpl_put_str(t, &b, tpl_sub(s, at, end < s.n ? end + 1 - at : end - at));
        at = end + 1;
    }
    return tpl_buf_str(&b);
}

static tpl_value f_center(tpl *t, tpl_value v, tpl_args *a)
{
    tpl_value s = tpl_string(t, v);
    int64_t width = int_arg(t, a, 0, "width", 80), n = (int64_t)tpl_length(t, s), pad = width > n ? width - n : 0, left;
    tpl_buf b = { 0 };

    left = pad / 2 + (pad & width & 1);                     /* as str.center */
    tpl_put_str(t, &b, tpl_binary(t, OP_MUL, tpl_text(" "), tpl_int(left)));
    tpl_put_str(t, &b, s);
    tpl_put_str(t, &b, tpl_binary(t, OP_MUL, tpl_text(" "), tpl_int(pad - left)));
    return tpl_buf_str(&b);
}

static tpl_value f_truncate(tpl *t, tpl_value v, tpl_args *a)
{
    tpl_value s = tpl_string(t, v), end = text_arg(t, a, 2, "end", "..."), cut, words;
    int64_t length = int_arg(t, a, 0, "length", 255), leeway = int_arg(t, a, 3, "leeway", 5), n = (int64_t)tpl_length(t, s), keep;
    bool kill = bool_arg(a, 1, "killwords", false);

    if (length < 0 || leeway < 0 || n <= length + leeway) return s;
    keep = length - (int64_t)tpl_length(t, end);
    cut = tpl_slice(t, s, tpl_int(0), tpl_int(keep > 0 ? keep : 0), tpl_none());
    for (size_t i = cut.n; !kill && i > 0; i--)
        if (cut.u.s[i - 1] == ' ') { cut = tpl_sub(cut, 0, i - 1); break; }
    words = tpl_binary(t, OP_ADD, cut, end);
    return words;
}

static tpl_value f_wordcount(tpl *t, tpl_value v, tpl_args *a)
{
    tpl_value s = tpl_string(t, v);
    int64_t count = 0;
    bool inside = false;

    (void)a;
    for (size_t at = 0; at < s.n;) {
        int32_t cp;
        bool word;
        at += tpl_char(s.u.s + at, s.n - at, &cp);
        word = !tpl_space(cp) && (cp >= 0x80 || cp == '_' || (cp >= '0' && cp <= '9') || ((cp | 32) >= 'a' && (cp | 32) <= 'z'));
        count += word && !inside, inside = word;
    }
    tpl_steps(t, s.n / 4);
    return tpl_int(count);
}

static tpl_value f_format(tpl *t, tpl_value v, tpl_args *a)
{
    tpl_value args = tpl_list_new(t, V_TUPLE, a->n_pos);
    for (size_t i = 0; i < a->n_pos; i++) tpl_list_add(t, args, a->pos[i]);
    return tpl_percent(t, tpl_string(t, v), args);
}

static tpl_value f_tojson(tpl *t, tpl_value v, tpl_args *a)
{
    tpl_buf b = { 0 };
    tpl_value ascii = tpl_arg(a, 0, "ensure_ascii", tpl_bool(false)), indent, seps;
    tpl_json_style style = { .indent = -1, .item_sep = tpl_text(", "), .key_sep = tpl_text(": ") };

    indent = tpl_arg(a, 1, "indent", tpl_none()), seps = tpl_arg(a, 2, "separators", tpl_none());
    style.ascii = tpl_true(ascii), style.sort = bool_arg(a, 3, "sort_keys", false);
    if (a->n_pos == 1 && ascii.type == V_INT) style.ascii = false, indent = ascii;       /* Jinja's own tojson(indent) */
    if (indent.type != V_NONE) {
        if (indent.type != V_INT || indent.u.i > 64) tpl_fail(&t->b, LLM_ERR_UNSUPPORTED, "tojson: indent should be an integer up to 64");
        style.indent = indent.u.i < 0 ? 0 : (int)indent.u.i, style.item_sep = tpl_text(",");
    }
    if (seps.type == V_TUPLE || seps.type == V_LIST) {
        if (seps.u.list->n != 2) tpl_fail(&t->b, LLM_ERR_FORMAT, "tojson: separators should be two strings");
        style.item_sep = tpl_string(t, seps.u.list->item[0]), style.key_sep = tpl_string(t, seps.u.list->item[1]);
    }
    tpl_put_json(t, &b, v, &style, 0);
    return tpl_buf_str(&b);
}

static tpl_value f_from_json(tpl *t, tpl_value v, tpl_args *a)
{
    llm_error err;
    tpl_value out, s = tpl_string(t, v);

    (void)a;
    tpl_steps(t, s.n);
    if (json_read_text(&t->json, s.u.s, s.n, "from_json", &err) != LLM_OK) tpl_fail(&t->b, err.status, "%s", err.text);
    out = tpl_from_json(t, t->json, s.trust == TRUST_TEMPLATE ? TRUST_TEMPLATE : TRUST_DATA);
    json_decref(t->json), t->json = NULL;
    return out;
}

/* ---- numbers ---- */

static tpl_value f_abs(tpl *t, tpl_value v, tpl_args *a)
{
    (void)a;
    if (!tpl_is_num(v)) tpl_fail(&t->b, LLM_ERR_FORMAT, "abs needs a number, not %s", tpl_type_name(v));
    if (v.type == V_FLOAT) return tpl_float(fabs(v.u.f));
    return v.u.i < 0 ? tpl_binary(t, OP_SUB, tpl_int(0), v) : tpl_int(v.u.i);
}

static tpl_value f_int(tpl *t, tpl_value v, tpl_args *a)
{
    tpl_value dflt = tpl_arg(a, 0, "default", tpl_int(0)), s;
    int64_t base = int_arg(t, a, 1, "base", 10), i;
    double x;

    if (v.type == V_FLOAT) return fabs(v.u.f) < 9e18 ? tpl_int((int64_t)v.u.f) : dflt;
    if (tpl_is_num(v)) return tpl_int(v.u.i);
    if (v.type != V_STR || base < 2 || base > 36) return dflt;
    s = tpl_strip(v, NULL, true, true);
    if (tpl_parse_int(s.u.s, s.n, (int)base, &i)) return tpl_int(i);
    return base == 10 && tpl_parse_float(s.u.s, s.n, &x) && fabs(x) < 9e18 ? tpl_int((int64_t)x) : dflt;
}

static tpl_value f_float(tpl *t, tpl_value v, tpl_args *a)
{
    tpl_value dflt = tpl_arg(a, 0, "default", tpl_float(0));
    double x;

    (void)t;
    if (tpl_is_num(v)) return tpl_float(tpl_num(v));
    if (v.type == V_STR) {
        v = tpl_strip(v, NULL, true, true);
        if (tpl_parse_float(v.u.s, v.n, &x)) return tpl_float(x);
    }
    return dflt;
}

static tpl_value f_round(tpl *t, tpl_value v, tpl_args *a)
{
    int64_t digits = int_arg(t, a, 0, "precision", 0);
    tpl_value how = text_arg(t, a, 1, "method", "common");
    double x, scale, y;
    char text[400];

    if (!tpl_is_num(v) || digits < -15 || digits > 15) tpl_fail(&t->b, LLM_ERR_FORMAT, "round needs a number and a precision of at most 15");
    if (v.type != V_FLOAT && digits >= 0 && tpl_is_name(how, "common")) return tpl_int(v.u.i);
    x = tpl_num(v), scale = pow(10, (double)digits);
    if (!tpl_is_name(how, "common")) {
        y = tpl_is_name(how, "ceil") ? ceil(x * scale) : floor(x * scale);
        return tpl_float(y / scale);
    }
    if (digits < 0 || !(fabs(x) < 1e22)) return tpl_float(isfinite(x) ? nearbyint(x * scale) / scale : x);
    snprintf(text, sizeof text, "%.*f", (int)digits, x);     /* correctly rounded, as Python's round */
    for (char *p = text; *p; p++) if (*p != '-' && (*p < '0' || *p > '9')) *p = '.';
    return tpl_parse_float(text, strlen(text), &y) ? tpl_float(y) : v;
}

/* ---- sequences ---- */

static tpl_value f_length(tpl *t, tpl_value v, tpl_args *a) { (void)a; return tpl_int((int64_t)tpl_length(t, v)); }
static tpl_value f_list(tpl *t, tpl_value v, tpl_args *a) { (void)a; return list_of(tpl_iterate(t, v)); }

static tpl_value f_default(tpl *t, tpl_value v, tpl_args *a)
{
    tpl_value dflt = tpl_arg(a, 0, "default_value", tpl_text(""));
    (void)t;
    return v.type == V_UNDEF || (bool_arg(a, 1, "boolean", false) && !tpl_true(v)) ? dflt : v;
}

static tpl_value f_first(tpl *t, tpl_value v, tpl_args *a)
{
    tpl_list *l = tpl_iterate(t, v);
    (void)a;
    return l->n ? l->item[0] : tpl_undef("the first of nothing", 20);
}

static tpl_value f_last(tpl *t, tpl_value v, tpl_args *a)
{
    tpl_list *l = tpl_iterate(t, v);
    (void)a;
    return l->n ? l->item[l->n - 1] : tpl_undef("the last of nothing", 19);
}

static tpl_value f_reverse(tpl *t, tpl_value v, tpl_args *a)
{
    tpl_value none = tpl_none();
    (void)a;
    return tpl_slice(t, v.type == V_STR ? v : list_of(tpl_iterate(t, v)), none, none, tpl_int(-1));
}

static tpl_value f_items(tpl *t, tpl_value v, tpl_args *a)
{
    tpl_value out = tpl_list_new(t, V_LIST, 0);

    (void)a;
    if (v.type == V_UNDEF) return out;
    if (v.type != V_DICT) tpl_fail(&t->b, LLM_ERR_FORMAT, "items needs a dict, not %s", tpl_type_name(v));
    for (size_t i = 0; i < v.u.dict->n; i++) tpl_list_add(t, out, tpl_pair(t, v.u.dict->key[i], v.u.dict->value[i]));
    return out;
}

/* An attribute path: "a.b.0", or an integer; none: the value itself. */
static tpl_value attribute(tpl *t, tpl_value v, tpl_value path)
{
    int64_t i;

    if (path.type == V_NONE) return v;
    if (path.type != V_STR) return tpl_getitem(t, v, path);
    for (size_t at = 0, end; at <= path.n; at = end + 1) {
        tpl_value part;
        for (end = at; end < path.n && path.u.s[end] != '.'; end++) {}
        part = tpl_sub(path, at, end - at);
        if (part.n && part.u.s[0] != '-' && tpl_parse_int(part.u.s, part.n, 10, &i)) part = tpl_int(i);
        v = tpl_getitem(t, v, part);
    }
    return v;
}

static tpl_value folded(tpl *t, tpl_value v, bool case_sensitive)
{
    return v.type == V_STR && !case_sensitive ? tpl_recase(t, v, CASE_LOWER) : v;
}

static tpl_value f_join(tpl *t, tpl_value v, tpl_args *a)
{
    tpl_value sep = text_arg(t, a, 0, "d", ""), path = tpl_arg(a, 1, "attribute", tpl_none());
    tpl_list *l = tpl_iterate(t, v);
    tpl_buf b = { 0 };

    for (size_t i = 0; i < l->n; i++) {
        if (i) tpl_put_str(t, &b, sep);
        tpl_put_str(t, &b, tpl_string(t, attribute(t, l->item[i], path)));
    }
    return tpl_buf_str(&b);
}

/* Stable merge sort of item by key; both [n]. */
static void sort_by(tpl *t, tpl_value *key, tpl_value *item, size_t n, int sign)
{
    tpl_value *k, *v;
    size_t half = n / 2, i = 0, j = half;

    if (n < 2) return;
    sort_by(t, key, item, half, sign);
    sort_by(t, key + half, item + half, n - half, sign);
    k = tpl_array(&t->b, n, sizeof *k), v = tpl_array(&t->b, n, sizeof *v);
    for (size_t o = 0; o < n; o++) {
        bool right = i == half || (j < n && sign * tpl_order(t, key[j], key[i]) < 0);
        size_t from = right ? j++ : i++;
        tpl_steps(t, 1);
        k[o] = key[from], v[o] = item[from];
    }
    memcpy(key, k, n * sizeof *k), memcpy(item, v, n * sizeof *v);
}

static tpl_value sorted(tpl *t, tpl_list *l, tpl_value path, bool case_sensitive, bool reverse)
{
    tpl_value *key = tpl_array(&t->b, l->n, sizeof *key);

    for (size_t i = 0; i < l->n; i++) key[i] = folded(t, attribute(t, l->item[i], path), case_sensitive);
    sort_by(t, key, l->item, l->n, reverse ? -1 : 1);
    return list_of(l);
}

static tpl_value f_sort(tpl *t, tpl_value v, tpl_args *a)
{
    bool reverse = bool_arg(a, 0, "reverse", false), exact = bool_arg(a, 1, "case_sensitive", false);
    return sorted(t, tpl_iterate(t, v), tpl_arg(a, 2, "attribute", tpl_none()), exact, reverse);
}

static tpl_value f_dictsort(tpl *t, tpl_value v, tpl_args *a)
{
    bool exact = bool_arg(a, 0, "case_sensitive", false), reverse = bool_arg(a, 2, "reverse", false);
    tpl_value by = text_arg(t, a, 1, "by", "key");
    tpl_args none = { 0 };

    if (v.type != V_DICT) tpl_fail(&t->b, LLM_ERR_FORMAT, "dictsort needs a dict, not %s", tpl_type_name(v));
    if (!tpl_is_name(by, "key") && !tpl_is_name(by, "value")) tpl_fail(&t->b, LLM_ERR_FORMAT, "dictsort: by should be 'key' or 'value'");
    return sorted(t, f_items(t, v, &none).u.list, tpl_int(tpl_is_name(by, "value")), exact, reverse);
}

static tpl_value f_unique(tpl *t, tpl_value v, tpl_args *a)
{
    bool exact = bool_arg(a, 0, "case_sensitive", false);
    tpl_value path = tpl_arg(a, 1, "attribute", tpl_none()), out = tpl_list_new(t, V_LIST, 0), seen = tpl_list_new(t, V_LIST, 0);
    tpl_list *l = tpl_iterate(t, v);

    for (size_t i = 0; i < l->n; i++) {
        tpl_value key = folded(t, attribute(t, l->item[i], path), exact);
        if (tpl_contains(t, seen, key)) continue;
        tpl_list_add(t, seen, key);
        tpl_list_add(t, out, l->item[i]);
    }
    return out;
}

static tpl_value extreme(tpl *t, tpl_value v, tpl_args *a, int sign)
{
    bool exact = bool_arg(a, 0, "case_sensitive", false);
    tpl_value path = tpl_arg(a, 1, "attribute", tpl_none()), best = tpl_undef("the extreme of nothing", 22), best_key = best;
    tpl_list *l = tpl_iterate(t, v);

    for (size_t i = 0; i < l->n; i++) {
        tpl_value key = folded(t, attribute(t, l->item[i], path), exact);
        if (i == 0 || sign * tpl_order(t, key, best_key) > 0) best = l->item[i], best_key = key;
    }
    return best;
}

static tpl_value f_min(tpl *t, tpl_value v, tpl_args *a) { return extreme(t, v, a, -1); }
static tpl_value f_max(tpl *t, tpl_value v, tpl_args *a) { return extreme(t, v, a, 1); }

static tpl_value f_sum(tpl *t, tpl_value v, tpl_args *a)
{
    tpl_value path = tpl_arg(a, 0, "attribute", tpl_none()), total = tpl_arg(a, 1, "start", tpl_int(0));
    tpl_list *l = tpl_iterate(t, v);

    for (size_t i = 0; i < l->n; i++) total = tpl_binary(t, OP_ADD, total, attribute(t, l->item[i], path));
    return total;
}

static tpl_value f_batch(tpl *t, tpl_value v, tpl_args *a)
{
    int64_t n = int_arg(t, a, 0, "linecount", 0);
    tpl_value fill = tpl_arg(a, 1, "fill_with", tpl_none()), out = tpl_list_new(t, V_LIST, 0), row = out;
    tpl_list *l = tpl_iterate(t, v);

    if (n < 1) tpl_fail(&t->b, LLM_ERR_FORMAT, "batch needs a positive count");
    for (size_t i = 0; i < l->n; i++) {
        if ((int64_t)i % n == 0) row = tpl_list_new(t, V_LIST, 0), tpl_list_add(t, out, row);
        tpl_list_add(t, row, l->item[i]);
    }
    while (l->n && fill.type != V_NONE && (int64_t)row.u.list->n < n) tpl_list_add(t, row, fill);
    return out;
}

static tpl_value f_groupby(tpl *t, tpl_value v, tpl_args *a)
{
    tpl_value path = tpl_arg(a, 0, "attribute", tpl_none()), out = tpl_list_new(t, V_LIST, 0), row = out, last = tpl_none();
    tpl_list *l = sorted(t, tpl_iterate(t, v), path, true, false).u.list;

    for (size_t i = 0; i < l->n; i++) {
        tpl_value key = attribute(t, l->item[i], path);
        if (i == 0 || !tpl_equal(t, key, last)) row = tpl_list_new(t, V_LIST, 0), tpl_list_add(t, out, tpl_pair(t, key, row));
        tpl_list_add(t, row, l->item[i]);
        last = key;
    }
    return out;
}

/* The arguments behind the first k. */
static tpl_args rest(tpl_args *a, size_t k)
{
    tpl_args r = *a;
    if (k > r.n_pos) k = r.n_pos;
    r.pos += k, r.n_pos -= k;
    return r;
}

/* What map and select go through; jinja2 does not look into what is false, such as tool_calls that are none. */
static tpl_list *chosen_from(tpl *t, tpl_value v) { return tpl_iterate(t, tpl_true(v) ? v : tpl_undef("", 0)); }

static tpl_value f_map(tpl *t, tpl_value v, tpl_args *a)
{
    tpl_list *l = chosen_from(t, v);
    tpl_value out = tpl_list_new(t, V_LIST, l->n), path = tpl_arg(a, SIZE_MAX, "attribute", tpl_none()), dflt;
    size_t seen = a->n_seen;

    dflt = tpl_arg(a, SIZE_MAX, "default", tpl_undef("", 0));
    if (path.type == V_NONE) {
        if (a->n_pos == 0 || a->pos[0].type != V_STR) tpl_fail(&t->b, LLM_ERR_FORMAT, "map needs the name of a filter, or attribute=");
        for (size_t i = 0; i < l->n; i++) {
            tpl_args r = rest(a, 1);
            r.n_seen = 0;
            tpl_list_add(t, out, tpl_filter(t, a->pos[0], l->item[i], &r));
        }
        a->n_seen = a->n_kw, a->n_pos = 0;
        return out;
    }
    (void)seen;
    for (size_t i = 0; i < l->n; i++) {
        tpl_value x = attribute(t, l->item[i], path);
        tpl_list_add(t, out, x.type == V_UNDEF ? dflt : x);
    }
    return out;
}

static tpl_value choose(tpl *t, tpl_value v, tpl_args *a, bool by_attribute, bool keep)
{
    tpl_list *l = chosen_from(t, v);
    tpl_value out = tpl_list_new(t, V_LIST, 0);
    size_t k = by_attribute;

    if (a->n_pos < k) tpl_fail(&t->b, LLM_ERR_FORMAT, "the name of an attribute is missing");
    for (size_t i = 0; i < l->n; i++) {
        tpl_value x = by_attribute ? attribute(t, l->item[i], a->pos[0]) : l->item[i];
        tpl_args r = rest(a, k + 1);
        bool yes = a->n_pos > k ? tpl_test(t, tpl_string(t, a->pos[k]), x, &r) : tpl_true(x);
        if (yes == keep) tpl_list_add(t, out, l->item[i]);
    }
    return out;
}

static tpl_value f_select(tpl *t, tpl_value v, tpl_args *a) { return choose(t, v, a, false, true); }
static tpl_value f_reject(tpl *t, tpl_value v, tpl_args *a) { return choose(t, v, a, false, false); }
static tpl_value f_selectattr(tpl *t, tpl_value v, tpl_args *a) { return choose(t, v, a, true, true); }
static tpl_value f_rejectattr(tpl *t, tpl_value v, tpl_args *a) { return choose(t, v, a, true, false); }

static tpl_value f_attr(tpl *t, tpl_value v, tpl_args *a)
{
    tpl_value name = text_arg(t, a, 0, "name", NULL);
    return tpl_getattr(t, v, name);
}

static const struct { const char *name; size_t max; tpl_value (*call)(tpl *, tpl_value, tpl_args *); } filters[] = {
    { "abs", 0, f_abs }, { "attr", 1, f_attr }, { "batch", 2, f_batch }, { "capitalize", 0, f_capitalize }, { "center", 1, f_center },
    { "count", 0, f_length }, { "d", 2, f_default }, { "default", 2, f_default }, { "dictsort", 3, f_dictsort }, { "e", 0, f_escape },
    { "escape", 0, f_escape }, { "first", 0, f_first }, { "float", 1, f_float }, { "format", SIZE_MAX, f_format }, { "from_json", 0, f_from_json },
    { "groupby", 1, f_groupby }, { "indent", 3, f_indent }, { "int", 2, f_int }, { "items", 0, f_items }, { "join", 2, f_join },
    { "last", 0, f_last }, { "length", 0, f_length }, { "list", 0, f_list }, { "lower", 0, f_lower }, { "map", SIZE_MAX, f_map },
    { "max", 2, f_max }, { "min", 2, f_min }, { "reject", SIZE_MAX, f_reject }, { "rejectattr", SIZE_MAX, f_rejectattr },
    { "replace", 3, f_replace }, { "reverse", 0, f_reverse }, { "round", 2, f_round }, { "safe", 0, f_safe }, { "select", SIZE_MAX, f_select },
    { "selectattr", SIZE_MAX, f_selectattr }, { "sort", 3, f_sort }, { "string", 0, f_string }, { "sum", 2, f_sum }, { "title", 0, f_title },
    { "tojson", 4, f_tojson }, { "trim", 1, f_trim }, { "truncate", 4, f_truncate }, { "unique", 2, f_unique }, { "upper", 0, f_upper },
    { "wordcount", 0, f_wordcount },
};
enum { N_FILTER_ROW = sizeof filters / sizeof filters[0] };

static size_t filter_index(tpl_value name)
{
    size_t i = 0;
    while (i < N_FILTER_ROW && !tpl_is_name(name, filters[i].name)) i++;
    return i;
}

bool tpl_filter_known(tpl_value name) { return filter_index(name) < N_FILTER_ROW; }

tpl_value tpl_filter(tpl *t, tpl_value name, tpl_value in, tpl_args *args)
{
    size_t i = filter_index(name);
    tpl_value out;

    if (i == N_FILTER_ROW) tpl_fail(&t->b, LLM_ERR_UNSUPPORTED, "no filter '%.*s'", name.n > 60 ? 60 : (int)name.n, name.u.s);
    tpl_steps(t, 1);
    out = filters[i].call(t, in, args);
    tpl_args_done(t, args, filters[i].max, "filter", name);
    return out;
}
