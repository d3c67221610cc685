// websocketpp, for foreign.py. It sends each message in one frame.

#include "hex.hpp"

#include <thread>
#include <websocketpp/client.hpp>
#include <websocketpp/config/asio_no_tls_client.hpp>
#include <websocketpp/extensions/permessage_deflate/enabled.hpp>
#include <websocketpp/version.hpp>

struct Config : websocketpp::config::asio_client {
    struct Deflate {};
    using permessage_deflate_type = websocketpp::extensions::permessage_deflate::enabled<Deflate>;
};

using Client = websocketpp::client<Config>;
using websocketpp::frame::opcode::binary;
using websocketpp::frame::opcode::text;

void open(Client& client, websocketpp::connection_hdl& current, const std::vector<std::string>& words) {
    websocketpp::lib::error_code failed;
    auto connection = client.get_connection(words[1], failed);
    if (words.size() > 2) {
        size_t begin = 0, end;
        while ((end = words[2].find(',', begin)) != std::string::npos) {
            connection->add_subprotocol(words[2].substr(begin, end - begin));
            begin = end + 1;
        }
        connection->add_subprotocol(words[2].substr(begin));
    }
    current = connection->get_handle();
    client.connect(connection);
}

int main() {
    Client client;
    websocketpp::connection_hdl current;
    client.clear_access_channels(websocketpp::log::alevel::all);
    client.clear_error_channels(websocketpp::log::elevel::all);
    client.init_asio();
    client.start_perpetual();
    client.set_open_handler([&](auto handle) {
        auto connection = client.get_con_from_hdl(handle);
        auto extensions = connection->get_response_header("Sec-WebSocket-Extensions");
        auto subprotocol = connection->get_response_header("Sec-WebSocket-Protocol");
        say("open", subprotocol.empty() ? "-" : subprotocol, extensions.empty() ? "-" : without_spaces(extensions));
    });
    client.set_fail_handler([&](auto handle) {
        say("failed", client.get_con_from_hdl(handle)->get_ec().message());
    });
    client.set_message_handler([&](auto, auto message) {
        say(message->get_opcode() == text ? "text" : "binary", hex(message->get_payload()));
    });
    client.set_pong_handler([&](auto, std::string payload) { say("pong", hex(payload)); });
    client.set_close_handler([&](auto handle) {
        auto connection = client.get_con_from_hdl(handle);
        say("closed", std::to_string(connection->get_remote_close_code()), hex(connection->get_remote_close_reason()));
    });
    std::thread([&] { client.run(); }).detach();
    auto version = std::to_string(websocketpp::major_version) + "." + std::to_string(websocketpp::minor_version) + "." +
                   std::to_string(websocketpp::patch_version);
    say("client", "websocketpp", version, "deflate", "ping");
    for (auto words = next_line(); !words.empty(); words = next_line()) {
        if (words[0] == "open") open(client, current, words);
        if (words[0] == "text") client.send(current, unhex(words[1]), text);
        if (words[0] == "binary") client.send(current, unhex(words[1]), binary);
        if (words[0] == "ping") client.ping(current, unhex(words[1]));
        if (words[0] == "close") client.close(current, std::stoi(words[1]), unhex(words[2]));
    }
    _Exit(0);
}
