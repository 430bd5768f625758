/* Has no thread be made from the one on that THREADS numbers, from 0, as where a limit is reached (pthread_create(3), EAGAIN). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *argument)
{
    static int made;
    int (*next)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) =
        (int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *))dlsym(RTLD_NEXT, "pthread_create");
    const char *most = getenv("THREADS");
    if (most && __atomic_fetch_add(&made, 1, __ATOMIC_RELAXED) >= atoi(most))
        return EAGAIN;
    return next(thread, attr, start, argument);
}
