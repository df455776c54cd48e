/* Checks that the platform keeps what it promises; each is asked for by name. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "hv/machine.h"
#include "hv/print.h"
#include "paging/pte.h"
#include "x86/desc.h"
#include "x86/mm.h"
#include "x86/svm/selftest.h"

#define FAULTY_ADDRESS UINT64_C(0x1000) /* in the lower half, where nothing is mapped */

struct wx {
    uint64_t pages, bad;
};

static bool is_wx(const struct mm_page *page)
{
    return (page->flags & PTE_W) && !(page->flags & PTE_NX);
}

/* What is executable here may be written nowhere: not in this page, not in the direct map. */
static void wx_page(const struct mm_page *page, void *arg)
{
    struct wx     *wx = arg;
    struct mm_page other;
    bool           bad = is_wx(page);

    wx->pages++;
    if (!(page->flags & PTE_NX))
        for (uint64_t at = 0; at < page->bytes; at += PAGE_SIZE)
            if (mm_lookup(LAYOUT_DIRECT + page->physical + at, &other) && (other.flags & PTE_W))
                bad = true;
    if (bad) {
        wx->bad++;
        print("umbra: W^X: %016lx (%lu KiB) is writable and executable\n", page->address,
              page->bytes >> 10);
    }
}

static bool test_wx(void)
{
    struct wx wx = { 0, 0 };

    mm_visit(wx_page, &wx);
    if (wx.bad == 0)
        print("umbra: W^X: ok (%lu pages)\n", wx.pages);
    else
        print("umbra: W^X: FAILED (%lu of %lu pages)\n", wx.bad, wx.pages);
    return wx.bad == 0;
}

/* A page fault, so that the exception's path is seen, which does more than panic(). */
static bool test_panic(void)
{
    *(volatile uint64_t *)FAULTY_ADDRESS = 0; /* NOLINT: meant to fault */
    print("umbra: selftest: the write to %lx did not fault\n", FAULTY_ADDRESS);
    return false;
}

/* The compiler neither sees that this has no end nor turns it into a loop. */
static uint64_t recurse(volatile uint64_t *above)
{
    volatile uint64_t here[16];

    here[0] = *above + 1;
    if (here[0] != 0)
        here[1] = recurse(here);
    return here[0] + here[1];
}

/* The stack can be told to have overflowed only with ISTs, before a guest has run. */
static bool test_stack(void)
{
    volatile uint64_t depth = 0;

    desc_load_idt_with_ists();
    print("umbra: selftest: recursion of depth %lu came back\n", recurse(&depth));
    return false;
}

bool machine_selftest(const char *name)
{
    static const struct {
        const char *name;
        bool (*run)(void);
    } tests[] = {
        { "panic", test_panic },
        { "stack", test_stack },
        { "wx", test_wx },
    };

    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        if (strcmp(name, tests[i].name) == 0)
            return tests[i].run();
    if (strncmp(name, "svm-", 4) == 0)
        return svm_selftest(name);
    print("umbra: selftest: no such test: %s (there are panic, stack, wx, svm-guest, svm-nmi)\n",
          name);
    return false;
}
