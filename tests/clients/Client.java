// The peer (peer.rs) against a stock client: java.net.http.WebSocket. It knows no compression.
//
// Usage: java Client.java SERVER [ARGUMENT]...   the command that starts the peer; it prints its ws:// address
//
// Prints `ok NAME` or `FAIL NAME: why` for each check; the exit status is 1 if one failed.

import java.io.ByteArrayOutputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.WebSocket;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;

class Client implements WebSocket.Listener, AutoCloseable {
    static final int MIB = 1 << 20;
    static final int PATIENCE_SECONDS = 30;
    static final HttpClient HTTP = HttpClient.newHttpClient();
    static URI peer;

    interface Check {
        void run() throws Exception;
    }

    /** What came: a whole message, a Pong, the end or a failure. */
    record Event(String kind, Object what) {
        Event {
            // Arrays are compared by what is in them.
            what = what instanceof byte[] bytes ? ByteBuffer.wrap(bytes) : what;
        }
    }

    final BlockingQueue<Event> events = new LinkedBlockingQueue<>();
    final StringBuilder text = new StringBuilder();
    final ByteArrayOutputStream binary = new ByteArrayOutputStream();
    final WebSocket socket;

    Client(String... subprotocols) {
        var builder = HTTP.newWebSocketBuilder();
        if (subprotocols.length > 0) {
            builder.subprotocols(subprotocols[0], Arrays.copyOfRange(subprotocols, 1, subprotocols.length));
        }
        socket = builder.buildAsync(peer, this).join();
    }

    @Override
    public CompletionStage<?> onText(WebSocket socket, CharSequence part, boolean last) {
        text.append(part);
        if (last) {
            events.add(new Event("text", text.toString()));
            text.setLength(0);
        }
        socket.request(1);
        return null;
    }

    @Override
    public CompletionStage<?> onBinary(WebSocket socket, ByteBuffer part, boolean last) {
        var bytes = new byte[part.remaining()];
        part.get(bytes);
        binary.writeBytes(bytes);
        if (last) {
            events.add(new Event("binary", binary.toByteArray()));
            binary.reset();
        }
        socket.request(1);
        return null;
    }

    @Override
    public CompletionStage<?> onPong(WebSocket socket, ByteBuffer payload) {
        var bytes = new byte[payload.remaining()];
        payload.get(bytes);
        events.add(new Event("pong", bytes));
        socket.request(1);
        return null;
    }

    @Override
    public CompletionStage<?> onClose(WebSocket socket, int code, String reason) {
        events.add(new Event("close", code + " " + reason));
        return null;
    }

    @Override
    public void onError(WebSocket socket, Throwable error) {
        events.add(new Event("error", error.toString()));
    }

    void sends(Event message) {
        if (message.what() instanceof String text) {
            socket.sendText(text, true).join();
        } else {
            socket.sendBinary(((ByteBuffer) message.what()).duplicate(), true).join();
        }
    }

    Event next() throws InterruptedException {
        var event = events.poll(PATIENCE_SECONDS, TimeUnit.SECONDS);
        if (event == null) {
            throw new AssertionError("nothing came");
        }
        return event;
    }

    void expects(Event expected) throws InterruptedException {
        var event = next();
        if (!event.equals(expected)) {
            var shown = event.toString();
            throw new AssertionError(shown.substring(0, Math.min(shown.length(), 100)) + " came");
        }
    }

    void echoes(Event message) throws InterruptedException {
        sends(message);
        expects(message);
    }

    String ask(String text) throws InterruptedException {
        sends(new Event("text", text));
        return (String) next().what();
    }

    /** Drops the connection, if it is not over. */
    @Override
    public void close() {
        socket.abort();
    }

    static void echo(Event... messages) throws InterruptedException {
        try (var client = new Client()) {
            for (var message : messages) {
                client.echoes(message);
            }
        }
    }

    static void length(int length) throws InterruptedException {
        var bytes = new byte[length];
        Arrays.fill(bytes, (byte) 0xA5);
        echo(new Event("text", "x".repeat(length)), new Event("binary", bytes));
    }

    static void tooLong() throws InterruptedException {
        try (var client = new Client()) {
            client.socket.sendBinary(ByteBuffer.allocate(MIB + 1), true);
            var end = client.next();
            check(end.kind().equals("close") && end.what().toString().startsWith("1009 "), end);
        }
    }

    static void fragments() throws InterruptedException {
        try (var client = new Client()) {
            client.socket.sendText("one ", false).join();
            client.socket.sendText("", false).join();
            client.socket.sendPing(ByteBuffer.wrap("between".getBytes())).join();
            client.socket.sendText("message", true).join();
            client.expects(new Event("pong", "between".getBytes()));
            client.expects(new Event("text", "one message"));
        }
    }

    static void ping() throws InterruptedException {
        try (var client = new Client()) {
            for (int length : new int[] {0, 125}) {
                var payload = new byte[length];
                Arrays.fill(payload, (byte) 0xFF);
                client.socket.sendPing(ByteBuffer.wrap(payload)).join();
                client.expects(new Event("pong", payload));
            }
        }
    }

    /** Each answer lets the next message out, while those to `window - 1` others are under way. */
    static void pipelined(List<Event> messages, int window) throws InterruptedException {
        try (var client = new Client()) {
            for (int sent = 0; sent < messages.size() + window; sent++) {
                if (sent >= window) {
                    client.expects(messages.get(sent - window));
                }
                if (sent < messages.size()) {
                    client.sends(messages.get(sent));
                }
            }
        }
    }

    static void closeByClient(int code, String reason) throws InterruptedException {
        try (var client = new Client()) {
            client.socket.sendClose(code, reason).join();
            client.expects(new Event("close", code + " " + reason));
        }
        check(lastClose().equals(code + " " + reason), "the server saw another end");
    }

    static void closeByServer() throws InterruptedException {
        try (var client = new Client()) {
            client.sends(new Event("text", "close 4001 bye"));
            client.expects(new Event("close", "4001 bye"));
        }
        check(lastClose().equals("4001 "), "the server saw another end");
    }

    /** How the server saw the end of the connection before. */
    static String lastClose() throws InterruptedException {
        try (var client = new Client()) {
            return client.ask("last close");
        }
    }

    static void subprotocol(String chosen, String... offered) {
        try (var client = new Client(offered)) {
            check(client.socket.getSubprotocol().equals(chosen), client.socket.getSubprotocol());
        }
    }

    static void traffic() throws InterruptedException {
        try (var client = new Client()) {
            var before = client.ask("traffic").split(" ");
            client.echoes(new Event("text", "0123456789abcdef".repeat(MIB / 16)));
            var after = client.ask("traffic").split(" ");
            for (int way = 0; way < 2; way++) {
                var bytes = Long.parseLong(after[way]) - Long.parseLong(before[way]);
                check(bytes > MIB, bytes + " bytes for a message of " + MIB);
            }
        }
    }

    static void check(boolean holds, Object otherwise) {
        if (!holds) {
            throw new AssertionError(otherwise);
        }
    }

    static Map<String, Check> checks() {
        var checks = new LinkedHashMap<String, Check>();
        var bytes = new byte[256];
        for (int at = 0; at < bytes.length; at++) {
            bytes[at] = (byte) at;
        }
        checks.put("text", () -> echo(new Event("text", "κόσμε 🦀")));
        checks.put("binary", () -> echo(new Event("binary", bytes)));
        for (int length : new int[] {0, 125, 126, 65_535, 65_536, MIB}) {
            checks.put("length-" + length, () -> length(length));
        }
        checks.put("too-long", Client::tooLong);
        checks.put("fragments", Client::fragments);
        checks.put("ping", Client::ping);
        checks.put("server-pings", () -> echo(new Event("text", "pings")));
        var small = new ArrayList<Event>();
        for (int number = 0; number < 200; number++) {
            small.add(new Event("text", "message " + number));
        }
        checks.put("pipelined", () -> pipelined(small, 200));
        var big = new ArrayList<Event>();
        for (int number = 0; number < 16; number++) {
            var noise = new byte[MIB];
            new Random(number).nextBytes(noise);
            big.add(new Event("binary", noise));
        }
        checks.put("duplex", () -> pipelined(big, 4));
        checks.put("close-by-client-1000", () -> closeByClient(1000, "done"));
        checks.put("close-by-client-4001", () -> closeByClient(4001, "κόσμε"));
        checks.put("close-by-server", Client::closeByServer);
        checks.put("subprotocol-chosen", () -> subprotocol("chat.v2", "chat.v1", "chat.v2"));
        // The client goes on without one.
        checks.put("subprotocol-refused", () -> subprotocol("", "chat.v1"));
        checks.put("traffic", Client::traffic);
        return checks;
    }

    static boolean run(String name, Check check) {
        try {
            check.run();
            System.out.println("ok java-" + name);
            return true;
        } catch (Exception | AssertionError problem) {
            System.out.println("FAIL java-" + name + ": " + problem);
            return false;
        }
    }

    public static void main(String[] command) throws Exception {
        var server = new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT).start();
        int failed = 0;
        try (var output = server.inputReader()) {
            var found = Pattern.compile("ws://[\\w.:\\[\\]]+").matcher(String.valueOf(output.readLine()));
            check(found.find(), "the server printed no address");
            peer = URI.create(found.group());
            for (var check : checks().entrySet()) {
                failed += run(check.getKey(), check.getValue()) ? 0 : 1;
            }
        } finally {
            server.destroy();
        }
        // The HTTP client's threads would go on.
        System.exit(failed == 0 ? 0 : 1);
    }
}
