// Programs for the JVM's compilers: see work.js.
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;
import java.util.regex.*;
import java.util.stream.*;

public class Work {
    interface Shape { double area(); }
    record Square(double a) implements Shape { public double area() { return a * a; } }
    record Circle(double r) implements Shape { public double area() { return 3 * r * r; } }
    record Box(double a, double b) implements Shape { public double area() { return a * b; } }

    static long integers() {
        int h = 0x811c9dc5;
        long l = 1;
        for (int i = 0; i < 1500000; i++) {
            h = (h ^ (i & 255)) * 16777619;
            h = Integer.rotateLeft(h, 5) ^ (i % 7);
            l = l * 6364136223846793005L + Long.bitCount(l) + h / (i | 1);
        }
        return h ^ l;
    }

    static long doubles() {
        double x = 0.1, sum = 0;
        float f = 1;
        for (int i = 0; i < 400000; i++) {
            x = 3.999 * x * (1 - x);
            f = f * 1.0001f + (float) Math.sqrt(i);
            sum += Math.floor(x * 1000) + (int) f % 5;
        }
        return (long) sum;
    }

    // Which classes come changes after the code has become hot: it is compiled again.
    static long shapes() {
        double sum = 0;
        for (int round = 1; round <= 3; round++)
            for (int i = 0; i < 100000; i++) {
                Shape s = switch (i % round) { case 0 -> new Square(i % 10); case 1 -> new Circle(i % 7); default -> new Box(i % 3, 2); };
                sum += s.area();
            }
        return (long) sum;
    }

    static long vectors() {
        int[] a = new int[4096], b = new int[4096];
        for (int i = 0; i < a.length; i++) { a[i] = i * 31; b[i] = i ^ 0x55; }
        long sum = 0;
        for (int round = 0; round < 300; round++) {
            for (int i = 0; i < a.length; i++) a[i] = a[i] * 3 + b[i];
            for (int v : a) sum += v;
        }
        return sum;
    }

    static long text() {
        StringBuilder s = new StringBuilder();
        for (int i = 0; i < 20000; i++) s.append("key").append(i * 7919 % 1000).append('=').append(i % 97).append(';');
        Matcher m = Pattern.compile("key(\\d+)=(\\d+?);").matcher(s);
        long n = 0;
        while (m.find()) n += m.group(1).length() * 3L + Integer.parseInt(m.group(2));
        return n + s.toString().hashCode();
    }

    static long streams() {
        Map<Integer, Long> m = IntStream.range(0, 50000).boxed().collect(Collectors.groupingBy(i -> i % 17, TreeMap::new, Collectors.summingLong(i -> (long) i * i)));
        return m.values().stream().reduce(7L, (a, b) -> a * 31 + b);
    }

    static long threads() throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(4);
        AtomicLong sum = new AtomicLong();
        ConcurrentHashMap<Integer, Integer> map = new ConcurrentHashMap<>();
        long[] plain = new long[1];
        Object lock = new Object();
        List<Future<?>> all = new ArrayList<>();
        for (int t = 0; t < 8; t++) {
            int who = t;
            all.add(pool.submit(() -> {
                for (int i = 0; i < 20000; i++) {
                    sum.addAndGet(i ^ who);
                    map.merge(i % 100, 1, Integer::sum);
                    synchronized (lock) { plain[0] += i; }
                }
            }));
        }
        for (Future<?> f : all) f.get();
        pool.shutdown();
        return sum.get() * 3 + plain[0] * 5 + map.values().stream().mapToInt(i -> i).sum();
    }

    static long garbage() {
        ArrayDeque<long[]> live = new ArrayDeque<>();
        long h = 0;
        for (int i = 0; i < 200000; i++) {
            live.add(new long[] {i, i * 3L, h});
            if (live.size() > 5000) h = h * 31 + live.remove()[1];
        }
        return h;
    }

    public static void main(String[] args) throws Exception {
        long end = System.currentTimeMillis() + 1000 * (args.length > 0 ? Long.parseLong(args[0]) : 0);
        Map<String, Callable<Long>> parts = new LinkedHashMap<>();
        parts.put("integers", Work::integers);
        parts.put("doubles", Work::doubles);
        parts.put("shapes", Work::shapes);
        parts.put("vectors", Work::vectors);
        parts.put("text", Work::text);
        parts.put("streams", Work::streams);
        parts.put("threads", Work::threads);
        parts.put("garbage", Work::garbage);
        Map<String, Long> results = new LinkedHashMap<>();
        boolean bad = false;
        do {
            for (var part : parts.entrySet()) {
                long got = part.getValue().call();
                Long was = results.put(part.getKey(), got);
                if (was != null && was != got) {
                    System.out.println(part.getKey() + " was " + was + " and is " + got);
                    bad = true;
                }
            }
        } while (System.currentTimeMillis() < end);
        StringJoiner line = new StringJoiner(" ");
        results.forEach((k, v) -> line.add(k + "=" + v));
        System.out.println(line + (bad ? " WRONG" : " same"));
    }
}
