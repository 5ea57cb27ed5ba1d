#include "receipt.h"

void receipt_write(talk *t, const turn_result *r, const char *path)
{
    (void)t, (void)r;
    tool_die_text(EXIT_MODEL, "%s: this build writes no receipts", path);
}

int receipt_replay(run_options *o, const char *path)
{
    (void)path;
    tool_die_text(EXIT_MODEL, "%s: this build reads no receipts", o->replay_path);
}
