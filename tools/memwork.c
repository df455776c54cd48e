/*
 * Runs in a Linux guest and works its memory in the ways that make an engine of page tables
 * sweat: fork and exec, copy on write, map and unmap, protect and unprotect, move. Every
 * page is stamped with a pattern made of its place, its owner and the round, and read back;
 * every access that must fault is shown to fault. A stale or wrong mapping is an error.
 *
 *     memwork [ROUNDS | SECONDSs]
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE  4096ul
#define PAGES 256ul

static sigjmp_buf recover;

static _Noreturn void fail(const char *what, unsigned long round, unsigned long page)
{
    printf("memwork: FAILED: %s (round %lu, page %lu)\n", what, round, page);
    fflush(stdout);
    _exit(1);
}

static void on_fault(int signal)
{
    siglongjmp(recover, signal);
}

/* True if writing this byte ends in a signal. */
static bool write_faults(volatile uint8_t *byte)
{
    if (sigsetjmp(recover, 1))
        return true;
    *byte = *byte;
    return false;
}

static bool read_faults(const volatile uint8_t *byte)
{
    if (sigsetjmp(recover, 1))
        return true;
    (void)*byte;
    return false;
}

static uint64_t pattern(unsigned long owner, unsigned long round, unsigned long page)
{
    return (owner + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ round << 40 ^ page;
}

static void stamp(uint8_t *area, unsigned long pages, unsigned long owner, unsigned long round)
{
    for (unsigned long p = 0; p < pages; p++) {
        uint64_t *word = (uint64_t *)(void *)(area + p * PAGE);

        word[0] = pattern(owner, round, p);
        word[PAGE / 8 - 1] = ~pattern(owner, round, p);
    }
}

static void check(const uint8_t *area, unsigned long pages, unsigned long owner,
                  unsigned long round, const char *what)
{
    for (unsigned long p = 0; p < pages; p++) {
        const uint64_t *word = (const uint64_t *)(const void *)(area + p * PAGE);

        if (word[0] != pattern(owner, round, p) || word[PAGE / 8 - 1] != ~pattern(owner, round, p))
            fail(what, round, p);
    }
}

static uint8_t *map(unsigned long pages, int flags)
{
    uint8_t *area = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | flags, -1, 0);

    if (area == MAP_FAILED) {
        perror("memwork: mmap");
        exit(1);
    }
    return area;
}

/* Waits for a child that must end with status 0. */
static void reap(pid_t child, const char *what, unsigned long round)
{
    int status;

    if (child < 0 || waitpid(child, &status, 0) != child || status)
        fail(what, round, 0);
}

/* A child sees its parent's pages, changes its own copies, and the parent keeps its own. */
static void copy_on_write(unsigned long round)
{
    uint8_t *area = map(PAGES, MAP_PRIVATE), *shared = map(1, MAP_SHARED);
    pid_t    child;

    stamp(area, PAGES, 1, round);
    child = fork();
    if (child == 0) {
        check(area, PAGES, 1, round, "a child does not see its parent's page");
        stamp(area, PAGES / 2, 2, round);
        check(area, PAGES / 2, 2, round, "a child's copy is lost");
        if (*(uint64_t *)(void *)(area + PAGES / 2 * PAGE) != pattern(1, round, PAGES / 2))
            fail("a child's write reached another page", round, PAGES / 2);
        shared[0] = 42;
        _exit(0);
    }
    reap(child, "the child of copy on write", round);
    check(area, PAGES, 1, round, "a child's write reached its parent");
    if (shared[0] != 42)
        fail("a child's write to shared memory is lost", round, 0);
    munmap(area, PAGES * PAGE);
    munmap(shared, PAGE);
}

/* What mprotect takes away must fault at once, and what it gives must work. */
static void protect(unsigned long round)
{
    uint8_t *area = map(PAGES, MAP_PRIVATE);

    stamp(area, PAGES, 3, round);
    mprotect(area, PAGES * PAGE, PROT_READ);
    for (unsigned long p = 0; p < PAGES; p += 37)
        if (!write_faults(area + p * PAGE))
            fail("a read-only page took a write", round, p);
    check(area, PAGES, 3, round, "a protected page changed");
    mprotect(area, PAGES * PAGE, PROT_NONE);
    for (unsigned long p = 0; p < PAGES; p += 37)
        if (!read_faults(area + p * PAGE))
            fail("a page without rights was read", round, p);
    mprotect(area, PAGES * PAGE, PROT_READ | PROT_WRITE);
    check(area, PAGES, 3, round, "a page changed while it was protected");
    for (unsigned long p = 0; p < PAGES; p += 37)
        if (write_faults(area + p * PAGE))
            fail("a writable page refused a write", round, p);
    munmap(area, PAGES * PAGE);
}

/* New memory is zero, an address that is unmapped faults, and a moved page keeps its content. */
static void map_and_unmap(unsigned long round)
{
    uint8_t *area = map(PAGES, MAP_PRIVATE), *moved;

    for (unsigned long p = 0; p < PAGES; p++)
        if (area[p * PAGE + (p * 8 & (PAGE - 1))])
            fail("new memory is not zero", round, p);
    stamp(area, PAGES, 4, round);
    moved = mremap(area, PAGES * PAGE, 2 * PAGES * PAGE, MREMAP_MAYMOVE);
    if (moved == MAP_FAILED)
        fail("mremap", round, 0);
    check(moved, PAGES, 4, round, "a moved page lost its content");
    munmap(moved + PAGE, PAGE);
    if (!read_faults(moved + PAGE))
        fail("an unmapped page was read", round, 1);
    madvise(moved, PAGE, MADV_DONTNEED);
    if (moved[0])
        fail("a page that was given back is not zero", round, 0);
    munmap(moved, 2 * PAGES * PAGE);
}

/* A new program in a child, which says by its status that it ran. */
static void execute(unsigned long round)
{
    pid_t child = fork();

    if (child == 0) {
        execl("/proc/self/exe", "memwork", "child", (char *)NULL);
        _exit(127);
    }
    reap(child, "exec", round);
}

/* Pages that live through all the rounds: nothing that others do may change them. */
static uint8_t *lasting;

static struct timespec began;

/* "20" are so many rounds, "60s" as many as a minute takes. */
static bool is_over(const char *length, unsigned long rounds)
{
    char           *unit;
    unsigned long   number = strtoul(length, &unit, 10);
    struct timespec now;

    if (*unit != 's')
        return rounds >= number;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return now.tv_sec - began.tv_sec >= (long)number;
}

int main(int argc, char **argv)
{
    const char      *length = argc > 1 ? argv[1] : "10";
    unsigned long    round = 0;
    struct sigaction action = { .sa_handler = on_fault };

    if (argc > 1 && !strcmp(argv[1], "child"))
        return 0;
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    lasting = map(PAGES, MAP_PRIVATE);
    stamp(lasting, PAGES, 5, 0);
    clock_gettime(CLOCK_BOOTTIME, &began);
    while (!is_over(length, round)) {
        round++;
        copy_on_write(round);
        protect(round);
        map_and_unmap(round);
        execute(round);
        check(lasting, PAGES, 5, 0, "a page that nobody touched changed");
    }
    printf("memwork: ok (%lu rounds)\n", round);
    return 0;
}
