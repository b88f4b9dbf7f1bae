# The host CPU as an oracle of user-mode instructions: tests/oracle/main.c has the options.

ORACLE_OBJS := $(patsubst %.c,$(OUT)/obj/%.o,$(sort $(wildcard tests/oracle/*.c)))

$(ORACLE_OBJS): CFLAGS_ALL += -I.

$(OUT)/tests/oracle: $(ORACLE_OBJS) $(LIB)
	@mkdir -p $(@D)
	@echo "  LD    $@"
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

# The same sequences every time, about 20 s. Offline: build/tests/oracle --count 10000000 --seed N
ORACLE_COUNT := 600000
.PHONY: test-oracle test-oracle-jit
test-oracle: $(OUT)/tests/oracle
	@$(OUT)/tests/oracle --engine interp --seed 1000000 --count $(ORACLE_COUNT)

test-oracle-jit: $(OUT)/tests/oracle
	@$(OUT)/tests/oracle --engine jit --seed 2000000 --count $(ORACLE_COUNT)
