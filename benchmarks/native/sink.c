/* Reads a complete upload before it responds.  It runs behind nginx, which would respond immediately.
 *
 *     sink --port N
 *
 * HTTP/1.1 with Content-Length on keep-alive connections of nginx.  One thread, epoll.  Prints "ready" when it listens.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEAD = 8192, READ = 1 << 18 };

struct connection {
    int fd;
    size_t used;   /* of the head; 0 while content is read */
    uint64_t left; /* of the content */
    char head[HEAD + 1];
};

static char discarded[READ];
static const char ANSWER[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";

static int answer(struct connection *c)
{
    return send(c->fd, ANSWER, sizeof ANSWER - 1, MSG_NOSIGNAL) > 0;
}

/* 0 when the connection has ended. */
static int readable(struct connection *c)
{
    ssize_t n;
    if (c->left > 0) {
        n = recv(c->fd, discarded, c->left < READ ? (size_t)c->left : READ, 0);
        if (n <= 0)
            return n < 0 && errno == EAGAIN;
        c->left -= (uint64_t)n;
        return c->left > 0 || answer(c);
    }
    n = recv(c->fd, c->head + c->used, HEAD - c->used, 0);
    if (n <= 0)
        return n < 0 && errno == EAGAIN;
    c->used += (size_t)n;
    c->head[c->used] = '\0';
    char *end = strstr(c->head, "\r\n\r\n");
    if (end == NULL)
        return c->used < HEAD;
    size_t early = c->used - (size_t)(end + 4 - c->head);
    char *length = strcasestr(c->head, "\r\nContent-Length:");
    c->left = length != NULL ? strtoull(length + 17, NULL, 10) : 0;
    c->used = 0;
    if (early > c->left)
        return 0;
    c->left -= early;
    return c->left > 0 || answer(c);
}

int main(int argc, char **argv)
{
    int port = argc == 3 && strcmp(argv[1], "--port") == 0 ? atoi(argv[2]) : 0;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 1024) < 0) {
        perror("sink");
        return 1;
    }
    int poller = epoll_create1(0);
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &(struct epoll_event){.events = EPOLLIN, .data.ptr = NULL});
    puts("ready");
    fflush(stdout);
    for (;;) {
        struct epoll_event events[64];
        int n = epoll_wait(poller, events, 64, -1);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (c == NULL) {
                int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
                if (fd < 0 || (c = calloc(1, sizeof *c)) == NULL)
                    continue;
                c->fd = fd;
                epoll_ctl(poller, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN, .data.ptr = c});
            } else if (!readable(c)) {
                close(c->fd);
                free(c);
            }
        }
    }
}
