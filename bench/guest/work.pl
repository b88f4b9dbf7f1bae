# The Perl row: hashes, arrays, strings and regular expressions. work.pl AMOUNT
use strict;
use warnings;

open my $file, '<', '/bench/text' or die "text: $!";
read $file, my $text, 200000;
for my $round (1 .. $ARGV[0]) {
    my %count;
    $count{lc $1}++ while $text =~ /([A-Za-z_]{3,})/g;
    my @top = (sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count)[0 .. 9];
    (my $changed = $text) =~ s/\bself\.(\w+)/this->$1/g;
    my $sum = 0;
    $sum += ($_ * 7) % 13 for 1 .. 50000;
    my $joined = join ',', map { sprintf '%05d', ord $_ } split //, substr $text, $round * 100, 5000;
    print "@top ", length $changed, " $sum ", length $joined, "\n";
}
