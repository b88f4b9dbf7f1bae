import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;

/** The Java row: objects, a hash map, strings, arrays of doubles and sorting, enough of each for both compilers. */
public final class Work {
    private interface Shape {
        double area();
    }

    private record Square(double side) implements Shape {
        public double area() {
            return side * side;
        }
    }

    private record Circle(double radius) implements Shape {
        public double area() {
            return 3.25 * radius * radius;
        }
    }

    private static long random = 42;

    private static int next(int bound) {
        random = random * 6364136223846793005L + 1442695040888963407L;
        return (int) ((random >>> 33) % bound);
    }

    private static long words(int count) {
        Map<String, Integer> seen = new HashMap<>();
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < count; i++) {
            text.setLength(0);
            text.append("key").append(next(5000));
            seen.merge(text.toString(), 1, Integer::sum);
        }
        long sum = 0;
        for (Map.Entry<String, Integer> entry : seen.entrySet()) {
            sum += (long) entry.getKey().hashCode() * entry.getValue();
        }
        return sum;
    }

    private static double shapes(int count) {
        Shape[] all = new Shape[1000];
        double sum = 0;
        for (int i = 0; i < count; i++) {
            int at = next(all.length);
            all[at] = (i & 1) == 0 ? new Square(at) : new Circle(at);
            sum += all[at].area();
        }
        return sum;
    }

    private static long sort(int count) {
        int[] values = new int[count];
        for (int i = 0; i < count; i++) {
            values[i] = next(1 << 30);
        }
        Arrays.sort(values);
        long sum = 0;
        for (int i = 0; i < count; i += 100) {
            sum = sum * 31 + values[i];
        }
        return sum;
    }

    private static double matrix(int size) {
        double[][] a = new double[size][size];
        double[][] c = new double[size][size];
        for (int i = 0; i < size; i++) {
            for (int j = 0; j < size; j++) {
                a[i][j] = next(100);
            }
        }
        for (int i = 0; i < size; i++) {
            for (int k = 0; k < size; k++) {
                for (int j = 0; j < size; j++) {
                    c[i][j] += a[i][k] * a[k][j];
                }
            }
        }
        return c[size / 2][size / 3];
    }

    public static void main(String[] args) {
        int amount = Integer.parseInt(args[0]);
        for (int i = 0; i < amount; i++) {
            System.out.println(words(20000) + " " + shapes(40000) + " " + sort(20000) + " " + matrix(60));
        }
    }
}
