# What the hypervisor costs: make bench, make bench PEERS=1 (KVM and Xen too), make profile REGION=fork. doc/performance.md explains the figures.
.PHONY: bench profile

bench_so_src := bench/count.c bench/event.c bench/own.c
$B/bench/count.so: $(bench_so_src) $(wildcard bench/*.h paging/*.h hv/*.h x86/*.h x86/svm/*.h) $B/zydis/.fetched | $B/.packages
	@mkdir -p $(@D)
	@echo '  CC  $@'; $(CC) $(CFLAGS) $(HOSTED_CPPFLAGS) -shared -fPIC -fvisibility=hidden -o $@ $(bench_so_src)

$B/bench/work: bench/work.c bench/marker.h | $B/.packages
	@mkdir -p $(@D)
	@echo '  CC  $@'; $(CC) $(CFLAGS) -I. -static -o $@ $<
	@strip $@

$B/bench/nop: bench/nop.S | $B/.packages
	@mkdir -p $(@D)
	@echo '  AS  $@'; $(CC) -static -nostdlib -o $@ $<
	@strip $@

$B/bench/ramdisk.cpio: tools/ramdisk.py $B/bench/work $B/bench/nop
	tools/ramdisk.py $@ /bin/busybox /init=$B/bench/work /nop=$B/bench/nop

bench_needs := image tools $B/guest/vmlinuz $B/bench/count.so $B/bench/ramdisk.cpio $B/test/guests/round-trips.elf

bench: $(bench_needs) $(if $(PEERS),$B/control/root $B/control/vmlinuz)
	@bench/bench.py $(if $(PEERS),peers)

profile: $(bench_needs)
	@bench/profile.py $(or $(REGION),fork) $(or $(KIND),shadow)
