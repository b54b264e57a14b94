/* A CONNECT relay with only splice(2): no decision, no log, no limits.  It is the lower bound for tunnels, not a
 * proxy to use.
 *
 *     relay --port N
 *
 * One thread, epoll.  The system resolves each name once.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEAD = 4096, PIPE = 1 << 20, NAMES = 1024, SPARE = 64 };

/* The source of one direction, and the pipe with its data. */
struct end {
    struct tunnel *tunnel;
    struct end *other;
    int fd;
    int pipe[2];
    size_t in_pipe;
    int ended;   /* the source has ended */
    int shut;    /* the end was forwarded */
    unsigned events;
};

struct tunnel {
    struct end client, origin;
    int connecting, open, dead;
    char head[HEAD + 1];
    size_t used;
    struct tunnel *next_dead;
};

static int poller;
static struct tunnel *dead;
static struct { char name[128]; struct sockaddr_in address; } names[NAMES];
static int known;
static int spare[SPARE][2], spares;

static int resolve(const char *host, const char *port, struct sockaddr_in *address)
{
    for (int i = 0; i < known; i++)
        if (strcmp(names[i].name, host) == 0) {
            *address = names[i].address;
            address->sin_port = htons((unsigned short)atoi(port));
            return 1;
        }
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found;
    if (getaddrinfo(host, port, &hints, &found) != 0)
        return 0;
    memcpy(address, found->ai_addr, sizeof *address);
    freeaddrinfo(found);
    if (known < NAMES && strlen(host) < sizeof names[0].name) {
        strcpy(names[known].name, host);
        names[known++].address = *address;
    }
    return 1;
}

static void watch(struct end *e, unsigned events)
{
    if (e->fd < 0 || e->events == events)
        return;
    struct epoll_event event = {.events = events, .data.ptr = e};
    epoll_ctl(poller, e->events == ~0u ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, e->fd, &event);
    e->events = events;
}

static void close_end(struct end *e)
{
    if (e->fd >= 0)
        close(e->fd);
    e->fd = -1;
    if (e->pipe[0] >= 0) {
        close(e->pipe[0]);
        close(e->pipe[1]);
        e->pipe[0] = -1;
    }
}

static void drop(struct tunnel *t)
{
    if (t->dead)
        return;
    t->dead = 1;
    close_end(&t->client);
    close_end(&t->origin);
    t->next_dead = dead;
    dead = t;
}

static int borrow(struct end *e)
{
    if (e->pipe[0] >= 0)
        return 1;
    if (spares > 0) {
        memcpy(e->pipe, spare[--spares], sizeof e->pipe);
        return 1;
    }
    if (pipe2(e->pipe, O_NONBLOCK) < 0) {
        e->pipe[0] = -1;
        return 0;
    }
    fcntl(e->pipe[0], F_SETPIPE_SZ, PIPE);
    return 1;
}

static void give_back(struct end *e)
{
    if (e->pipe[0] < 0 || e->in_pipe > 0)
        return;
    if (spares < SPARE) {
        memcpy(spare[spares++], e->pipe, sizeof e->pipe);
    } else {
        close(e->pipe[0]);
        close(e->pipe[1]);
    }
    e->pipe[0] = -1;
}

/* Move the available data from one end to the other; 0 when the tunnel has ended. */
static int pump(struct end *from)
{
    struct end *to = from->other;
    for (int rounds = 0; rounds < 4; rounds++) {
        if (from->in_pipe == 0 && !from->ended) {
            if (!borrow(from))
                return 0;
            ssize_t n = splice(from->fd, NULL, from->pipe[1], NULL, PIPE, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
            if (n == 0)
                from->ended = 1;
            else if (n < 0 && errno != EAGAIN)
                return 0;
            else if (n < 0)
                break;
            else
                from->in_pipe += (size_t)n;
        }
        while (from->in_pipe > 0) {
            ssize_t n = splice(from->pipe[0], NULL, to->fd, NULL, from->in_pipe, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
            if (n < 0 && errno == EAGAIN)
                break;
            if (n <= 0)
                return 0;
            from->in_pipe -= (size_t)n;
        }
        if (from->in_pipe > 0 || from->ended)
            break;
    }
    give_back(from);
    if (from->ended && from->in_pipe == 0 && !from->shut) {
        from->shut = 1;
        shutdown(to->fd, SHUT_WR);
    }
    return !(from->shut && to->shut);
}

static void rewatch(struct tunnel *t)
{
    struct end *ends[] = {&t->client, &t->origin};
    for (int i = 0; i < 2; i++) {
        struct end *e = ends[i];
        unsigned events = 0;
        if (!e->ended && e->in_pipe == 0)
            events |= EPOLLIN;
        if (e->other->in_pipe > 0)
            events |= EPOLLOUT;
        watch(e, events);
    }
}

static void establish(struct tunnel *t)
{
    static const char answer[] = "HTTP/1.1 200 Connection established\r\n\r\n";
    int error = 0;
    getsockopt(t->origin.fd, SOL_SOCKET, SO_ERROR, &error, &(socklen_t){sizeof error});
    if (error || send(t->client.fd, answer, sizeof answer - 1, MSG_NOSIGNAL) < 0) {
        drop(t);
        return;
    }
    t->connecting = 0;
    t->open = 1;
    rewatch(t);
}

static void read_head(struct tunnel *t)
{
    ssize_t n = recv(t->client.fd, t->head + t->used, HEAD - t->used, 0);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN)
            drop(t);
        return;
    }
    t->used += (size_t)n;
    t->head[t->used] = '\0';
    if (strstr(t->head, "\r\n\r\n") == NULL) {
        if (t->used == HEAD)
            drop(t);
        return;
    }
    char host[256], port[8];
    struct sockaddr_in address;
    if (sscanf(t->head, "CONNECT %255[^: ]:%7[0-9] ", host, port) != 2 || !resolve(host, port, &address)) {
        drop(t);
        return;
    }
    t->origin.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(t->origin.fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (connect(t->origin.fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS) {
        drop(t);
        return;
    }
    t->connecting = 1;
    watch(&t->client, 0);
    watch(&t->origin, EPOLLOUT);
}

static void event_on(struct end *e, unsigned events)
{
    struct tunnel *t = e->tunnel;
    if (t->dead)
        return;
    if (t->connecting) {
        if (e == &t->origin)
            establish(t);
        else if (events & (EPOLLHUP | EPOLLERR))
            drop(t);
        return;
    }
    if (!t->open) {
        read_head(t);
        return;
    }
    int alive = 1;
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        alive = pump(e);
    if (alive && (events & EPOLLOUT))
        alive = pump(e->other);
    if (alive)
        rewatch(t);
    else
        drop(t);
}

static void accept_all(int listener)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct tunnel *t = calloc(1, sizeof *t);
        if (t == NULL)
            exit(1);
        t->client = (struct end){.tunnel = t, .other = &t->origin, .fd = fd, .pipe = {-1, -1}, .events = ~0u};
        t->origin = (struct end){.tunnel = t, .other = &t->client, .fd = -1, .pipe = {-1, -1}, .events = ~0u};
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        watch(&t->client, EPOLLIN);
    }
}

int main(int argc, char **argv)
{
    int port = argc == 3 && strcmp(argv[1], "--port") == 0 ? atoi(argv[2]) : 0;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 4096) < 0) {
        perror("relay");
        return 1;
    }
    poller = epoll_create1(0);
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &(struct epoll_event){.events = EPOLLIN, .data.ptr = NULL});
    puts("ready");
    fflush(stdout);
    for (;;) {
        struct epoll_event events[256];
        int n = epoll_wait(poller, events, 256, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == NULL)
                accept_all(listener);
            else
                event_on(events[i].data.ptr, events[i].events);
        }
        while (dead != NULL) {
            struct tunnel *next = dead->next_dead;
            free(dead);
            dead = next;
        }
    }
}
