#include "run.h"
#include <string.h>
#include <unistd.h>

volatile sig_atomic_t run_interrupted, run_leaving, run_resized, run_continued;

static void on_second_ends(int sig)
{
    (void)sig;
    if (run_interrupted++) _exit(EXIT_INTERRUPTED);
}

static void on_signal(int sig)
{
    if (sig == SIGINT) run_interrupted++;
    else if (sig == SIGWINCH) run_resized = 1;
    else if (sig == SIGCONT) run_continued = 1;
    else run_interrupted++, run_leaving = 1;
}

/* Without SA_RESTART: a read from the terminal ends when the signal comes. */
static void catch(int sig, void (*handler)(int))
{
    struct sigaction act;

    memset(&act, 0, sizeof act);
    act.sa_handler = handler;
    sigaction(sig, &act, NULL);
}

void run_catch_interrupt(void)
{
    run_interrupted = 0;
    signal(SIGINT, on_second_ends);
}

void run_catch_chat(void)
{
    static const int sig[] = { SIGINT, SIGWINCH, SIGCONT, SIGHUP, SIGTERM };

    for (size_t i = 0; i < sizeof sig / sizeof sig[0]; i++) catch(sig[i], on_signal);
}
