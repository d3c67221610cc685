// Netty, for foreign.py.

import io.netty.bootstrap.Bootstrap;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.ByteBufUtil;
import io.netty.buffer.Unpooled;
import io.netty.channel.Channel;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInitializer;
import io.netty.channel.SimpleChannelInboundHandler;
import io.netty.channel.nio.NioEventLoopGroup;
import io.netty.channel.socket.nio.NioSocketChannel;
import io.netty.handler.codec.http.DefaultHttpHeaders;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpClientCodec;
import io.netty.handler.codec.http.HttpObjectAggregator;
import io.netty.handler.codec.http.websocketx.BinaryWebSocketFrame;
import io.netty.handler.codec.http.websocketx.CloseWebSocketFrame;
import io.netty.handler.codec.http.websocketx.ContinuationWebSocketFrame;
import io.netty.handler.codec.http.websocketx.PingWebSocketFrame;
import io.netty.handler.codec.http.websocketx.PongWebSocketFrame;
import io.netty.handler.codec.http.websocketx.TextWebSocketFrame;
import io.netty.handler.codec.http.websocketx.WebSocketClientHandshaker;
import io.netty.handler.codec.http.websocketx.WebSocketClientHandshakerFactory;
import io.netty.handler.codec.http.websocketx.WebSocketFrame;
import io.netty.handler.codec.http.websocketx.WebSocketFrameAggregator;
import io.netty.handler.codec.http.websocketx.WebSocketVersion;
import io.netty.handler.codec.http.websocketx.extensions.compression.WebSocketClientCompressionHandler;
import io.netty.util.Version;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.URI;
import java.nio.charset.StandardCharsets;

class Netty extends SimpleChannelInboundHandler<Object> {
    static final int MIB = 1 << 20;
    static final NioEventLoopGroup LOOP = new NioEventLoopGroup(1);
    static Netty client;

    final WebSocketClientHandshaker handshaker;
    volatile Channel channel;
    boolean open;

    Netty(URI url, String subprotocols) {
        handshaker = WebSocketClientHandshakerFactory.newHandshaker(
                url, WebSocketVersion.V13, subprotocols, true, new DefaultHttpHeaders(), MIB);
        new Bootstrap().group(LOOP).channel(NioSocketChannel.class).handler(new ChannelInitializer<Channel>() {
            @Override
            protected void initChannel(Channel channel) {
                channel.pipeline().addLast(new HttpClientCodec(), new HttpObjectAggregator(MIB),
                        WebSocketClientCompressionHandler.INSTANCE, Netty.this);
            }
        }).connect(url.getHost(), url.getPort()).syncUninterruptibly();
    }

    /** Shakes hands on the loop: from another thread, an answer may come before Netty has put its encoder in place. */
    @Override
    public void channelActive(ChannelHandlerContext context) {
        channel = context.channel();
        handshaker.handshake(channel);
    }

    static void say(Object... words) {
        var line = new StringBuilder();
        for (var word : words) {
            line.append(line.length() == 0 ? "" : " ").append(word);
        }
        System.out.println(line);
    }

    @Override
    protected void channelRead0(ChannelHandlerContext context, Object message) {
        if (message instanceof FullHttpResponse response) {
            var extensions = response.headers().get("Sec-WebSocket-Extensions", "-").replace(" ", "");
            handshaker.finishHandshake(channel, response);
            // Messages, and not the frames that carry them.
            context.pipeline().addBefore(context.name(), null, new WebSocketFrameAggregator(MIB));
            open = true;
            var subprotocol = handshaker.actualSubprotocol();
            say("open", subprotocol == null ? "-" : subprotocol, extensions);
        } else if (message instanceof CloseWebSocketFrame close) {
            say("closed", close.statusCode(), ByteBufUtil.hexDump(close.reasonText().getBytes(StandardCharsets.UTF_8)));
            if (channel.isOpen()) {
                channel.writeAndFlush(close.retain());
            }
        } else if (message instanceof PingWebSocketFrame ping) {
            channel.writeAndFlush(new PongWebSocketFrame(ping.content().retain()));
        } else if (message instanceof WebSocketFrame frame) {
            var kind = frame instanceof TextWebSocketFrame ? "text" : frame instanceof PongWebSocketFrame ? "pong" : "binary";
            say(kind, ByteBufUtil.hexDump(frame.content()));
        }
    }

    @Override
    public void exceptionCaught(ChannelHandlerContext context, Throwable cause) {
        say("failed", cause);
        context.close();
    }

    static ByteBuf bytes(String hex) {
        return Unpooled.wrappedBuffer(ByteBufUtil.decodeHexDump(hex));
    }

    void fragments(String[] words) {
        channel.write(new TextWebSocketFrame(false, 0, bytes(words[1])));
        for (int at = 2; at < words.length; at++) {
            channel.writeAndFlush(new ContinuationWebSocketFrame(at == words.length - 1, 0, bytes(words[at])));
        }
    }

    void does(String[] words) {
        switch (words[0]) {
            case "text" -> channel.writeAndFlush(new TextWebSocketFrame(bytes(words[1])));
            case "binary" -> channel.writeAndFlush(new BinaryWebSocketFrame(bytes(words[1])));
            case "ping" -> channel.writeAndFlush(new PingWebSocketFrame(bytes(words[1])));
            case "fragments" -> fragments(words);
            case "close" -> {
                var reason = bytes(words[2]).toString(StandardCharsets.UTF_8);
                channel.writeAndFlush(new CloseWebSocketFrame(Integer.parseInt(words[1]), reason));
            }
            default -> throw new IllegalArgumentException(words[0]);
        }
    }

    public static void main(String[] none) throws Exception {
        var version = Version.identify().get("netty-codec-http").artifactVersion();
        say("client", "netty", version, "deflate", "fragments", "ping", "strict");
        var input = new BufferedReader(new InputStreamReader(System.in));
        for (var line = input.readLine(); line != null; line = input.readLine()) {
            var words = line.split(" ", -1);
            if (words[0].equals("open")) {
                client = new Netty(URI.create(words[1]), words.length > 2 ? words[2] : null);
            } else {
                client.does(words);
            }
        }
    }
}
