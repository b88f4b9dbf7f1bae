# The levels that run the finished program: its command line, and stock kernels in it.

.PHONY: test-cli test-vnc test-disks test-system test-system-full

test-cli: $(OUT)/ring3
	@tests/cli/run-cli $(OUT)/ring3

# Real viewers under a headless X server; those that are missing are skipped, loudly.
test-vnc: $(OUT)/ring3
	@tests/system/run-vnc $(OUT)/ring3

# Systems on disks and CDs. The Debian disk is made once (minutes); where that is impossible its scenarios are skipped.
DEBIAN_DISK := build/guest/debian.qcow2
test-disks: $(OUT)/ring3
	@mkdir -p $(dir $(DEBIAN_DISK))
	@test -f $(DEBIAN_DISK) || tests/system/make-debian-disk $(DEBIAN_DISK) || echo "the Debian disk cannot be made here"
	@tests/system/run-disks --ring3 $(OUT)/ring3 --disk $(DEBIAN_DISK)

# Four kernels with one and four CPUs; `full` adds every memory size, more CPUs and the slow scenarios.
test-system: $(OUT)/ring3
	@tools/fetch-kernel amd64 cloud-amd64 686 686-pae
	@tests/system/run-system --ring3 $(OUT)/ring3

test-system-full: $(OUT)/ring3
	@tools/fetch-kernel amd64 cloud-amd64 686 686-pae
	@tests/system/run-system --ring3 $(OUT)/ring3 --full

# Virtio devices in stock kernels with Debian's modules, and SeaBIOS from a virtio disk.
.PHONY: test-virtio
test-virtio: $(OUT)/ring3
	@tests/system/run-virtio --ring3 $(OUT)/ring3

# SeaBIOS and OVMF with GRUB on a floppy disk, a CD-ROM and disks.
.PHONY: test-firmware
test-firmware: $(OUT)/ring3
	@tools/fetch-kernel cloud-amd64
	@tests/system/run-firmware --ring3 $(OUT)/ring3

# A Debian guest with runtimes that generate code, and programs that rewrite it. The guest is made once (minutes, 400 MB to download); where
# that is impossible all is skipped. RING3_JIT_SECONDS=60 makes each part longer.
TOOLS_GUEST := build/guest/tools
TOOLS_PROGRAMS := $(OUT)/guest-programs
TOOLS_BINARIES := $(patsubst tests/system/jit/%.c,$(TOOLS_PROGRAMS)/%,$(wildcard tests/system/jit/*.c))
TOOLS_SCRIPTS := $(filter-out %.c %.h,$(wildcard tests/system/jit/*))

$(TOOLS_PROGRAMS)/%: tests/system/jit/%.c tests/system/jit/common.h
	@mkdir -p $(@D)
	$(Q)$(GUEST_CC) -std=gnu11 -O2 -Wall -Wextra -Wno-unused-parameter -D_GNU_SOURCE -mcx16 -static -pthread -o $@ $<

.PHONY: tools-guest test-jit
tools-guest: $(TOOLS_BINARIES)
	@mkdir -p $(TOOLS_GUEST)
	@cp $(TOOLS_SCRIPTS) $(TOOLS_PROGRAMS)
	@test -f $(TOOLS_GUEST)/disk.qcow2 || tests/system/make-debian-disk --direct --size 3500 \
	    --include "$$(grep -v '^#' tests/system/tools-packages | paste -sd,)" $(TOOLS_GUEST)/disk.qcow2 || \
	    echo "the guest with the tools cannot be made here"

test-jit: $(OUT)/ring3 tools-guest
	@tests/system/run-jit --ring3 $(OUT)/ring3 --guest $(TOOLS_GUEST) --programs $(TOOLS_PROGRAMS)

# The KVM engine in a host with virtualization that QEMU emulates.
.PHONY: test-kvm
test-kvm: $(OUT)/ring3 guests
	@tools/fetch-kernel amd64 cloud-amd64
	@tests/system/run-kvm --ring3 $(OUT)/ring3

# stress-ng over four CPUs: a minute here; offline tests/system/run-stress --hours 1
.PHONY: test-stress
test-stress: $(OUT)/ring3 tools-guest
	@tests/system/run-stress --ring3 $(OUT)/ring3 --guest $(TOOLS_GUEST) --programs $(TOOLS_PROGRAMS)
# The benchmark's harness, with two rows and no judgement of their times.
.PHONY: test-bench
test-bench: $(OUT)/ring3
	@tests/system/run-bench --ring3 $(OUT)/ring3
