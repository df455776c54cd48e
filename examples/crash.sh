#!/bin/sh
# Makes the kernel panic on purpose, to show that only this guest falls.
echo "crash: about to panic"
sleep 1
echo c > /proc/sysrq-trigger
echo "crash: still here"
