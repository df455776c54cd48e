# Tests and linters. A hosted test X_test.c is linked with X.c, or with what lines of its own say instead:
#     /* test: with paging/ test/model/ hv/elf.c */
# where the two folders stand for the whole core and the whole model, the word hv/ for all that domains are made of,
# and a test of x86/ with Zydis too. Everything of it is compiled for the host, under ASan and UBSan.
#     /* test: wrap pool_single */
# lets the test stand between callers and a function: its __wrap_pool_single is called instead.
#     /* test: threads */
# has everything of it compiled for ThreadSanitizer instead.
.PHONY: test-long fuzz corpus lint-clang soak explore mutants lint-quick

# A *_test.c without a main function is a part of other tests, which name it.
hosted_test_src := $(shell grep -l '^int main\b' $(wildcard paging/*_test.c hv/*_test.c x86/*_test.c x86/svm/*_test.c x86/pv/*_test.c bench/*_test.c \
    tools/access/*_test.c test/model/*_test.c test/direct/*_test.c) /dev/null)
hosted_tests    := $(hosted_test_src:%.c=$B/test/%)
fuzz_src        := $(shell grep -l 'LLVMFuzzerTestOneInput' $(wildcard paging/*_fuzz.c hv/*_fuzz.c x86/*_fuzz.c \
    test/model/*_fuzz.c) /dev/null)
fuzzers         := $(fuzz_src:%.c=$B/fuzz/%)
afl_fuzzers     := $B/afl/test/model/world_fuzz
replays         := $(fuzz_src:%.c=$B/replay/%)
bare_guests     := $(filter-out guest,$(basename $(notdir $(wildcard test/guests/*.c))))
bare_guest_elf  := $(bare_guests:%=$B/test/guests/%.elf)
multiboot       := $(basename $(notdir $(shell grep -l '^void kernel_main' $(wildcard test/guests/multiboot/*.c))))
pv_guests       := $(basename $(notdir $(wildcard test/guests/pv/pv-*.c)))
pv_elf          := $(pv_guests:%=$B/test/guests/pv/%.elf)
multiboot_elf   := $(multiboot:%=$B/test/guests/multiboot/%.elf)
TIME            := 120

domain_src = hv/build.c hv/destroy.c hv/pvh.c hv/multiboot.c hv/multiboot_load.c hv/elf.c hv/acpi.c \
    hv/domain.c hv/evtchn.c hv/shared.c hv/time.c hv/timer.c hv/sched.c hv/alloc.c hv/format.c hv/guest.c \
    hv/hypercall.c hv/hc_console.c hv/hc_event.c hv/hc_hvm.c hv/hc_memory.c hv/hc_sched.c hv/hc_vcpu.c \
    hv/access.c hv/vm_event.c hv/vm_event_page.c hv/vm_event_register.c hv/vm_event_ring.c hv/hc_monitor.c hv/grant.c hv/hc_grant.c hv/hc_grant_map.c \
    hv/hc_grant_copy.c hv/hc_version.c hv/domain_pool.c \
    hv/kind.c hv/monitor_parse.c hv/pv.c hv/pv_shadow.c hv/pv_build.c hv/hc_pv.c hv/hc_mmu.c \
    hv/hc_pv_memory.c hv/control.c hv/conring.c \
    hv/hc_sysctl.c hv/hc_sysctl_cpu.c hv/hc_domctl.c hv/hc_domctl_info.c hv/hc_foreign.c hv/foreign.c \
    hv/hc_domctl_build.c hv/hc_domctl_vcpu.c hv/hc_domctl_hvm.c hv/hc_domctl_save.c hv/hc_policy.c hv/dirty.c
model_src = $(filter-out %_test.c %_fuzz.c %/soak.c,$(wildcard test/model/*.c))
named    = $(foreach w,$(shell sed -n 's|^/\* test: with \(.*\) \*/|\1|p' $1),$(if $(filter paging/,$w),$(paging_src),$(if \
    $(filter test/model/,$w),$(model_src),$(if $(filter hv/,$w),$(domain_src),$w))))
with     = $(or $(call named,$1),$(filter-out %_test.c %_fuzz.c,$(wildcard $(patsubst %_test.c,%.c,$(patsubst %_fuzz.c,%.c,$1)))))
hosted_o = $(patsubst %.c,$B/host/%.o,$1 $(call with,$1))
comma    := ,
wraps    = $(patsubst %,-Wl$(comma)--wrap=%,$(shell sed -n 's|^/\* test: wrap \(.*\) \*/|\1|p' $1))
zydis_of = $(if $(filter x86/%,$1),$(zydis_host))

# ---- hosted tests ----
HOSTED_CPPFLAGS = -I. $(ZYDIS_CPPFLAGS)

$B/host/%.o: %.c | $B/.packages $B/zydis/.fetched
	@mkdir -p $(@D)
	@echo '  CC  $<'; $(CC) $(HOSTED) $(HOSTED_CPPFLAGS) -MMD -MP -c -o $@ $<

define hosted_rule
$B/test/$(1:%.c=%): $(call hosted_o,$1) $(call zydis_of,$1)
	@mkdir -p $$(@D)
	@echo '  LD  $$@'; $$(CC) $$(HOSTED) $(call wraps,$1) -o $$@ $$^ -lcmocka
endef
thread_test_src := $(shell grep -l '^/\* test: threads \*/' $(hosted_test_src) /dev/null)
$(foreach t,$(filter-out $(thread_test_src),$(hosted_test_src)),$(eval $(call hosted_rule,$t)))

THREADED := $(subst address$(comma)undefined,thread,$(HOSTED))
define thread_rule
$B/test/$(1:%.c=%): $1 $(call with,$1) $(wildcard paging/*.h) | $B/.packages
	@mkdir -p $$(@D)
	@echo '  CC  $$@'; $$(CC) $$(THREADED) -I. -o $$@ $$(filter %.c,$$^) -lcmocka -pthread
endef
$(foreach t,$(thread_test_src),$(eval $(call thread_rule,$t)))

-include $(patsubst %.c,$B/host/%.d,$(sort $(foreach t,$(hosted_test_src),$t $(call with,$t))))

# ---- the core beside the naive processor ----
soak_src := $(wildcard test/model/*.c)
soak_src := $(filter-out %_test.c %_fuzz.c,$(soak_src)) $(paging_src)
$B/test/soak: $(soak_src:%.c=$B/host/%.o)
	@mkdir -p $(@D)
	@echo '  LD  $@'; $(CC) $(HOSTED) -o $@ $^
-include $(soak_src:%.c=$B/host/%.d)

# ---- direct paging, every interleaving of small worlds ----
explore_src := $(patsubst %,test/direct/%.c,explore_main explore small_worlds world) \
    $(wildcard paging/types.c paging/type_*.c) $(filter-out %_test.c,$(wildcard paging/direct*.c))
$B/test/explore: $(explore_src) $(wildcard test/direct/*.h paging/*.h)
	@mkdir -p $(@D)
	@echo '  CC  $@'; $(CC) -std=gnu11 -O2 -g $(WARN) -I. -o $@ $(explore_src) -lcmocka
explore: $B/test/explore
	EXPLORE=long $<

# make soak OPS=10000000 SEED=7
OPS  := 1000000
SEED := 1
MODES := 64,32,pae,off,la57
$B/test/soak-fast: $(soak_src) $(wildcard test/model/*.h paging/*.h)
	@mkdir -p $(@D)
	@echo '  CC  $@'; $(CC) -std=gnu11 -O2 -g $(WARN) -I. -o $@ $(soak_src)
soak: $B/test/soak-fast
	$< --seed $(SEED) --ops $(OPS) --modes $(MODES)

# Plants defects in the core, one at a time, and expects each to be caught: about fifteen minutes. doc/mutants.md lists them.
mutants: | $B/.packages
	@test/model/mutants.py

# ---- bare guests ----
GUEST_CFLAGS := -std=gnu11 -O2 -g $(WARN) -ffreestanding -fno-pic -mgeneral-regs-only -mno-red-zone \
    -fno-stack-protector -fcf-protection=none -fno-asynchronous-unwind-tables -I.

$B/test/guests/%.o: test/guests/%.c | $B/.packages
	@mkdir -p $(@D)
	$(CC) $(GUEST_CFLAGS) -MMD -MP -c -o $@ $<
$B/test/guests/%.o: test/guests/%.S | $B/.packages
	@mkdir -p $(@D)
	$(CC) -c -o $@ $<
$(bare_guest_elf): $B/test/guests/%.elf: $B/test/guests/%.o $B/test/guests/start.o $B/test/guests/guest.o test/guests/guest.lds
	ld -static -nostdlib -z noexecstack --no-warn-rwx-segments -z max-page-size=4096 -T test/guests/guest.lds \
	    -o $@ $(filter %.o,$^)
.SECONDARY: $(bare_guests:%=$B/test/guests/%.o)

# Multiboot kernels have 32 bits.
$B/test/guests/multiboot/%.o: test/guests/multiboot/%.c | $B/.packages
	@mkdir -p $(@D)
	$(CC) -m32 $(filter-out -mno-red-zone,$(GUEST_CFLAGS)) -MMD -MP -c -o $@ $<
$B/test/guests/multiboot/%.o: test/guests/multiboot/%.S | $B/.packages
	@mkdir -p $(@D)
	$(CC) -m32 -c -o $@ $<
# What several kernels use: each takes from it what it needs.
multiboot_parts := $(basename $(notdir $(wildcard test/guests/multiboot/*.[cS])))
multiboot_parts := $(filter-out $(multiboot) start,$(multiboot_parts))
$B/test/guests/multiboot/parts.a: $(multiboot_parts:%=$B/test/guests/multiboot/%.o)
	@rm -f $@
	@ar rcs $@ $^
$(multiboot_elf): $B/test/guests/multiboot/%.elf: $B/test/guests/multiboot/%.o $B/test/guests/multiboot/start.o \
    $B/test/guests/multiboot/parts.a test/guests/multiboot/kernel.lds
	ld -m elf_i386 -static -nostdlib -z noexecstack --no-warn-rwx-segments -T test/guests/multiboot/kernel.lds \
	    -o $@ $(filter %.o %.a,$^)
.SECONDARY: $(multiboot:%=$B/test/guests/multiboot/%.o)

# PV guests: 64-bit, with Xen's notes.
$(pv_elf): $B/test/guests/pv/%.elf: $B/test/guests/pv/%.o $B/test/guests/pv/start.o $B/test/guests/pv/pv.o \
    test/guests/pv/pv.lds
	ld -static -nostdlib -z noexecstack --no-warn-rwx-segments -z max-page-size=4096 -T test/guests/pv/pv.lds \
	    -o $@ $(filter %.o,$^)
.SECONDARY: $(pv_guests:%=$B/test/guests/pv/%.o)

-include $(wildcard $B/test/guests/*.d $B/test/guests/multiboot/*.d $B/test/guests/pv/*.d)

# An example starts this one.
guest: $B/test/guests/multiboot/echo.elf

# ---- what a person calls ----
check: $(hosted_tests) $(replays) $B/test/explore $B/test/soak
	@test/run.py hosted $(hosted_tests) $B/test/explore corpus $(replays) soak $B/test/soak

test: image tools guest control-image access-image $(hosted_tests) $(replays) $B/test/explore $B/test/soak $(bare_guest_elf) $(multiboot_elf) $(pv_elf)
	@test/run.py hosted $(hosted_tests) $B/test/explore corpus $(replays) soak $B/test/soak lint system

# Goes on where it was stopped, if no source has changed meanwhile.
test-long: OPS := 10000000
test-long: TIME := 600
test-long: image tools guest control-image access-image lint $(hosted_tests) $B/test/explore $B/test/soak-fast $(bare_guest_elf) $(multiboot_elf) \
    $(pv_elf) $(fuzzers) $(afl_fuzzers)
	@OPS=$(OPS) TIME=$(TIME) EXPLORE=long test/run.py hosted $(hosted_tests) $B/test/explore lint \
	    long $B/test/soak-fast $(fuzzers) $(afl_fuzzers)

# ---- fuzzing ----
# Inputs worth keeping are in test/corpus, one folder for each target; make check replays them.
$B/fuzz/%: %.c | $B/.packages $B/zydis/.fetched
	@mkdir -p $(@D)
	@echo '  FUZZ $<'; $(CLANG) $(HOSTED) -fsanitize=fuzzer $(HOSTED_CPPFLAGS) -o $@ $< $(call with,$<) $(call zydis_of,$<)

# The same targets for AFL++.
$B/afl/%: %.c | $B/.packages $B/zydis/.fetched
	@mkdir -p $(@D)
	@echo '  AFL $<'; AFL_QUIET=1 afl-clang-fast $(HOSTED) -fsanitize=fuzzer $(HOSTED_CPPFLAGS) -o $@ $< $(call with,$<) \
	    $(call zydis_of,$<)
$(foreach f,$(fuzz_src),$(eval $B/fuzz/$(f:%.c=%) $B/afl/$(f:%.c=%): $(call with,$f) $(call zydis_of,$f)))
$B/fuzz/test/model/world_fuzz $B/afl/test/model/world_fuzz: $(wildcard test/model/*.h paging/*.h)

define replay_rule
$B/replay/$(1:%.c=%): $(call hosted_o,$1) $B/host/test/fuzz/replay.o $(call zydis_of,$1)
	@mkdir -p $$(@D)
	@echo '  LD  $$@'; $$(CC) $$(HOSTED) -o $$@ $$^
endef
$(foreach f,$(fuzz_src),$(eval $(call replay_rule,$f)))
-include $(patsubst %.c,$B/host/%.d,$(sort test/fuzz/replay.c $(foreach f,$(fuzz_src),$f $(call with,$f))))

# make fuzz TIME=600: all of them together take so many seconds, the two worlds half of that under either fuzzer.
fuzz: $(fuzzers) $(afl_fuzzers)
	@TIME=$(TIME) test/run.py fuzz $(fuzzers) $(afl_fuzzers)

# Inputs that make fuzz has found in build/ are added to test/corpus, where they show anything new.
corpus: $(fuzzers)
	@test/run.py merge $(fuzzers)

# ---- linters ----
lint_src := $(paging_src) $(hv_src) $(x86_src)
all_c    := $(wildcard paging/*.[ch] hv/*.[ch] x86/*.[ch] x86/svm/*.[ch] x86/pv/*.[ch] x86/hw/*.h tools/*.c tools/access/*.[ch] bench/*.[ch] test/*/*.[ch] test/guests/*/*.[ch])
LINT_CPPFLAGS := -I. $(ZYDIS_CPPFLAGS)

# What is quick; make lint asks clang-tidy as well, one file after the other.
lint-quick: lint-clang $B/lint/cppcheck
	@tools/layers.sh $(all_c)
	@$(CLANG)-format --dry-run --Werror $(all_c)
	@test/model/mutants.py --check
	@echo "lint: no complaint about $(words $(all_c)) files"

lint: lint-quick $(lint_src:%.c=$B/lint/%.tidy)
	@echo "lint: clang-tidy has no complaint"

# The image's sources by the other compiler, which warns of other things.
lint-clang: $(lint_src:%.c=$B/lint/%.o)
$B/lint/%.o: %.c | $B/.packages $B/zydis/.fetched
	@mkdir -p $(@D)
	@$(CLANG) $(CFLAGS) $(FREESTANDING) $(LINT_CPPFLAGS) -MMD -MP -c -o $@ $<
-include $(lint_src:%.c=$B/lint/%.d)

$B/lint/%.tidy: %.c $B/lint/%.o .clang-tidy
	@echo "clang-tidy $<"
	@clang-tidy --quiet --warnings-as-errors='*' $< -- -std=gnu11 $(FREESTANDING) $(LINT_CPPFLAGS) \
	    2> $@.log || { cat $@.log; exit 1; }
	@touch $@

$B/lint/cppcheck: $(lint_src) $(wildcard paging/*.h hv/*.h x86/*.h x86/svm/*.h x86/hw/*.h)
	@mkdir -p $(@D)
	@cppcheck --quiet --error-exitcode=1 --std=c11 --enable=warning,performance,portability --inline-suppr \
	    --suppress=missingIncludeSystem --suppress=internalAstError --suppress=zerodivcond \
	    --suppress=nullPointerRedundantCheck --suppress=comparePointers --suppress='*:$B/*' -j2 -I. $(lint_src)
	@touch $@

format:
	$(CLANG)-format -i $(all_c)
