/* shapes.h - the published numbers of models that people run, for llm-bench --shape. */
#ifndef BENCH_SHAPES_H
#define BENCH_SHAPES_H
#include <stddef.h>

/* config: the text of config.json with ' for ", without what a shape does not need. */
typedef struct { const char *name, *config; } shape_row;

const shape_row *shapes_at(size_t i);                   /* NULL past the end */
const shape_row *shapes_find(const char *name, size_t len);     /* letter case ignored; NULL: none */
/* What there is, with commas, into out [cap]. */
void shapes_names(char *out, size_t cap);
#endif
