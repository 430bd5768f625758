// An echo server on uWebSockets, to be measured; with `--feed KEYS RATE` a feed of values on /feed (`feed.h`).
//
// Owns its settings: with `--deflate shared` it accepts permessage-deflate with one compressor for all connections. Promises that no message is dropped and that `/bcast` reaches everybody there, the sender included.
// Replies to the messages of one read leave together without help: the library corks a socket while it reads from it.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "App.h"
#include "feed.h"

namespace {

struct Nothing {};

constexpr const char *TOPIC = "everybody";

template <typename Message>
uWS::App::WebSocketBehavior<Nothing> behavior(bool deflate, Message on_message) {
    return {
        .compression = deflate ? uWS::CompressOptions(uWS::SHARED_COMPRESSOR | uWS::SHARED_DECOMPRESSOR) : uWS::DISABLED,
        .maxPayloadLength = 64 * 1024 * 1024,
        // Off: no other peer has an idle clock.
        .idleTimeout = 0,
        // 0 is no limit: at any other value messages to a reader that far behind are dropped.
        .maxBackpressure = 0,
        .closeOnBackpressureLimit = false,
        .resetIdleTimeoutOnSend = false,
        .sendPingsAutomatically = false,
        .message = on_message,
    };
}

int usage() {
    std::fprintf(stderr, "usage: peer-uwebsockets --listen ADDRESS:PORT [--deflate shared | --feed KEYS RATE]\n");
    return 2;
}

}  // namespace

int main(int argc, char **argv) {
    const bool deflate = argc == 5 && std::strcmp(argv[3], "--deflate") == 0 && std::strcmp(argv[4], "shared") == 0;
    const bool feeds = argc == 6 && std::strcmp(argv[3], "--feed") == 0 && std::atoi(argv[4]) > 0 && std::atoi(argv[5]) > 0;
    if ((argc != 3 && !deflate && !feeds) || std::strcmp(argv[1], "--listen") != 0) {
        return usage();
    }
    const std::string address = argv[2];
    const auto colon = address.rfind(':');
    if (colon == std::string::npos) {
        return usage();
    }
    const std::string host = address.substr(0, colon);
    const int port = std::atoi(address.c_str() + colon + 1);

    uWS::App app;
    auto fan_out = behavior(deflate, [&app, deflate](auto *, std::string_view message, uWS::OpCode opcode) {
        app.publish(TOPIC, message, opcode, deflate);
    });
    fan_out.open = [](auto *ws) { ws->subscribe(TOPIC); };
    app.ws<Nothing>("/bcast", std::move(fan_out));
    if (feeds) {
        feed::serve(app, static_cast<unsigned>(std::atoi(argv[4])), static_cast<unsigned>(std::atoi(argv[5])));
    }
    app.ws<Nothing>("/*", behavior(deflate, [deflate](auto *ws, std::string_view message, uWS::OpCode opcode) {
        ws->send(message, opcode, deflate);
    }));
    bool listening = false;
    app.listen(host, port, [&](auto *socket) {
        listening = socket != nullptr;
        if (listening) {
            std::printf("uWebSockets %s, ws://%s/: epoll, corked, %s, no TLS, no limit on backpressure, "
                        "no idle clock, %s\n", PEER_VERSION, address.c_str(),
                        deflate ? "one compressor for all (libdeflate, zlib)" : "no compression", PEER_BUILD);
            std::fflush(stdout);
        }
    });
    if (!listening) {
        std::fprintf(stderr, "peer-uwebsockets: cannot listen on %s\n", address.c_str());
        return 1;
    }
    app.run();
    return 0;
}
