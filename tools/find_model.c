/* find_model.c - which of the models on this machine a name means. */
#include "find_model.h"
#include "common.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* "hf:org/name@revision:tag", taken apart; text is owned. */
typedef struct { char *text, *name, *revision, *tag; model_place only; } wanted;

static wanted take_apart(const char *model)
{
    wanted w = { .only = PLACE_PATH };
    char *slash, *colon, *at;

    for (int p = PLACE_HF; p < N_PLACE; p++) {
        size_t n = strlen(place_prefix((model_place)p));
        if (strncmp(model, place_prefix((model_place)p), n) == 0 && model[n] == ':') { w.only = (model_place)p, model += n + 1; break; }
    }
    w.name = w.text = stores_text("%s", model);
    slash = strrchr(w.text, '/');
    if ((colon = strchr(slash ? slash : w.text, ':')) != NULL) *colon = '\0', w.tag = colon + 1;
    if ((at = strchr(w.text, '@')) != NULL) *at = '\0', w.revision = at + 1;
    return w;
}

/* label stands in stem between '-', '.', '_' and '/' or its ends; Q4_K is not in Q4_K_M. */
static bool has_label(const char *stem, const char *label)
{
    size_t n = strlen(label);

    for (const char *s = stem; n > 0 && (s = strcasestr(s, label)) != NULL; s++)
        if ((s == stem || strchr("-._/", s[-1])) && (s[n] == '\0' || strchr("-./", s[n]))) return true;
    return false;
}

/* How well an entry is what was asked for: 0 not at all, else the greater the better. */
static int rate(const store_entry *e, const wanted *w)
{
    size_t n = strlen(e->name);
    const char *slash = strrchr(e->file, '/'), *base = slash ? slash + 1 : e->file;

    if (e->place == PLACE_OLLAMA) return strcasecmp(e->tag, w->tag ? w->tag : "latest") == 0 ? 4 : w->tag ? 0 : 1;
    if (strncasecmp(w->name, e->name, n) == 0 && w->name[n] == '/')         /* org/name/FILE */
        return w->tag == NULL && *e->file && strcasecmp(w->name + n + 1, e->file) == 0 ? 4 : 0;
    if (w->tag == NULL) return *e->file == '\0' ? 2 : 1;                   /* a folder of safetensors before its GGUF files */
    if (*e->file == '\0') return 0;
    if (strcasecmp(e->file, w->tag) == 0 || strcasecmp(base, w->tag) == 0) return 4;
    if (strcasecmp(e->tag, w->tag) == 0) return 3;
    return has_label(e->file, w->tag) ? 2 : 0;
}

/* How to ask for exactly this one. */
static void print_choice(const store_entry *e, bool with_place, bool with_file)
{
    fprintf(stderr, "  %s%s%s%s%s%s\n", with_place ? place_prefix(e->place) : "", with_place ? ":" : "", e->place == PLACE_OLLAMA && with_file ? e->full : e->name,
            *e->tag ? ":" : "", with_file && *e->file ? e->file : e->tag, e->fault ? "  (cannot be used)" : "");
}

static void print_choices(const store_entry *const *pick, size_t n)
{
    bool places = false, files = false;

    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < i; k++) {
            places |= pick[i]->place != pick[k]->place;
            files |= pick[i]->place == pick[k]->place && strcasecmp(pick[i]->tag, pick[k]->tag) == 0;
        }
    for (size_t i = 0; i < n && i < 50; i++) print_choice(pick[i], places, files);
    if (n > 50) fprintf(stderr, "  ... %zu more\n", n - 50);
}

static void die_not_found(const char *model, const store_list *list, const wanted *w)
{
    const store_entry **all = tool_alloc(list->n + 1, sizeof *all);

    for (size_t i = 0; i < list->n; i++) all[i] = &list->item[i];
    if (list->n > 0) {
        fprintf(stderr, "%s: %s is here, but not '%s'; there is:\n", tool_name, list->item[0].name, w->tag ? w->tag : w->name);
        print_choices(all, list->n);
    } else {
        fprintf(stderr, "%s: %s: no such model. Looked for:\n  a file or folder of that name from here\n%s", tool_name, model,
                list->looked ? list->looked : "");
    }
    exit(EXIT_MODEL);
}

/* The best of list, or the end of the program. */
static const store_entry *choose(const char *model, const store_list *list, const wanted *w)
{
    const store_entry **pick = tool_alloc(list->n + 1, sizeof *pick), *one;
    size_t n = 0;
    int best = 0;

    for (size_t i = 0; i < list->n; i++) {
        int r = rate(&list->item[i], w);
        if (r > best) best = r, n = 0;
        if (r > 0 && r == best) pick[n++] = &list->item[i];
    }
    if (n == 0) die_not_found(model, list, w);
    if (n > 1) {
        fprintf(stderr, "%s: %s could be any of these, name one:\n", tool_name, model);
        print_choices(pick, n);
        exit(EXIT_MODEL);
    }
    one = pick[0];
    free(pick);
    if (one->fault) tool_die_text(EXIT_MODEL, "%s: %s", model, one->fault);
    return one;
}

/* A path that is there, or that cannot be anything else. */
static bool is_path(const char *model)
{
    return *model == '\0' || *model == '/' || strncmp(model, "./", 2) == 0 || strncmp(model, "../", 3) == 0 || access(model, F_OK) == 0;
}

void find_model(const char *model, store_list *list, const store_entry **e)
{
    wanted w;

    *list = (store_list){ 0 };
    w = take_apart(model);
    if (w.only == PLACE_PATH && (is_path(model) || (w.tag && stores_is_dir(w.text)))) {
        if (w.tag && access(model, F_OK) != 0 && stores_is_dir(w.text)) {
            stores_folder(list, PLACE_PATH, w.name, w.text, NULL);
            *e = choose(model, list, &w);
        } else {
            store_entry *own = stores_add(list, PLACE_PATH, model, "");
            own->path = stores_text("%s", model);
            *e = own;
        }
        free(w.text);
        return;
    }
    stores_search(list, &(store_query){ w.name, w.revision, w.only });
    *e = choose(model, list, &w);
    free(w.text);
}
