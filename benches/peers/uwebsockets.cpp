// A server of uWebSockets with its defaults and compression, which is off by default: `/fan`
// publishes to all on `/fan`, any other path echoes. Its event loop is epoll. On `/fan` and on
// `/echo` a message may be longer than the 16 KiB of the default.
//
//     uwebsockets 127.0.0.1:9001
//     CERTIFICATES=FOLDER uwebsockets-tls 127.0.0.1:9001

#include "App.h"

#include <cstdlib>
#include <iostream>
#include <string>

#ifndef LIBUS_USE_EPOLL
#error "the event loop is another one"
#endif

#ifdef LIBUS_USE_OPENSSL
using App = uWS::SSLApp;
static const int over_tls = 1;
#else
using App = uWS::App;
static const int over_tls = 0;
#endif

struct Nothing {};
using Behavior = App::WebSocketBehavior<Nothing>;

static Behavior echo(unsigned longest) {
    return {
        .compression = uWS::SHARED_COMPRESSOR,
        .maxPayloadLength = longest,
        .message = [](auto *socket, std::string_view message, uWS::OpCode opcode) {
            socket->send(message, opcode, true);
        },
    };
}

int main(int count, char **arguments) {
    std::string address = count > 1 ? arguments[1] : "127.0.0.1:0";
    std::string host = address.substr(0, address.rfind(':'));
    int port = std::atoi(address.substr(address.rfind(':') + 1).c_str());

    std::string folder = over_tls ? std::getenv("CERTIFICATES") : "";
    std::string chain = folder + "/chain.pem", key = folder + "/key.pem";
    App app(over_tls ? uWS::SocketContextOptions{.key_file_name = key.c_str(), .cert_file_name = chain.c_str()}
                     : uWS::SocketContextOptions{});
    Behavior fan = {
        .compression = uWS::SHARED_COMPRESSOR,
        .maxPayloadLength = 1024 * 1024,
        .open = [](auto *socket) { socket->subscribe("fan"); },
        .message = [&app](auto *, std::string_view message, uWS::OpCode opcode) {
            app.publish("fan", message, opcode, true);
        },
    };
    app.ws<Nothing>("/fan", std::move(fan));
    app.ws<Nothing>("/echo", echo(1024 * 1024));
    app.ws<Nothing>("/*", echo(16 * 1024));
    app.listen(host, port, [&host](auto *listener) {
        if (!listener) {
            std::exit(1);
        }
        int bound = us_socket_local_port(over_tls, (us_socket_t *) listener);
        std::cout << "listening on " << host << ":" << bound << std::endl;
    });
    app.run();
}
