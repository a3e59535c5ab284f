# Perl's Net::SMTP, by DATA or, with the argument `bdat`, in chunks: one session a job; jobs as JSON on standard input, one line of JSON as answer to each.

use strict;
use warnings;
use JSON::PP;
use Net::SMTP;

my $jobs = decode_json(do { local $/; <STDIN> });
my $by_chunks = ($ARGV[0] // '') eq 'bdat';
$| = 1;
for my $job (@$jobs) {
    my $text = eval { deliver($job) };
    my $answer = defined $text ? { ok => JSON::PP::true, text => $text } : { ok => JSON::PP::false, text => "$@" };
    print JSON::PP->new->utf8->encode($answer), "\n";
}

sub connect_to {
    my ($job) = @_;
    my %tls = (SSL_ca_file => $job->{ca});
    my %wish = (Port => $job->{port}, Timeout => 60, Hello => 'stranger.example');
    return Net::SMTP->new($job->{host}, %wish, SSL => 1, %tls) // die "cannot connect: $@\n"
        if $job->{tls} eq 'implicit';
    my $smtp = Net::SMTP->new($job->{host}, %wish) // die "cannot connect: $@\n";
    $smtp->starttls(%tls) or die "no STARTTLS: " . $smtp->message;
    return $smtp;
}

sub deliver {
    my ($job) = @_;
    my $smtp = connect_to($job);
    my $or_die = sub { $_[0] or die $smtp->code . ' ' . $smtp->message };
    $or_die->($smtp->auth($job->{username}, $job->{password}));
    my $raw = do { local $/; open my $file, '<:raw', $job->{path} or die "no letter\n"; <$file> };
    my @options = $raw =~ /[^\x00-\x7f]/ ? (Bits => '8') : ();
    $or_die->($smtp->mail($job->{sender}, Size => length $raw, @options));
    $or_die->($smtp->to($_)) for @{ $job->{recipients} };
    $by_chunks ? send_chunks($smtp, $raw, $or_die) : send_data($smtp, $raw, $or_die);
    my $said = $smtp->message;
    $smtp->quit;
    return $said;
}

sub send_data {
    my ($smtp, $raw, $or_die) = @_;
    $or_die->($smtp->data);
    $or_die->($smtp->datasend($raw));
    $or_die->($smtp->dataend);
}

# In uneven pieces that cut lines and even a CRLF. Net::SMTP believes that chunks are for BINARYMIME only, which a
# server may leave out (RFC 3030); so it is told that they may be used.
sub send_chunks {
    my ($smtp, $raw, $or_die) = @_;
    die "no CHUNKING\n" unless defined $smtp->supports('CHUNKING');
    ${*$smtp}{net_smtp_chunking} = 1;
    my $piece = 1 + int(length($raw) / 7);
    while (length $raw > $piece) {
        $or_die->($smtp->bdat(substr $raw, 0, $piece, ''));
    }
    $or_die->($smtp->bdatlast($raw));
}
