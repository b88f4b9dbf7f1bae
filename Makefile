# ring3: one non-recursive makefile.
#
#   make                 build/ring3 (release)
#   make run             a stock Debian kernel and a busybox shell (installs what is missing)
#   make test            everything; make test-unit, test-guest, test-oracle, test-system, test-fuzz for one level
#   make lint format     clang-format, clang-tidy, the include-direction check
#   make fuzz            the libFuzzer binaries (clang): build/clang-fuzz/fuzz/NAME
#
# CC=gcc|clang   MODE=release|debug|asan   V=1 shows the commands
#
# A new file under src/ is found by itself. A unit test is one file tests/unit/NAME.c, a fuzzer one file
# fuzz/NAME.c; each is linked against the library that holds all of src/ but the command line's main.

ifeq ($(origin CC),default)
CC := gcc
endif
MODE ?= release
V ?= 0
Q := $(if $(filter 1,$(V)),,@)

# The default configuration leaves the binary at build/ring3; every other one has a tree of its own.
OUT := build$(if $(filter gcc-release,$(notdir $(CC))-$(MODE)),,/$(notdir $(CC))-$(MODE))

PKGS := libuv zlib libzstd liburing jansson libpng gnutls
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
PKG_LIBS := $(shell pkg-config --libs $(PKGS) 2>/dev/null)

VERSION := $(shell cat VERSION)
CFLAGS_release := -O2 -g -DNDEBUG
CFLAGS_debug := -O0 -g3
CFLAGS_asan := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
LDFLAGS_asan := -fsanitize=address,undefined
CFLAGS_fuzz := $(CFLAGS_asan) -fsanitize=fuzzer-no-link
LDFLAGS_fuzz := $(LDFLAGS_asan)
WARN := -Wall -Wextra -Werror -Wstrict-prototypes -Wmissing-prototypes -Wshadow -Wvla -Wpointer-arith \
        -Wwrite-strings -Wno-unused-parameter -Wno-missing-field-initializers
CFLAGS_ALL := -std=gnu11 -fno-strict-aliasing -fno-common -pthread -Isrc -I. -D_GNU_SOURCE -DRING3_VERSION='"$(VERSION)"' \
              $(WARN) $(CFLAGS_$(MODE)) $(PKG_CFLAGS) $(CFLAGS)
LDFLAGS_ALL := -pthread $(LDFLAGS_$(MODE)) $(LDFLAGS)
LIBS := $(PKG_LIBS) -lm

SRCS := $(sort $(shell find src -name '*.c'))
OBJS := $(SRCS:%.c=$(OUT)/obj/%.o)
MAIN_OBJ := $(OUT)/obj/src/cli/main.o
LIB := $(OUT)/libring3.a
UNIT_TESTS := $(patsubst tests/unit/%.c,$(OUT)/tests/%,$(sort $(wildcard tests/unit/*.c)))
FUZZERS := $(patsubst fuzz/%.c,%,$(filter-out fuzz/replay.c,$(sort $(wildcard fuzz/*.c))))

all: $(OUT)/ring3

$(OUT)/ring3: $(MAIN_OBJ) $(LIB)
	@echo "  LD    $@"
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

$(LIB): $(filter-out $(MAIN_OBJ),$(OBJS))
	@echo "  AR    $@"
	$(Q)rm -f $@ && ar rcs $@ $^

$(OUT)/obj/%.o: %.c VERSION
	@mkdir -p $(@D)
	@echo "  CC    $<"
	$(Q)$(CC) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

$(OUT)/tests/%: $(OUT)/obj/tests/unit/%.o $(LIB)
	@mkdir -p $(@D)
	@echo "  LD    $@"
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS) $(LIBS_TEST_$*)

# Benchmarks: one file bench/NAME.c each, bench/README.md says what they measured. make bench: the guest's rows,
# natively, under QEMU and under ring3; BENCH= is what bench/suite is told besides
$(OUT)/bench/%: $(OUT)/obj/bench/%.o $(LIB)
	@mkdir -p $(@D)
	@echo "  LD    $@"
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

.PHONY: bench bench-interp
bench: $(OUT)/ring3
	$(Q)bench/suite --ring3 $< $(BENCH)

bench-interp: $(OUT)/bench/interp
	@$<

-include $(shell find $(OUT)/obj -name '*.d' 2>/dev/null)

include tests/tests.mk
include tools/tools.mk

.PHONY: all clean
clean:
	rm -rf build
