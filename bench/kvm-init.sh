#!/bin/sh
# /init of the Linux under which KVM runs the workload; npt=0 or npt=1 on its command line says by which paging.
# While the workload runs, nothing else does but KVM and QEMU: this waits for a line of the guest's.
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t debugfs debug /sys/kernel/debug
npt=$(sed -n 's/.*\bnpt=\([01]\).*/\1/p' /proc/cmdline)
words=$(cat /words)
insmod /irqbypass.ko
insmod /kvm.ko
insmod /kvm-amd.ko npt="$npt" avic=0
echo "npt is $(cat /sys/module/kvm_amd/parameters/npt)"
mkfifo /tmp/console
# With -no-shutdown a guest that has gone leaves KVM's counters behind.
qemu-system-x86_64 -accel kvm -cpu host -m 512 -smp 1 -nodefaults -display none -serial stdio -no-reboot -no-shutdown \
    -kernel /vmlinuz -initrd /workload.cpio -append "console=ttyS0 $words" </dev/null >/tmp/console 2>&1 &
qemu=$!
while read -r line; do
    echo "$line"
    case $line in
    *"BENCH done"*) done=1 ;;
    *"Power down"* | *"System halted"* | *"Restarting system"* | *"Kernel panic"*) break ;;
    esac
done </tmp/console
sleep 1
echo "KVM exits=$(cat /sys/kernel/debug/kvm/exits) done=$done"
kill -9 $qemu
poweroff -f
