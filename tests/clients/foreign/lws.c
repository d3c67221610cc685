// libwebsockets, for foreign.py. Lines come as a file that its loop watches. No compression is offered, as in its
// default: version 4.1 delivers a message that is not compressed for ever once compression is agreed on.

#include <libwebsockets.h>
#include <stdlib.h>
#include <string.h>

enum { MESSAGE_BYTES_MAX = 1 << 20, COMMANDS_MAX = 512 };

static struct lws_context *context;
static struct lws *client;
static char *commands[COMMANDS_MAX]; // a ring: what waits until the connection is writable
static unsigned first, last;
static unsigned char message[MESSAGE_BYTES_MAX];
static size_t message_bytes;
static char close_code[8], close_reason[256], subprotocols[256];

static void say_bytes(const char *kind, const unsigned char *bytes, size_t count) {
    printf("%s ", kind);
    for (size_t at = 0; at < count; at++) printf("%02x", bytes[at]);
    printf("\n");
    fflush(stdout);
}

static int nibble(char digit) {
    return digit <= '9' ? digit - '0' : digit - 'a' + 10;
}

static size_t unhex(const char *digits, unsigned char *bytes) {
    size_t count = 0;
    for (; digits[0] && digits[1]; digits += 2) bytes[count++] = nibble(digits[0]) << 4 | nibble(digits[1]);
    return count;
}

static void open_connection(char *url) {
    struct lws_client_connect_info info = {0};
    char *protocols = strchr(url, ' ');
    if (protocols) *protocols++ = 0;
    char *port = strrchr(url, ':');
    *port++ = 0;
    snprintf(subprotocols, sizeof subprotocols, "%s", protocols ? protocols : "");
    info.context = context;
    info.address = info.host = url + strlen("ws://");
    info.port = atoi(port);
    info.path = "/";
    info.protocol = *subprotocols ? subprotocols : NULL;
    info.local_protocol_name = "adapter";
    info.pwsi = &client;
    lws_client_connect_via_info(&info);
}

/// Sends what the line says; -1 closes the connection, as libwebsockets wants to be told.
static int carry_out(struct lws *wsi, char *line) {
    static unsigned char room[LWS_PRE + MESSAGE_BYTES_MAX];
    char *digits = strchr(line, ' ') + 1;
    if (!strncmp(line, "close", 5)) {
        unsigned char reason[128];
        size_t count = unhex(strchr(digits, ' ') + 1, reason);
        lws_close_reason(wsi, atoi(digits), reason, count);
        snprintf(close_code, sizeof close_code, "%d", atoi(digits));
        return -1;
    }
    size_t count = unhex(digits, room + LWS_PRE);
    int kind = !strncmp(line, "text", 4) ? LWS_WRITE_TEXT : !strncmp(line, "ping", 4) ? LWS_WRITE_PING : LWS_WRITE_BINARY;
    return lws_write(wsi, room + LWS_PRE, count, kind) < 0 ? -1 : 0;
}

static void take(char *line) {
    if (!strncmp(line, "open ", 5)) {
        open_connection(line + 5);
    } else {
        commands[last++ % COMMANDS_MAX] = strdup(line);
        lws_callback_on_writable(client);
    }
}

/// What came of lines; the last one may be incomplete.
static void read_lines(void) {
    static char lines[4 * MESSAGE_BYTES_MAX];
    static size_t filled;
    ssize_t count = read(0, lines + filled, sizeof lines - 1 - filled);
    if (count <= 0) exit(0);
    filled += count;
    lines[filled] = 0;
    char *begin = lines, *end;
    while ((end = strchr(begin, '\n'))) {
        *end = 0;
        take(begin);
        begin = end + 1;
    }
    filled -= begin - lines;
    memmove(lines, begin, filled);
}

static int happens(struct lws *wsi, enum lws_callback_reasons what, void *user, void *in, size_t length) {
    static char subprotocol[64];
    switch (what) {
    case LWS_CALLBACK_RAW_RX_FILE:
        read_lines();
        return 0;
    case LWS_CALLBACK_CLIENT_FILTER_PRE_ESTABLISH:
        // The headers are not there any longer when it is open.
        lws_hdr_copy(wsi, subprotocol, sizeof subprotocol, WSI_TOKEN_PROTOCOL);
        return 0;
    case LWS_CALLBACK_CLIENT_ESTABLISHED:
        close_code[0] = close_reason[0] = 0;
        printf("open %s -\n", *subprotocol ? subprotocol : "-");
        break;
    case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
        printf("failed %s\n", in ? (char *)in : "");
        break;
    case LWS_CALLBACK_CLIENT_RECEIVE:
        if (lws_is_first_fragment(wsi)) message_bytes = 0;
        memcpy(message + message_bytes, in, length);
        message_bytes += length;
        if (lws_is_final_fragment(wsi)) say_bytes(lws_frame_is_binary(wsi) ? "binary" : "text", message, message_bytes);
        return 0;
    case LWS_CALLBACK_CLIENT_RECEIVE_PONG:
        say_bytes("pong", in, length);
        return 0;
    case LWS_CALLBACK_CLIENT_WRITEABLE: {
        if (first == last) return 0;
        char *line = commands[first++ % COMMANDS_MAX];
        int result = carry_out(wsi, line);
        free(line);
        if (first != last && result == 0) lws_callback_on_writable(wsi);
        return result;
    }
    case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE: {
        unsigned char *bytes = in;
        snprintf(close_code, sizeof close_code, "%d", length < 2 ? 1005 : bytes[0] << 8 | bytes[1]);
        snprintf(close_reason, sizeof close_reason, "%.*s", length < 2 ? 0 : (int)length - 2, (char *)bytes + 2);
        return 0;
    }
    case LWS_CALLBACK_CLIENT_CLOSED:
        printf("closed %s", *close_code ? close_code : "1006");
        say_bytes("", (unsigned char *)close_reason, strlen(close_reason));
        return 0;
    default:
        return lws_callback_http_dummy(wsi, what, user, in, length);
    }
    fflush(stdout);
    return 0;
}

int main(void) {
    static const struct lws_protocols protocols[] = {{"adapter", happens, 0, 1 << 16, 0, NULL, 0}, {0}};
    struct lws_context_creation_info info = {0};
    lws_set_log_level(0, NULL);
    info.port = CONTEXT_PORT_NO_LISTEN;
    info.protocols = protocols;
    context = lws_create_context(&info);
    lws_sock_file_fd_type input = {.filefd = 0};
    lws_adopt_descriptor_vhost(lws_get_vhost_by_name(context, "default"), LWS_ADOPT_RAW_FILE_DESC, input, "adapter", NULL);
    printf("client libwebsockets %s ping\n", LWS_LIBRARY_VERSION);
    fflush(stdout);
    while (lws_service(context, 0) >= 0) {}
    return 0;
}
