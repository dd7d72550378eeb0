/* WebSocket echo on uWebSockets; compiled with PEER_TLS, over TLS by OpenSSL.
 *
 * Peculiar to the library: it answers 505 to a handshake whose first line arrives in two pieces, and closes a connection
 * at the client's FIN at once, with output pending. */

/* What the other peers compress with: 1. The library says Z_DEFAULT_COMPRESSION, which is 6. */
#include <zlib.h>
#undef Z_DEFAULT_COMPRESSION
#define Z_DEFAULT_COMPRESSION Z_BEST_SPEED

#include <App.h>

#include <sys/resource.h>

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

namespace {

constexpr unsigned PAYLOAD_MAX = 16 * 1024 * 1024;
/* A subscriber that leaves more than this untaken is closed; an echo is kept whatever it takes. */
constexpr unsigned UNSENT_MAX = 64 * 1024 * 1024;
constexpr char EVERYBODY[] = "everybody";

#ifdef PEER_TLS
constexpr bool TLS = true;
#else
constexpr bool TLS = false;
#endif
constexpr const char *NAME = TLS ? "uwebsockets-tls" : "uwebsockets";
using App = uWS::TemplatedApp<TLS>;

constexpr char HELP[] =
    "Usage: uwebsockets [OPTION]...\n"
    "A WebSocket echo server to measure beside others.\n"
    "\n"
    "  --addr HOST:PORT   listen there (default 127.0.0.1:1833; port 0: the system chooses)\n"
    "  --framing NAME     websocket (default), or websocket-deflate: with permessage-deflate\n"
    "  --workers N        event loops; only 1 (default) is possible\n"
    "  --broadcast        send every message to all connections, not just back\n"
    "  --tls-cert FILE    PEM file with the certificate (uwebsockets-tls)\n"
    "  --tls-key FILE     PEM file with the private key (uwebsockets-tls)\n"
    "  --help             print this\n";

struct Options {
    std::string host = "127.0.0.1";
    int port = 1833;
    bool deflate = false;
    bool broadcast = false;
    std::string tls_cert, tls_key;
};

struct Nothing {};

[[noreturn]] void fail(const std::string &problem)
{
    std::fprintf(stderr, "%s: %s\n", NAME, problem.c_str());
    std::exit(EXIT_FAILURE);
}

void parse_address(std::string_view text, Options &options)
{
    size_t colon = text.rfind(':');
    if (colon == std::string_view::npos || colon == 0)
        fail("--addr: HOST:PORT is wanted");
    std::string_view host = text.substr(0, colon), port = text.substr(colon + 1);
    if (host.front() == '[' && host.back() == ']')
        host = host.substr(1, host.size() - 2);
    const char *end = port.data() + port.size();
    auto [rest, error] = std::from_chars(port.data(), end, options.port);
    if (error != std::errc() || rest != end || options.port < 0 || options.port > 65535)
        fail("--addr: HOST:PORT is wanted");
    options.host = host;
}

Options parse(int argc, char **argv)
{
    Options options;
    for (int i = 1; i < argc; i++) {
        std::string_view name = argv[i];
        if (name == "--help") {
            std::fputs(HELP, stdout);
            std::exit(EXIT_SUCCESS);
        }
        if (name == "--broadcast") {
            options.broadcast = true;
            continue;
        }
        bool of_tls = TLS && (name == "--tls-cert" || name == "--tls-key");
        if (name != "--addr" && name != "--framing" && name != "--workers" && !of_tls)
            fail("no such option: " + std::string(name));
        if (++i == argc)
            fail(std::string(name) + ": a value is missing");
        std::string_view value = argv[i];
        if (name == "--addr")
            parse_address(value, options);
        else if (name == "--workers" && value != "1")
            fail("--workers: this peer has one event loop");
        else if (name == "--framing" && value != "websocket" && value != "websocket-deflate")
            fail("--framing: websocket or websocket-deflate");
        else if (name == "--framing")
            options.deflate = value == "websocket-deflate";
        else if (of_tls)
            (name == "--tls-cert" ? options.tls_cert : options.tls_key) = value;
    }
    if (TLS && (options.tls_cert.empty() || options.tls_key.empty()))
        fail("--tls-cert and --tls-key are needed");
    return options;
}

void raise_descriptor_limit()
{
    rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        fail("getrlimit");
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        fail("setrlimit");
}

void announce(const std::string &host, us_listen_socket_t *listener)
{
    const char *form = host.find(':') == std::string::npos ? "listening on %s:%d\n" : "listening on [%s]:%d\n";
    std::printf(form, host.c_str(), us_socket_local_port(TLS, reinterpret_cast<us_socket_t *>(listener)));
    std::fflush(stdout);
}

} // namespace

int main(int argc, char **argv)
{
    const Options options = parse(argc, argv);
    raise_descriptor_limit();

    uWS::SocketContextOptions certificate;
    certificate.cert_file_name = options.tls_cert.c_str();
    certificate.key_file_name = options.tls_key.c_str();
    App app(TLS ? certificate : uWS::SocketContextOptions());
    if (app.constructorFailed())
        fail("the certificate or its key cannot be used");
    App::WebSocketBehavior<Nothing> behavior;
    /* Shared: without context takeover, and without memory of each connection's own. */
    behavior.compression = options.deflate
        ? static_cast<uWS::CompressOptions>(uWS::SHARED_COMPRESSOR | uWS::SHARED_DECOMPRESSOR)
        : uWS::DISABLED;
    behavior.maxPayloadLength = PAYLOAD_MAX;
    behavior.idleTimeout = 0;
    if (options.broadcast) {
        behavior.maxBackpressure = UNSENT_MAX;
        behavior.closeOnBackpressureLimit = true;
        behavior.open = [](auto *socket) { socket->subscribe(EVERYBODY); };
        behavior.message = [&](auto *, std::string_view message, uWS::OpCode opcode) {
            app.publish(EVERYBODY, message, opcode, options.deflate);
        };
    } else {
        behavior.maxBackpressure = 0;
        behavior.message = [&](auto *socket, std::string_view message, uWS::OpCode opcode) {
            socket->send(message, opcode, options.deflate);
        };
    }
    app.ws<Nothing>("/*", std::move(behavior))
        .listen(options.host, options.port, LIBUS_LISTEN_EXCLUSIVE_PORT, [&](us_listen_socket_t *listener) {
            if (listener == nullptr)
                fail("cannot listen on " + options.host + ":" + std::to_string(options.port));
            announce(options.host, listener);
        })
        .run();
    fail("the event loop has ended");
}
