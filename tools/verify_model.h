/* verify_model.h - llm-run --verify: are the files of a model what their names, or a list of checksums, say? */
#ifndef TOOL_VERIFY_MODEL_H
#define TOOL_VERIFY_MODEL_H
#include "stores.h"

/* Reads every file of the model and prints a line for each on stdout: ok, BAD, or "not checked" where nothing says what it should
 * be. manifest: a file as sha256sum writes it, names relative to its own folder; NULL: the names of the blobs, which are SHA-256,
 * or git's SHA-1 for small files of a Hugging Face repository. EXIT_OK, or EXIT_MODEL where a file is bad, is missing, or holds
 * weights that could not be checked. */
int verify_model(const store_entry *e, const char *manifest);
int verify_named(const char *model, const char *manifest);      /* the same for what a user types as MODEL */
#endif
