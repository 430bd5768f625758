// A feed of values on uWebSockets: the protocol of `wsring serve --demo feed` (docs/command.md), with what the library has for it.
//
// Each key is a topic of the library's. It has nothing for readers who are slow but to drop messages or to close, so all that they have not taken waits
// in memory, without a limit, as for the echo: `delivery` makes no difference, and nothing is conflated. Promises the same numbers and
// counts. The market moves every 5 ms, as the demo's does; the library's timers count milliseconds.

#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "App.h"

namespace feed {

// What a reader has: its keys, each with its number when it subscribed.
struct Reader {
    std::vector<std::pair<unsigned, uint64_t>> keys;
};

struct Market {
    uWS::App *app;
    unsigned rate;
    std::vector<uint64_t> numbers;
    std::vector<uint64_t> cents;
    std::vector<uint64_t> times;
    std::vector<std::string> topics;
    unsigned next = 0;
    uint64_t began = 0;
    uint64_t published = 0;
};

inline Market market;

inline uint64_t now() {
    timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<uint64_t>(time.tv_sec) * 1000000000u + static_cast<uint64_t>(time.tv_nsec);
}

inline std::string_view line(char (&into)[192], unsigned key, uint64_t prev, unsigned merged) {
    const int len = std::snprintf(into, sizeof into,
                                  "{\"key\":\"K%u\",\"seq\":%llu,\"prev\":%llu,\"value\":%llu.%02llu,\"merged\":%u,\"t\":%llu}", key,
                                  static_cast<unsigned long long>(market.numbers[key]), static_cast<unsigned long long>(prev),
                                  static_cast<unsigned long long>(market.cents[key] / 100),
                                  static_cast<unsigned long long>(market.cents[key] % 100), merged,
                                  static_cast<unsigned long long>(market.times[key]));
    return {into, static_cast<size_t>(len)};
}

inline void move(uint64_t at) {
    char text[192];
    const unsigned key = market.next;
    market.next = (market.next + 7919) % static_cast<unsigned>(market.numbers.size());
    market.cents[key] += 1;
    market.times[key] = at;
    const uint64_t prev = market.numbers[key]++;
    market.app->publish(market.topics[key], line(text, key, prev, 1), uWS::OpCode::TEXT, false);
}

inline void on_tick(us_timer_t *) {
    const uint64_t at = now();
    const uint64_t due = (at - market.began) / 1000 * market.rate / 1000000;
    for (; market.published < due; market.published++) {
        move(at);
    }
}

template <typename Socket>
void answer(Socket *ws, std::string_view message) {
    char text[192];
    Reader *reader = ws->getUserData();
    if (message.find("\"stats\"") != std::string_view::npos) {
        unsigned long long published = 0;
        for (const auto &[key, number] : reader->keys) {
            published += market.numbers[key] - number;
        }
        const int len = std::snprintf(text, sizeof text,
                                      "{\"published\":%llu,\"sent\":%llu,\"waiting\":0,\"conflated\":0,\"dropped\":0}", published, published);
        ws->send({text, static_cast<size_t>(len)}, uWS::OpCode::TEXT, false);
        return;
    }
    for (size_t at = message.find("\"K"); at != std::string_view::npos; at = message.find("\"K", at + 2)) {
        const auto key = static_cast<unsigned>(std::strtoul(std::string(message.substr(at + 2, 8)).c_str(), nullptr, 10));
        if (key < market.numbers.size()) {
            ws->subscribe(market.topics[key]);
            ws->send(line(text, key, 0, 0), uWS::OpCode::TEXT, false);
            reader->keys.emplace_back(key, market.numbers[key]);
        }
    }
}

inline void serve(uWS::App &app, unsigned keys, unsigned rate) {
    market.app = &app;
    market.rate = rate;
    market.numbers.assign(keys, 1);
    market.cents.assign(keys, 10000);
    market.times.assign(keys, now());
    for (unsigned key = 0; key < keys; key++) {
        market.topics.push_back("K" + std::to_string(key));
    }
    market.began = now();
    app.ws<Reader>("/feed", {
        .compression = uWS::DISABLED,
        .maxPayloadLength = 1024 * 1024,
        .idleTimeout = 0,
        .maxBackpressure = 0,
        .closeOnBackpressureLimit = false,
        .resetIdleTimeoutOnSend = false,
        .sendPingsAutomatically = false,
        .message = [](auto *ws, std::string_view message, uWS::OpCode) { answer(ws, message); },
    });
    us_timer_t *timer = us_create_timer(reinterpret_cast<us_loop_t *>(uWS::Loop::get()), 0, 0);
    us_timer_set(timer, on_tick, 5, 5);
}

}  // namespace feed
