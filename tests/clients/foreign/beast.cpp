// Boost.Beast, for foreign.py. One thread reads lines and hands them to the one that has the connection.

#include "hex.hpp"

#include <boost/asio.hpp>
#include <boost/beast.hpp>
#include <deque>
#include <memory>
#include <thread>

namespace beast = boost::beast;
namespace websocket = beast::websocket;
using boost::asio::ip::tcp;
using Error = beast::error_code;

/// Asynchronous, since Beast answers Pings inside of a read; each command after the one before.
struct Client : std::enable_shared_from_this<Client> {
    websocket::stream<tcp::socket> stream;
    beast::flat_buffer input;
    std::deque<std::vector<std::string>> commands;

    explicit Client(boost::asio::io_context& loop) : stream(loop) {}

    void open(const std::vector<std::string>& words) {
        auto address = words[1].substr(5);
        auto colon = address.find(':');
        tcp::endpoint peer(boost::asio::ip::make_address(address.substr(0, colon)), std::stoi(address.substr(colon + 1)));
        websocket::permessage_deflate deflate;
        deflate.client_enable = true;
        stream.set_option(deflate);
        stream.set_option(websocket::stream_base::decorator([&](websocket::request_type& request) {
            if (words.size() > 2) request.set(beast::http::field::sec_websocket_protocol, words[2]);
        }));
        stream.control_callback([](websocket::frame_type kind, beast::string_view payload) {
            if (kind == websocket::frame_type::pong) say("pong", hex(std::string(payload)));
        });
        stream.next_layer().connect(peer);
        websocket::response_type response;
        Error failed;
        stream.handshake(response, address, "/", failed);
        if (failed) return say("failed", failed.message());
        auto field = [&](auto name) {
            std::string value(response[name]);
            return value.empty() ? "-" : without_spaces(value);
        };
        using beast::http::field;
        say("open", field(field::sec_websocket_protocol), field(field::sec_websocket_extensions));
        read();
    }

    void read() {
        stream.async_read(input, [self = shared_from_this()](Error failed, size_t) {
            auto reason = self->stream.reason();
            if (failed) return say("closed", std::to_string(reason.code), hex(std::string(reason.reason.c_str())));
            say(self->stream.got_text() ? "text" : "binary", hex(beast::buffers_to_string(self->input.data())));
            self->input.consume(self->input.size());
            self->read();
        });
    }

    void take(std::vector<std::string> words) {
        commands.push_back(std::move(words));
        if (commands.size() == 1) carry_out();
    }

    void carry_out() {
        auto& words = commands.front();
        auto payload = std::make_shared<std::string>(unhex(words.back()));
        auto done = [self = shared_from_this(), payload](Error, size_t) {
            self->commands.pop_front();
            if (!self->commands.empty()) self->carry_out();
        };
        auto done_without_size = [done](Error failed) { done(failed, 0); };
        if (words[0] == "ping") {
            stream.async_ping(websocket::ping_data(*payload), done_without_size);
        } else if (words[0] == "close") {
            websocket::close_reason reason(static_cast<websocket::close_code>(std::stoi(words[1])), *payload);
            stream.async_close(reason, done_without_size);
        } else if (words[0] == "fragments" && words.size() > 2) {
            auto part = std::make_shared<std::string>(unhex(words[1]));
            words.erase(words.begin() + 1);
            stream.text(true);
            stream.async_write_some(false, boost::asio::buffer(*part), [self = shared_from_this(), part](Error, size_t) {
                self->carry_out();
            });
        } else {
            if (words[0] != "fragments") stream.text(words[0] == "text");
            stream.async_write_some(true, boost::asio::buffer(*payload), done);
        }
    }
};

int main() {
    boost::asio::io_context loop;
    auto busy = boost::asio::make_work_guard(loop);
    std::thread([&] { loop.run(); }).detach();
    std::shared_ptr<Client> client;
    say("client", "beast", BOOST_LIB_VERSION, "deflate", "fragments", "ping");
    for (auto words = next_line(); !words.empty(); words = next_line()) {
        boost::asio::post(loop, [&client, &loop, words] {
            if (words[0] == "open") {
                client = std::make_shared<Client>(loop);
                client->open(words);
            } else {
                client->take(words);
            }
        });
    }
    _Exit(0);
}
