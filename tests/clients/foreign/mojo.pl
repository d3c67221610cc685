# Mojolicious, for foreign.py. It offers compression only when told to. An empty message, compressed after another,
# is no byte at all in version 9.31, and not the one of RFC 7692 §7.2.3.6.

use Mojo::Base -strict, -signatures;
use Mojo::IOLoop;
use Mojo::IOLoop::Stream;
use Mojo::UserAgent;
use Mojolicious;

$| = 1;
my $agent = Mojo::UserAgent->new(inactivity_timeout => 0);
my $client;

sub say_line (@words) { print join(' ', @words), "\n" }

sub opened ($tx) {
    return say_line 'failed', $tx->res->code // 'ended' unless $tx->is_websocket;
    $client = $tx->max_websocket_size(1 << 20);
    my $extensions = $tx->res->headers->sec_websocket_extensions // '-';
    say_line 'open', $tx->protocol // '-', $extensions =~ s/ //gr;
    $tx->on(text   => sub ($tx, $bytes) { say_line 'text',   unpack 'H*', $bytes });
    $tx->on(binary => sub ($tx, $bytes) { say_line 'binary', unpack 'H*', $bytes });
    $tx->on(frame  => sub ($tx, $frame) { say_line 'pong', unpack 'H*', $frame->[5] if $frame->[4] == 10 });
    $tx->on(finish => sub ($tx, $code, $reason = undef) {
        say_line 'closed', $code // 1006, unpack 'H*', Mojo::Util::encode 'UTF-8', $reason // '';
    });
}

my %commands = (
    open => sub ($url, $subprotocols = '') {
        my $headers = { 'Sec-WebSocket-Extensions' => 'permessage-deflate' };
        $agent->websocket($url, $headers, [split /,/, $subprotocols], sub ($agent, $tx) { opened($tx) });
    },
    text      => sub ($hex) { $client->send({ text   => pack 'H*', $hex }) },
    binary    => sub ($hex) { $client->send({ binary => pack 'H*', $hex }) },
    ping      => sub ($hex) { $client->send([1, 0, 0, 0, 9, pack 'H*', $hex]) },
    fragments => sub ($first, @others) {
        my $last = pop @others;
        $client->send([0, 0, 0, 0, 1, pack 'H*', $first]);
        $client->send([0, 0, 0, 0, 0, pack 'H*', $_]) for @others;
        $client->send([1, 0, 0, 0, 0, pack 'H*', $last]);
    },
    close => sub ($code, $hex) { $client->finish($code, Mojo::Util::decode 'UTF-8', pack 'H*', $hex) },
);

say_line 'client', 'mojolicious', Mojolicious->VERSION, 'deflate', 'fragments', 'ping', 'never-empty';
my $input = Mojo::IOLoop::Stream->new(\*STDIN)->timeout(0);
my $lines = '';
$input->on(read => sub ($input, $bytes) {
    $lines .= $bytes;
    while ($lines =~ s/^([^\n]*)\n//) {
        my ($command, @words) = split / /, $1, -1;
        $commands{$command}->(@words);
    }
});
$input->start;
Mojo::IOLoop->start;
