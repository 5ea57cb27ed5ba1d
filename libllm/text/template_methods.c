/* Methods that templates call on strings, lists, dicts and loops. There is nothing else behind a dot than these and the data. */
#include "template_parts.h"
#include <stdio.h>

static tpl_value need_string(tpl *t, tpl_value v, const char *what)
{
    if (v.type != V_STR) tpl_fail(&t->b, LLM_ERR_FORMAT, "%s needs a string, not %s", what, tpl_type_name(v));
    return v;
}

static int64_t need_int(tpl *t, tpl_value v, const char *what)
{
    if (v.type != V_INT && v.type != V_BOOL) tpl_fail(&t->b, LLM_ERR_FORMAT, "%s needs an integer, not %s", what, tpl_type_name(v));
    return v.u.i;
}

/* ---- strings ---- */

static tpl_value strip(tpl *t, tpl_value s, tpl_args *a, bool left, bool right)
{
    tpl_value chars = tpl_arg(a, 0, NULL, tpl_none());

    if (chars.type != V_NONE) need_string(t, chars, "strip");
    tpl_steps(t, s.n / 16);
    return tpl_strip(s, chars.type == V_NONE ? NULL : &chars, left, right);
}

static tpl_value s_strip(tpl *t, tpl_value s, tpl_args *a) { return strip(t, s, a, true, true); }
static tpl_value s_lstrip(tpl *t, tpl_value s, tpl_args *a) { return strip(t, s, a, true, false); }
static tpl_value s_rstrip(tpl *t, tpl_value s, tpl_args *a) { return strip(t, s, a, false, true); }
static tpl_value s_upper(tpl *t, tpl_value s, tpl_args *a) { (void)a; return tpl_recase(t, s, CASE_UPPER); }
static tpl_value s_lower(tpl *t, tpl_value s, tpl_args *a) { (void)a; return tpl_recase(t, s, CASE_LOWER); }
static tpl_value s_title(tpl *t, tpl_value s, tpl_args *a) { (void)a; return tpl_recase(t, s, CASE_TITLE); }
static tpl_value s_capitalize(tpl *t, tpl_value s, tpl_args *a) { (void)a; return tpl_recase(t, s, CASE_CAPITALIZE); }

static bool has_end(tpl_value s, tpl_value what, bool front)
{
    return what.n <= s.n && (what.n == 0 || memcmp(front ? s.u.s : s.u.s + s.n - what.n, what.u.s, what.n) == 0);
}

static tpl_value ends(tpl *t, tpl_value s, tpl_args *a, bool front)
{
    tpl_value what = tpl_arg(a, 0, NULL, tpl_none());
    bool yes = false;

    if (what.type != V_TUPLE) return tpl_bool(has_end(s, need_string(t, what, front ? "startswith" : "endswith"), front));
    for (size_t i = 0; i < what.u.list->n && !yes; i++) yes = has_end(s, need_string(t, what.u.list->item[i], front ? "startswith" : "endswith"), front);
    return tpl_bool(yes);
}

static tpl_value s_startswith(tpl *t, tpl_value s, tpl_args *a) { return ends(t, s, a, true); }
static tpl_value s_endswith(tpl *t, tpl_value s, tpl_args *a) { return ends(t, s, a, false); }

static tpl_value remove_end(tpl *t, tpl_value s, tpl_args *a, bool front)
{
    tpl_value what = need_string(t, tpl_arg(a, 0, NULL, tpl_none()), "removeprefix");
    if (!has_end(s, what, front)) return s;
    return tpl_sub(s, front ? what.n : 0, s.n - what.n);
}

static tpl_value s_removeprefix(tpl *t, tpl_value s, tpl_args *a) { return remove_end(t, s, a, true); }
static tpl_value s_removesuffix(tpl *t, tpl_value s, tpl_args *a) { return remove_end(t, s, a, false); }

static tpl_value s_replace(tpl *t, tpl_value s, tpl_args *a)
{
    tpl_value from = need_string(t, tpl_arg(a, 0, NULL, tpl_none()), "replace"), to = need_string(t, tpl_arg(a, 1, NULL, tpl_none()), "replace");
    return tpl_replace(t, s, from, to, need_int(t, tpl_arg(a, 2, "count", tpl_int(-1)), "replace"));
}

/* split without a separator: runs of space. */
static void split_space(tpl *t, tpl_value s, int64_t max, tpl_value out)
{
    while ((s = tpl_strip(s, NULL, true, false)).n > 0) {
        size_t at = 0, n;
        int32_t cp;
        if (max-- == 0) { tpl_list_add(t, out, tpl_strip(s, NULL, false, true)); return; }
        while (at < s.n && (n = tpl_char(s.u.s + at, s.n - at, &cp), !tpl_space(cp))) at += n;
        tpl_list_add(t, out, tpl_sub(s, 0, at));
        s = tpl_sub(s, at, s.n - at);
    }
}

static tpl_value split(tpl *t, tpl_value s, tpl_args *a, bool from_right)
{
    tpl_value sep = tpl_arg(a, 0, "sep", tpl_none()), out = tpl_list_new(t, V_LIST, 0);
    int64_t max = need_int(t, tpl_arg(a, 1, "maxsplit", tpl_int(-1)), "split");
    size_t at = 0, hit, skip = 0, total = 0;

    tpl_steps(t, s.n / 16);
    if (sep.type == V_NONE) {
        if (from_right && max >= 0) tpl_fail(&t->b, LLM_ERR_UNSUPPORTED, "rsplit at space with a count");
        return split_space(t, s, max, out), out;
    }
    if (need_string(t, sep, "split").n == 0) tpl_fail(&t->b, LLM_ERR_FORMAT, "split at an empty string");
    if (from_right && max >= 0) {                           /* the first ones are left alone */
        for (size_t i = 0; (hit = tpl_find(s.u.s, s.n, sep.u.s, sep.n, i)) != SIZE_MAX; i = hit + sep.n) total++;
        skip = total > (size_t)max ? total - (size_t)max : 0;
        max = -1;
    }
    for (size_t from = 0; max != 0 && (hit = tpl_find(s.u.s, s.n, sep.u.s, sep.n, from)) != SIZE_MAX; from = hit + sep.n) {
        if (skip > 0) { skip--; continue; }
        tpl_list_add(t, out, tpl_sub(s, at, hit - at));
        at = hit + sep.n, max--;
    }
    tpl_list_add(t, out, tpl_sub(s, at, s.n - at));
    return out;
}

static tpl_value s_split(tpl *t, tpl_value s, tpl_args *a) { return split(t, s, a, false); }
static tpl_value s_rsplit(tpl *t, tpl_value s, tpl_args *a) { return split(t, s, a, true); }

static tpl_value s_splitlines(tpl *t, tpl_value s, tpl_args *a)
{
    tpl_value out = tpl_list_new(t, V_LIST, 0);
    bool keep = tpl_true(tpl_arg(a, 0, "keepends", tpl_bool(false)));

    for (size_t at = 0, end; at < s.n;) {
        size_t line = at;
        while (at < s.n && s.u.s[at] != '\n' && s.u.s[at] != '\r') at++;
        end = at;
        if (at < s.n) at += s.u.s[at] == '\r' && at + 1 < s.n && s.u.s[at + 1] == '\n' ? 2 : 1;
        tpl_list_add(t, out, tpl_sub(s, line, (keep ? at : end) - line));
    }
    return out;
}

static tpl_value s_join(tpl *t, tpl_value s, tpl_args *a)
{
    tpl_list *l = tpl_iterate(t, tpl_arg(a, 0, NULL, tpl_none()));
    tpl_buf b = { 0 };

    for (size_t i = 0; i < l->n; i++) {
        if (i) tpl_put_str(t, &b, s);
        tpl_put_str(t, &b, need_string(t, l->item[i], "join"));
    }
    return tpl_buf_str(&b);
}

static int64_t find(tpl *t, tpl_value s, tpl_args *a, bool last)
{
    tpl_value what = need_string(t, tpl_arg(a, 0, NULL, tpl_none()), "find");
    int64_t from = need_int(t, tpl_arg(a, 1, NULL, tpl_int(0)), "find");
    size_t at = 0, hit, best = SIZE_MAX;

    tpl_steps(t, s.n / 16);
    if (from < 0) from += (int64_t)tpl_chars(s.u.s, s.n);
    if (from > 0) {
        at = tpl_char_at(s.u.s, s.n, (size_t)from);
        if (at == s.n && (size_t)from > tpl_chars(s.u.s, s.n)) return -1;
    }
    while ((hit = tpl_find(s.u.s, s.n, what.u.s, what.n, at)) != SIZE_MAX) {
        best = hit;
        if (!last) break;
        at = hit + 1;
        tpl_steps(t, 1);
    }
    return best == SIZE_MAX ? -1 : (int64_t)tpl_chars(s.u.s, best);
}

static tpl_value s_find(tpl *t, tpl_value s, tpl_args *a) { return tpl_int(find(t, s, a, false)); }
static tpl_value s_rfind(tpl *t, tpl_value s, tpl_args *a) { return tpl_int(find(t, s, a, true)); }
static tpl_value s_index(tpl *t, tpl_value s, tpl_args *a)
{
    int64_t i = find(t, s, a, false);
    if (i < 0) tpl_fail(&t->b, LLM_ERR_FORMAT, "index: not found");
    return tpl_int(i);
}

static tpl_value s_count(tpl *t, tpl_value s, tpl_args *a)
{
    tpl_value what = need_string(t, tpl_arg(a, 0, NULL, tpl_none()), "count");
    int64_t n = 0;

    if (what.n == 0) return tpl_int((int64_t)tpl_chars(s.u.s, s.n) + 1);
    tpl_steps(t, s.n / 16);
    for (size_t at = 0; (at = tpl_find(s.u.s, s.n, what.u.s, what.n, at)) != SIZE_MAX; at += what.n) n++;
    return tpl_int(n);
}

/* 0: all characters are digits, 1: letters, 2: either, 3: space */
static tpl_value all_are(tpl_value s, int kind)
{
    bool yes = s.n > 0;

    for (size_t at = 0; at < s.n && yes; ) {
        int32_t cp;
        at += tpl_char(s.u.s + at, s.n - at, &cp);
        bool digit = cp >= '0' && cp <= '9', letter = (cp >= 'a' && cp <= 'z') || (cp >= 'A' && cp <= 'Z');
        yes = kind == 0 ? digit : kind == 1 ? letter : kind == 2 ? digit || letter : tpl_space(cp);
    }
    return tpl_bool(yes);
}

static void ascii_only(tpl *t, tpl_value s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.u.s[i] >= 0x80) tpl_fail(&t->b, LLM_ERR_UNSUPPORTED, "isdigit, isalpha and isalnum look at ASCII only");
}

static tpl_value s_isdigit(tpl *t, tpl_value s, tpl_args *a) { (void)a; ascii_only(t, s); return all_are(s, 0); }
static tpl_value s_isalpha(tpl *t, tpl_value s, tpl_args *a) { (void)a; ascii_only(t, s); return all_are(s, 1); }
static tpl_value s_isalnum(tpl *t, tpl_value s, tpl_args *a) { (void)a; ascii_only(t, s); return all_are(s, 2); }
static tpl_value s_isspace(tpl *t, tpl_value s, tpl_args *a) { (void)t, (void)a; return all_are(s, 3); }

/* str.format with {}, {0} and {name}; no attributes, no items, no conversions. */
static tpl_value format_field(tpl *t, tpl_value field, tpl_args *a, size_t *next)
{
    int64_t i;

    if (field.n == 0) i = (int64_t)(*next)++;
    else if (!tpl_parse_int(field.u.s, field.n, 10, &i)) {
        for (size_t k = 0; k < a->n_kw; k++)
            if (a->kw[k].n == field.n && memcmp(a->kw[k].name, field.u.s, field.n) == 0) return a->kw[k].value;
        tpl_fail(&t->b, LLM_ERR_UNSUPPORTED, "format: no argument '%.*s'", field.n > 60 ? 60 : (int)field.n, field.u.s);
    }
    if (i < 0 || (size_t)i >= a->n_pos) tpl_fail(&t->b, LLM_ERR_FORMAT, "format: no argument %lld", (long long)i);
    return a->pos[i];
}

static tpl_value s_format(tpl *t, tpl_value s, tpl_args *a)
{
    tpl_buf b = { 0 };
    size_t next = 0;

    for (size_t at = 0; at < s.n;) {
        char c = s.u.s[at];
        size_t begin = at;
        tpl_steps(t, 1);
        if (c != '{' && c != '}') {
            while (at < s.n && s.u.s[at] != '{' && s.u.s[at] != '}') at++;
            tpl_put_str(t, &b, tpl_sub(s, begin, at - begin));
        } else if (at + 1 < s.n && s.u.s[at + 1] == c) tpl_put_str(t, &b, tpl_sub(s, at, 1)), at += 2;
        else {
            while (at < s.n && s.u.s[at] != '}') at++;
            if (c == '}' || at == s.n) tpl_fail(&t->b, LLM_ERR_FORMAT, "format: a single '%c'", c);
            tpl_put_str(t, &b, tpl_string(t, format_field(t, tpl_sub(s, begin + 1, at - begin - 1), a, &next)));
            at++;
        }
    }
    a->n_seen = a->n_kw;                                    /* format may ignore arguments */
    return tpl_buf_str(&b);
}

/* ---- lists ---- */

static tpl_value l_append(tpl *t, tpl_value l, tpl_args *a) { return tpl_list_add(t, l, tpl_arg(a, 0, NULL, tpl_none())), tpl_none(); }

static tpl_value l_insert(tpl *t, tpl_value l, tpl_args *a)
{
    tpl_value v = tpl_arg(a, 1, NULL, tpl_none());
    int64_t at = need_int(t, tpl_arg(a, 0, NULL, tpl_none()), "insert"), n = (int64_t)l.u.list->n;

    if (at < 0) at = at < -n ? 0 : at + n;
    if (at > n) at = n;
    tpl_steps(t, l.u.list->n / 16);
    tpl_list_add(t, l, v);
    memmove(l.u.list->item + at + 1, l.u.list->item + at, (size_t)(n - at) * sizeof v);
    l.u.list->item[at] = v;
    return tpl_none();
}

static tpl_value l_pop(tpl *t, tpl_value l, tpl_args *a)
{
    int64_t n = (int64_t)l.u.list->n, at = need_int(t, tpl_arg(a, 0, NULL, tpl_int(-1)), "pop");
    tpl_value v;

    if (at < 0) at += n;
    if (at < 0 || at >= n) tpl_fail(&t->b, LLM_ERR_FORMAT, "pop from a list of %lld items", (long long)n);
    tpl_steps(t, l.u.list->n / 16);
    v = l.u.list->item[at];
    memmove(l.u.list->item + at, l.u.list->item + at + 1, (size_t)(n - at - 1) * sizeof v);
    l.u.list->n--;
    return v;
}

static tpl_value l_extend(tpl *t, tpl_value l, tpl_args *a)
{
    tpl_list *more = tpl_iterate(t, tpl_arg(a, 0, NULL, tpl_none()));
    for (size_t i = 0; i < more->n; i++) tpl_list_add(t, l, more->item[i]);
    return tpl_none();
}

static tpl_value l_index(tpl *t, tpl_value l, tpl_args *a)
{
    for (size_t i = 0; i < l.u.list->n; i++)
        if (tpl_equal(t, l.u.list->item[i], tpl_arg(a, 0, NULL, tpl_none()))) return tpl_int((int64_t)i);
    tpl_fail(&t->b, LLM_ERR_FORMAT, "index: not in the list");
}

static tpl_value l_count(tpl *t, tpl_value l, tpl_args *a)
{
    int64_t n = 0;
    for (size_t i = 0; i < l.u.list->n; i++) n += tpl_equal(t, l.u.list->item[i], tpl_arg(a, 0, NULL, tpl_none()));
    return tpl_int(n);
}

static tpl_value l_copy(tpl *t, tpl_value l, tpl_args *a)
{
    (void)a;
    l.u.list = tpl_iterate(t, l);
    l.u.list->cap = l.u.list->n;
    return l;
}

/* ---- dicts ---- */

static tpl_value d_get(tpl *t, tpl_value d, tpl_args *a)
{
    tpl_value v;
    return tpl_dict_get(t, d, tpl_arg(a, 0, NULL, tpl_none()), &v) ? v : tpl_arg(a, 1, "default", tpl_none());
}

static tpl_value d_items(tpl *t, tpl_value d, tpl_args *a)
{
    tpl_value out = tpl_list_new(t, V_LIST, d.u.dict->n);
    (void)a;
    for (size_t i = 0; i < d.u.dict->n; i++) tpl_list_add(t, out, tpl_pair(t, d.u.dict->key[i], d.u.dict->value[i]));
    return out;
}

static tpl_value d_keys(tpl *t, tpl_value d, tpl_args *a) { (void)a; return (tpl_value){ .type = V_LIST, .u.list = tpl_iterate(t, d) }; }

static tpl_value d_values(tpl *t, tpl_value d, tpl_args *a)
{
    tpl_value out = tpl_list_new(t, V_LIST, d.u.dict->n);
    (void)a;
    for (size_t i = 0; i < d.u.dict->n; i++) tpl_list_add(t, out, d.u.dict->value[i]);
    return out;
}

static tpl_value d_copy(tpl *t, tpl_value d, tpl_args *a)
{
    tpl_value out = tpl_dict_new(t, V_DICT);
    (void)a;
    for (size_t i = 0; i < d.u.dict->n; i++) tpl_dict_set(t, out, d.u.dict->key[i], d.u.dict->value[i]);
    return out;
}

static tpl_value d_update(tpl *t, tpl_value d, tpl_args *a)
{
    tpl_value more = tpl_arg(a, 0, NULL, tpl_none());

    if (a->n_pos && more.type != V_DICT) tpl_fail(&t->b, LLM_ERR_FORMAT, "update needs a dict, not %s", tpl_type_name(more));
    for (size_t i = 0; a->n_pos && i < more.u.dict->n; i++) tpl_dict_set(t, d, more.u.dict->key[i], more.u.dict->value[i]);
    for (size_t i = 0; i < a->n_kw; i++) tpl_dict_set(t, d, tpl_str(a->kw[i].name, a->kw[i].n, TRUST_TEMPLATE), a->kw[i].value);
    a->n_seen = a->n_kw;
    return tpl_none();
}

/* ---- loops ---- */

static tpl_value p_cycle(tpl *t, tpl_value l, tpl_args *a)
{
    if (a->n_pos == 0) tpl_fail(&t->b, LLM_ERR_FORMAT, "loop.cycle without values");
    return a->pos[l.u.loop->at % a->n_pos];
}

static tpl_value p_changed(tpl *t, tpl_value l, tpl_args *a)
{
    tpl_value now = tpl_list_new(t, V_TUPLE, a->n_pos);
    bool same;

    for (size_t i = 0; i < a->n_pos; i++) tpl_list_add(t, now, a->pos[i]);
    same = l.u.loop->has_changed && tpl_equal(t, l.u.loop->changed, now);
    l.u.loop->changed = now, l.u.loop->has_changed = true;
    return tpl_bool(!same);
}

static const struct { uint8_t type; const char *name; size_t min, max; tpl_value (*call)(tpl *, tpl_value, tpl_args *); } methods[] = {
    { V_STR, "strip", 0, 1, s_strip }, { V_STR, "lstrip", 0, 1, s_lstrip }, { V_STR, "rstrip", 0, 1, s_rstrip },
    { V_STR, "split", 0, 2, s_split }, { V_STR, "rsplit", 0, 2, s_rsplit }, { V_STR, "splitlines", 0, 1, s_splitlines },
    { V_STR, "startswith", 1, 1, s_startswith }, { V_STR, "endswith", 1, 1, s_endswith },
    { V_STR, "removeprefix", 1, 1, s_removeprefix }, { V_STR, "removesuffix", 1, 1, s_removesuffix },
    { V_STR, "replace", 2, 3, s_replace }, { V_STR, "upper", 0, 0, s_upper }, { V_STR, "lower", 0, 0, s_lower }, { V_STR, "title", 0, 0, s_title },
    { V_STR, "capitalize", 0, 0, s_capitalize }, { V_STR, "find", 1, 2, s_find }, { V_STR, "rfind", 1, 2, s_rfind }, { V_STR, "index", 1, 2, s_index },
    { V_STR, "count", 1, 1, s_count }, { V_STR, "join", 1, 1, s_join }, { V_STR, "format", 0, SIZE_MAX, s_format },
    { V_STR, "isdigit", 0, 0, s_isdigit }, { V_STR, "isalpha", 0, 0, s_isalpha }, { V_STR, "isalnum", 0, 0, s_isalnum }, { V_STR, "isspace", 0, 0, s_isspace },
    { V_LIST, "append", 1, 1, l_append }, { V_LIST, "insert", 2, 2, l_insert }, { V_LIST, "pop", 0, 1, l_pop }, { V_LIST, "extend", 1, 1, l_extend },
    { V_LIST, "index", 1, 1, l_index }, { V_LIST, "count", 1, 1, l_count }, { V_LIST, "copy", 0, 0, l_copy },
    { V_TUPLE, "index", 1, 1, l_index }, { V_TUPLE, "count", 1, 1, l_count },
    { V_DICT, "get", 1, 2, d_get }, { V_DICT, "items", 0, 0, d_items }, { V_DICT, "keys", 0, 0, d_keys }, { V_DICT, "values", 0, 0, d_values },
    { V_DICT, "copy", 0, 0, d_copy }, { V_DICT, "update", 0, 1, d_update },
    { V_DICT, "clear", 0, 0, NULL }, { V_DICT, "fromkeys", 0, 2, NULL }, { V_DICT, "pop", 0, 2, NULL }, { V_DICT, "popitem", 0, 0, NULL },
    { V_DICT, "setdefault", 0, 2, NULL },                               /* Python has them, so no key of that name is meant */
    { V_LOOP, "cycle", 1, SIZE_MAX, p_cycle }, { V_LOOP, "changed", 0, SIZE_MAX, p_changed },
};

bool tpl_has_method(tpl_value self, const char *name, size_t n, const char **known)
{
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        if (methods[i].type == self.type && strlen(methods[i].name) == n && memcmp(methods[i].name, name, n) == 0) {
            *known = methods[i].name;
            return true;
        }
    return false;
}

tpl_value tpl_call_method(tpl *t, const tpl_method *m, tpl_args *args)
{
    size_t i = 0;
    tpl_value out;

    while (methods[i].type != m->self.type || strcmp(methods[i].name, m->name) != 0) i++;
    if (methods[i].call == NULL) tpl_fail(&t->b, LLM_ERR_UNSUPPORTED, "the method '%s' of a %s", m->name, tpl_type_name(m->self));
    if (args->n_pos + args->n_kw < methods[i].min) tpl_fail(&t->b, LLM_ERR_FORMAT, "method '%s' needs %zu arguments", m->name, methods[i].min);
    out = methods[i].call(t, m->self, args);
    tpl_args_done(t, args, methods[i].max, "method", tpl_text(m->name));
    return out;
}

/* ---- the date ---- */

/* The date given as "YYYY-MM-DD[ HH:MM:SS]"; false where it is no such text. */
static bool parse_now(const char *s, int d[6])
{
    int n = 0;

    memset(d, 0, 6 * sizeof *d);
    if (s == NULL || sscanf(s, "%4d-%2d-%2d%n", &d[0], &d[1], &d[2], &n) != 3 || n != 10) return false;
    if (s[n] && (sscanf(s + n, "%*1[ T]%2d:%2d:%2d", &d[3], &d[4], &d[5]) != 3)) return false;
    return d[0] > 0 && d[1] >= 1 && d[1] <= 12 && d[2] >= 1 && d[2] <= 31 && d[3] >= 0 && d[3] < 24 && d[4] >= 0 && d[4] < 60 && d[5] >= 0 && d[5] < 61;
}

tpl_value tpl_strftime(tpl *t, tpl_value format)
{
    static const char *const month[] = { "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December" };
    static const char *const day[] = { "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday" };
    static const int shift[] = { 0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4 }, before[] = { 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334 };
    tpl_buf b = { 0 };
    char text[40];
    int d[6], y, week, n;

    if (!parse_now(t->now, d)) tpl_fail(&t->b, LLM_ERR_UNSUPPORTED, "strftime_now: no date was given ('YYYY-MM-DD[ HH:MM:SS]')");
    need_string(t, format, "strftime_now");
    y = d[0] - (d[1] < 3), week = (y + y / 4 - y / 100 + y / 400 + shift[d[1] - 1] + d[2]) % 7;     /* Sakamoto's rule */
    for (size_t at = 0; at < format.n; at++) {
        char c = format.u.s[at];
        if (c != '%') { tpl_put_str(t, &b, tpl_sub(format, at, 1)); continue; }
        c = ++at < format.n ? format.u.s[at] : '\0';
        switch (c) {
        case 'Y': n = snprintf(text, sizeof text, "%d", d[0]); break;
        case 'm': n = snprintf(text, sizeof text, "%02d", d[1]); break;
        case 'd': n = snprintf(text, sizeof text, "%02d", d[2]); break;
        case 'e': n = snprintf(text, sizeof text, "%2d", d[2]); break;
        case 'H': n = snprintf(text, sizeof text, "%02d", d[3]); break;
        case 'I': n = snprintf(text, sizeof text, "%02d", (d[3] + 11) % 12 + 1); break;
        case 'M': n = snprintf(text, sizeof text, "%02d", d[4]); break;
        case 'S': n = snprintf(text, sizeof text, "%02d", d[5]); break;
        case 'p': n = snprintf(text, sizeof text, d[3] < 12 ? "AM" : "PM"); break;
        case 'y': n = snprintf(text, sizeof text, "%02d", d[0] % 100); break;
        case 'B': n = snprintf(text, sizeof text, "%s", month[d[1] - 1]); break;
        case 'b': n = snprintf(text, sizeof text, "%.3s", month[d[1] - 1]); break;
        case 'A': n = snprintf(text, sizeof text, "%s", day[week]); break;
        case 'a': n = snprintf(text, sizeof text, "%.3s", day[week]); break;
        case 'F': n = snprintf(text, sizeof text, "%d-%02d-%02d", d[0], d[1], d[2]); break;
        case 'T': n = snprintf(text, sizeof text, "%02d:%02d:%02d", d[3], d[4], d[5]); break;
        case 'j': n = snprintf(text, sizeof text, "%03d", before[d[1] - 1] + d[2] + (d[1] > 2 && (d[0] % 4 == 0 && (d[0] % 100 != 0 || d[0] % 400 == 0)))); break;
        case '%': n = snprintf(text, sizeof text, "%%"); break;
        default: tpl_fail(&t->b, LLM_ERR_UNSUPPORTED, "strftime_now: the format '%%%c'", c ? c : ' ');
        }
        tpl_put(t, &b, text, (size_t)n, TRUST_TEMPLATE);
    }
    return tpl_buf_str(&b);
}
