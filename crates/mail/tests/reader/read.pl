use strict; use warnings;
use JSON::PP; use Mail::Header; use Mail::Address;
# The modules say of every odd address that it is one.
$SIG{__WARN__} = sub { };
binmode STDIN; binmode STDOUT;
my $json = JSON::PP->new->ascii;
sub addresses {
    my ($header, $name) = @_;
    my @found;
    for my $field ($header->get($name)) {
        utf8::decode($field);
        $field =~ s/\n\s*/ /g;
        push @found, map { $_->address } grep { $_->address } Mail::Address->parse($field);
    }
    return \@found;
}
while (read STDIN, my $length, 8) {
    read STDIN, my $raw, $length + 0;
    $raw =~ s/\r\n/\n/g;
    open my $file, '<', \$raw or die;
    my $header = Mail::Header->new($file, MailFrom => 'KEEP', Modify => 0);
    my @names = map { (/^([^:\s]+):/ ? lc $1 : lc $_) } map { (split /\n/, $_)[0] } @{ $header->header };
    # What it has not read is the body.
    my $body = do { local $/; <$file> } // '';
    $body =~ s/\n/\r\n/g;
    print $json->encode({ names => \@names, authors => addresses($header, 'From'), to => addresses($header, 'To'),
        cc => addresses($header, 'Cc'), body => [unpack 'C*', $body], parts => undef }), "\n";
}
