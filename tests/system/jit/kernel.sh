#!/bin/bash
# The kernel rewrites its own code while all CPUs work: kernel.sh SECONDS [NAME...] runs each test (or those named) for that many
# seconds and prints "NAME ok COUNT" or "NAME WRONG reason".
# shellcheck disable=SC2086,SC2317
seconds=$1
shift
names=${*:-ftrace graph kprobes uprobes events modules keys hotplug}
trace=/sys/kernel/tracing
cpus=$(nproc)
bad=0
sum=$(seq 1 20000 | sha256sum)

# Work on all CPUs whose results are checked, until $work/stop is there: processes, files, pipes, signals.
work_on_all()
{
    local i
    work=$(mktemp -d)
    for ((i = 0; i < cpus; i++)); do
        while [ ! -e "$work/stop" ]; do
            [ "$(seq 1 20000 | sha256sum)" = "$sum" ] || echo "a checksum" >>"$work/bad"
            seq 1 2000 >"$work/file$i"
            [ "$(tail -n 1 "$work/file$i")" = 2000 ] || echo "a file" >>"$work/bad"
        done &
    done
}

work_done() # NAME COUNT
{
    touch "$work/stop"
    wait
    local complaint
    complaint=$(dmesg | grep -E 'BUG:|Oops|WARNING:|Call Trace|general protection|invalid opcode|segfault|soft lockup|rcu: INFO' | head -n 2)
    if [ -s "$work/bad" ]; then
        echo "$1 WRONG $(sort "$work/bad" | uniq -c | head -n 3 | tr '\n' ' ')"
        bad=1
    elif [ -n "$complaint" ]; then
        echo "$1 WRONG $complaint"
        dmesg -C
        bad=1
    elif [ "$2" -eq 0 ]; then
        echo "$1 WRONG nothing was done"
        bad=1
    else
        echo "$1 ok $2"
    fi
    rm -rf "$work"
}

failed()
{
    echo "$*" >>"$work/bad"
}

# True until the test's time is over, but at least once; counts into `count`.
again()
{
    [ "$count" -eq 0 ] && end=$((SECONDS + seconds))
    [ -s "$work/bad" ] && return 1
    [ "$count" -eq 0 ] || [ $SECONDS -lt $end ] || return 1
    count=$((count + 1))
}

# The function tracer: every function of the kernel begins with a call or a NOP in turn.
tracer() # TRACER
{
    while again; do
        echo "$1" >$trace/current_tracer || failed "cannot set $1"
        sleep 0.2
        echo 0 >$trace/tracing_on
        [ "$(head -n 100 $trace/trace | grep -c -v '^#')" -gt 20 ] || failed "no functions were traced"
        echo nop >$trace/current_tracer
        echo 1 >$trace/tracing_on
    done
}

test_ftrace()
{
    tracer function
}

test_graph()
{
    tracer function_graph
}

# Probes on functions that are in use, at their entries (through ftrace), inside (INT3, or a jump once optimized) and at returns.
test_kprobes()
{
    local hits where n=0
    while again; do
        for where in "p:vfs_read" "p:vfs_read+9" "r:vfs_write" "p:do_filp_open+16" "r:handle_mm_fault" "p:__x64_sys_clone"; do
            echo "${where%%:*}:probes/p$n $(echo "$where" | cut -d: -f2)" >>$trace/kprobe_events 2>/dev/null || continue
            echo 1 >$trace/events/probes/p$n/enable
            sleep 0.05
            cat /proc/self/stat >/dev/null
            echo 0 >$trace/events/probes/p$n/enable
            n=$((n + 1))
        done
        hits=$(awk '{s += $2} END {print s + 0}' $trace/kprobe_profile)
        [ "$hits" -gt 0 ] || failed "no probe was hit"
        echo >$trace/kprobe_events
    done
}

# Probes in user code: an INT3 in libc.
test_uprobes()
{
    local libc offset
    libc=$(realpath /lib/x86_64-linux-gnu/libc.so.6)
    offset=$(python3 -c '
import ctypes
libc = ctypes.CDLL(None)
base = min(int(s.split("-")[0], 16) for s in open("/proc/self/maps") if "libc.so" in s)
print(hex(ctypes.cast(libc.getpid, ctypes.c_void_p).value - base))')
    while again; do
        echo "p:probes/u $libc:$offset" >$trace/uprobe_events || failed "no uprobe"
        echo 1 >$trace/events/probes/u/enable
        python3 -c 'import os
for i in range(100): assert os.getpid() > 1' || failed "getpid is wrong"
        echo 0 >$trace/events/probes/u/enable
        [ "$(awk '{s += $3} END {print s + 0}' $trace/uprobe_profile)" -ge 100 ] || failed "the uprobe was not hit: $(cat $trace/uprobe_profile)"
        echo >$trace/uprobe_events
    done
}

# Tracepoints are static keys: NOPs that become jumps.
test_events()
{
    while again; do
        for group in sched syscalls timer irq kmem; do
            echo 1 >$trace/events/$group/enable
            echo 0 >$trace/events/$group/enable
        done
    done
    [ "$(grep -c -v '^#' $trace/trace)" -gt 0 ] || failed "no event was traced"
    echo >$trace/trace
}

# Modules come and go: code is relocated, patched (alternatives, calls, NOPs) and freed.
test_modules()
{
    local m
    while again; do
        for m in loop dummy tun xfs twofish_x86_64 serpent_avx2; do
            modprobe $m 2>>"$work/modprobe" || failed "modprobe $m: $(tail -n 1 "$work/modprobe")"
            if [ $m = dummy ]; then
                { ip link add d0 type dummy && ip link set d0 up && ip link del d0; } || failed "ip link"
            fi
            modprobe -r $m 2>>"$work/modprobe" || failed "modprobe -r $m: $(tail -n 1 "$work/modprobe")"
        done 2>/dev/null
    done
}

# Static keys of the kernel's own.
test_keys()
{
    while again; do
        for v in 1 0; do
            sysctl -q -w kernel.sched_schedstats=$v kernel.bpf_stats_enabled=$v kernel.timer_migration=$v || failed "sysctl"
        done
    done
}

test_hotplug()
{
    local c
    if [ "$cpus" -lt 2 ]; then
        count=1
        return
    fi
    while again; do
        for ((c = 1; c < cpus; c++)); do
            echo 0 >/sys/devices/system/cpu/cpu$c/online || failed "CPU $c does not go offline"
        done
        for ((c = 1; c < cpus; c++)); do
            echo 1 >/sys/devices/system/cpu/cpu$c/online || failed "CPU $c does not come back"
        done
    done
    [ "$(nproc)" = "$cpus" ] || failed "$(nproc) CPUs of $cpus"
}

for name in $names; do
    count=0
    work_on_all
    "test_$name"
    work_done "$name" "$count"
done
exit $bad
