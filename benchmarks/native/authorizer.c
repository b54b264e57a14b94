/* An authorization service with a very low cost, so that the benchmark measures the proxy that calls it.
 *
 *     authorizer --port N [--delay-ms D] [--more MEMBERS]
 *
 * POST (any path)  200 {"allowed": true}, or 403 with a reason if the body of the request contains "/denied/";
 *                  sent after D milliseconds (below 1000), for any number of concurrent requests.  MEMBERS, as in
 *                  "ttl": 60, are added to the 200 response.
 * GET /count       the number of authorization requests so far, as decimal text.
 *
 * One thread, epoll, keep-alive connections.  Prints "ready" when it listens.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 1 << 16, MAX_FD = 1 << 16, MAX_WAITING = 1 << 16 };

struct connection {
    int fd;
    unsigned generation; /* distinguishes a reused descriptor from that of the request */
    size_t used;
    char buffer[BUFFER];
};

struct waiting {
    uint64_t due;
    int fd;
    unsigned generation;
    int allowed;
};

static struct connection *connections[MAX_FD];
static unsigned generations[MAX_FD];
static struct waiting queue[MAX_WAITING]; /* the delay is the same for all: first in, first out */
static size_t queue_head, queue_length;
static uint64_t delay_ns;
static unsigned long questions;
static char yes[256] = "{\"allowed\": true}";

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void drop(struct connection *c)
{
    connections[c->fd] = NULL;
    close(c->fd);
    free(c);
}

static void answer(int fd, int status, const char *body)
{
    char text[512];
    int length = snprintf(text, sizeof text,
                          "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", status,
                          status == 200 ? "OK" : "Forbidden", strlen(body), body);
    /* A response fits into every socket buffer; a client that does not read it is ignored. */
    if (send(fd, text, (size_t)length, MSG_NOSIGNAL) < 0)
        return;
}

static void decide(int fd, int allowed)
{
    if (allowed)
        answer(fd, 200, yes);
    else
        answer(fd, 403, "{\"allowed\": false, \"reason\": \"benchmark\"}");
}

static void question(struct connection *c, int allowed)
{
    questions++;
    if (delay_ns == 0) {
        decide(c->fd, allowed);
        return;
    }
    if (queue_length == MAX_WAITING) {
        fprintf(stderr, "too many questions at once\n");
        exit(1);
    }
    queue[(queue_head + queue_length++) % MAX_WAITING] =
        (struct waiting){now_ns() + delay_ns, c->fd, c->generation, allowed};
}

/* Take one request off the buffer; 0 if it is incomplete, -1 if it is invalid. */
static int take_request(struct connection *c)
{
    char *end = memmem(c->buffer, c->used, "\r\n\r\n", 4);
    if (end == NULL)
        return c->used == BUFFER ? -1 : 0;
    size_t head = (size_t)(end - c->buffer) + 4, length = 0;
    int chunked = 0;
    for (char *line = c->buffer; line < end;) {
        char *stop = memmem(line, (size_t)(end - line) + 2, "\r\n", 2);
        if (strncasecmp(line, "content-length:", 15) == 0)
            length = strtoul(line + 15, NULL, 10);
        else if (strncasecmp(line, "transfer-encoding:", 18) == 0)
            chunked = 1;
        line = stop + 2;
    }
    size_t body = length;
    if (chunked) {
        /* Sufficient to find the end: no authorization request contains this sequence. */
        char *last = memmem(end + 4, c->used - head, "0\r\n\r\n", 5);
        if (last == NULL)
            return c->used == BUFFER ? -1 : 0;
        body = (size_t)(last + 5 - (end + 4));
    }
    if (head + body > BUFFER)
        return -1;
    if (c->used < head + body)
        return 0;
    if (strncmp(c->buffer, "GET ", 4) == 0) {
        char count[32];
        snprintf(count, sizeof count, "%lu", questions);
        answer(c->fd, 200, count);
    } else {
        question(c, memmem(end + 4, body, "/denied/", 8) == NULL);
    }
    c->used -= head + body;
    memmove(c->buffer, c->buffer + head + body, c->used);
    return 1;
}

static void readable(struct connection *c)
{
    ssize_t n = recv(c->fd, c->buffer + c->used, BUFFER - c->used, 0);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN)
            drop(c);
        return;
    }
    c->used += (size_t)n;
    int taken;
    while ((taken = take_request(c)) > 0)
        ;
    if (taken < 0)
        drop(c);
}

static void accept_all(int listener, int poller)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct connection *c = fd < MAX_FD ? malloc(sizeof *c) : NULL;
        if (c == NULL) {
            close(fd);
            continue;
        }
        c->fd = fd;
        c->generation = ++generations[fd];
        c->used = 0;
        connections[fd] = c;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN, .data.fd = fd});
    }
}

/* Send the responses that are due; return the time until the next one, or NULL. */
static struct timespec *answer_due(void)
{
    static struct timespec next;
    while (queue_length > 0) {
        struct waiting *first = &queue[queue_head];
        uint64_t now = now_ns();
        if (first->due > now)
            return next = (struct timespec){0, (long)(first->due - now)}, &next;
        struct connection *c = connections[first->fd];
        if (c != NULL && c->generation == first->generation)
            decide(first->fd, first->allowed);
        queue_head = (queue_head + 1) % MAX_WAITING;
        queue_length--;
    }
    return NULL;
}

int main(int argc, char **argv)
{
    int port = 0;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--port") == 0)
            port = atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--delay-ms") == 0)
            delay_ns = strtoull(argv[i + 1], NULL, 10) * 1000000u;
        else if (strcmp(argv[i], "--more") == 0)
            snprintf(yes, sizeof yes, "{\"allowed\": true, %s}", argv[i + 1]);
    }
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 4096) < 0) {
        perror("authorizer");
        return 1;
    }
    int poller = epoll_create1(0);
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &(struct epoll_event){.events = EPOLLIN, .data.fd = listener});
    puts("ready");
    fflush(stdout);
    for (;;) {
        struct epoll_event events[256];
        int n = epoll_pwait2(poller, events, 256, answer_due(), NULL);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener)
                accept_all(listener, poller);
            else if (connections[fd] != NULL)
                readable(connections[fd]);
        }
    }
}
