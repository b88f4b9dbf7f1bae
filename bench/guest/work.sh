# The shell row: variables, arithmetic, functions, patterns; no process is started. work.sh AMOUNT
i=0 sum=0 list=
step()
{
    case $1 in
    *7) sum=$((sum + $1 * 3)) ;;
    *[24680]) sum=$((sum - $1)) ;;
    *) sum=$((sum ^ $1)) ;;
    esac
}
while [ $i -lt "$1" ]; do
    step $i
    list=${list#????????}x$i
    i=$((i + 1))
done
echo "$sum $list"
