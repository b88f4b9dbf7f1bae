# Disk images against QEMU's tools (package qemu-utils). Offline: tests/block/crosscheck build/ring3 build/tests/block-io --rounds 1000,
# and build/tests/block_powercut --cuts 20000.

$(OUT)/tests/block-io: $(OUT)/obj/tests/block/io.o $(LIB)
	@mkdir -p $(@D)
	@echo "  LD    $@"
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

.PHONY: test-block
test-block: $(OUT)/ring3 $(OUT)/tests/block-io
	@tests/block/crosscheck $(OUT)/ring3 $(OUT)/tests/block-io
