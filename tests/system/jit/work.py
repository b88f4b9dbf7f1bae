"""Code generators in libraries: machine code put into memory by ctypes, PCRE2's JIT through grep -P and pcre2test, tcc -run."""
import ctypes
import mmap
import random
import subprocess
import sys
import time

SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 0
random.seed(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
bad = 0


def check(what, got, want):
    global bad
    if got != want:
        print(f"{what}: {got!r}, not {want!r}")
        bad += 1


def machine_code():
    """lea eax, [rdi+n]; imul eax, eax, m; ret: new numbers, new addresses."""
    area = mmap.mmap(-1, 65536, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    base = ctypes.addressof(ctypes.c_char.from_buffer(area))
    for _ in range(300):
        n, m, at = random.randrange(1 << 30), random.randrange(1 << 30), random.randrange(65536 - 16)
        area[at:at + 13] = b"\x8d\x87" + n.to_bytes(4, "little") + b"\x69\xc0" + m.to_bytes(4, "little") + b"\xc3"
        f = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_uint32)(base + at)
        for x in (0, 1, 0x12345678):
            check("machine code", f(x), (x + n) * m & 0xffffffff)


def callbacks():
    """libffi's closures under libc's qsort."""
    libc = ctypes.CDLL(None)
    compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
    numbers = [random.randrange(-1 << 30, 1 << 30) for _ in range(300)]
    array = (ctypes.c_int * len(numbers))(*numbers)
    libc.qsort(array, len(numbers), 4, compare(lambda a, b: (a[0] > b[0]) - (a[0] < b[0])))
    check("qsort", list(array), sorted(numbers))


def grep():
    lines = [f"{i} {i * 7919 % 10007:05d} {'x' * (i % 5)}y" for i in range(3000)]
    text = "\n".join(lines).encode() + b"\n"
    for pattern, want in (
        (r"^\d+ (\d)\d\d\d\1 ", [s for s in lines if s.split()[1][0] == s.split()[1][4]]),
        (r"(?<= )x{3,4}+y$", [s for s in lines if len(s.split()[2]) in (4, 5)]),
        (r"^(?:(?!7).)*$", [s for s in lines if "7" not in s]),
    ):
        out = subprocess.run(["grep", "-P", pattern], input=text, capture_output=True).stdout.decode().split("\n")[:-1]
        check(f"grep -P '{pattern}'", len(out), len(want))
        check(f"grep -P '{pattern}'", out, want)


def tcc():
    n = random.randrange(1000)
    program = f"""
#include <stdio.h>
static unsigned f(unsigned x) {{ return x < 2 ? x + {n} : f(x - 1) * 3 + f(x - 2); }}
int main() {{ double d = 0; for (int i = 1; i < 1000; i++) d += {n}.5 / i; printf("%u %.6f\\n", f(18), d); return 0; }}
"""
    a, b, d = n, n + 1, 0.0
    for _ in range(17):
        a, b = b, (b * 3 + a) & 0xffffffff
    for i in range(1, 1000):
        d += (n + 0.5) / i
    out = subprocess.run(["tcc", "-run", "-"], input=program.encode(), capture_output=True)
    check("tcc -run", out.stdout.decode() + out.stderr.decode(), f"{b} {d:.6f}\n")


end = time.monotonic() + SECONDS
rounds = 0
while True:
    for part in (machine_code, callbacks, grep, tcc):
        part()
    rounds += 1
    if time.monotonic() >= end:
        break
print("WRONG" if bad else "same")
