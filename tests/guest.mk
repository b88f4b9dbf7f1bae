# Tiny self-checking guests: tests/guest/NAME.{S,c} -> $(OUT)/guest/NAME, a Multiboot 1 ELF32 image for both
# `ring3 run --kernel` and QEMU's -kernel. "## mode: i386" (default) or "## mode: x86_64" in the source picks the library.
#
#   make test-guest                         all, on ENGINES (default: interp jit)
#   make test-guest GUESTS='pic task'       some
#   make test-guest-qemu                    the reference run on QEMU's TCG

GUEST_CC ?= gcc
GUEST_LD ?= ld
GUEST_OBJCOPY ?= objcopy
ENGINES ?= interp jit
GUEST_OUT := $(OUT)/guest
GUEST_LIB_C := $(wildcard tests/guest/lib/*.c)
GUEST_LIB_S := $(wildcard tests/guest/lib/*.S)
GUEST_HDRS := $(wildcard tests/guest/lib/*.h tests/guest/lib/*.inc)
GUEST_SRCS := $(sort $(wildcard tests/guest/*.c tests/guest/*.S))
GUESTS ?= $(notdir $(basename $(GUEST_SRCS)))
GUEST_IMAGES := $(GUESTS:%=$(GUEST_OUT)/%)

GUEST_CFLAGS := -std=gnu11 -O1 -ffreestanding -fno-pic -fno-stack-protector -fcf-protection=none -mgeneral-regs-only \
                -mno-red-zone -fno-asynchronous-unwind-tables -fno-strict-aliasing -fno-omit-frame-pointer \
                -fno-tree-loop-distribute-patterns -Wall -Wextra -Werror \
                -Wno-unused-parameter -Itests/guest/lib -Wa,--noexecstack
GUEST_LD_i386 := -m elf_i386
GUEST_LD_x86_64 := -m elf_x86_64 -z max-page-size=4096
GUEST_ARCH_i386 := -m32
GUEST_ARCH_x86_64 := -m64

define guest_lib_rules
$(GUEST_OUT)/obj-$(1)/%.o: tests/guest/%.c $(GUEST_HDRS)
	@mkdir -p $$(@D)
	$$(Q)$(GUEST_CC) $(GUEST_ARCH_$(1)) $(GUEST_CFLAGS) -c -o $$@ $$<
$(GUEST_OUT)/obj-$(1)/%.o: tests/guest/%.S $(GUEST_HDRS)
	@mkdir -p $$(@D)
	$$(Q)$(GUEST_CC) $(GUEST_ARCH_$(1)) $(GUEST_CFLAGS) -c -o $$@ $$<
$(GUEST_OUT)/libguest-$(1).a: $(GUEST_LIB_C:tests/guest/%.c=$(GUEST_OUT)/obj-$(1)/%.o) \
                              $(GUEST_LIB_S:tests/guest/%.S=$(GUEST_OUT)/obj-$(1)/%.o)
	@echo "  AR    $$@"
	$$(Q)rm -f $$@ && ar rcs $$@ $$^
endef
$(foreach m,i386 x86_64,$(eval $(call guest_lib_rules,$(m))))

# $(1) name, $(2) mode
define guest_image_rule
$(GUEST_OUT)/$(1): $(GUEST_OUT)/obj-$(2)/$(1).o $(GUEST_OUT)/libguest-$(2).a tests/guest/lib/guest.ld
	@echo "  GUEST $$@"
	$$(Q)$(GUEST_LD) $(GUEST_LD_$(2)) -z noexecstack --no-warn-rwx-segments -T tests/guest/lib/guest.ld -o $$@.elf \
	    $(GUEST_OUT)/obj-$(2)/lib/start.o $(GUEST_OUT)/obj-$(2)/$(1).o $(GUEST_OUT)/libguest-$(2).a
	$$(Q)$(GUEST_OBJCOPY) -O elf32-i386 $$@.elf $$@
endef
GUEST_SRCS_64 := $(if $(GUEST_SRCS),$(shell grep -l '\#\# mode: x86_64' $(GUEST_SRCS)))
$(foreach s,$(GUEST_SRCS),$(eval $(call guest_image_rule,$(notdir $(basename $(s))),$(if \
    $(filter $(s),$(GUEST_SRCS_64)),x86_64,i386))))

.PHONY: guests test-guest test-guest-qemu
guests: $(GUEST_IMAGES)

test-guest: $(OUT)/ring3 $(GUEST_IMAGES)
	@RING3=$(OUT)/ring3 ENGINES="$(ENGINES)" tests/run-guest $(GUEST_OUT) $(GUESTS)

test-guest-qemu: $(GUEST_IMAGES)
	@tests/run-guest --qemu $(GUEST_OUT) $(GUESTS)

# The VGA's test cards, next to QEMU's pictures of them.
.PHONY: test-screens-qemu
test-screens-qemu: $(OUT)/ring3 $(GUEST_OUT)/vga
	@RING3=$(OUT)/ring3 tests/run-screens $(GUEST_OUT)/vga
