# What runs on the host, and what the examples need: the checker of configurations, a guest kernel, a ramdisk.

tools: $B/umbra-config

$B/umbra-config: tools/umbra-config.c hv/config.c hv/config.h paging/pool.h | $B/.packages
	$(CC) $(CFLAGS) -I. -o $@ tools/umbra-config.c hv/config.c

guest: $B/guest/vmlinuz $B/guest/ramdisk.cpio

# Debian's kernel, as it comes. Remove the file to fetch the current one.
$B/guest/vmlinuz: tools/guest-kernel.sh | $B/.packages
	@mkdir -p $(@D)
	@tools/guest-kernel.sh $B/debian $@

$B/guest/memwork: tools/memwork.c | $B/.packages
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -static -o $@ $<

$B/guest/ramdisk.cpio: tools/ramdisk.py examples/init examples/work.sh examples/crash.sh $B/guest/memwork
	@mkdir -p $(@D)
	tools/ramdisk.py $@ /bin/busybox /init=examples/init /work.sh=examples/work.sh /crash.sh=examples/crash.sh \
	    /bin/memwork=$B/guest/memwork

run: image tools guest
	./umbra run examples/linux.cfg
