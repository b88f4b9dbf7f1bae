"""The rows of bench/suite: one fixed piece of work each, done natively and in a guest by the same program.

Amounts are such that a native run takes a few tenths of a second. What is printed must be the same everywhere: it is
compared. Commands run in /tmp/b of the benchmark's root file system (bench/make-guest, bench/guest).
"""
from dataclasses import dataclass

# What a group's rows have to reach, as (times the speed of QEMU, part of the native speed); None: nothing of its own.
GROUPS = {
    "boot": (3.0, None),
    "integer": (None, 0.35),
    "simd": (10.0, None),
    "float": (None, None),
    "compile": (None, None),
    "system": (None, None),
    "jit": (None, None),
    "smp": (None, None),
}


@dataclass(frozen=True)
class Row:
    name: str
    group: str
    command: str
    warm: str = ""  # before the first timed run: programs and files into the page cache
    check: str = ""  # after each timed run: what it prints belongs to the output that is compared
    cpus: int = 1
    rate: float = 0  # the command prints a rate: the time shown is that of so many units


def compute(name, group, kernel, amount):
    return Row(name, group, f"./compute {kernel} {amount}", f"./compute {kernel} 1")


def system(name, amount, cpus=1):
    return Row(name if cpus == 1 else f"{name}-smp", "system" if cpus == 1 else "smp", f"./system {name} {amount}",
               f"./system {name} {max(amount // 20, 1)}", cpus=cpus)


def speed(name, cipher):
    """openssl speed measures for a second; the time shown is that of a gigabyte."""
    command = (f"openssl speed -elapsed -seconds {{}} -bytes 16384 -mr -evp {cipher} 2>/dev/null | "
               "sed -n 's/^+F:[^:]*:[^:]*:/rate /p'")
    return Row(name, "simd", command.format(1), f"openssl {'dgst -' + cipher if cipher.startswith('sha') else 'version'} /dev/null",
               rate=1e9)


def compressor(name, command, back, size="4M", warm="64K", cpus=1, group="integer"):
    """Compression of text and code; the check is that the original comes back."""
    data = f"(head -c {size} /bench/text; head -c {size} /bench/binary)"
    return Row(name, group, f"{command} </tmp/data >/tmp/packed",
               f"{data} >/tmp/data; head -c {warm} /tmp/data | {command} | {back} | wc -c",
               f"{back} </tmp/packed | cmp - /tmp/data && wc -c </tmp/packed", cpus)


SQL = ("create table t(id integer primary key, a int, b text);"
       "with recursive c(i) as (select 1 union all select i+1 from c where i<40000)"
       " insert into t select i, (i*7919)%10007, 'name'||((i*31)%5003) from c;"
       "create index ta on t(a); create index tb on t(b);")
QUERIES = ("select count(*), sum(a) from t where b like 'name1%';"
       "select t1.a%10, count(*), sum(t1.a) from t t1 join t t2 on t1.a=t2.id where t2.a>500 group by 1 order by 1;"
       "update t set a=a+1 where id%3=0; delete from t where id%7=0;"
       "select b, count(*) from t group by b order by 2 desc, 1 limit 5;")
STB = "printf '#define STB_{}_IMPLEMENTATION\\n#define STBI_NO_SIMD\\n#include <stb/stb_{}.h>\\n'"
TRUETYPE = STB.format("TRUETYPE", "truetype")
IMAGE = STB.format("IMAGE", "image")

ROWS = [
    Row("boot", "boot", ""),
    compute("sha256-c", "integer", "sha256", 400),
    compute("core", "integer", "core", 8000),
    compute("string-sort", "integer", "string-sort", 25),
    compute("hash-table", "integer", "hash", 5000000),
    compute("fib", "integer", "fib", 40),
    Row("md5sum", "integer", "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do cat /bench/text; done | md5sum",
        "md5sum /bench/text"),
    compressor("gzip", "gzip -6", "gzip -dc", "3M"),
    Row("gunzip", "integer", "for i in 1 2 3 4 5 6; do gzip -dc /tmp/text.gz; done >/dev/null", "gzip -1 </bench/text >/tmp/text.gz",
        "gzip -dc /tmp/text.gz | cmp - /bench/text"),
    compressor("xz", "xz -2", "xz -dc", "1M"),
    compressor("bzip2", "bzip2", "bzip2 -dc", "1500K"),
    compressor("7z", "7z a x -txz -mx=3 -mmt=1 -si -so 2>/dev/null", "xz -dc", "1M"),
    compressor("zstd", "zstd -7 -q -c", "zstd -dc", "3M"),
    Row("sqlite", "integer", f'sqlite3 :memory: "{SQL}{QUERIES}{QUERIES}"', "sqlite3 :memory: 'select 1'"),
    Row("lua", "integer", "lua5.4 work.lua 40", "lua5.4 work.lua 1"),
    Row("python3", "integer", "python3 work.py 30", "python3 work.py 1"),
    Row("perl", "integer", "perl work.pl 20", "perl work.pl 1"),
    Row("awk", "integer", "mawk -v amount=150000 -f work.awk /bench/text", "mawk -v amount=10 -f work.awk /bench/text"),
    Row("sort", "integer", "cat /bench/text /bench/text | sort -S 200M --parallel=1 | cksum", "head -n 100 /bench/text | sort | cksum"),
    Row("grep", "integer", "for i in 1 2 3 4 5 6 7 8 9 10; do grep -cE '(self|other)[.][a-z_]+[(][^)]*(name|value)' /bench/text; done", "grep -c self /bench/text"),
    Row("rsa", "integer", "openssl speed -elapsed -seconds 1 -mr rsa2048 2>/dev/null | sed -n 's/^+F2:[^:]*:[^:]*:/rate /p'",
        "openssl version", rate=300),
    Row("shell", "integer", "sh work.sh 100000", "sh work.sh 100"),
    speed("aes-cbc", "aes-128-cbc"),
    speed("aes-gcm", "aes-128-gcm"),
    speed("chacha20", "chacha20-poly1305"),
    speed("sha256", "sha256"),
    compute("sse2", "simd", "sse2", 15000),
    compute("avx2", "simd", "avx2", 200),
    compute("avx2-int", "simd", "avx2-int", 80000),
    compute("memory", "simd", "memory", 500000),
    compute("nbody", "float", "nbody", 1500000),
    compute("x87", "float", "x87", 6000000),
    Row("gcc", "compile", f"{TRUETYPE} | gcc -O0 -x c -S -o - - | cksum", f"{TRUETYPE} | gcc -x c -E -o - - | gcc -x c -S -o /dev/null -"),
    Row("gcc-large", "compile", f"{IMAGE} | gcc -O0 -x c -c -o /tmp/image.o -", f"{IMAGE} | gcc -x c -E -o /dev/null -"),
    Row("tcc", "compile", f"{IMAGE} >/tmp/i.c; for i in 1 2 3 4 5 6 7 8 9 10; do tcc -c -o /tmp/i.o /tmp/i.c; done",
        f"{IMAGE} >/tmp/i.c; tcc -c -o /tmp/i.o /tmp/i.c", "cksum </tmp/i.o"),
    Row("shell-forks", "system", "i=0; while [ $i -lt 150 ]; do x=$(echo $i | cat); /bin/true $x; i=$((i+1)); done; echo $x", "/bin/true | cat"),
    system("null", 1500000),
    system("clock", 8000000),
    system("read-write", 400000),
    system("file-read", 25000),
    system("stat", 300000),
    system("create", 30000),
    system("pipe", 200000),
    system("switch", 40000),
    system("socket", 30000),
    system("epoll", 150000),
    system("yield", 150000),
    system("fork", 2000),
    system("fork-copy", 60),
    system("fork-exec", 600),
    system("mmap", 60000),
    system("page-fault", 60),
    system("file-map", 400),
    system("mprotect", 80000),
    system("signal", 200000),
    system("segv", 150000),
    system("futex", 40000),
    system("thread", 5000),
    Row("node", "jit", "node work.js 12", "node work.js 1"),
    Row("java", "jit", "java -cp /bench Work 10", "java -cp /bench Work 1"),
    Row("luajit", "jit", "luajit work.lua 90", "luajit work.lua 1"),
    Row("hackbench", "smp", "hackbench -s 100 -l 100 -g 4 -f 10 >/dev/null", "hackbench -s 100 -l 1 -g 1 -f 2", cpus=2),
    Row("hackbench-threads", "smp", "hackbench -T -s 100 -l 100 -g 4 -f 10 >/dev/null", "hackbench -T -s 100 -l 1 -g 1 -f 2", cpus=2),
    compressor("pigz", "pigz -6 -p 2 -c", "gzip -dc", "4M", cpus=2, group="smp"),
    compressor("xz-T2", "xz -2 -T2 --block-size=512KiB", "xz -dc", "2M", cpus=2, group="smp"),
    system("mutex", 400000, cpus=2),
    Row("java-smp", "smp", "java -cp /bench Work 10", "java -cp /bench Work 1", cpus=2),
]
