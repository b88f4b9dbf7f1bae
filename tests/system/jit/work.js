// Programs for node's code generators: each part prints its name and a checksum. Arguments: SECONDS; all parts are repeated for that
// long and must give the same every time.
'use strict';

function integers() {
  let h = 0x811c9dc5;
  for (let i = 0; i < 400000; i++) {
    h ^= i & 255;
    h = Math.imul(h, 16777619);
    h = (h << 5 | h >>> 27) ^ (i % 7);
  }
  return h >>> 0;
}

function doubles() {
  let x = 0.1, sum = 0;
  for (let i = 0; i < 200000; i++) {
    x = 3.999 * x * (1 - x);
    sum += Math.floor(x * 1000) + (Math.sqrt(i) | 0);
  }
  return sum;
}

// The types at one site change after it has become hot: optimized code is thrown away and made again.
function shapes() {
  const makers = [
    (i) => ({ a: i, get: (o) => o.a }),
    (i) => ({ b: 0, a: i * 2, get: (o) => o.a + 0.5 }),
    (i) => ({ c: 0, b: 1, a: String(i), get: (o) => o.a.length }),
    (i) => ({ a: [i], get: (o) => o.a[0] }),
    (i) => ({ z: 1, a: BigInt(i), get: (o) => Number(o.a & 15n) }),
  ];
  let sum = 0;
  const visit = (o) => o.get(o);
  for (let round = 0; round < makers.length; round++)
    for (let i = 0; i < 20000; i++)
      sum += visit(makers[i % (round + 1)](i));
  return sum;
}

function regexps() {
  let text = '';
  for (let i = 0; i < 2000; i++) text += 'key' + (i * 7919) % 1000 + '=' + (i * i) % 65537 + (i % 3 ? ';' : '\n');
  let n = 0;
  for (const m of text.matchAll(/key(\d+)=(\d*?)(?=[;\n])/g)) n += m[1].length * 10 + Number(m[2]) % 7;
  n += text.replace(/(\d)(\d)(?!\d)/g, '$2$1').split(/[;=\n]+/).filter((w) => /^(?:12|34|5[0-9])+$/.test(w)).length;
  for (let i = 0; i < 60; i++) n += new RegExp('y' + i + '\\d?=(?:' + i + '|[1-9]{2,})', 'y' + (i & 1 ? 'i' : '')).test(text) ? 1 : 0;
  return n + (text.match(/(?<=\n)k.{4,9}\n/gu) || []).length;
}

function garbage() {
  let live = [], h = 0;
  for (let i = 0; i < 60000; i++) {
    live.push({ i, s: 'x' + i, next: live[live.length - 1] && live.length % 100 ? live[live.length - 1] : null });
    if (live.length > 1000) live = live.slice(500);
    h = (h * 31 + live[i % live.length].s.length) | 0;
  }
  return h >>> 0;
}

// (module (func (export "f") (param i32) (result i32) ...)): the sum of i*i xor i for i below the parameter
function wasm() {
  const code = [
    0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
    1, 6, 1, 0x60, 1, 0x7f, 1, 0x7f,
    3, 2, 1, 0,
    7, 5, 1, 1, 0x66, 0, 0,
    10, 38, 1, 36, 1, 2, 0x7f,
    0x02, 0x40, 0x03, 0x40,
    0x20, 1, 0x20, 0, 0x4f, 0x0d, 1, // while i < n
    0x20, 2, 0x20, 1, 0x20, 1, 0x6c, 0x20, 1, 0x73, 0x6a, 0x21, 2, // sum += i * i ^ i
    0x20, 1, 0x41, 1, 0x6a, 0x21, 1, 0x0c, 0,
    0x0b, 0x0b, 0x20, 2, 0x0b,
  ];
  code[28] = code.length - 29;
  code[30] = code.length - 31;
  let h = 0;
  for (let i = 0; i < 20; i++) { // a new module each time
    const f = new WebAssembly.Instance(new WebAssembly.Module(new Uint8Array(code))).exports.f;
    for (let k = 0; k < 20; k++) h = (Math.imul(h, 33) + f(1000 + k)) | 0;
  }
  return h >>> 0;
}

// Functions made of text: new code all the time.
function evals() {
  let h = 0;
  for (let i = 0; i < 300; i++) {
    const f = new Function('x', `let s = ${i}; for (let k = 0; k < 200; k++) s = (s * ${i | 1} + (x ^ k)) | 0; return s;`);
    h = (h ^ f(i)) + f(h) | 0;
  }
  return h >>> 0;
}

function sorts() {
  const a = new Float64Array(20000), b = [];
  let x = 12345;
  for (let i = 0; i < a.length; i++) {
    x = (Math.imul(x, 1103515245) + 12345) >>> 0;
    a[i] = x / 7;
    b.push({ k: x % 1000, s: (x % 5000).toString(36) });
  }
  a.sort();
  b.sort((p, q) => p.k - q.k || (p.s < q.s ? -1 : p.s > q.s ? 1 : 0));
  return Math.floor(a[777] + a[19000]) + b[500].k + parseInt(b[12000].s, 36);
}

const parts = { integers, doubles, shapes, regexps, garbage, wasm, evals, sorts };
const results = {};
const end = Date.now() + 1000 * Number(process.argv[2] || 0);
let rounds = 0, bad = 0;
do {
  for (const [name, part] of Object.entries(parts)) {
    const got = part();
    if (name in results && results[name] !== got) {
      console.log(`${name} was ${results[name]} and is ${got}`);
      bad++;
    }
    results[name] = got;
  }
  rounds++;
} while (Date.now() < end);
console.log(Object.entries(results).map(([k, v]) => `${k}=${v}`).join(' ') + (bad ? ' WRONG' : ' same'));
