/* The syntax tree of a template. Grammar and precedence as in Jinja (jinja2 documentation, "Expressions"):
 * inline if, or, and, not, comparison, + -, ~, * / // %, **, unary, then . [] () and | is. */
#include "template_parts.h"

typedef struct { tpl_base *b; tpl_piece *piece; const tpl_token *k; int nest; int loops; } parser;

static tpl_node *expression(parser *p);
static tpl_node *unary(parser *p, bool filters);
static tpl_node *condition_free(parser *p);
static tpl_node *body(parser *p, const char *const *ends);

static void here(parser *p) { p->b->line = p->k->line, p->b->col = p->k->col; }

static const char *token_text(const tpl_token *k, char out[40])
{
    if (k->kind == K_END) return "the end of the tag";
    if (k->kind == K_OP) snprintf(out, 40, "'%s'", k->op);
    else if (k->kind == K_NAME) snprintf(out, 40, "'%.*s'", k->value.n > 30 ? 30 : (int)k->value.n, k->value.u.s);
    else snprintf(out, 40, "%s", k->kind == K_STRING ? "a string" : "a number");
    return out;
}

_Noreturn static void unexpected(parser *p, const char *want)
{
    char text[40];
    here(p);
    tpl_fail(p->b, LLM_ERR_FORMAT, "%s where %s should be", token_text(p->k, text), want);
}

static tpl_node *node_new(parser *p, tpl_kind kind)
{
    tpl_node *n = tpl_zalloc(p->b, sizeof *n);
    n->kind = (uint8_t)kind, n->line = p->k->line, n->col = p->k->col;
    return n;
}

static tpl_node *node_of(parser *p, tpl_kind kind, tpl_node *a, tpl_node *b)
{
    tpl_node *n = node_new(p, kind);
    n->a = a, n->b = b;
    return n;
}

static bool is_op(const parser *p, const char *op) { return p->k->kind == K_OP && strcmp(p->k->op, op) == 0; }
static bool is_name(const parser *p, const char *name) { return p->k->kind == K_NAME && tpl_is_name(p->k->value, name); }
static bool take_op(parser *p, const char *op) { return is_op(p, op) ? p->k++, true : false; }
static bool take_name(parser *p, const char *name) { return is_name(p, name) ? p->k++, true : false; }

static void want_op(parser *p, const char *op)
{
    char text[8];
    snprintf(text, sizeof text, "'%s'", op);
    if (!take_op(p, op)) unexpected(p, text);
}

static tpl_value want_name(parser *p, const char *what)
{
    if (p->k->kind != K_NAME) unexpected(p, what);
    return (p->k++)->value;
}

static void enter(parser *p)
{
    if (++p->nest > TPL_MAX_NEST) here(p), tpl_fail(p->b, LLM_ERR_FORMAT, "nested deeper than %d levels", TPL_MAX_NEST);
}

/* ---- primaries ---- */

static tpl_node *constant(parser *p, tpl_value v)
{
    tpl_node *n = node_new(p, N_CONST);
    n->value = v;
    return n;
}

static tpl_node *string_literal(parser *p)
{
    tpl_node *n = constant(p, p->k->value);
    size_t len = 0, at = 0;
    const tpl_token *k = p->k;
    char *s;

    for (; p->k->kind == K_STRING; p->k++) len += p->k->value.n;
    if (p->k == k + 1) return n;
    s = tpl_alloc(p->b, len + 1);
    for (; k < p->k; k++) memcpy(s + at, k->value.u.s, k->value.n), at += k->value.n;
    n->value = tpl_str(s, len, TRUST_TEMPLATE);
    return n;
}

/* Expressions with commas between them up to close; dicts: pairs. */
static tpl_node *items(parser *p, const char *close, bool pairs)
{
    tpl_node *first = NULL, **last = &first;

    while (!is_op(p, close)) {
        tpl_node *n = expression(p);
        if (pairs) want_op(p, ":"), n = node_of(p, N_PAIR, n, NULL), n->b = expression(p);
        *last = n, last = &n->next;
        if (!is_op(p, close)) want_op(p, ",");
    }
    want_op(p, close);
    return first;
}

static tpl_node *parenthesis(parser *p)
{
    tpl_node *n, **last;

    if (take_op(p, ")")) return node_new(p, N_TUPLE);
    n = expression(p);
    if (take_op(p, ")")) return n;
    n = node_of(p, N_TUPLE, n, NULL), last = &n->a->next;
    while (take_op(p, ",") && !is_op(p, ")")) *last = expression(p), last = &(*last)->next;
    want_op(p, ")");
    return n;
}

static tpl_node *name_or_constant(parser *p)
{
    tpl_value v = p->k->value;
    tpl_node *n = constant(p, v);

    if (tpl_is_name(v, "true") || tpl_is_name(v, "True")) n->value = tpl_bool(true);
    else if (tpl_is_name(v, "false") || tpl_is_name(v, "False")) n->value = tpl_bool(false);
    else if (tpl_is_name(v, "none") || tpl_is_name(v, "None")) n->value = tpl_none();
    else n->kind = N_NAME;
    p->k++;
    return n;
}

static tpl_node *primary(parser *p)
{
    tpl_node *n;

    switch (p->k->kind) {
    case K_NAME: return name_or_constant(p);
    case K_STRING: return string_literal(p);
    case K_INT: case K_FLOAT:
        n = constant(p, p->k->value), p->k++;
        return n;
    default: break;
    }
    if (take_op(p, "(")) return parenthesis(p);
    n = node_new(p, N_LIST);
    if (take_op(p, "[")) { n->a = items(p, "]", false); return n; }
    if (take_op(p, "{")) { n->kind = N_DICT, n->a = items(p, "}", true); return n; }
    unexpected(p, "an expression");
}

static tpl_node *arguments(parser *p)
{
    tpl_node *first = NULL, **last = &first;
    bool keyword = false;

    while (!is_op(p, ")")) {
        tpl_node *n;
        if (is_op(p, "*") || is_op(p, "**")) here(p), tpl_fail(p->b, LLM_ERR_UNSUPPORTED, "arguments with '%s' are not supported", p->k->op);
        if (p->k->kind == K_NAME && p->k[1].kind == K_OP && strcmp(p->k[1].op, "=") == 0) {
            n = node_new(p, N_KEYWORD), n->value = p->k->value;
            p->k += 2, n->a = expression(p), keyword = true;
        } else {
            if (keyword) unexpected(p, "a keyword argument");
            n = expression(p);
        }
        *last = n, last = &n->next;
        if (!is_op(p, ")")) want_op(p, ",");
    }
    want_op(p, ")");
    return first;
}

/* ---- postfix ---- */

static tpl_node *subscript(parser *p, tpl_node *object)
{
    tpl_node *n = node_of(p, N_ITEM, object, NULL), *part[3] = { NULL, NULL, NULL };
    int colons = 0;

    if (take_op(p, "]")) { n->b = constant(p, tpl_undef("", 0)); return n; }
    while (!is_op(p, "]")) {
        if (take_op(p, ":")) { if (++colons > 2) unexpected(p, "']'"); }
        else if (part[colons]) unexpected(p, "']'");
        else part[colons] = expression(p);
    }
    want_op(p, "]");
    n->b = part[0];
    if (colons) n->b = node_new(p, N_SLICE), n->b->a = part[0], n->b->b = part[1], n->b->c = part[2];
    return n;
}

static tpl_node *postfix(parser *p, tpl_node *n)
{
    for (;;) {
        if (take_op(p, "[")) n = subscript(p, n);
        else if (is_op(p, "(")) {
            n = node_of(p, N_CALL, n, NULL);
            p->k++, n->b = arguments(p);
        } else if (take_op(p, ".")) {
            if (p->k->kind == K_INT) n = node_of(p, N_ITEM, n, constant(p, p->k->value)), p->k++;
            else n = node_of(p, N_ATTR, n, NULL), n->value = want_name(p, "the name of an attribute");
        } else return n;
    }
}

static tpl_node *filter(parser *p, tpl_node *in)
{
    tpl_node *n = node_of(p, N_FILTER, in, NULL);

    n->value = want_name(p, "the name of a filter");
    if (!tpl_filter_known(n->value))
        p->b->line = n->line, p->b->col = n->col, tpl_fail(p->b, LLM_ERR_UNSUPPORTED, "no filter '%.*s'", (int)n->value.n, n->value.u.s);
    if (take_op(p, "(")) n->b = arguments(p);
    return n;
}

static bool begins_argument(const parser *p)
{
    static const char *const not_names[] = { "else", "or", "and", "if", "is", "in", "not", "recursive" };

    for (size_t i = 0; i < sizeof not_names / sizeof not_names[0]; i++)
        if (is_name(p, not_names[i])) return false;
    return (p->k->kind != K_END && p->k->kind != K_OP) || is_op(p, "[") || is_op(p, "{");
}

static tpl_node *test(parser *p, tpl_node *in)
{
    bool negated = take_name(p, "not");
    tpl_node *n = node_of(p, N_TEST, in, NULL);

    n->value = want_name(p, "the name of a test");
    if (take_op(p, "(")) n->b = arguments(p);
    else if (begins_argument(p)) n->b = primary(p), n->b = postfix(p, n->b);
    return negated ? node_of(p, N_NOT, n, NULL) : n;
}

static tpl_node *filters_and_tests(parser *p, tpl_node *n)
{
    for (;;) {
        if (take_op(p, "|")) n = filter(p, n);
        else if (take_name(p, "is")) n = test(p, n);
        else if (is_op(p, "(")) n = node_of(p, N_CALL, n, NULL), p->k++, n->b = arguments(p);
        else return n;
    }
}

/* ---- operators ---- */

static tpl_node *unary(parser *p, bool filters)
{
    tpl_node *n;

    enter(p);
    if (is_op(p, "-") || is_op(p, "+")) {
        n = node_new(p, is_op(p, "-") ? N_NEG : N_POS);
        p->k++, n->a = unary(p, false);
    } else n = primary(p);
    n = postfix(p, n);
    if (filters) n = filters_and_tests(p, n);
    p->nest--;
    return n;
}

static tpl_node *binary(parser *p, tpl_op op, tpl_node *a, tpl_node *(*operand)(parser *))
{
    tpl_node *n = node_new(p, N_BINARY);

    p->k++;
    n->op = (uint8_t)op, n->a = a, n->b = operand(p);
    return n;
}

static tpl_node *unary_full(parser *p) { return unary(p, true); }

static tpl_node *power(parser *p)
{
    tpl_node *n = unary_full(p);
    while (is_op(p, "**")) n = binary(p, OP_POW, n, unary_full);
    return n;
}

static tpl_node *product(parser *p)
{
    tpl_node *n = power(p);

    for (;;) {
        tpl_op op = is_op(p, "*") ? OP_MUL : is_op(p, "/") ? OP_DIV : is_op(p, "//") ? OP_FLOORDIV : is_op(p, "%") ? OP_MOD : 0;
        if (op == 0) return n;
        n = binary(p, op, n, power);
    }
}

static tpl_node *concat(parser *p)
{
    tpl_node *n = product(p), **last;

    if (!is_op(p, "~")) return n;
    n = node_of(p, N_CONCAT, n, NULL), last = &n->a->next;
    while (take_op(p, "~")) *last = product(p), last = &(*last)->next;
    return n;
}

static tpl_node *sum(parser *p)
{
    tpl_node *n = concat(p);
    while (is_op(p, "+") || is_op(p, "-")) n = binary(p, is_op(p, "+") ? OP_ADD : OP_SUB, n, concat);
    return n;
}

static tpl_op comparison(parser *p)
{
    static const struct { const char *text; tpl_op op; } ops[] = {
        { "==", OP_EQ }, { "!=", OP_NE }, { "<", OP_LT }, { "<=", OP_LE }, { ">", OP_GT }, { ">=", OP_GE },
    };

    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++)
        if (take_op(p, ops[i].text)) return ops[i].op;
    if (take_name(p, "in")) return OP_IN;
    if (is_name(p, "not") && p->k[1].kind == K_NAME && tpl_is_name(p->k[1].value, "in")) return p->k += 2, OP_NOT_IN;
    return 0;
}

static tpl_node *compare(parser *p)
{
    tpl_node *first = sum(p), *n = node_of(p, N_COMPARE, first, NULL), **last = &n->b;

    for (tpl_op op; (op = comparison(p)) != 0; last = &(*last)->next)
        *last = node_new(p, N_COMPARE), (*last)->op = (uint8_t)op, (*last)->a = sum(p);
    return n->b ? n : first;
}

static tpl_node *negation(parser *p)
{
    tpl_node *n;

    if (!is_name(p, "not")) return compare(p);
    enter(p);
    n = node_new(p, N_NOT), p->k++;
    n->a = negation(p);
    p->nest--;
    return n;
}

static tpl_node *conjunction(parser *p)
{
    tpl_node *n = negation(p);
    while (take_name(p, "and")) n = node_of(p, N_AND, n, NULL), n->b = negation(p);
    return n;
}

static tpl_node *condition_free(parser *p)
{
    tpl_node *n = conjunction(p);
    while (take_name(p, "or")) n = node_of(p, N_OR, n, NULL), n->b = conjunction(p);
    return n;
}

static tpl_node *expression(parser *p)
{
    tpl_node *n;

    enter(p);
    n = condition_free(p);
    while (take_name(p, "if")) {
        tpl_node *value = n;
        n = node_of(p, N_COND, NULL, value), n->a = condition_free(p);
        if (take_name(p, "else")) n->c = expression(p);
    }
    p->nest--;
    return n;
}

/* One expression, or a tuple without parentheses. */
static tpl_node *tuple(parser *p, tpl_node *(*item)(parser *))
{
    tpl_node *n = item(p), **last;

    if (!is_op(p, ",")) return n;
    n = node_of(p, N_TUPLE, n, NULL), last = &n->a->next;
    while (take_op(p, ",") && p->k->kind != K_END && !is_op(p, "=")) *last = item(p), last = &(*last)->next;
    return n;
}

/* ---- statements ---- */

static tpl_node *target_item(parser *p)
{
    tpl_node *n;

    if (take_op(p, "(")) {
        enter(p);
        n = tuple(p, target_item);
        p->nest--;
        want_op(p, ")");
        return n;
    }
    n = node_new(p, N_NAME), n->value = want_name(p, "the name of a variable");
    if (take_op(p, ".")) n = node_of(p, N_ATTR, n, NULL), n->value = want_name(p, "the name of an attribute");
    return n;
}

static void end_of_tag(parser *p)
{
    if (p->k->kind != K_END) unexpected(p, "the end of the tag");
    p->piece = p->piece->next;
}

/* The name that the current block piece begins with, or "". */
static tpl_value block_name(const parser *p)
{
    const tpl_piece *x = p->piece;
    return x && x->kind == PIECE_BLOCK && x->token[0].kind == K_NAME ? x->token[0].value : tpl_text("");
}

/* Consumes the end tag `name`, behind which only an optional word may stand (as in {% endmacro name %}). */
static void want_end(parser *p, const char *name)
{
    p->k = p->piece->token + 1;
    if (p->k->kind == K_NAME && strcmp(name, "endmacro") == 0) p->k++;
    end_of_tag(p);
}

static tpl_node *body_of(parser *p, const char *end)
{
    const char *ends[] = { end, NULL };
    tpl_node *n = body(p, ends);

    want_end(p, end);
    return n;
}

static tpl_node *if_statement(parser *p)
{
    static const char *const ends[] = { "elif", "else", "endif", NULL };
    tpl_node *n = node_new(p, N_IF), *first = n;

    for (;;) {
        p->k++;
        n->a = tuple(p, condition_free);
        end_of_tag(p);
        n->b = body(p, ends);
        p->k = p->piece->token;
        if (!is_name(p, "elif")) break;
        n->d = node_new(p, N_IF), n = n->d;
    }
    if (is_name(p, "else")) {
        p->k++;
        end_of_tag(p);
        n->c = body_of(p, "endif");
    } else want_end(p, "endif");
    return first;
}

static tpl_node *for_statement(parser *p)
{
    static const char *const ends[] = { "else", "endfor", NULL };
    tpl_node *n = node_new(p, N_FOR);

    p->k++;
    n->a = tuple(p, target_item);
    if (!take_name(p, "in")) unexpected(p, "'in'");
    n->b = tuple(p, condition_free);
    if (take_name(p, "if")) n->e = expression(p);
    if (is_name(p, "recursive")) here(p), tpl_fail(p->b, LLM_ERR_UNSUPPORTED, "recursive loops are not supported");
    end_of_tag(p);
    p->loops++;
    n->c = body(p, ends);
    p->loops--;
    if (tpl_is_name(block_name(p), "else")) {
        p->k = p->piece->token + 1;
        end_of_tag(p);
        n->d = body_of(p, "endfor");
    } else want_end(p, "endfor");
    return n;
}

static tpl_node *set_statement(parser *p)
{
    tpl_node *n = node_new(p, N_SET);

    p->k++;
    n->a = tuple(p, target_item);
    if (take_op(p, "=")) {
        n->b = tuple(p, expression);
        end_of_tag(p);
        return n;
    }
    n->kind = N_SET_BLOCK;
    while (take_op(p, "|")) n->b = filter(p, n->b);
    end_of_tag(p);
    n->c = body_of(p, "endset");
    return n;
}

static tpl_node *parameters(parser *p)
{
    tpl_node *first = NULL, **last = &first;

    want_op(p, "(");
    while (!is_op(p, ")")) {
        tpl_node *n = node_new(p, N_PARAM);
        n->value = want_name(p, "the name of a parameter");
        if (take_op(p, "=")) n->a = expression(p);
        *last = n, last = &n->next;
        if (!is_op(p, ")")) want_op(p, ",");
    }
    want_op(p, ")");
    return first;
}

static tpl_node *macro_statement(parser *p)
{
    tpl_node *n = node_new(p, N_MACRO);
    int loops = p->loops;

    p->k++;
    n->value = want_name(p, "the name of a macro");
    n->a = parameters(p);
    end_of_tag(p);
    p->loops = 0, n->c = body_of(p, "endmacro"), p->loops = loops;
    return n;
}

static tpl_node *call_statement(parser *p)
{
    tpl_node *n = node_new(p, N_CALL_BLOCK);
    int loops = p->loops;

    n->value = tpl_text("caller");
    p->k++;
    if (is_op(p, "(")) n->a = parameters(p);
    n->b = expression(p);
    if (n->b->kind != N_CALL) unexpected(p, "a call");
    end_of_tag(p);
    p->loops = 0, n->c = body_of(p, "endcall"), p->loops = loops;
    return n;
}

static tpl_node *with_statement(parser *p)
{
    tpl_node *n = node_new(p, N_WITH), **last = &n->a;

    p->k++;
    while (p->k->kind != K_END) {
        tpl_node *set = node_new(p, N_SET);
        set->a = target_item(p);
        want_op(p, "=");
        set->b = expression(p);
        *last = set, last = &set->next;
        if (p->k->kind != K_END) want_op(p, ",");
    }
    end_of_tag(p);
    n->c = body_of(p, "endwith");
    return n;
}

static tpl_node *filter_statement(parser *p)
{
    tpl_node *n = node_new(p, N_FILTER_BLOCK);

    p->k++;
    do n->b = filter(p, n->b); while (take_op(p, "|"));
    end_of_tag(p);
    n->c = body_of(p, "endfilter");
    return n;
}

static tpl_node *statement(parser *p)
{
    tpl_value name = block_name(p);
    tpl_node *n;

    p->k = p->piece->token;
    if (tpl_is_name(name, "if")) return if_statement(p);
    if (tpl_is_name(name, "for")) return for_statement(p);
    if (tpl_is_name(name, "set")) return set_statement(p);
    if (tpl_is_name(name, "macro")) return macro_statement(p);
    if (tpl_is_name(name, "call")) return call_statement(p);
    if (tpl_is_name(name, "with")) return with_statement(p);
    if (tpl_is_name(name, "filter")) return filter_statement(p);
    here(p);
    if (tpl_is_name(name, "generation")) {
        n = node_new(p, N_GENERATION), p->k++;
        end_of_tag(p);
        n->c = body_of(p, "endgeneration");
        return n;
    }
    if (tpl_is_name(name, "break") || tpl_is_name(name, "continue")) {
        if (p->loops == 0) tpl_fail(p->b, LLM_ERR_FORMAT, "'%.*s' outside a loop", (int)name.n, name.u.s);
        n = node_new(p, tpl_is_name(name, "break") ? N_BREAK : N_CONTINUE), p->k++;
        end_of_tag(p);
        return n;
    }
    if (name.n == 0) unexpected(p, "the name of a statement");
    tpl_fail(p->b, LLM_ERR_UNSUPPORTED, "no statement '%.*s' here", name.n > 40 ? 40 : (int)name.n, name.u.s);
}

static bool ends_here(const parser *p, const char *const *ends)
{
    tpl_value name = block_name(p);

    for (; ends && *ends; ends++)
        if (tpl_is_name(name, *ends)) return true;
    return false;
}

/* Statements up to a tag named in ends (which stays), or to the end of the template where ends is NULL. */
static tpl_node *body(parser *p, const char *const *ends)
{
    tpl_node *first = NULL, **last = &first, *n;
    int line = p->b->line, col = p->b->col;

    enter(p);
    while (p->piece && !ends_here(p, ends)) {
        p->k = p->piece->token;
        if (p->piece->kind == PIECE_TEXT) {
            n = tpl_zalloc(p->b, sizeof *n);
            n->kind = N_TEXT, n->line = p->piece->line, n->col = p->piece->col, n->value = p->piece->text;
            p->piece = p->piece->next;
        } else if (p->piece->kind == PIECE_PRINT) {
            n = node_new(p, N_PRINT);
            if (p->k->kind == K_END) unexpected(p, "an expression");
            n->a = tuple(p, expression);
            end_of_tag(p);
        } else n = statement(p);
        *last = n, last = &n->next;
    }
    if (p->piece == NULL && ends) {
        p->b->line = line, p->b->col = col;
        tpl_fail(p->b, LLM_ERR_FORMAT, "the template ends inside a block: {%% %s %%} is missing", ends[0][0] == 'e' && ends[1] ? ends[1 + (ends[2] != NULL)] : ends[0]);
    }
    p->nest--;
    return first;
}

tpl_node *tpl_parse(tpl_base *b, tpl_piece *first)
{
    parser p = { .b = b, .piece = first };
    return body(&p, NULL);
}
