/*
 * Rows of the benchmark guest that compute: compute KERNEL AMOUNT
 *
 * Each prints a checksum of what it computed. Plain C (-O2, SSE2) but for what a kernel's name says.
 */
#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t random_state = 88172645463325252u;

static uint32_t random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 16);
}

/* FIPS 180-4, in portable C: what a program without the CPU's own instructions does. */
static const uint32_t sha_k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t ror(uint32_t x, int n)
{
    return x >> n | x << (32 - n);
}

static void sha_block(uint32_t h[8], const uint8_t *p)
{
    uint32_t w[64], s[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)p[4 * i] << 24 | p[4 * i + 1] << 16 | p[4 * i + 2] << 8 | p[4 * i + 3];
    for (int i = 16; i < 64; i++)
        w[i] = w[i - 16] + (ror(w[i - 15], 7) ^ ror(w[i - 15], 18) ^ w[i - 15] >> 3) + w[i - 7] +
               (ror(w[i - 2], 17) ^ ror(w[i - 2], 19) ^ w[i - 2] >> 10);
    memcpy(s, h, 32);
    for (int i = 0; i < 64; i++) {
        uint32_t t1 = s[7] + (ror(s[4], 6) ^ ror(s[4], 11) ^ ror(s[4], 25)) +
                      ((s[4] & s[5]) ^ (~s[4] & s[6])) + sha_k[i] + w[i];
        uint32_t t2 =
            (ror(s[0], 2) ^ ror(s[0], 13) ^ ror(s[0], 22)) + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 28);
        s[4] += t1;
        s[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++)
        h[i] += s[i];
}

static uint64_t sha256_c(int amount)
{
    static uint8_t data[1 << 16];
    uint32_t h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                     0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)random_next();
    for (int i = 0; i < amount; i++)
        for (size_t at = 0; at < sizeof data; at += 64)
            sha_block(h, data + at);
    return (uint64_t)h[0] << 32 | h[7];
}

/* What CoreMark has: lists that are searched and sorted, integer matrices, a state machine over text, a CRC
 * of it all. */
struct item {
    struct item *next;
    int16_t key, value;
};

static uint16_t crc16(uint16_t crc, uint32_t data)
{
    for (int i = 0; i < 16; i++, data >>= 1) {
        int carry = (crc ^ data) & 1;
        crc >>= 1;
        if (carry)
            crc ^= 0xa001;
    }
    return crc;
}

static struct item *list_merge(struct item *a, struct item *b, int by_value)
{
    struct item *head, **tail = &head;
    while (a && b) {
        int first = by_value ? a->value <= b->value : a->key <= b->key;
        struct item **from = first ? &a : &b;
        *tail = *from;
        tail = &(*from)->next;
        *from = (*from)->next;
    }
    *tail = a ? a : b;
    return head;
}

static struct item *list_sort(struct item *list, int by_value)
{
    struct item *slow = list, *fast = list ? list->next : NULL, *half;
    if (!list || !list->next)
        return list;
    while (fast && fast->next) {
        slow = slow->next;
        fast = fast->next->next;
    }
    half = slow->next;
    slow->next = NULL;
    return list_merge(list_sort(list, by_value), list_sort(half, by_value), by_value);
}

static uint16_t matrix_run(uint16_t crc)
{
    enum { N = 24 };
    static int16_t a[N][N], b[N][N];
    static int32_t c[N][N];
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            a[i][j] = (int16_t)(i * 7 + j * 3 + crc);
            b[i][j] = (int16_t)(i * 5 - j * 11);
        }
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            int32_t sum = 0;
            for (int k = 0; k < N; k++)
                sum += a[i][k] * b[k][j];
            c[i][j] = sum >> 3;
        }
    for (int i = 0; i < N; i++)
        crc = crc16(crc, (uint32_t)c[i][(i * 7) % N]);
    return crc;
}

static uint16_t states_run(uint16_t crc)
{
    static const char text[] = "5012,1234,-874,+122,35.54400,.1234500,-110.700,+0.64400,5.500e+3,-.123e-2,-"
                               "87e+832,+0.6e-12,T0.3e-1F,-T.T++Tq,1T3.4e4z,"
                               "34.0e-T^,77.x,9e9,abc,12.5e+77,-0,+.5,3,44,555,6666,e5,.e1,";
    enum { START, SIGN, INT, POINT, FRACTION, EXPONENT, EXPSIGN, EXPONENT_INT, BAD, STATES } s = START;
    uint32_t count[STATES] = {0};
    for (const char *p = text; *p; p++) {
        char ch = *p;
        if (ch == ',') {
            count[s]++;
            s = START;
            continue;
        }
        int digit = ch >= '0' && ch <= '9';
        switch (s) {
        case START:
            s = digit ? INT : ch == '+' || ch == '-' ? SIGN : ch == '.' ? POINT : BAD;
            break;
        case SIGN:
            s = digit ? INT : ch == '.' ? POINT : BAD;
            break;
        case INT:
            s = digit ? INT : ch == '.' ? FRACTION : ch == 'e' ? EXPONENT : BAD;
            break;
        case POINT:
            s = digit ? FRACTION : BAD;
            break;
        case FRACTION:
            s = digit ? FRACTION : ch == 'e' ? EXPONENT : BAD;
            break;
        case EXPONENT:
            s = digit ? EXPONENT_INT : ch == '+' || ch == '-' ? EXPSIGN : BAD;
            break;
        case EXPSIGN:
        case EXPONENT_INT:
            s = digit ? EXPONENT_INT : BAD;
            break;
        default:
            break;
        }
    }
    for (int i = 0; i < STATES; i++)
        crc = crc16(crc, count[i]);
    return crc;
}

static uint64_t core(int amount)
{
    enum { N = 200 };
    static struct item items[N];
    uint16_t crc = 0;
    for (int round = 0; round < amount; round++) {
        for (int i = 0; i < N; i++)
            items[i] = (struct item){i + 1 < N ? &items[i + 1] : NULL, (int16_t)i,
                                     (int16_t)(random_next() & 0x7fff)};
        struct item *list = list_sort(items, 1);
        for (int want = 0; want < 20; want++)
            for (struct item *p = list; p; p = p->next)
                if (p->key == want * 9) {
                    crc = crc16(crc, (uint16_t)p->value);
                    break;
                }
        list = list_sort(list, 0);
        crc = crc16(crc, (uint16_t)list->value);
        crc = matrix_run(crc);
        for (int i = 0; i < 4; i++)
            crc = states_run(crc);
    }
    return crc;
}

static int string_compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static uint64_t string_sort(int amount)
{
    enum { COUNT = 40000, LENGTH = 24 };
    static char text[COUNT][LENGTH];
    static char *list[COUNT];
    uint64_t sum = 0;
    for (int round = 0; round < amount; round++) {
        for (int i = 0; i < COUNT; i++) {
            list[i] = text[i];
            int length = 4 + random_next() % (LENGTH - 5);
            for (int j = 0; j < length; j++)
                text[i][j] = (char)('a' + random_next() % 4);
            text[i][length] = 0;
        }
        qsort(list, COUNT, sizeof *list, string_compare);
        for (int i = 0; i < COUNT; i += 97)
            sum = sum * 31 + (uint8_t)list[i][2] + strlen(list[i]);
    }
    return sum;
}

/* A hash table of lists, walked at random: loads that miss the cache and branches that nobody can predict. */
static uint64_t hash_table(int amount)
{
    enum { BUCKETS = 1 << 14, NODES = 1 << 16 };
    struct node {
        struct node *next;
        uint64_t key, value;
    };
    static struct node nodes[NODES], *table[BUCKETS];
    uint64_t sum = 0;
    for (int i = 0; i < NODES; i++) {
        uint64_t key = (uint64_t)i * 0x9e3779b97f4a7c15u >> 40;
        struct node **bucket = &table[(key * 0xff51afd7ed558ccdu) >> 50];
        nodes[i] = (struct node){*bucket, key, (uint64_t)i};
        *bucket = &nodes[i];
    }
    for (int i = 0; i < amount; i++) {
        uint64_t key = (uint64_t)(random_next() % (2 * NODES)) * 0x9e3779b97f4a7c15u >> 40;
        for (struct node *n = table[(key * 0xff51afd7ed558ccdu) >> 50]; n; n = n->next)
            if (n->key == key) {
                sum += n->value++;
                break;
            }
    }
    return sum;
}

/* long double is the x87's: arithmetic, square roots, and the transcendental instructions. */
static uint64_t x87(int amount)
{
    volatile long double start = 0.5L;
    long double x = start, sum = 0;
    for (int i = 1; i <= amount; i++) {
        x = x * 3.7L * (1.0L - x);
        sum += sqrtl(x + (long double)i) / (1.0L + x * x);
        if (i % 8 == 0) {
            long double s = x, l = x + 1.0L;
            __asm__("fsin" : "+t"(s));
            __asm__("fldln2; fxch; fyl2x" : "+t"(l));
            sum -= s * l;
        }
    }
    double d = (double)sum;
    uint64_t bits;
    memcpy(&bits, &d, 8);
    return bits;
}

/* Scalar doubles in SSE registers. */
static uint64_t nbody(int amount)
{
    enum { N = 5 };
    static double p[N][3] = {
        {0, 0, 0}, {4.84, -1.16, -.10}, {8.34, 4.12, -.4}, {12.89, -15.11, -.22}, {15.37, -25.9, .179}};
    static double v[N][3] = {
        {0, 0, 0}, {.606, 2.81, -.02}, {-1.01, 1.82, .008}, {1.08, .868, -.01}, {.979, .594, -.034}};
    static const double m[N] = {39.47, .03769, .011286, .0017237, .0020336};
    for (int step = 0; step < amount; step++) {
        for (int i = 0; i < N; i++)
            for (int j = i + 1; j < N; j++) {
                double d[3], square = 0;
                for (int k = 0; k < 3; k++) {
                    d[k] = p[i][k] - p[j][k];
                    square += d[k] * d[k];
                }
                double mag = 0.001 / (square * sqrt(square));
                for (int k = 0; k < 3; k++) {
                    v[i][k] -= d[k] * m[j] * mag;
                    v[j][k] += d[k] * m[i] * mag;
                }
            }
        for (int i = 0; i < N; i++)
            for (int k = 0; k < 3; k++)
                p[i][k] += 0.001 * v[i][k];
    }
    uint64_t bits;
    memcpy(&bits, &p[0][0], 8);
    return bits;
}

/* Packed doubles: a Mandelbrot set, two points at a time. */
static uint64_t sse2(int amount)
{
    enum { SIZE = 200 };
    uint64_t sum = 0;
    for (int y = 0; y < amount; y++)
        for (int x = 0; x < SIZE; x += 2) {
            __m128d cr = _mm_set_pd(-2.0 + 3.0 * x / SIZE, -2.0 + 3.0 * (x + 1) / SIZE),
                    ci = _mm_set1_pd(-1.0 + 2.0 * (y % SIZE) / SIZE);
            __m128d zr = _mm_setzero_pd(), zi = zr, count = zr, four = _mm_set1_pd(4), one = _mm_set1_pd(1);
            for (int i = 0; i < 100; i++) {
                __m128d r2 = _mm_mul_pd(zr, zr), i2 = _mm_mul_pd(zi, zi),
                        inside = _mm_cmple_pd(_mm_add_pd(r2, i2), four);
                if (!_mm_movemask_pd(inside))
                    break;
                count = _mm_add_pd(count, _mm_and_pd(inside, one));
                zi = _mm_add_pd(_mm_mul_pd(_mm_add_pd(zr, zr), zi), ci);
                zr = _mm_add_pd(_mm_sub_pd(r2, i2), cr);
            }
            sum = sum * 31 +
                  (uint64_t)(_mm_cvtsd_f64(count) + 101 * _mm_cvtsd_f64(_mm_unpackhi_pd(count, count)));
        }
    return sum;
}

/* Single precision, 8 lanes, fused multiply-add: a blocked matrix product. */
__attribute__((target("avx2,fma"))) static uint64_t avx2(int amount)
{
    enum { N = 256 };
    static float a[N][N], b[N][N], c[N][N] __attribute__((aligned(32)));
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            a[i][j] = (float)(random_next() % 16);
            b[i][j] = (float)(random_next() % 16);
        }
    for (int round = 0; round < amount; round++) {
        for (int i = 0; i < N; i += 4)
            for (int j = 0; j < N; j += 16) {
                __m256 s[4][2];
                for (int r = 0; r < 4; r++)
                    s[r][0] = s[r][1] = _mm256_setzero_ps();
                for (int k = 0; k < N; k++) {
                    __m256 b0 = _mm256_loadu_ps(&b[k][j]), b1 = _mm256_loadu_ps(&b[k][j + 8]);
                    for (int r = 0; r < 4; r++) {
                        __m256 x = _mm256_broadcast_ss(&a[i + r][k]);
                        s[r][0] = _mm256_fmadd_ps(x, b0, s[r][0]);
                        s[r][1] = _mm256_fmadd_ps(x, b1, s[r][1]);
                    }
                }
                for (int r = 0; r < 4; r++) {
                    _mm256_storeu_ps(&c[i + r][j], s[r][0]);
                    _mm256_storeu_ps(&c[i + r][j + 8], s[r][1]);
                }
            }
        a[round % N][round / N % N] += 1;
    }
    double sum = 0;
    for (int i = 0; i < N; i++)
        sum += c[i][(i * 17) % N];
    return (uint64_t)sum;
}

/* Integer lanes: sums of absolute differences and saturated arithmetic over bytes, as in video coders. */
__attribute__((target("avx2"))) static uint64_t avx2_int(int amount)
{
    enum { SIZE = 1 << 16 };
    static uint8_t a[SIZE], b[SIZE];
    uint64_t sum = 0;
    for (int i = 0; i < SIZE; i++) {
        a[i] = (uint8_t)random_next();
        b[i] = (uint8_t)random_next();
    }
    for (int round = 0; round < amount; round++) {
        __m256i total = _mm256_setzero_si256();
        for (int i = 0; i < SIZE; i += 32) {
            __m256i x = _mm256_loadu_si256((const __m256i *)(a + i)),
                    y = _mm256_loadu_si256((const __m256i *)(b + i));
            total = _mm256_add_epi64(total, _mm256_sad_epu8(x, y));
            __m256i blend =
                _mm256_avg_epu8(_mm256_adds_epu8(x, _mm256_shuffle_epi8(y, x)), _mm256_max_epu8(x, y));
            _mm256_storeu_si256((__m256i *)(a + i), _mm256_sub_epi8(blend, _mm256_set1_epi8((char)round)));
        }
        uint64_t lanes[4];
        _mm256_storeu_si256((__m256i *)lanes, total);
        sum = sum * 31 + lanes[0] + lanes[1] + lanes[2] + lanes[3];
    }
    return sum;
}

/* The C library's own vector code: copies, searches and compares of blocks in the first-level cache. */
static uint64_t memory(int amount)
{
    enum { SIZE = 8192 };
    static char a[SIZE], b[SIZE];
    uint64_t sum = 0;
    memset(a, 'x', SIZE - 1);
    for (int i = 0; i < amount; i++) {
        a[i % (SIZE - 1)] = 'y';
        memcpy(b, a, SIZE);
        sum += strlen(b) + (size_t)((char *)memchr(b, 'y', SIZE) - b) + (unsigned)(memcmp(a, b, SIZE) == 0);
        a[i % (SIZE - 1)] = 'x';
        memset(b, i, SIZE / 2);
        sum += (uint8_t)b[i % SIZE];
    }
    return sum;
}

static uint64_t fib(int n)
{
    return n < 2 ? (uint64_t)n : fib(n - 1) + fib(n - 2);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        uint64_t (*run)(int amount);
    } kernels[] = {
        {"sha256", sha256_c}, {"core", core}, {"string-sort", string_sort},
        {"hash", hash_table}, {"x87", x87},   {"nbody", nbody},
        {"sse2", sse2},       {"avx2", avx2}, {"avx2-int", avx2_int},
        {"memory", memory},   {"fib", fib},
    };
    for (size_t i = 0; argc == 3 && i < sizeof kernels / sizeof *kernels; i++)
        if (strcmp(argv[1], kernels[i].name) == 0) {
            printf("%s %016llx\n", argv[1], (unsigned long long)kernels[i].run(atoi(argv[2])));
            return 0;
        }
    fprintf(stderr, "usage: compute KERNEL AMOUNT\n");
    return 2;
}
