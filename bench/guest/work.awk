# The awk row: fields, associative arrays, regular expressions over AMOUNT lines: awk -v amount=AMOUNT -f work.awk FILE
{
    for (i = 1; i <= NF; i++)
        count[$i]++
    if ($0 ~ /^ *def +[a-z_]+\(/)
        functions++
    length_sum += length($0)
    if (NR >= amount)
        exit
}
END {
    for (word in count)
        total += count[word] * length(word)
    print NR, functions, length_sum, total
}
