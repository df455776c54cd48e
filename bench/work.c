/*
 * The workload: the first process of a Linux guest. Each part does a fixed amount of work between
 * two markers (marker.h), and reads the TSC around it. Nothing is printed before the last part has
 * ended; then the machine is powered off.
 *
 * Words on the kernel's command line: bench.scale=N divides the amounts by N; bench.only=N does that
 * part alone; bench.end=reboot ends with a reboot. The ramdisk has /nop (nop.S) and /bin/busybox.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/marker.h"

#define PAGE 4096ul
#define MIB  (1ul << 20)

/* bench/table.py has the same numbers, with names. */
enum region {
    REGION_LOOP = 1,
    REGION_SPIN,
    REGION_GETPID,
    REGION_FORK,
    REGION_EXEC,
    REGION_TOUCH,
    REGION_FILE,
    REGION_PROTECT,
    REGION_PIPE,
    REGION_FILL,
    REGION_WALK,
    REGION_SHELL,
    REGION_COPY,
    REGIONS
};

#define LOOP_ROUNDS 5000000

struct result {
    uint64_t operations, ticks, tables; /* KiB of page tables, as Linux counts them */
};

static unsigned      scale = 1, only;
static struct result results[REGIONS];

static uint64_t ticks_now(void)
{
    uint32_t low, high;

    __asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high)::"memory");
    return (uint64_t)high << 32 | low;
}

static void must(bool fine, const char *what)
{
    if (fine)
        return;
    perror(what);
    reboot(RB_POWER_OFF);
    for (;;)
        pause();
}

static uint64_t kib_of_tables(void)
{
    char        text[4096];
    int         fd = open("/proc/meminfo", O_RDONLY);
    ssize_t     length = read(fd, text, sizeof(text) - 1);
    const char *line;

    must(length > 0, "/proc/meminfo");
    close(fd);
    text[length] = '\0';
    line = strstr(text, "PageTables:");
    must(line != NULL, "PageTables");
    return strtoul(line + strlen("PageTables:"), NULL, 10);
}

static void record(enum region region, uint64_t operations, uint64_t ticks)
{
    results[region] = (struct result){ operations, ticks, kib_of_tables() };
}

/* Runs `body` so many times between the markers of a region; gives the ticks that took. */
#define MEASURED(region, times, body)                                                              \
    ({                                                                                             \
        uint64_t times_ = (times), start_ = ticks_now();                                           \
        MARK_BEGIN(region);                                                                        \
        for (uint64_t i_ = 0; i_ < times_; i_++) {                                                 \
            body;                                                                                  \
        }                                                                                          \
        MARK_END(region);                                                                          \
        ticks_now() - start_;                                                                      \
    })

static uint64_t next_random(void) /* xorshift64 */
{
    static uint64_t state = 88172645463325252ul;

    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void wait_for(pid_t pid)
{
    int status = 0;

    must(pid > 0 && waitpid(pid, &status, 0) == pid, "waitpid");
    must(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a child");
}

static pid_t spawn(char *const argv[])
{
    pid_t pid = fork();

    if (pid == 0) {
        execve(argv[0], argv, (char *[]){ (char[]){ "PATH=/bin" }, NULL });
        _exit(127);
    }
    return pid;
}

static volatile char *map(size_t length, int fd)
{
    int   flags = MAP_PRIVATE | (fd < 0 ? MAP_ANONYMOUS : 0);
    void *p = mmap(NULL, length, PROT_READ | PROT_WRITE, flags, fd, 0);

    must(p != MAP_FAILED, "mmap");
    return p;
}

static void unmap(volatile char *p, size_t length)
{
    must(munmap((void *)(uintptr_t)p, length) == 0, "munmap");
}

static void touch(volatile char *p, size_t length)
{
    for (size_t o = 0; o < length; o += PAGE)
        p[o] = 1;
}

static void protect(volatile char *p, size_t length, int rights)
{
    must(mprotect((void *)(uintptr_t)p, length, rights) == 0, "mprotect");
}

/* ---- the parts ---- */

/* Known to the instruction, whatever compiler there is: by it the counter itself is checked. */
static void work_loop(void)
{
    uint64_t start = ticks_now();

    __asm__ volatile(
        "prefetchnta %c0(%%rax); mov %2, %%ecx\n"
        "1: dec %%ecx; jnz 1b; prefetchnta %c1(%%rax)" ::"i"(MARKER_BEGIN_AT(REGION_LOOP)),
        "i"(MARKER_END_AT(REGION_LOOP)), "i"(LOOP_ROUNDS)
        : "ecx", "cc", "memory");
    record(REGION_LOOP, 2 * LOOP_ROUNDS + 1, ticks_now() - start);
}

static void work_spin(void)
{
    uint64_t          rounds = 4000000 / scale;
    volatile uint64_t sink = 0;

    record(REGION_SPIN, rounds, MEASURED(REGION_SPIN, rounds, sink = next_random()));
    (void)sink;
}

static void work_getpid(void)
{
    uint64_t calls = 200000 / scale;

    record(REGION_GETPID, calls, MEASURED(REGION_GETPID, calls, syscall(SYS_getpid)));
}

static void fork_once(void)
{
    pid_t pid = fork();

    if (pid == 0)
        _exit(0);
    wait_for(pid);
}

static void work_fork(void)
{
    uint64_t forks = 400 / scale;

    record(REGION_FORK, forks, MEASURED(REGION_FORK, forks, fork_once()));
}

static void work_exec(void)
{
    char    *argv[] = { (char[]){ "/nop" }, NULL };
    uint64_t execs = 300 / scale;

    record(REGION_EXEC, execs, MEASURED(REGION_EXEC, execs, wait_for(spawn(argv))));
}

static void touch_new(size_t length, int fd)
{
    volatile char *p = map(length, fd);

    touch(p, length);
    unmap(p, length);
}

static void work_touch(void)
{
    size_t   length = 64 * MIB / scale;
    uint64_t rounds = 2, ticks = MEASURED(REGION_TOUCH, rounds, touch_new(length, -1));

    record(REGION_TOUCH, rounds * length / PAGE, ticks);
}

/* A private mapping of a file, written: each page is a fault that copies. */
static void work_file(void)
{
    size_t   length = 1 * MIB;
    uint64_t rounds = 32 / scale, ticks;
    char     page[PAGE];
    int      fd = open("/tmp/data", O_RDWR | O_CREAT, 0600);

    must(fd >= 0, "open");
    memset(page, 0x5a, sizeof(page));
    for (size_t o = 0; o < length; o += PAGE)
        must(write(fd, page, PAGE) == (ssize_t)PAGE, "write");
    ticks = MEASURED(REGION_FILE, rounds, touch_new(length, fd));
    record(REGION_FILE, rounds * length / PAGE, ticks);
    close(fd);
}

static void protect_pair(volatile char *p, size_t length)
{
    protect(p, length, PROT_READ);
    (void)p[0];
    protect(p, length, PROT_READ | PROT_WRITE);
    touch(p, length);
}

static void work_protect(void)
{
    size_t         length = 16 * PAGE;
    uint64_t       pairs = 2000 / scale;
    volatile char *p = map(length, -1);

    touch(p, length);
    record(REGION_PROTECT, pairs, MEASURED(REGION_PROTECT, pairs, protect_pair(p, length)));
    unmap(p, length);
}

static void send(int fd)
{
    must(write(fd, "", 1) == 1, "write");
}

static void receive(int fd)
{
    char byte;

    must(read(fd, &byte, 1) == 1, "read");
}

/* Two processes; a round trip is two context switches. */
static void work_pipe(void)
{
    int      there[2], back[2];
    uint64_t trips = 5000 / scale;
    pid_t    pid;

    must(pipe(there) == 0 && pipe(back) == 0, "pipe");
    pid = fork();
    if (pid == 0) {
        for (uint64_t i = 0; i < trips; i++) {
            receive(there[0]);
            send(back[1]);
        }
        _exit(0);
    }
    record(REGION_PIPE, 2 * trips, MEASURED(REGION_PIPE, trips, send(there[1]); receive(back[0])));
    wait_for(pid);
    for (unsigned i = 0; i < 2; i++) {
        close(there[i]);
        close(back[i]);
    }
}

static void work_walk(void)
{
    size_t         length = 256 * MIB / scale;
    uint64_t       pages = length / PAGE, accesses = 1000000 / scale, sum = 0;
    volatile char *p = map(length, -1);

    record(REGION_FILL, pages, MEASURED(REGION_FILL, pages, p[i_ * PAGE] = 1));
    record(REGION_WALK, accesses,
           MEASURED(REGION_WALK, accesses, sum += (uint64_t)p[next_random() & (length - 1)]));
    results[0].operations = sum;
    unmap(p, length);
}

static void work_shell(void)
{
    static char loop[] = "i=0; while [ $i -lt $0 ]; do /bin/busybox sh -c true; i=$((i+1)); done";
    char        count[16];
    char       *argv[] = {
              (char[]){ "/bin/busybox" }, (char[]){ "sh" }, (char[]){ "-c" }, loop, count, NULL
    };
    uint64_t shells = 100 / scale;

    snprintf(count, sizeof(count), "%lu", shells);
    record(REGION_SHELL, shells, MEASURED(REGION_SHELL, 1, wait_for(spawn(argv))));
}

/* The parent writes to memory that a child shares: each page is copied. */
static void work_copy(void)
{
    size_t         length = 16 * MIB / scale;
    volatile char *p = map(length, -1);
    int            go[2];
    pid_t          pid;

    touch(p, length);
    must(pipe(go) == 0, "pipe");
    pid = fork();
    if (pid == 0) {
        receive(go[0]);
        _exit(0);
    }
    record(REGION_COPY, length / PAGE, MEASURED(REGION_COPY, length / PAGE, p[i_ * PAGE] = 2));
    send(go[1]);
    wait_for(pid);
    close(go[0]);
    close(go[1]);
    unmap(p, length);
}

/* ---- all of it ---- */

static const struct {
    enum region region;
    void (*work)(void);
} parts[] = {
    { REGION_LOOP, work_loop }, { REGION_SPIN, work_spin },       { REGION_GETPID, work_getpid },
    { REGION_FORK, work_fork }, { REGION_EXEC, work_exec },       { REGION_TOUCH, work_touch },
    { REGION_FILE, work_file }, { REGION_PROTECT, work_protect }, { REGION_PIPE, work_pipe },
    { REGION_FILL, work_walk }, { REGION_SHELL, work_shell },     { REGION_COPY, work_copy },
};

static unsigned word_number(const char *text, const char *word, unsigned otherwise)
{
    const char *found = strstr(text, word);

    return found ? (unsigned)strtoul(found + strlen(word), NULL, 10) : otherwise;
}

static void read_command_line(char *text, size_t size)
{
    int     fd = open("/proc/cmdline", O_RDONLY);
    ssize_t length = read(fd, text, size - 1);

    text[length > 0 ? length : 0] = '\0';
    close(fd);
    scale = word_number(text, "bench.scale=", 1);
    only = word_number(text, "bench.only=", 0);
    if (scale == 0)
        scale = 1;
}

int main(void)
{
    char command_line[2048];

    mount("proc", "/proc", "proc", 0, NULL);
    read_command_line(command_line, sizeof(command_line));
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    mount("tmpfs", "/tmp", "tmpfs", 0, NULL);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        if (only == 0 || only == parts[i].region)
            parts[i].work();
    for (int i = 1; i < REGIONS; i++)
        printf("BENCH id=%d operations=%lu ticks=%lu tables=%lu\n", i, results[i].operations,
               results[i].ticks, results[i].tables);
    printf("BENCH done scale=%u\n", scale);
    fflush(stdout);
    sync();
    reboot(strstr(command_line, "bench.end=reboot") ? RB_AUTOBOOT : RB_POWER_OFF);
    for (;;)
        pause();
}
