// An echo server of uWebSockets with its defaults, and compression, which is off by default.
//
//     uwebsockets 127.0.0.1:9001

#include "App.h"

#include <cstdlib>
#include <iostream>
#include <string>

int main(int count, char **arguments) {
    struct Nothing {};
    std::string address = count > 1 ? arguments[1] : "127.0.0.1:0";
    std::string host = address.substr(0, address.rfind(':'));
    int port = std::atoi(address.substr(address.rfind(':') + 1).c_str());

    uWS::App app;
    app.ws<Nothing>("/*", {
        .compression = uWS::SHARED_COMPRESSOR,
        .message = [](auto *socket, std::string_view message, uWS::OpCode opcode) {
            socket->send(message, opcode, true);
        },
    });
    app.listen(host, port, [&host](auto *listener) {
        if (!listener) {
            std::exit(1);
        }
        int bound = us_socket_local_port(0, (us_socket_t *) listener);
        std::cout << "listening on " << host << ":" << bound << std::endl;
    });
    app.run();
}
