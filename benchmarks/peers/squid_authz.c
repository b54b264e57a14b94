/* The helper of Squid that sends authorization requests to the service.
 *
 *     squid_authz HOST PORT
 *
 * Squid writes one line per authorization request, "CHANNEL METHOD URL", and reads "CHANNEL OK", "CHANNEL ERR" (denied) or
 * "CHANNEL BH" (no decision, which Squid does not treat as an allow).  The order of the results is free, so one process
 * with one thread handles all requests of Squid concurrently.  Each keep-alive connection carries one authorization
 * request at a time.  If the service has closed an idle connection, the request is retried over a new one.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LINE = 1 << 16, ANSWER = 1 << 14, CHANNEL = 32, EVENTS = 256 };

struct call {
    struct call *next; /* next idle call */
    int fd;
    int fresh;      /* no response on this connection so far */
    int repeatable; /* no byte of the response has arrived */
    int busy;
    char channel[CHANNEL];
    char *question;
    size_t question_length;
    size_t used;
    char answer[ANSWER];
};

static struct sockaddr_in service;
static char service_name[128];
static struct call *idle;
static int poller;

static void say(const struct call *c, const char *result)
{
    char line[CHANNEL + 16];
    int length = snprintf(line, sizeof line, "%s %s\n", c->channel, result);
    for (int done = 0; done < length;) {
        ssize_t n = write(STDOUT_FILENO, line + done, (size_t)(length - done));
        if (n < 0 && errno != EINTR)
            exit(1); /* Squid has exited */
        if (n > 0)
            done += (int)n;
    }
}

static void disconnect(struct call *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

static void finish(struct call *c, const char *result)
{
    say(c, result);
    free(c->question);
    c->question = NULL;
    c->busy = 0;
    if (c->fd < 0) {
        free(c);
        return;
    }
    c->next = idle;
    idle = c;
}

static int connect_call(struct call *c)
{
    /* Loopback: the handshake completes before connect() returns. */
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        return -1;
    if (connect(c->fd, (struct sockaddr *)&service, sizeof service) < 0) {
        disconnect(c);
        return -1;
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &(struct epoll_event){.events = EPOLLIN, .data.ptr = c});
    c->fresh = 1;
    return 0;
}

/* Send a request over an idle connection or over a new one. */
static void ask(struct call *c)
{
    for (;;) {
        c->used = 0;
        c->repeatable = 1;
        if (c->fd < 0 && connect_call(c) < 0)
            break;
        /* A request fits into an empty socket buffer. */
        if (send(c->fd, c->question, c->question_length, MSG_NOSIGNAL) == (ssize_t)c->question_length)
            return;
        int fresh = c->fresh;
        disconnect(c);
        if (fresh)
            break;
    }
    finish(c, "BH message=unreachable");
}

static void lost(struct call *c)
{
    int again = !c->fresh && c->repeatable;
    disconnect(c);
    if (again)
        ask(c);
    else
        finish(c, "BH message=broken");
}

/* The service closed an idle connection. */
static void drop_idle(struct call *c)
{
    for (struct call **at = &idle; *at != NULL; at = &(*at)->next)
        if (*at == c) {
            *at = c->next;
            break;
        }
    disconnect(c);
    free(c);
}

static void readable(struct call *c)
{
    ssize_t n = recv(c->fd, c->answer + c->used, ANSWER - 1 - c->used, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (!c->busy) {
        drop_idle(c);
        return;
    }
    if (n <= 0) {
        lost(c);
        return;
    }
    c->repeatable = 0;
    c->used += (size_t)n;
    c->answer[c->used] = 0;
    char *end = strstr(c->answer, "\r\n\r\n");
    if (end == NULL) {
        if (c->used == ANSWER - 1)
            lost(c);
        return;
    }
    char *field = strcasestr(c->answer, "\r\ncontent-length:");
    size_t head = (size_t)(end - c->answer) + 4;
    size_t length = field != NULL && field < end ? strtoul(field + 17, NULL, 10) : ANSWER;
    if (head + length >= ANSWER) {
        lost(c);
        return;
    }
    if (c->used < head + length)
        return;
    int ok = strncmp(c->answer, "HTTP/1.1 200", 12) == 0;
    const char *body = c->answer + head;
    int allowed = strstr(body, "\"allowed\": true") != NULL || strstr(body, "\"allowed\":true") != NULL;
    int denied = strstr(body, "\"allowed\": false") != NULL || strstr(body, "\"allowed\":false") != NULL;
    c->fresh = 0;
    finish(c, denied ? "ERR" : ok && allowed ? "OK" : "BH message=unintelligible");
}

/* The length of the content of a JSON string; the input from Squid has no control characters. */
static size_t put_escaped(char *to, const char *from)
{
    char *at = to;
    for (; *from != 0; from++) {
        if (*from == '"' || *from == '\\')
            *at++ = '\\';
        *at++ = *from;
    }
    return (size_t)(at - to);
}

static void line_from_squid(char *line)
{
    char *rest = line;
    const char *channel = strsep(&rest, " "), *method = strsep(&rest, " "), *url = strsep(&rest, " ");
    struct call *c = idle;
    if (c != NULL)
        idle = c->next;
    else if ((c = calloc(1, sizeof *c)) != NULL)
        c->fd = -1;
    if (c == NULL)
        exit(1);
    snprintf(c->channel, sizeof c->channel, "%s", channel);
    c->busy = 1;
    if (method == NULL || url == NULL) {
        finish(c, "BH message=incomplete");
        return;
    }
    char *body = malloc(2 * (strlen(method) + strlen(url)) + 64);
    if (body == NULL)
        exit(1);
    size_t n = (size_t)sprintf(body, "{\"url\":\"");
    n += put_escaped(body + n, url);
    n += (size_t)sprintf(body + n, "\",\"method\":\"");
    n += put_escaped(body + n, method);
    n += (size_t)sprintf(body + n, "\",\"headers\":\"{}\"}");
    int length = asprintf(&c->question,
                          "POST /validate HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"
                          "Content-Length: %zu\r\n\r\n%.*s",
                          service_name, n, (int)n, body);
    free(body);
    if (length < 0)
        exit(1);
    c->question_length = (size_t)length;
    ask(c);
}

static void input(void)
{
    static char buffer[LINE];
    static size_t used;
    ssize_t n = read(STDIN_FILENO, buffer + used, sizeof buffer - used);
    if (n == 0)
        exit(0); /* Squid has finished */
    if (n < 0)
        return;
    used += (size_t)n;
    char *start = buffer, *stop;
    while ((stop = memchr(start, '\n', used - (size_t)(start - buffer))) != NULL) {
        *stop = 0;
        line_from_squid(start);
        start = stop + 1;
    }
    used -= (size_t)(start - buffer);
    memmove(buffer, start, used);
    if (used == sizeof buffer)
        exit(1);
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    service = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[2]))};
    if (inet_pton(AF_INET, argv[1], &service.sin_addr) != 1)
        return 2;
    snprintf(service_name, sizeof service_name, "%s:%s", argv[1], argv[2]);
    poller = epoll_create1(EPOLL_CLOEXEC);
    epoll_ctl(poller, EPOLL_CTL_ADD, STDIN_FILENO, &(struct epoll_event){.events = EPOLLIN, .data.ptr = NULL});
    struct epoll_event events[EVENTS];
    for (;;) {
        int n = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < n; i++)
            if (events[i].data.ptr != NULL)
                readable(events[i].data.ptr);
        /* Last: a request may take or end a connection of an event above. */
        for (int i = 0; i < n; i++)
            if (events[i].data.ptr == NULL)
                input();
    }
}
