/* Stands in front of the C library's calls for sockets, as a preloaded network stack does: counts each, and the bytes that it moves, and
 * passes it on. At the end of the process it writes "NAME CALLS BYTES" for each to the file that COUNTED names. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { SOCKET, BIND, LISTEN, ACCEPT, ACCEPT4, CONNECT, RECV, RECVFROM, RECVMSG, SEND, SENDTO, SENDMSG, SETSOCKOPT,
       EPOLL_CREATE1, EPOLL_CTL, EPOLL_WAIT, NAMES };
static const char *const names[NAMES] = {
    "socket", "bind", "listen", "accept", "accept4", "connect", "recv", "recvfrom", "recvmsg", "send", "sendto", "sendmsg",
    "setsockopt", "epoll_create1", "epoll_ctl", "epoll_wait",
};
static unsigned long long calls[NAMES], bytes[NAMES];

/* A pair of sockets inside the process, by which a signal is told of, is nothing that a network stack has. */
static int is_local(int fd)
{
    int domain = 0;
    socklen_t len = sizeof domain;
    return fd >= 0 && getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX;
}

static long counted(int which, int fd, long result)
{
    int error = errno;
    if (!is_local(fd)) {
        __atomic_add_fetch(&calls[which], 1, __ATOMIC_RELAXED);
        if (result > 0)
            __atomic_add_fetch(&bytes[which], (unsigned long long)result, __ATOMIC_RELAXED);
    }
    errno = error;
    return result;
}

#define PASS(which, fd, type, name, parameters, arguments)                   \
    type name parameters                                                     \
    {                                                                        \
        type(*next) parameters = (type(*) parameters)dlsym(RTLD_NEXT, #name); \
        return (type)counted(which, fd, (long)next arguments);               \
    }

PASS(SOCKET, -1, int, socket, (int domain, int type, int protocol), (domain, type, protocol))
PASS(BIND, fd, int, bind, (int fd, const struct sockaddr *addr, socklen_t len), (fd, addr, len))
PASS(LISTEN, fd, int, listen, (int fd, int backlog), (fd, backlog))
PASS(ACCEPT, fd, int, accept, (int fd, struct sockaddr *addr, socklen_t *len), (fd, addr, len))
PASS(ACCEPT4, fd, int, accept4, (int fd, struct sockaddr *addr, socklen_t *len, int flags), (fd, addr, len, flags))
PASS(CONNECT, fd, int, connect, (int fd, const struct sockaddr *addr, socklen_t len), (fd, addr, len))
PASS(RECV, fd, ssize_t, recv, (int fd, void *to, size_t len, int flags), (fd, to, len, flags))
PASS(RECVFROM, fd, ssize_t, recvfrom, (int fd, void *to, size_t len, int flags, struct sockaddr *addr, socklen_t *addr_len),
     (fd, to, len, flags, addr, addr_len))
PASS(RECVMSG, fd, ssize_t, recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags))
PASS(SEND, fd, ssize_t, send, (int fd, const void *from, size_t len, int flags), (fd, from, len, flags))
PASS(SENDTO, fd, ssize_t, sendto,
     (int fd, const void *from, size_t len, int flags, const struct sockaddr *addr, socklen_t addr_len),
     (fd, from, len, flags, addr, addr_len))
PASS(SENDMSG, fd, ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags))
PASS(SETSOCKOPT, fd, int, setsockopt, (int fd, int level, int name, const void *value, socklen_t len),
     (fd, level, name, value, len))
PASS(EPOLL_CREATE1, -1, int, epoll_create1, (int flags), (flags))
PASS(EPOLL_CTL, fd, int, epoll_ctl, (int epoll, int op, int fd, struct epoll_event *event), (epoll, op, fd, event))
PASS(EPOLL_WAIT, -1, int, epoll_wait, (int epoll, struct epoll_event *events, int max, int timeout),
     (epoll, events, max, timeout))

__attribute__((destructor)) static void report(void)
{
    const char *path = getenv("COUNTED");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (!file)
        return;
    for (int which = 0; which < NAMES; which++)
        fprintf(file, "%s %llu %llu\n", names[which], calls[which], bytes[which]);
    fclose(file);
}
