# The test levels. Each runner prints TAP or "N passed, N failed"; tools/tally adds them up.

# In the order of `make test`: quick ones first.
TEST_LEVELS := unit cli block fuzz guest oracle oracle-jit vnc firmware system disks virtio bench jit stress

# Libraries that only one unit test needs: LIBS_TEST_<name>.
LIBS_TEST_decode := -lZydis
LIBS_TEST_decode_facts := -lZydis

.PHONY: test-unit
test-unit: $(UNIT_TESTS)
	@tests/run-unit $(UNIT_TESTS)

# The libFuzzer binaries: clang, sanitizers, and coverage of all of src/. Left in build/clang-fuzz/fuzz.
.PHONY: fuzz fuzzers test-fuzz
fuzz:
	@$(MAKE) --no-print-directory CC=clang MODE=fuzz fuzzers

fuzzers: $(FUZZERS:%=$(OUT)/fuzz/%)

$(OUT)/fuzz/%: fuzz/%.c $(LIB)
	@mkdir -p $(@D)
	@echo "  FUZZ  $@"
	$(Q)$(CC) $(CFLAGS_ALL) -fsanitize=fuzzer $(LDFLAGS_ALL) -o $@ $< $(LIB) $(LIBS)

# The replay of the committed corpora: any compiler and mode.
test-fuzz: $(FUZZERS:%=$(OUT)/replay/%)
	@fuzz/run-replay $(OUT)/replay $(FUZZERS)

$(OUT)/replay/%: fuzz/%.c fuzz/replay.c $(LIB)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $< fuzz/replay.c $(LIB) $(LIBS)

include tests/block.mk
include tests/guest.mk
include tests/oracle.mk
include tests/system.mk
