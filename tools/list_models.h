/* list_models.h - llm-run --list. */
#ifndef TOOL_LIST_MODELS_H
#define TOOL_LIST_MODELS_H

/* Prints the models of every store on stdout, one line each: family, parameters, size, quantization, and whether it fits into
 * the memory that is there with the default context. EXIT_OK. */
int list_models(void);
#endif
