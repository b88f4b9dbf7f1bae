"""The Python row: calls, objects, dictionaries, strings, comprehensions, sorting, JSON, regular expressions. work.py AMOUNT"""
import json
import re
import sys


class Vector:
    __slots__ = ("x", "y")

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __add__(self, other):
        return Vector(self.x + other.x, self.y + other.y)


def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)


def sieve(n):
    flags = bytearray([1]) * n
    for i in range(2, int(n**0.5) + 1):
        if flags[i]:
            flags[i * i::i] = bytes(len(range(i * i, n, i)))
    return sum(flags) - 2


def words(n):
    seen, x = {}, 1
    for _ in range(n):
        x = (x * 1103515245 + 12345) & 0x7FFFFFFF
        key = f"key{x % 997}"
        seen[key] = seen.get(key, 0) + 1
    return sum(len(k) * v for k, v in sorted(seen.items(), key=lambda item: (-item[1], item[0]))[:100])


def vectors(n):
    total = Vector(0, 0.0)
    for i in range(n):
        total = total + Vector(i, i * 0.5)
    return total.x, total.y


def documents(n):
    data = {"list": [{"id": i, "name": f"item {i}", "value": i / 7} for i in range(n)]}
    text = json.dumps(data)
    return len(json.loads(text)["list"]), len(re.findall(r'"id": (\d*7),', text))


for _ in range(int(sys.argv[1])):
    print(fib(16), sieve(50000), words(4000), vectors(4000), documents(500), sum(x * x for x in range(5000) if x % 3))
