/* The load on the proxy under test: HTTP/1.1 clients that check every response.
 *
 *     load --proxy HOST:PORT --via forward|tunnel|direct --port ORIGINPORT [options]
 *
 * See usage() for the options.  One thread, epoll, OpenSSL.  The result is one JSON object on standard output.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEAD = 8192, SMALL = 1024, READ = 1 << 18, STALL_SECONDS = 10, MAX_ERRORS = 1000 };

enum state {
    CLOSED,     /* no socket */
    CONNECTING, /* to the proxy */
    TUNNELLING, /* CONNECT sent */
    HANDSHAKE,  /* TLS with the server in the tunnel */
    BUSY,       /* a request is in progress */
    RESTING,    /* open and idle */
};

enum framing { BY_LENGTH, BY_CHUNKS, BY_CLOSE };

struct connection {
    int fd;
    enum state state;
    SSL *ssl;
    int host;           /* index of the name of the tunnel, or of the next request */
    int wants_write;    /* registered for EPOLLOUT */
    int answered;       /* responses on this connection so far */
    int was_denied;     /* the last response was a 403: the proxy may close */
    uint64_t began;     /* ns */
    /* the request */
    char out[1024];
    size_t out_length, out_sent;
    uint64_t upload_left;
    int expects_denial;
    char expected[256]; /* the content of this URL */
    /* the response */
    char head[HEAD];
    size_t head_length;
    int head_done, status, close_after;
    enum framing framing;
    uint64_t left;      /* of the content, or of the chunk */
    int chunk_state;    /* 0 size, 1 data, 2 CRLF after data, 3 trailer */
    char line[64];
    size_t line_length;
    uint64_t received;
    char content[SMALL];
};

static struct {
    struct sockaddr_in proxy;
    int forward, direct, tls, port, connections, keep_alive, first_host, hosts, denied_every, idle, gate;
    uint64_t units, warmup, download, upload;
    double seconds;
    const char *ca, *host;
} options = {.connections = 32, .hosts = 1, .units = 1000};

static struct {
    uint64_t issued, target, completed, measured_from;
    uint64_t units, denied, errors, wrong, bytes, started;
    uint64_t moved; /* bytes that were taken or given, warm-up and heads included: a sign of life */
    int measuring, stopping;
    char first_error[256];
    float *latencies; /* us */
    size_t latency_count;
} run;

static int poller;
static SSL_CTX *context;
static struct connection *all;
static char input[READ], filler[1 << 16];
static uint64_t next_connection;

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void begin_unit(struct connection *c);
static void send_request(struct connection *c);

static void host_name(int index, char *name, size_t size)
{
    if (options.host != NULL)
        snprintf(name, size, "%s", options.host);
    else
        snprintf(name, size, "h%03d.bench.test", options.first_host + index);
}

static void want(struct connection *c, int writing)
{
    if (c->wants_write == writing)
        return;
    c->wants_write = writing;
    struct epoll_event event = {.events = EPOLLIN | (writing ? EPOLLOUT : 0u), .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &event);
}

static void close_connection(struct connection *c)
{
    if (c->ssl != NULL) {
        SSL_shutdown(c->ssl);
        SSL_free(c->ssl);
        c->ssl = NULL;
    }
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    c->state = CLOSED;
}

static void next_unit(struct connection *c)
{
    run.completed++;
    begin_unit(c);
}

static void note(uint64_t *counter, const char *format, ...)
{
    (*counter)++;
    if (run.first_error[0] == '\0') {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(run.first_error, sizeof run.first_error, format, arguments);
        va_end(arguments);
        for (char *p = run.first_error; *p; p++)
            if (*p == '"' || *p == '\\' || (unsigned char)*p < 32 || (unsigned char)*p > 126)
                *p = ' ';
    }
}

static void failed(struct connection *c, const char *what)
{
    char name[64];
    host_name(c->host, name, sizeof name);
    note(&run.errors, "%s (state %d, %s, after %d answers)", what, c->state, name, c->answered);
    if (c->state < BUSY)
        run.issued++; /* its request is never sent */
    close_connection(c);
    if (run.errors > MAX_ERRORS)
        run.stopping = 1;
    next_unit(c);
}

/* -- the response */

static void unit_done(struct connection *c)
{
    uint64_t now = now_ns();
    c->answered++;
    c->was_denied = c->status == 403;
    if (run.measuring) {
        run.units++;
        run.bytes += c->received;
        if (run.latency_count < options.units)
            run.latencies[run.latency_count++] = (float)((double)(now - c->began) / 1000.0);
        if (c->status == 403)
            run.denied++;
    }
    if (c->expects_denial) {
        if (c->status != 403)
            note(&run.wrong, "a denied URL was answered with %d", c->status);
    } else if (c->status != 200) {
        note(&run.wrong, "status %d: %.*s", c->status, (int)(c->received < 120 ? c->received : 120), c->content);
    } else if (options.download) {
        if (c->received != options.download << 20)
            note(&run.wrong, "%llu bytes came of %llu MiB", (unsigned long long)c->received,
                 (unsigned long long)options.download);
    } else if (!options.upload) {
        size_t length = strlen(c->expected);
        if (c->received != length || memcmp(c->content, c->expected, length) != 0)
            note(&run.wrong, "expected %.*s got %.*s", (int)length - 1, c->expected,
                 (int)(c->received < 80 ? c->received : 80), c->content);
    }
    if (!options.keep_alive || c->close_after) {
        if (!options.idle)
            close_connection(c);
        else if (c->close_after)
            note(&run.errors, "the proxy does not keep the connection");
    }
    if (c->state != CLOSED)
        c->state = RESTING;
    next_unit(c);
}

static int header_is(const char *line, const char *name, const char **value)
{
    size_t length = strlen(name);
    if (strncasecmp(line, name, length) != 0 || line[length] != ':')
        return 0;
    for (*value = line + length + 1; **value == ' '; (*value)++)
        ;
    return 1;
}

static void read_head(struct connection *c)
{
    c->status = strncmp(c->head, "HTTP/1.", 7) == 0 ? atoi(c->head + 9) : 0;
    c->close_after = strncmp(c->head, "HTTP/1.0", 8) == 0;
    c->framing = BY_CLOSE;
    c->chunk_state = 0;
    c->line_length = 0;
    c->left = 0;
    for (char *line = strstr(c->head, "\r\n"); line != NULL && line[2] != '\r'; line = strstr(line + 2, "\r\n")) {
        const char *value;
        if (header_is(line + 2, "Content-Length", &value)) {
            c->framing = BY_LENGTH;
            c->left = strtoull(value, NULL, 10);
        } else if (header_is(line + 2, "Transfer-Encoding", &value)) {
            c->framing = BY_CHUNKS;
        } else if (header_is(line + 2, "Connection", &value)) {
            if (strncasecmp(value, "close", 5) == 0)
                c->close_after = 1;
            else if (strncasecmp(value, "keep-alive", 10) == 0)
                c->close_after = 0;
        }
    }
    if (c->framing == BY_CLOSE)
        c->close_after = 1;
}

static void keep_content(struct connection *c, const char *data, size_t n)
{
    if (c->received < SMALL) {
        size_t room = SMALL - (size_t)c->received;
        memcpy(c->content + c->received, data, n < room ? n : room);
    }
    c->received += n;
}

/* Take content; 1 if it is complete, -1 if it is invalid. */
static int take_content(struct connection *c, const char *data, size_t n)
{
    if (c->framing == BY_CLOSE) {
        keep_content(c, data, n);
        return 0;
    }
    if (c->framing == BY_LENGTH) {
        if (n > c->left)
            return -1;
        keep_content(c, data, n);
        c->left -= n;
        return c->left == 0;
    }
    while (n > 0) {
        if (c->chunk_state == 1) {
            size_t part = n < c->left ? n : (size_t)c->left;
            keep_content(c, data, part);
            data += part, n -= part;
            if ((c->left -= part) == 0)
                c->chunk_state = 2;
            continue;
        }
        char byte = *data++;
        n--;
        if (byte != '\n') {
            if (byte != '\r' && c->line_length < sizeof c->line - 1)
                c->line[c->line_length++] = byte;
            continue;
        }
        c->line[c->line_length] = '\0';
        size_t length = c->line_length;
        c->line_length = 0;
        if (c->chunk_state == 2) {
            c->chunk_state = 0;
        } else if (c->chunk_state == 0) {
            c->left = strtoull(c->line, NULL, 16);
            c->chunk_state = c->left ? 1 : 3;
        } else if (length == 0) {
            return n == 0 ? 1 : -1;
        }
    }
    return 0;
}

/* -- sending */

static long raw_write(struct connection *c, const char *data, size_t n)
{
    if (c->ssl == NULL) {
        ssize_t sent = send(c->fd, data, n, MSG_NOSIGNAL);
        return sent >= 0 ? sent : errno == EAGAIN ? 0 : -1;
    }
    int sent = SSL_write(c->ssl, data, (int)n);
    if (sent > 0)
        return sent;
    int error = SSL_get_error(c->ssl, sent);
    return error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ ? 0 : -1;
}

/* Send the pending data; 0 if the connection failed. */
static int flush(struct connection *c)
{
    while (c->out_sent < c->out_length) {
        long n = raw_write(c, c->out + c->out_sent, c->out_length - c->out_sent);
        if (n < 0)
            return failed(c, "writing failed"), 0;
        if (n == 0)
            return want(c, 1), 1;
        c->out_sent += (size_t)n;
    }
    while (c->upload_left > 0 && c->state == BUSY) {
        long n = raw_write(c, filler, c->upload_left < sizeof filler ? (size_t)c->upload_left : sizeof filler);
        if (n < 0)
            return failed(c, "uploading failed"), 0;
        if (n == 0)
            return want(c, 1), 1;
        c->upload_left -= (uint64_t)n;
        run.moved += (uint64_t)n;
        if (run.measuring)
            run.bytes += (uint64_t)n;
    }
    want(c, 0);
    return 1;
}

static void begin_answer(struct connection *c)
{
    c->head_length = 0;
    c->head_done = 0;
    c->received = 0;
}

static void send_request(struct connection *c)
{
    char name[64], path[96], target[192];
    uint64_t number = ++run.issued;
    if (options.forward) {
        c->host = (int)(next_connection++ % (uint64_t)options.hosts);
    }
    host_name(c->host, name, sizeof name);
    c->expects_denial = options.denied_every && number % (uint64_t)options.denied_every == 0;
    if (c->expects_denial)
        snprintf(path, sizeof path, "/denied/%llu", (unsigned long long)number);
    else if (options.download)
        snprintf(path, sizeof path, "/bulk/%llu", (unsigned long long)options.download);
    else if (options.upload)
        snprintf(path, sizeof path, "/upload");
    else
        snprintf(path, sizeof path, "/small/%llu", (unsigned long long)number);
    if (options.forward)
        snprintf(target, sizeof target, "http://%s:%d%s", name, options.port, path);
    else
        snprintf(target, sizeof target, "%s", path);
    int number_of_name = options.host == NULL ? options.first_host + c->host : atoi(options.host + 1);
    snprintf(c->expected, sizeof c->expected, "%s %s 127.0.%d.%d\n", name, path, 1 + number_of_name / 250,
             1 + number_of_name % 250);
    int n = snprintf(c->out, sizeof c->out,
                     "%s %s HTTP/1.1\r\nHost: %s:%d\r\nUser-Agent: egressproxy-benchmark\r\n"
                     "Accept: application/json\r\nAccept-Language: en\r\n",
                     options.upload ? "POST" : "GET", target, name, options.port);
    if (options.upload) {
        c->upload_left = options.upload << 20;
        n += snprintf(c->out + n, sizeof c->out - (size_t)n, "Content-Length: %llu\r\n",
                      (unsigned long long)c->upload_left);
    }
    if (options.forward && !options.keep_alive)
        n += snprintf(c->out + n, sizeof c->out - (size_t)n, "Connection: close\r\n");
    n += snprintf(c->out + n, sizeof c->out - (size_t)n, "\r\n");
    c->out_length = (size_t)n;
    c->out_sent = 0;
    c->state = BUSY;
    begin_answer(c);
    if (options.keep_alive)
        c->began = now_ns();
    flush(c);
}

/* -- opening */

static void open_connection(struct connection *c)
{
    c->answered = 0;
    c->was_denied = 0;
    c->wants_write = 1;
    c->upload_left = 0;
    if (!options.forward)
        c->host = (int)(next_connection++ % (uint64_t)options.hosts);
    c->began = now_ns();
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0) {
        perror("load: socket");
        exit(1);
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    c->state = CONNECTING;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event);
    if (connect(c->fd, (struct sockaddr *)&options.proxy, sizeof options.proxy) < 0 && errno != EINPROGRESS)
        failed(c, "connecting failed");
}

static void begin_unit(struct connection *c)
{
    if (run.stopping || run.issued >= run.target)
        return;
    if (options.idle && c->answered)
        return;
    if (c->state == RESTING) {
        send_request(c);
    } else if (c->state == CLOSED) {
        open_connection(c);
    }
}

static void send_connect(struct connection *c)
{
    char name[64];
    host_name(c->host, name, sizeof name);
    c->out_length = (size_t)snprintf(c->out, sizeof c->out, "CONNECT %s:%d HTTP/1.1\r\nHost: %s:%d\r\n\r\n", name,
                                     options.port, name, options.port);
    c->out_sent = 0;
    c->state = TUNNELLING;
    begin_answer(c);
    flush(c);
}

/* Ready for a request, unless other connections took the last requests meanwhile. */
static void ready(struct connection *c)
{
    c->state = RESTING;
    if (run.issued < run.target && !run.stopping)
        send_request(c);
    else if (!options.keep_alive)
        close_connection(c);
}

static void handshake(struct connection *c)
{
    int result = SSL_do_handshake(c->ssl);
    if (result == 1) {
        want(c, 0);
        ready(c);
        return;
    }
    int error = SSL_get_error(c->ssl, result);
    if (error == SSL_ERROR_WANT_READ)
        want(c, 0);
    else if (error == SSL_ERROR_WANT_WRITE)
        want(c, 1);
    else {
        unsigned long code = ERR_get_error();
        const char *reason = code ? ERR_reason_error_string(code) : "closed";
        failed(c, reason != NULL ? reason : "TLS");
    }
}

static void tunnel_open(struct connection *c)
{
    if (!options.tls) {
        ready(c);
        return;
    }
    char name[64];
    host_name(c->host, name, sizeof name);
    c->ssl = SSL_new(context);
    SSL_set_fd(c->ssl, c->fd);
    SSL_set_tlsext_host_name(c->ssl, name);
    SSL_set1_host(c->ssl, name);
    SSL_set_connect_state(c->ssl);
    c->state = HANDSHAKE;
    handshake(c);
}

/* -- reading */

static void closed_by_proxy(struct connection *c)
{
    if (c->state == BUSY && c->head_done && c->framing == BY_CLOSE) {
        unit_done(c);
    } else if (c->state == RESTING) {
        close_connection(c);
    } else if (c->state == BUSY && c->was_denied && c->head_length == 0) {
        /* The proxy closed after a denial while the next request was in transit: send it again. */
        run.issued--;
        close_connection(c);
        begin_unit(c);
    } else {
        failed(c, "closed by the proxy");
    }
}

/* Process the data that was read; 0 to stop reading from the connection. */
static int take(struct connection *c, const char *data, size_t n)
{
    run.moved += n;
    if (c->state == RESTING) {
        note(&run.errors, "an answer to nothing");
        close_connection(c);
        return 0;
    }
    if (!c->head_done) {
        size_t room = HEAD - 1 - c->head_length, before = c->head_length;
        size_t part = n < room ? n : room;
        memcpy(c->head + before, data, part);
        c->head_length += part;
        c->head[c->head_length] = '\0';
        char *end = strstr(c->head + (before > 3 ? before - 3 : 0), "\r\n\r\n");
        if (end == NULL) {
            if (c->head_length < HEAD - 1)
                return 1;
            return failed(c, "the head is too long"), 0;
        }
        size_t used = (size_t)(end + 4 - c->head) - before;
        end[2] = '\0';
        c->head_done = 1;
        data += used, n -= used;
        if (c->state == TUNNELLING) {
            if (strncmp(c->head + 8, " 200", 4) != 0 || n > 0)
                return failed(c, "CONNECT was not answered with 200"), 0;
            tunnel_open(c);
            return c->state != CLOSED;
        }
        memcpy(end, "\r\n\r\n", 4);
        read_head(c);
        if (c->framing == BY_LENGTH && c->left == 0) {
            unit_done(c);
            return c->state != CLOSED;
        }
    }
    if (n == 0)
        return 1;
    int done = take_content(c, data, n);
    if (done < 0)
        return failed(c, "the content is not framed as announced"), 0;
    if (done)
        unit_done(c);
    return c->state != CLOSED;
}

static void readable(struct connection *c)
{
    if (c->ssl == NULL) {
        ssize_t n = recv(c->fd, input, READ, 0);
        if (n > 0)
            take(c, input, (size_t)n);
        else if (n == 0 || errno != EAGAIN)
            closed_by_proxy(c);
        return;
    }
    SSL *ssl = c->ssl;
    do {
        int n = SSL_read(ssl, input, READ);
        if (n > 0) {
            if (!take(c, input, (size_t)n) || c->ssl != ssl)
                return;
            continue;
        }
        int error = SSL_get_error(ssl, n);
        if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) {
            ERR_clear_error();
            closed_by_proxy(c);
        }
        return;
    } while (SSL_pending(ssl) > 0 || SSL_has_pending(ssl));
}

static void event_on(struct connection *c, unsigned events)
{
    switch (c->state) {
    case CLOSED:
        return;
    case CONNECTING: {
        int error = 0;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &(socklen_t){sizeof error});
        if (error)
            failed(c, strerror(error));
        else if (options.forward)
            ready(c);
        else if (options.direct)
            tunnel_open(c);
        else
            send_connect(c);
        return;
    }
    case HANDSHAKE:
        handshake(c);
        return;
    default:
        break;
    }
    if ((events & EPOLLOUT) && !flush(c))
        return;
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && c->state != CLOSED)
        readable(c);
}

/* -- the run */

static void work_until_done(double seconds)
{
    uint64_t last_moved = run.moved, last_change = now_ns(), began = last_change;
    while (run.completed < run.target) {
        struct epoll_event events[256];
        int n = epoll_wait(poller, events, 256, 200);
        for (int i = 0; i < n; i++)
            event_on(events[i].data.ptr, events[i].events);
        uint64_t now = now_ns();
        if (run.moved != last_moved) {
            last_moved = run.moved;
            last_change = now;
        } else if (now - last_change > STALL_SECONDS * 1000000000ull) {
            note(&run.errors, "no answer for %d seconds", STALL_SECONDS);
            return;
        }
        if (run.stopping || (seconds > 0 && (double)(now - began) / 1e9 > seconds))
            if (run.target > run.issued)
                run.target = run.issued;
    }
}

static void begin(uint64_t units)
{
    run.target = run.issued + units;
    run.completed = run.issued;
    for (int i = 0; i < options.connections; i++)
        begin_unit(&all[i]);
}

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double percentile(double share)
{
    return run.latency_count ? (double)run.latencies[(size_t)(share * (double)(run.latency_count - 1))] : 0.0;
}

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void usage(void)
{
    fputs("load --proxy HOST:PORT --via forward|tunnel|direct --port ORIGINPORT\n"
          "                           direct: the address is that of the origin, without a proxy\n"
          "  [--tls --ca FILE]        TLS inside the tunnel, with certificates of this CA\n"
          "  [--connections C]        at once (32)\n"
          "  [--units N]              requests (1000), after [--warmup N] that do not count (0)\n"
          "  [--seconds S]            stop earlier after so long\n"
          "  [--keep-alive]           many requests per connection, instead of one\n"
          "  [--first-host I] [--hosts K] | [--host NAME]\n"
          "                           hI.bench.test and the K - 1 that follow, one after the other: the next one for\n"
          "                           each request (forward) or each connection (tunnel)\n"
          "  [--denied-every M]       every M-th request is for /denied/, and must get 403\n"
          "  [--download MIB | --upload MIB]  instead of small answers\n"
          "  [--idle]                 one request on each connection, then hold them until standard input closes\n"
          "  [--gate]                 wait for a line on standard input between warm-up and measured part\n",
          stderr);
    exit(2);
}

static void read_options(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        if (strcmp(name, "--tls") == 0) { options.tls = 1; continue; }
        if (strcmp(name, "--keep-alive") == 0) { options.keep_alive = 1; continue; }
        if (strcmp(name, "--idle") == 0) { options.idle = 1; continue; }
        if (strcmp(name, "--gate") == 0) { options.gate = 1; continue; }
        if (i + 1 == argc)
            usage();
        char *value = argv[++i];
        if (strcmp(name, "--proxy") == 0) {
            char *colon = strrchr(value, ':');
            if (colon == NULL)
                usage();
            *colon = '\0';
            options.proxy = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(colon + 1))};
            if (inet_pton(AF_INET, value, &options.proxy.sin_addr) != 1)
                usage();
        } else if (strcmp(name, "--via") == 0) {
            options.forward = strcmp(value, "forward") == 0;
            options.direct = strcmp(value, "direct") == 0;
        } else if (strcmp(name, "--ca") == 0) options.ca = value;
        else if (strcmp(name, "--port") == 0) options.port = atoi(value);
        else if (strcmp(name, "--connections") == 0) options.connections = atoi(value);
        else if (strcmp(name, "--units") == 0) options.units = strtoull(value, NULL, 10);
        else if (strcmp(name, "--warmup") == 0) options.warmup = strtoull(value, NULL, 10);
        else if (strcmp(name, "--seconds") == 0) options.seconds = atof(value);
        else if (strcmp(name, "--first-host") == 0) options.first_host = atoi(value);
        else if (strcmp(name, "--hosts") == 0) options.hosts = atoi(value);
        else if (strcmp(name, "--host") == 0) options.host = value;
        else if (strcmp(name, "--denied-every") == 0) options.denied_every = atoi(value);
        else if (strcmp(name, "--download") == 0) options.download = strtoull(value, NULL, 10);
        else if (strcmp(name, "--upload") == 0) options.upload = strtoull(value, NULL, 10);
        else usage();
    }
    if (options.proxy.sin_port == 0 || options.port == 0 || options.connections < 1 || options.hosts < 1 ||
        (options.tls && (options.forward || options.ca == NULL)))
        usage();
}

static void prepare(void)
{
    poller = epoll_create1(0);
    all = calloc((size_t)options.connections, sizeof *all);
    run.latencies = malloc((size_t)(options.units + 1) * sizeof *run.latencies);
    if (all == NULL || run.latencies == NULL)
        exit(1);
    for (int i = 0; i < options.connections; i++)
        all[i].fd = -1;
    for (size_t i = 0; i < sizeof filler; i++)
        filler[i] = (char)rand();
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (options.tls) {
        context = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        SSL_CTX_set_read_ahead(context, 1);
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
        if (SSL_CTX_load_verify_locations(context, options.ca, NULL) != 1) {
            fprintf(stderr, "load: cannot read %s\n", options.ca);
            exit(1);
        }
    }
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    prepare();
    if (options.warmup && !options.idle) {
        begin(options.warmup);
        work_until_done(0);
        if (run.errors || run.wrong) {
            printf("{\"units\": 0, \"denied\": 0, \"errors\": %llu, \"wrong\": %llu, \"first_error\": \"%s\", "
                   "\"seconds\": 0, \"bytes\": 0, \"p50_us\": 0, \"p99_us\": 0, \"cpu_seconds\": 0}\n",
                   (unsigned long long)run.errors, (unsigned long long)run.wrong, run.first_error);
            return 0;
        }
    }
    char line[64];
    if (options.gate) {
        puts("measuring");
        fflush(stdout);
        if (fgets(line, sizeof line, stdin) == NULL)
            return 1;
    }
    run.measuring = 1;
    run.started = now_ns();
    double cpu = cpu_seconds();
    begin(options.idle ? (uint64_t)options.connections : options.units);
    work_until_done(options.seconds);
    double seconds = (double)(now_ns() - run.started) / 1e9;
    cpu = cpu_seconds() - cpu;
    if (options.idle) {
        puts("idle");
        fflush(stdout);
        while (fgets(line, sizeof line, stdin) != NULL)
            ;
    }
    qsort(run.latencies, run.latency_count, sizeof *run.latencies, by_size);
    printf("{\"units\": %llu, \"denied\": %llu, \"errors\": %llu, \"wrong\": %llu, \"first_error\": \"%s\", "
           "\"seconds\": %.6f, \"bytes\": %llu, \"p50_us\": %.1f, \"p99_us\": %.1f, \"cpu_seconds\": %.4f}\n",
           (unsigned long long)run.units, (unsigned long long)run.denied, (unsigned long long)run.errors,
           (unsigned long long)run.wrong, run.first_error, seconds, (unsigned long long)run.bytes, percentile(0.5),
           percentile(0.99), cpu);
    return 0;
}
