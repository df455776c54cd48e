/* What was given at boot: see given.h. */
#include "hv/given.h"

#include "hv/build.h"
#include "hv/monitor_parse.h"
#include "hv/print.h"

#define EXIT_CONFIG 0x12 /* of machine_exit: a file is wrong */

static struct config configs[SCRIPT_NAMES_MAX];
static unsigned      given;

/* ---- words ---- */

bool given_word(const char **at, struct script_text *word)
{
    while (**at == ' ')
        (*at)++;
    *word = (struct script_text){ *at, 0 };
    while (**at != ' ' && **at != '\0') {
        (*at)++;
        word->length++;
    }
    return word->length > 0;
}

bool given_word_is(struct script_text word, const char *name)
{
    char text[32];

    return script_copy(word, text, sizeof(text)) && monitor_same(text, name);
}

static bool word_number(struct script_text word, uint64_t *n)
{
    char text[24];

    return script_copy(word, text, sizeof(text)) && monitor_number(text, n);
}

/* True if the module has this role, for domain `n`; a negative `n` asks for the role alone. */
static bool module_is(const struct machine_module *m, const char *role, int n)
{
    const char        *at = m->string;
    struct script_text word;
    uint64_t           number;

    if (!given_word(&at, &word))
        return false;
    if (!given_word(&at, &word) || !given_word_is(word, role))
        return false;
    if (n < 0)
        return true;
    while (given_word(&at, &word)) {
        if (word_number(word, &number) && number == (uint64_t)n)
            return true;
    }
    return false;
}

const struct machine_module *given_module(const char *role, int n)
{
    for (unsigned i = 0; i < machine_modules(); i++) {
        if (module_is(machine_module(i), role, n))
            return machine_module(i);
    }
    return NULL;
}

/* ---- domains ---- */

/* What the file of domain `n` is called in messages. */
static void config_name(const struct script *script, unsigned n, const struct machine_module *m,
                        char *name, size_t size)
{
    const char        *at = m->string;
    struct script_text text = script->name[n];

    if (text.length == 0)
        text.length = given_word(&at, &text) ? text.length : 0;
    (void)script_copy(text, name, size);
}

unsigned given_read(const struct script *script)
{
    const struct machine_module *m;
    struct config_error          error;
    char                         file[128];
    unsigned                     n = 0;

    for (; n < SCRIPT_NAMES_MAX && (m = given_module("config", (int)n)) != NULL; n++) {
        config_name(script, n, m, file, sizeof(file));
        if (!config_parse(m->data, m->size, &configs[n], &error)) {
            if (error.line > 0)
                print("umbra: %s:%u: %s\n", file, error.line, error.what);
            else
                print("umbra: %s: %s\n", file, error.what);
            machine_exit(EXIT_CONFIG);
        }
        for (unsigned i = 0; i < n; i++) {
            if (!monitor_same(configs[i].name, configs[n].name))
                continue;
            print("umbra: %s: name \"%s\": another domain has it: expected a name of its own\n",
                  file, configs[n].name);
            machine_exit(EXIT_CONFIG);
        }
    }
    if (n == 0) {
        print("umbra: no domain: expected a module with the words config 0\n");
        machine_exit(EXIT_CONFIG);
    }
    return given = n;
}

bool given_find(const char *name, unsigned *n)
{
    for (*n = 0; *n < given; ++*n)
        if (monitor_same(configs[*n].name, name))
            return true;
    return false;
}

struct domain *given_create(unsigned n)
{
    const struct machine_module *kernel = given_module("kernel", (int)n);
    const struct machine_module *ramdisk = given_module("ramdisk", (int)n);
    struct domain_images         images = { 0 };
    char                         error[160] = "its kernel was not given with it";
    struct domain               *d = NULL;

    if (ramdisk) {
        images.ramdisk = ramdisk->data;
        images.ramdisk_size = ramdisk->size;
    }
    if (kernel) {
        images.kernel = kernel->data;
        images.kernel_size = kernel->size;
        d = domain_create(&configs[n], &images, error, sizeof(error));
    }
    if (!d)
        print("umbra: %s cannot be built: %s\n", configs[n].name, error);
    return d;
}
