# Umbra. `make run` boots Debian's kernel under shadow paging; `make test` proves that all is well.
# There is no configure step: what is missing is installed from packages.txt (tools/setup.sh).

B        := build
CC       := gcc
CLANG    := clang
JOBS     := $(shell nproc)
MAKEFLAGS += --no-builtin-rules

WARN := -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wcast-qual -Wvla -Werror
# The image is position independent and linked where the PV ABI reserves room for a hypervisor;
# everything hidden, so that every reference is relative to RIP.
FREESTANDING := -O3 -ffreestanding -mgeneral-regs-only -mno-red-zone -fno-stack-protector -fpie \
    -fvisibility=hidden -fcf-protection=none -fno-asynchronous-unwind-tables -fno-omit-frame-pointer \
    -fno-optimize-sibling-calls -include x86/visibility.h
CFLAGS  := -std=gnu11 -O2 -g $(WARN)
HOSTED  := -std=gnu11 -O1 -g $(WARN) -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer

paging_src := $(filter-out %_test.c %_fuzz.c, $(wildcard paging/*.c))
hv_src     := $(filter-out %_test.c %_fuzz.c, $(wildcard hv/*.c))
x86_src    := $(filter-out %_test.c %_fuzz.c, $(wildcard x86/*.c x86/svm/*.c x86/pv/*.c))
asm_src    := $(wildcard x86/*.S x86/svm/*.S x86/pv/*.S)

paging_obj := $(paging_src:%.c=$B/obj/%.o)
hv_obj     := $(hv_src:%.c=$B/obj/%.o)
x86_obj    := $(x86_src:%.c=$B/obj/%.o)
asm_obj    := $(asm_src:%.S=$B/obj/%.o)
objects    := $(asm_obj) $(paging_obj) $(hv_obj) $(x86_obj)

.PHONY: all setup image tools guest run check test lint format clean
all: image tools guest

-include tools/tools.mk
-include x86/zydis.mk
-include test/test.mk
-include bench/bench.mk

# ---- set-up: packages, then sources that Debian only has as such ----
setup: $B/.packages
$B/.packages: packages.txt tools/setup.sh
	@mkdir -p $B
	@tools/setup.sh packages.txt
	@touch $@

# ---- the hypervisor ----
image: $B/umbra.elf

# The core is compiled with itself alone on the include path.
$(paging_obj): $B/obj/%.o: %.c | $B/.packages
	@mkdir -p $(@D)
	@echo '  CC  $<'; $(CC) $(CFLAGS) $(FREESTANDING) -nostdinc -isystem $(shell $(CC) -print-file-name=include) -MMD -MP -c -o $@ $<
$(hv_obj): $B/obj/%.o: %.c | $B/.packages
	@mkdir -p $(@D)
	@echo '  CC  $<'; $(CC) $(CFLAGS) $(FREESTANDING) -I. -MMD -MP -c -o $@ $<
$(x86_obj): $B/obj/%.o: %.c $B/zydis/.fetched | $B/.packages
	@mkdir -p $(@D)
	@echo '  CC  $<'; $(CC) $(CFLAGS) $(FREESTANDING) -I. $(ZYDIS_CPPFLAGS) -MMD -MP -c -o $@ $<
$(asm_obj): $B/obj/%.o: %.S | $B/.packages
	@mkdir -p $(@D)
	@echo '  AS  $<'; $(CC) -I. -g -MMD -MP -D__ASSEMBLY__ -c -o $@ $<

# Linked twice: the names of the functions go into the image for backtraces.
$B/umbra.elf64: $(objects) $(zydis_obj) x86/umbra.lds tools/symbols.sh
	@printf '.section .symbols, "a"\n' > $B/symbols0.S
	@$(CC) -c -o $B/symbols0.o $B/symbols0.S
	@$(LINK) -o $B/umbra.pass1 $(objects) $(zydis_obj) $B/symbols0.o
	@tools/symbols.sh $B/umbra.pass1 > $B/symbols1.S
	@$(CC) -c -o $B/symbols1.o $B/symbols1.S
	@echo '  LD  $@'; $(LINK) -o $@ $(objects) $(zydis_obj) $B/symbols1.o
LINK = ld -nostdlib -static --no-pie -z max-page-size=4096 -z noexecstack --no-warn-rwx-segments -T x86/umbra.lds

# QEMU's multiboot loader takes 32-bit ELF only.
$B/umbra.elf: $B/umbra.elf64
	objcopy -O elf32-i386 $< $@

-include $(objects:.o=.d)

clean:
	rm -rf $B
