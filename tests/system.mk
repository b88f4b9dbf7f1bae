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
