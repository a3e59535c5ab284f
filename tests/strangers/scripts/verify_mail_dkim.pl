# Mail::DKIM: verifies every signature of every message; prints one line of JSON a file: [domain, algorithm, holds] each.
# Arguments: host and port of the DNS, then files.

use strict;
use warnings;
use JSON::PP;
use Mail::DKIM::DNS;
use Mail::DKIM::Verifier;
use Net::DNS::Resolver;

my ($host, $port, @files) = @ARGV;
Mail::DKIM::DNS::resolver(Net::DNS::Resolver->new(nameservers => [$host], port => $port));
for my $path (@files) {
    my $dkim = Mail::DKIM::Verifier->new;
    open my $file, '<:raw', $path or die "$path: $!\n";
    $dkim->PRINT($_) while <$file>;
    $dkim->CLOSE;
    my @results = map { [$_->domain, $_->algorithm, judged($_)] } $dkim->signatures;
    print JSON::PP->new->encode(\@results), "\n";
}

sub judged {
    my ($signature) = @_;
    return $signature->result eq 'pass' ? JSON::PP::true : $signature->result_detail;
}
