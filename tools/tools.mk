# What a person types: run, test, lint, format. Included by the Makefile.

# In a second make, because what this one read of pkg-config is stale once packages have been installed.
.PHONY: run test lint format check-includes check-format check-tidy check-scripts

GUEST := build/guest
JOBS := $(shell nproc)
RUN_MEMORY ?= 512M
RUN_CPUS ?= 1
run:
	@tools/deps run
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@tools/fetch-kernel amd64
	@# On a terminal the guest gives a shell; elsewhere it says what it is and powers off.
	@mode=; if [ -t 0 ] && [ -t 1 ]; then mode=" ring3=shell"; fi; set -x; \
	    $(OUT)/ring3 run --kernel $(GUEST)/amd64/vmlinuz --initrd $(GUEST)/amd64/initramfs.cpio \
	    --append "console=ttyS0 quiet$$mode" --memory $(RUN_MEMORY) --cpus $(RUN_CPUS)

test:
	@tools/deps test
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@tools/tally "$(MAKE) -j$(JOBS)" $(TEST_LEVELS)

# --- lint ---

FORMATTED := $(sort $(shell find src tests fuzz bench -name '*.[ch]' 2>/dev/null))
SHELL_SCRIPTS := $(sort .ci/run $(shell grep -lE '^\#!/bin/(ba)?sh' tools/* tests/run-* fuzz/run-* bench/* \
    $(wildcard tests/*/run-*) 2>/dev/null))
PYTHON_SCRIPTS := $(sort $(shell grep -lE '^\#!.*python3' tools/* tests/run-* bench/* tests/*/* 2>/dev/null))

lint: check-includes check-format check-scripts check-tidy

format:
	clang-format -i $(FORMATTED)

check-includes:
	@tools/check-includes src

check-format:
	@clang-format --dry-run -Werror $(FORMATTED)
	@echo "format: $(words $(FORMATTED)) files"

check-scripts:
	@shellcheck -s bash $(SHELL_SCRIPTS)
	@python3 -c 'import ast, sys; [ast.parse(open(f).read(), f) for f in sys.argv[1:]]' $(PYTHON_SCRIPTS)
	@if command -v man >/dev/null; then out=$$(MANROFFSEQ= LC_ALL=C.UTF-8 man --warnings -E UTF-8 -l docs/ring3.1 2>&1 >/dev/null); \
	    test -z "$$out" || { echo "docs/ring3.1: $$out"; exit 1; }; fi
	@echo "scripts: $(words $(SHELL_SCRIPTS)) shell, $(words $(PYTHON_SCRIPTS)) python"

# A file is looked at again when it, or a header it includes, has changed (its object is then newer).
TIDY := $(SRCS:%.c=$(OUT)/tidy/%.ok)
check-tidy: $(TIDY)
	@echo "clang-tidy: $(words $(TIDY)) files"

$(OUT)/tidy/%.ok: $(OUT)/obj/%.o .clang-tidy
	@mkdir -p $(@D)
	@echo "  TIDY  $*.c"
	$(Q)out=$$(clang-tidy --quiet $*.c -- $(filter-out -Werror,$(CFLAGS_ALL)) 2>/dev/null) || { echo "$$out"; exit 1; }
	@touch $@
