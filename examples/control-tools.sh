# Looks around with Debian's Xen tools in the control domain: run=/tools.sh on its kernel's command line.
xl info
xl list
xl vcpu-list
xl debug-keys q
xl dmesg | tail -n 3
xenstore-ls /local/domain/0
