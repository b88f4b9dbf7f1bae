// The node row: classes, closures, strings, maps, typed arrays, JSON, regular expressions. work.js AMOUNT
'use strict';

class Node {
  constructor(key) { this.key = key; this.left = null; this.right = null; }
}

class Tree {
  constructor() { this.root = null; this.size = 0; }
  add(key) {
    if (!this.root) { this.root = new Node(key); this.size = 1; return; }
    let at = this.root;
    while (at.key !== key) {
      const side = key < at.key ? 'left' : 'right';
      if (!at[side]) { at[side] = new Node(key); this.size++; return; }
      at = at[side];
    }
  }
  walk(visit, at = this.root) {
    if (!at) return;
    this.walk(visit, at.left);
    visit(at.key);
    this.walk(visit, at.right);
  }
}

let seed = 42;
const next = (bound) => { seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff; return (seed >> 8) % bound; };
const fib = (n) => (n < 2 ? n : fib(n - 1) + fib(n - 2));

function mandelbrot(size) {
  const counts = new Uint8Array(size * size);
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const cr = -2 + (3 * x) / size, ci = -1 + (2 * y) / size;
      let zr = 0, zi = 0, i = 0;
      for (; i < 60 && zr * zr + zi * zi < 4; i++) [zr, zi] = [zr * zr - zi * zi + cr, 2 * zr * zi + ci];
      counts[y * size + x] = i;
    }
  }
  return counts.reduce((sum, value) => sum + value, 0);
}

for (let round = 0; round < Number(process.argv[2]); round++) {
  const tree = new Tree();
  for (let i = 0; i < 4000; i++) tree.add(next(100000));
  let sum = 0;
  tree.walk((key) => { sum = (sum * 31 + key) % 1000003; });
  const words = new Map();
  for (let i = 0; i < 10000; i++) {
    const word = `word${next(700)}`;
    words.set(word, (words.get(word) || 0) + 1);
  }
  const text = JSON.stringify([...words].sort(([a], [b]) => (a < b ? -1 : 1)));
  const back = JSON.parse(text).length + text.replace(/word(\d)/g, '$1-').length + text.split(/[^0-9]+/).length;
  console.log(fib(20), tree.size, sum, back, mandelbrot(60));
}
