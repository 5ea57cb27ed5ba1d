/* The tests behind 'is'. */
#include "template_parts.h"
#include <math.h>

static tpl_value first(tpl *t, tpl_args *a)
{
    if (a->n_pos < 1) tpl_fail(&t->b, LLM_ERR_FORMAT, "this test needs an argument");
    return a->pos[0];
}

static bool all_case(tpl *t, tpl_value v, tpl_case how)
{
    tpl_value s = tpl_string(t, v), same = tpl_recase(t, s, how), other = tpl_recase(t, s, how == CASE_UPPER ? CASE_LOWER : CASE_UPPER);
    return tpl_equal(t, s, same) && !tpl_equal(t, s, other);
}

/* What is left of v divided by by, without a sign; floats too, as in Python. */
static double remainder_of(tpl *t, tpl_value v, tpl_value by)
{
    tpl_value wrong = tpl_is_num(v) ? by : v;

    if (!tpl_is_num(wrong)) tpl_fail(&t->b, LLM_ERR_FORMAT, "this test needs a number, not %s", tpl_type_name(wrong));
    if (tpl_num(by) == 0) tpl_fail(&t->b, LLM_ERR_FORMAT, "division by zero");
    if (v.type == V_FLOAT || by.type == V_FLOAT) return fabs(fmod(tpl_num(v), tpl_num(by)));
    return by.u.i == -1 ? 0 : fabs((double)(v.u.i % by.u.i));
}

static bool t_defined(tpl *t, tpl_value v, tpl_args *a) { (void)t, (void)a; return v.type != V_UNDEF; }
static bool t_undefined(tpl *t, tpl_value v, tpl_args *a) { (void)t, (void)a; return v.type == V_UNDEF; }
static bool t_none(tpl *t, tpl_value v, tpl_args *a) { (void)t, (void)a; return v.type == V_NONE; }
static bool t_string(tpl *t, tpl_value v, tpl_args *a) { (void)t, (void)a; return v.type == V_STR; }
static bool t_number(tpl *t, tpl_value v, tpl_args *a) { (void)t, (void)a; return tpl_is_num(v); }
static bool t_integer(tpl *t, tpl_value v, tpl_args *a) { (void)t, (void)a; return v.type == V_INT; }
static bool t_float(tpl *t, tpl_value v, tpl_args *a) { (void)t, (void)a; return v.type == V_FLOAT; }
static bool t_boolean(tpl *t, tpl_value v, tpl_args *a) { (void)t, (void)a; return v.type == V_BOOL; }
static bool t_true(tpl *t, tpl_value v, tpl_args *a) { (void)t, (void)a; return v.type == V_BOOL && v.u.i; }
static bool t_false(tpl *t, tpl_value v, tpl_args *a) { (void)t, (void)a; return v.type == V_BOOL && !v.u.i; }
static bool t_mapping(tpl *t, tpl_value v, tpl_args *a) { (void)t, (void)a; return v.type == V_DICT; }
static bool t_sequence(tpl *t, tpl_value v, tpl_args *a)
{
    (void)t, (void)a;
    return v.type == V_LIST || v.type == V_TUPLE || v.type == V_STR || v.type == V_DICT || v.type == V_UNDEF;
}
static bool t_callable(tpl *t, tpl_value v, tpl_args *a) { (void)t, (void)a; return v.type == V_MACRO || v.type == V_METHOD || v.type == V_FUNC || v.type == V_UNDEF; }
static bool t_escaped(tpl *t, tpl_value v, tpl_args *a) { (void)t, (void)a; return v.type == V_STR && v.safe; }
static bool t_odd(tpl *t, tpl_value v, tpl_args *a) { (void)a; return remainder_of(t, v, tpl_int(2)) == 1; }
static bool t_even(tpl *t, tpl_value v, tpl_args *a) { (void)a; return remainder_of(t, v, tpl_int(2)) == 0; }
static bool t_lower(tpl *t, tpl_value v, tpl_args *a) { (void)a; return all_case(t, v, CASE_LOWER); }
static bool t_upper(tpl *t, tpl_value v, tpl_args *a) { (void)a; return all_case(t, v, CASE_UPPER); }
static bool t_eq(tpl *t, tpl_value v, tpl_args *a) { return tpl_equal(t, v, first(t, a)); }
static bool t_ne(tpl *t, tpl_value v, tpl_args *a) { return !tpl_equal(t, v, first(t, a)); }
static bool t_lt(tpl *t, tpl_value v, tpl_args *a) { return tpl_compare(t, OP_LT, v, first(t, a)); }
static bool t_le(tpl *t, tpl_value v, tpl_args *a) { return tpl_compare(t, OP_LE, v, first(t, a)); }
static bool t_gt(tpl *t, tpl_value v, tpl_args *a) { return tpl_compare(t, OP_GT, v, first(t, a)); }
static bool t_ge(tpl *t, tpl_value v, tpl_args *a) { return tpl_compare(t, OP_GE, v, first(t, a)); }
static bool t_in(tpl *t, tpl_value v, tpl_args *a) { return tpl_contains(t, first(t, a), v); }
static bool t_filter(tpl *t, tpl_value v, tpl_args *a) { (void)t, (void)a; return v.type == V_STR && tpl_filter_known(v); }
static bool t_divisible(tpl *t, tpl_value v, tpl_args *a) { return remainder_of(t, v, first(t, a)) == 0; }
static bool t_same(tpl *t, tpl_value v, tpl_args *a)
{
    tpl_value w = first(t, a);
    return v.type == w.type && (v.type < V_STR ? tpl_equal(t, v, w) : v.u.s == w.u.s && v.n == w.n);
}
static bool t_test(tpl *t, tpl_value v, tpl_args *a);

static const struct { const char *name; int n_arg; bool (*test)(tpl *, tpl_value, tpl_args *); } tests[] = {
    { "defined", 0, t_defined }, { "undefined", 0, t_undefined }, { "none", 0, t_none }, { "string", 0, t_string }, { "number", 0, t_number },
    { "integer", 0, t_integer }, { "float", 0, t_float }, { "boolean", 0, t_boolean }, { "true", 0, t_true }, { "false", 0, t_false },
    { "mapping", 0, t_mapping }, { "sequence", 0, t_sequence }, { "iterable", 0, t_sequence }, { "callable", 0, t_callable }, { "escaped", 0, t_escaped },
    { "odd", 0, t_odd }, { "even", 0, t_even }, { "lower", 0, t_lower }, { "upper", 0, t_upper }, { "divisibleby", 1, t_divisible },
    { "eq", 1, t_eq }, { "equalto", 1, t_eq }, { "==", 1, t_eq }, { "ne", 1, t_ne }, { "!=", 1, t_ne },
    { "lt", 1, t_lt }, { "lessthan", 1, t_lt }, { "<", 1, t_lt }, { "le", 1, t_le }, { "<=", 1, t_le },
    { "gt", 1, t_gt }, { "greaterthan", 1, t_gt }, { ">", 1, t_gt }, { "ge", 1, t_ge }, { ">=", 1, t_ge },
    { "in", 1, t_in }, { "sameas", 1, t_same }, { "filter", 0, t_filter }, { "test", 0, t_test },
};
enum { N_TEST_ROW = sizeof tests / sizeof tests[0] };

static bool t_test(tpl *t, tpl_value v, tpl_args *a)
{
    (void)t, (void)a;
    for (size_t i = 0; i < N_TEST_ROW; i++)
        if (tpl_is_name(v, tests[i].name)) return true;
    return false;
}

bool tpl_test(tpl *t, tpl_value name, tpl_value in, tpl_args *args)
{
    for (size_t i = 0; i < N_TEST_ROW; i++) {
        if (!tpl_is_name(name, tests[i].name)) continue;
        tpl_args_done(t, args, (size_t)tests[i].n_arg, "test", name);
        return tests[i].test(t, in, args);
    }
    tpl_fail(&t->b, LLM_ERR_UNSUPPORTED, "no test '%.*s'", name.n > 60 ? 60 : (int)name.n, name.u.s);
}
