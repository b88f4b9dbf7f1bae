"""The Debian guest that has compilers, runtimes and stress tests (make-debian-disk --direct), and the programs put into it."""
import os
import subprocess

from guest import Guest, want

BOOT_LIMIT = 240  # seconds; a stuck guest, not a slow one
LIMIT = 400


def boot_tools(options, directory, cpus, more=()):
    """The guest at its shell's prompt, with options.programs in /root/files. It writes to an image in `directory`."""
    image, programs = os.path.join(directory, "disk.qcow2"), os.path.join(directory, "programs.tar")
    disk = os.path.abspath(os.path.join(options.guest, "disk.qcow2"))
    if os.path.exists(image):
        os.unlink(image)
    subprocess.run([options.ring3, "image", "create", "--format", "qcow2", "--backing", disk, "--backing-format", "qcow2", image],
                   check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["tar", "-C", options.programs, "-cf", programs, "."], check=True)
    kernel, initrd = (os.path.join(options.guest, n) for n in ("vmlinuz", "initrd"))
    # on a busy host a vCPU may not run for seconds
    append = "root=LABEL=root init=/sbin/guest-init console=ttyS0 quiet watchdog_thresh=60 rcupdate.rcu_cpu_stall_timeout=120"
    if options.qemu:
        command = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max,la57=off", "-m", options.memory, "-smp", str(cpus),
                   "-display", "none", "-serial", "stdio", "-monitor", "none", "-nic", "none", "-kernel", kernel, "-initrd", initrd,
                   "-append", append, "-drive", f"file={image},if=virtio", "-drive", f"file={programs},if=virtio,format=raw,readonly=on"]
    else:
        engine = ["--engine", options.engine] if options.engine else []
        command = [options.ring3, "run", *engine, "--cpus", str(cpus), "--memory", options.memory, "--kernel", kernel, "--initrd", initrd,
                   "--append", append, "--disk", f"{image},if=virtio", "--disk", f"{programs},if=virtio,format=raw,readonly", *more]
    guest = Guest(command)
    try:
        guest.wait_prompt(BOOT_LIMIT)
    except BaseException:
        guest.__exit__()
        raise
    return guest


def power_off(guest, limit):
    guest.type(b"exit\n")
    status = guest.finish(limit)
    want(status == 0, f"exit status {status} after power-off")
    guest.__exit__()
