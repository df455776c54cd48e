# What runs on the host, and what the examples need: the checker of configurations, a guest kernel, a ramdisk.

tools: $B/umbra-config $B/umbra-access

$B/umbra-config: tools/umbra-config.c hv/config.c hv/config.h paging/pool.h | $B/.packages
	$(CC) $(CFLAGS) -I. -o $@ tools/umbra-config.c hv/config.c

# Runs in the control domain, with libraries of its own.
access_src := $(filter-out %_test.c,$(wildcard tools/access/*.c))
xen_libs   := $(addprefix -lxen,ctrl evtchn foreignmemory call devicemodel gnttab toollog toolcore) -ldl -lpthread
$B/umbra-access: $(access_src) $(wildcard tools/access/*.h) | $B/.packages
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -I. -static -o $@ $(access_src) $(xen_libs)

# For tests, beside it.
$B/test/control/provoke: test/control/provoke.c | $B/.packages
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -I. -static -o $@ $< $(xen_libs)

guest: $B/guest/vmlinuz $B/guest/ramdisk.cpio

# Debian's kernel, as it comes. Remove the file to fetch the current one.
$B/guest/vmlinuz: tools/fetch-debs.sh | $B/.packages
	@mkdir -p $(@D)
	@tools/fetch-debs.sh $B/debian $B/debian/root linux-image-cloud-amd64!
	@cp $B/debian/root/boot/vmlinuz-* $@

$B/guest/memwork: tools/memwork.c | $B/.packages
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -static -o $@ $<

$B/guest/ramdisk.cpio: tools/ramdisk.py examples/init examples/work.sh examples/count.sh examples/crash.sh \
    examples/access-rename.sh examples/poweroff $B/guest/memwork
	@mkdir -p $(@D)
	tools/ramdisk.py $@ /bin/busybox /init=examples/init /work.sh=examples/work.sh /crash.sh=examples/crash.sh \
	    /rename.sh=examples/access-rename.sh /count.sh=examples/count.sh /sbin/poweroff=examples/poweroff /bin/memwork=$B/guest/memwork

run: image tools guest
	./umbra run examples/linux.cfg

# ---- the control domain: Debian's generic kernel, and Debian's Xen tools, unpacked and not installed ----
.PHONY: control control-image
control_debs = $(shell sed -n 's/^unpacked: //p' packages.txt)

$B/control/root: packages.txt tools/fetch-debs.sh | $B/.packages
	@mkdir -p $(@D)
	@tools/fetch-debs.sh $B/control/apt $@ $(control_debs)
$B/control/vmlinuz: $B/control/root
	@cp $</boot/vmlinuz-* $@
control_files := init=control-init tools.sh=control-tools.sh create.sh=control-create.sh watch.sh=control-watch.sh watch.rules=control-access.rules watch-pv.rules=control-access-pv.rules watch.map=control-access.map \
    save.sh=control-save.sh guest/pv.cfg=control-guest.xl
control_files := $(foreach f,$(control_files),/$(subst =,=examples/,$f)) /trouble.sh=test/control/trouble.sh /bin/provoke=$B/test/control/provoke

$B/control/ramdisk.cpio: tools/control-ramdisk.py tools/ramdisk.py $(wildcard examples/control*) test/control/trouble.sh $B/control/root \
    $B/guest/vmlinuz $B/guest/ramdisk.cpio $B/umbra-access $B/test/control/provoke
	@tools/control-ramdisk.py $@ /bin/busybox $B/control/root $(control_files) /guest/vmlinuz=$B/guest/vmlinuz \
	    /guest/ramdisk.cpio=$B/guest/ramdisk.cpio /bin/umbra-access=$B/umbra-access
control-image: image tools $B/control/vmlinuz $B/control/ramdisk.cpio

# The same with the guests' symbols, and a script that uses them: doc/access.md.
.PHONY: access-image
$B/guest/System.map: $B/guest/vmlinuz tools/kallsyms.py
	@tools/kallsyms.py $< > $@.new
	@mv $@.new $@
$B/control/access.cpio: $B/control/ramdisk.cpio $B/guest/System.map examples/access-control.sh
	@tools/control-ramdisk.py $@ /bin/busybox $B/control/root $(control_files) /bin/umbra-access=$B/umbra-access \
	    /System.map=$B/guest/System.map /access.sh=examples/access-control.sh
access-image: control-image guest $B/control/access.cpio
control: control-image
	./umbra run examples/control.cfg
