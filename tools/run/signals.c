#include "run.h"
#include <errno.h>
#include <poll.h>
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

static const int caught[] = { SIGINT, SIGWINCH, SIGCONT, SIGHUP, SIGTERM };
enum { N_CAUGHT = sizeof caught / sizeof caught[0] };

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
    for (size_t i = 0; i < N_CAUGHT; i++) catch(caught[i], on_signal);
}

/* The signals are let through only while we wait, so that none comes between looking at the flags and waiting. */
bool run_wait_input(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };
    sigset_t mine, before;
    int got = -1;

    sigemptyset(&mine);
    for (size_t i = 0; i < N_CAUGHT; i++) sigaddset(&mine, caught[i]);
    sigprocmask(SIG_BLOCK, &mine, &before);
    if (!run_interrupted && !run_leaving && !run_resized && !run_continued) got = ppoll(&p, 1, NULL, &before);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return got > 0;
}
