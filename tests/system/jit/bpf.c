/*
 * The kernel's BPF JIT: programs are loaded, run and unloaded by the thousand, and what they return is known.
 * See common.h for the arguments.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "common.h"

#define MAX_INSNS 128

struct program {
    struct bpf_insn insn[MAX_INSNS];
    u32 count;
};

static void put(struct program *p, u8 code, u8 dst, u8 src, int16_t off, int32_t imm)
{
    need(p->count < MAX_INSNS);
    p->insn[p->count++] =
        (struct bpf_insn){.code = code, .dst_reg = dst & 15, .src_reg = src & 15, .off = off, .imm = imm};
}

static void put_imm64(struct program *p, u8 dst, u8 src, u64 imm)
{
    put(p, BPF_LD | BPF_DW | BPF_IMM, dst, src, 0, (int32_t)imm);
    put(p, 0, 0, 0, 0, (int32_t)(imm >> 32));
}

static int bpf(int command, union bpf_attr *attr)
{
    return (int)syscall(SYS_bpf, command, attr, sizeof *attr);
}

static int load(const struct program *p)
{
    static char log[65536];
    union bpf_attr attr = {.prog_type = BPF_PROG_TYPE_SOCKET_FILTER, .insn_cnt = p->count};
    attr.insns = (u64)(uintptr_t)p->insn;
    attr.license = (u64)(uintptr_t) "GPL";
    int fd = bpf(BPF_PROG_LOAD, &attr);
    if (fd < 0) {
        attr.log_buf = (u64)(uintptr_t)log;
        attr.log_size = sizeof log;
        attr.log_level = 1;
        bpf(BPF_PROG_LOAD, &attr);
        printf("%s WRONG the verifier refuses a program: %s\n", test_name, log);
        exit(1);
    }
    return fd;
}

static u32 run_program(int fd, u32 repeat)
{
    static u8 packet[64];
    union bpf_attr attr = {0};
    attr.test.prog_fd = (u32)fd;
    attr.test.data_in = (u64)(uintptr_t)packet;
    attr.test.data_size_in = sizeof packet;
    attr.test.repeat = repeat;
    need(!bpf(BPF_PROG_TEST_RUN, &attr));
    return attr.test.retval;
}

static int make_map(u32 type, u32 key, u32 value, u32 entries)
{
    union bpf_attr attr = {.map_type = type, .key_size = key, .value_size = value, .max_entries = entries};
    int fd = bpf(BPF_MAP_CREATE, &attr);
    need(fd >= 0);
    return fd;
}

static void set_element(int map, u32 key, const void *value)
{
    union bpf_attr attr = {.map_fd = (u32)map};
    attr.key = (u64)(uintptr_t)&key;
    attr.value = (u64)(uintptr_t)value;
    need(!bpf(BPF_MAP_UPDATE_ELEM, &attr));
}

/* --- random arithmetic: the JIT's result against C's --- */

static const u8 alu_ops[] = {BPF_ADD, BPF_SUB, BPF_MUL, BPF_DIV, BPF_OR,  BPF_AND,
                             BPF_LSH, BPF_RSH, BPF_MOD, BPF_XOR, BPF_MOV, BPF_ARSH};

static u64 alu(u8 op, bool wide, u64 a, u64 b)
{
    u64 bits = wide ? 63 : 31;
    if (!wide)
        a = (u32)a, b = (u32)b;
    switch (op) {
    case BPF_ADD:
        a += b;
        break;
    case BPF_SUB:
        a -= b;
        break;
    case BPF_MUL:
        a *= b;
        break;
    case BPF_DIV:
        a = b ? a / b : 0;
        break;
    case BPF_OR:
        a |= b;
        break;
    case BPF_AND:
        a &= b;
        break;
    case BPF_LSH:
        a <<= b & bits;
        break;
    case BPF_RSH:
        a >>= b & bits;
        break;
    case BPF_MOD:
        a = b ? a % b : a;
        break;
    case BPF_XOR:
        a ^= b;
        break;
    case BPF_MOV:
        a = b;
        break;
    case BPF_ARSH:
        a = wide ? (u64)((int64_t)a >> (b & bits)) : (u32)((int32_t)a >> (b & bits));
        break;
    }
    return wide ? a : (u32)a;
}

/* Registers 6..9 hold values out of a map; the sum of all comes back. Jumps forward skip an instruction. */
static u32 random_program(struct program *p, int map, u64 *state)
{
    u64 r[10] = {0};
    p->count = 0;
    put_imm64(p, 1, BPF_PSEUDO_MAP_VALUE, (u64)map);
    for (u8 i = 6; i < 10; i++) {
        r[i] = next_random(state);
        put(p, BPF_LDX | BPF_MEM | BPF_DW, i, 1, 8 * (i - 6), 0);
    }
    set_element(map, 0, &r[6]);
    for (int i = 0; i < 40; i++) {
        u64 random = next_random(state);
        u8 op = alu_ops[random % sizeof alu_ops], dst = 6 + (random >> 8) % 4, src = 6 + (random >> 12) % 4;
        bool wide = random >> 16 & 1, shift = op == BPF_LSH || op == BPF_RSH || op == BPF_ARSH;
        u8 class = wide ? BPF_ALU64 : BPF_ALU;
        if (random >> 17 & 1 && i < 39) { /* a jump over the next instruction */
            int32_t imm = (int32_t)(random >> 32);
            static const u8 jumps[] = {BPF_JGT, BPF_JSGT, BPF_JSET, BPF_JNE, BPF_JLE};
            u8 jump = jumps[(random >> 18) % 5];
            u64 a = r[dst], b = (u64)(int64_t)imm;
            bool taken = jump == BPF_JGT    ? a > b
                         : jump == BPF_JSGT ? (int64_t)a > (int64_t)b
                         : jump == BPF_JSET ? (a & b) != 0
                         : jump == BPF_JNE  ? a != b
                                            : a <= b;
            put(p, BPF_JMP | jump | BPF_K, dst, 0, 1, imm);
            put(p, BPF_ALU64 | BPF_XOR | BPF_K, src, 0, 0, 0x1234567);
            if (!taken)
                r[src] ^= 0x1234567;
            continue;
        }
        if (random >> 20 & 1 && !shift) {
            put(p, class | op | BPF_X, dst, src, 0, 0);
            r[dst] = alu(op, wide, r[dst], r[src]);
        } else {
            int32_t imm = shift ? (int32_t)(random >> 32 & (wide ? 63 : 31)) : (int32_t)(random >> 32) | 1;
            put(p, class | op | BPF_K, dst, 0, 0, imm);
            r[dst] = alu(op, wide, r[dst], (u64)(int64_t)imm);
        }
    }
    put(p, BPF_ALU64 | BPF_MOV | BPF_X, 0, 6, 0, 0);
    for (u8 i = 7; i < 10; i++)
        put(p, BPF_ALU64 | BPF_ADD | BPF_X, 0, i, 0, 0);
    /* fold: a retval is 32 bits */
    put(p, BPF_ALU64 | BPF_MOV | BPF_X, 1, 0, 0, 0);
    put(p, BPF_ALU64 | BPF_RSH | BPF_K, 1, 0, 0, 32);
    put(p, BPF_ALU64 | BPF_XOR | BPF_X, 0, 1, 0, 0);
    put(p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
    u64 sum = r[6] + r[7] + r[8] + r[9];
    return (u32)(sum ^ sum >> 32);
}

static u64 arithmetic(void)
{
    int map = make_map(BPF_MAP_TYPE_ARRAY, 4, 32, 1);
    u64 count = 0, state = 0x9e3779b97f4a7c15u ^ (u64)time(NULL);
    for (double end = now() + test_seconds; now() < end && !test_stop; count++) {
        struct program p;
        u64 seed = state;
        u32 want = random_program(&p, map, &state);
        int fd = load(&p);
        u32 got = run_program(fd, 1 + (u32)(count % 8));
        if (got != want)
            wrong("seed %#llx: %#x, not %#x", (unsigned long long)seed, got, want);
        close(fd);
    }
    return count;
}

/* --- a map counts, helpers are called --- */

static u64 maps(void)
{
    int map = make_map(BPF_MAP_TYPE_ARRAY, 4, 8, 4);
    struct program p = {.count = 0};
    put(&p, BPF_ST | BPF_MEM | BPF_W, BPF_REG_10, 0, -4, 2); /* key 2 */
    put(&p, BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_2, BPF_REG_10, 0, 0);
    put(&p, BPF_ALU64 | BPF_ADD | BPF_K, BPF_REG_2, 0, 0, -4);
    put_imm64(&p, BPF_REG_1, BPF_PSEUDO_MAP_FD, (u64)map);
    put(&p, BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_map_lookup_elem);
    put(&p, BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_0, 0, 3, 0);
    put(&p, BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_1, 0, 0, 3);
    put(&p, BPF_STX | BPF_ATOMIC | BPF_DW, BPF_REG_0, BPF_REG_1, 0, BPF_ADD);
    put(&p, BPF_LDX | BPF_MEM | BPF_DW, BPF_REG_0, BPF_REG_0, 0, 0);
    put(&p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
    int fd = load(&p);
    u64 value = 0, count = 0;
    for (double end = now() + test_seconds; now() < end && !test_stop; count++) {
        u32 repeat = 1 + (u32)(count % 100);
        u32 got = run_program(fd, repeat);
        value += 3ull * repeat;
        if (got != (u32)value)
            wrong("the map counts %u, not %u", got, (u32)value);
    }
    close(fd);
    close(map);
    return count;
}

/* --- a chain of tail calls whose links are replaced all the time: the kernel patches its jumps --- */

static int link_program(int chain, u32 next, u32 digit)
{
    struct program p = {.count = 0};
    put(&p, BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_6, BPF_REG_1, 0, 0);
    /* what has been gathered so far is in the packet's mark, which all programs of the chain reach */
    put(&p, BPF_LDX | BPF_MEM | BPF_W, BPF_REG_7, BPF_REG_6, offsetof(struct __sk_buff, cb), 0);
    put(&p, BPF_ALU64 | BPF_MUL | BPF_K, BPF_REG_7, 0, 0, 10);
    put(&p, BPF_ALU64 | BPF_ADD | BPF_K, BPF_REG_7, 0, 0, (int32_t)digit);
    put(&p, BPF_STX | BPF_MEM | BPF_W, BPF_REG_6, BPF_REG_7, offsetof(struct __sk_buff, cb), 0);
    put_imm64(&p, BPF_REG_2, BPF_PSEUDO_MAP_FD, (u64)chain);
    put(&p, BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_3, 0, 0, (int32_t)next);
    put(&p, BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_1, BPF_REG_6, 0, 0);
    put(&p, BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_tail_call);
    put(&p, BPF_LDX | BPF_MEM | BPF_W, BPF_REG_0, BPF_REG_6, offsetof(struct __sk_buff, cb), 0);
    put(&p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
    return load(&p);
}

static u64 tail_calls(void)
{
    enum { LINKS = 8 };
    int chain = make_map(BPF_MAP_TYPE_PROG_ARRAY, 4, 4, LINKS + 1);
    u32 digits[LINKS];
    int fd[LINKS];
    for (u32 i = 0; i < LINKS; i++) {
        digits[i] = i;
        fd[i] = link_program(chain, i + 1, i);
        if (i)
            set_element(chain, i, &fd[i]);
    }
    u64 count = 0, state = 4242;
    for (double end = now() + test_seconds; now() < end && !test_stop; count++) {
        u32 i = 1 + (u32)(next_random(&state) % (LINKS - 1));
        close(fd[i]);
        digits[i] = (u32)(next_random(&state) % 10);
        fd[i] = link_program(chain, i + 1, digits[i]);
        set_element(chain, i, &fd[i]);
        u32 want = 0;
        for (u32 k = 0; k < LINKS; k++)
            want = want * 10 + digits[k];
        u32 got = run_program(fd[0], 1);
        if (got != want)
            wrong("the chain says %u, not %u", got, want);
    }
    for (u32 i = 0; i < LINKS; i++)
        close(fd[i]);
    close(chain);
    return count;
}

/* --- classic filters on sockets, while another thread sends --- */

static u64 filters(void)
{
    int pair[2];
    need(!socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
    u64 count = 0;
    for (double end = now() + test_seconds; now() < end && !test_stop; count++) {
        u32 n = (u32)count % 251;
        /* accept what begins with the byte n, cut to four bytes */
        struct sock_filter code[] = {
            BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, n, 0, 1),
            BPF_STMT(BPF_RET | BPF_K, 4),
            BPF_STMT(BPF_RET | BPF_K, 0),
        };
        struct sock_fprog filter = {sizeof code / sizeof *code, code};
        need(!setsockopt(pair[1], SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter));
        u8 good[8] = {(u8)n, 1, 2, 3, 4}, bad[8] = {(u8)(n + 1)}, got[8];
        send(pair[0], bad, sizeof bad, MSG_DONTWAIT); /* a filter's refusal may be an error here */
        need(send(pair[0], good, sizeof good, MSG_DONTWAIT) == sizeof good);
        ssize_t size = recv(pair[1], got, sizeof got, MSG_DONTWAIT);
        if (size != 4 || memcmp(got, good, 4))
            wrong("received %zd bytes, the first %u", size, got[0]);
        if (recv(pair[1], got, sizeof got, MSG_DONTWAIT) >= 0)
            wrong("received what the filter refuses");
    }
    close(pair[0]);
    close(pair[1]);
    return count;
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        {"bpf-arithmetic", arithmetic},
        {"bpf-maps", maps},
        {"bpf-tail-calls", tail_calls},
        {"bpf-filters", filters},
    };
    return test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
