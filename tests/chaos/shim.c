/* A disk that fails on purpose, for LD_PRELOAD: the nth write, fsync or rename of a path that begins with a prefix.
 *
 * Inert until chaos_arm is called. Writes are write, pwrite, writev, sendfile and copy_file_range; fsync is fdatasync
 * too; a rename counts by its target. With nth = 0 nothing fails and operations are only counted. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char prefix[PATH_MAX];
static int nth, error, stays, armed;
static int count;

void chaos_arm(const char *below, int which, int code, int for_good)
{
    snprintf(prefix, sizeof prefix, "%s", below);
    nth = which, error = code, stays = for_good, count = 0;
    armed = 1;
}

int chaos_disarm(void)
{
    armed = 0;
    return count;
}

static int fails(const char *path)
{
    if (!armed || strncmp(path, prefix, strlen(prefix)) != 0)
        return 0;
    int now = __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST);
    if (nth && (now == nth || (stays && now > nth))) {
        errno = error;
        return 1;
    }
    return 0;
}

static int fails_at(int descriptor)
{
    char link[64], path[PATH_MAX];
    if (!armed)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return fails(path);
}

#define SHIM(type, name, descriptor, parameters, arguments)      \
    type name parameters                                         \
    {                                                            \
        static type (*real) parameters;                          \
        if (!real)                                               \
            real = (type(*) parameters)dlsym(RTLD_NEXT, #name);  \
        return fails_at(descriptor) ? -1 : real arguments;       \
    }

SHIM(ssize_t, write, fd, (int fd, const void *data, size_t size), (fd, data, size))
SHIM(ssize_t, pwrite, fd, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at))
SHIM(ssize_t, pwrite64, fd, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at))
SHIM(ssize_t, writev, fd, (int fd, const struct iovec *parts, int many), (fd, parts, many))
SHIM(ssize_t, sendfile, out, (int out, int in, off_t *at, size_t size), (out, in, at, size))
SHIM(ssize_t, sendfile64, out, (int out, int in, off64_t *at, size_t size), (out, in, at, size))
SHIM(ssize_t, copy_file_range, out, (int in, off64_t *from, int out, off64_t *to, size_t size, unsigned flags),
     (in, from, out, to, size, flags))
SHIM(int, fsync, fd, (int fd), (fd))
SHIM(int, fdatasync, fd, (int fd), (fd))

int rename(const char *from, const char *to)
{
    static int (*real)(const char *, const char *);
    if (!real)
        real = (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename");
    return fails(to) ? -1 : real(from, to);
}

int renameat(int from_folder, const char *from, int to_folder, const char *to)
{
    static int (*real)(int, const char *, int, const char *);
    if (!real)
        real = (int (*)(int, const char *, int, const char *))dlsym(RTLD_NEXT, "renameat");
    return fails(to) ? -1 : real(from_folder, from, to_folder, to);
}
