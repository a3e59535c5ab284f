use strict; use warnings;
use JSON::PP; use Mail::Header; use Mail::Address;
binmode STDIN; binmode STDOUT;
my $json = JSON::PP->new->ascii;
while (read STDIN, my $length, 8) {
    read STDIN, my $raw, $length + 0;
    $raw =~ s/\r\n/\n/g;
    open my $file, '<', \$raw or die;
    my $header = Mail::Header->new($file, MailFrom => 'KEEP', Modify => 0);
    my @names = map { (/^([^:\s]+):/ ? lc $1 : lc $_) } map { (split /\n/, $_)[0] } @{ $header->header };
    my @authors;
    for my $field ($header->get('From')) {
        utf8::decode($field);
        $field =~ s/\n\s*/ /g;
        push @authors, map { $_->address } grep { $_->address } Mail::Address->parse($field);
    }
    print $json->encode({ names => \@names, authors => \@authors, body => undef }), "\n";
}
