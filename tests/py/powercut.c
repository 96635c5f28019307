/* Preloaded before cwlake: writes down, in order, what it does to names and when it makes what durable.
 *
 * POWERCUT names a folder. Its file `log` gets a line for each operation below the folder POWERCUT_BELOW; what a file holds when it is made durable is
 * kept there under the line's number. An operation and its line are one step: no other thread comes between. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
static long line;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int is_below(const char *path) {
    const char *below = getenv("POWERCUT_BELOW");
    return below && path && strncmp(path, below, strlen(below)) == 0;
}

/* The path of a name, absolute where it is not. */
static const char *absolute(int dir, const char *path, char *into) {
    if (path[0] == '/') return path;
    char link[64], base[PATH_MAX];
    if (dir == AT_FDCWD) {
        if (!getcwd(base, sizeof base)) return path;
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
        ssize_t n = readlink(link, base, sizeof base - 1);
        if (n < 0) return path;
        base[n] = 0;
    }
    snprintf(into, PATH_MAX, "%s/%s", base, path);
    return into;
}

static void note(const char *what, const char *path, const char *to) {
    char name[PATH_MAX];
    snprintf(name, sizeof name, "%s/log", getenv("POWERCUT"));
    FILE *log = fopen(name, "a");
    fprintf(log, "%ld\t%s\t%s\t%s\n", line++, what, path, to ? to : "");
    fclose(log);
}

/* Keeps what a file holds now. */
static void keep(const char *path) {
    char name[PATH_MAX], piece[1 << 16];
    snprintf(name, sizeof name, "%s/%ld", getenv("POWERCUT"), line);
    int from = REAL(open)(path, O_RDONLY), to = REAL(open)(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ssize_t n;
    while (from >= 0 && to >= 0 && (n = read(from, piece, sizeof piece)) > 0)
        if (write(to, piece, n) != n) abort();
    close(from);
    close(to);
}

static int durable(int fd, int (*make)(int)) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n >= 0) path[n] = 0;
    struct stat info;
    pthread_mutex_lock(&one);
    int done = make(fd);
    if (done == 0 && n >= 0 && is_below(path) && fstat(fd, &info) == 0) {
        if (S_ISREG(info.st_mode)) keep(path);
        note(S_ISDIR(info.st_mode) ? "sync-folder" : "sync", path, NULL);
    }
    pthread_mutex_unlock(&one);
    return done;
}

int fsync(int fd) { return durable(fd, REAL(fsync)); }
int fdatasync(int fd) { return durable(fd, REAL(fdatasync)); }

static int opened(int dir, const char *path, int flags, int mode, int (*how)(int, const char *, int, ...)) {
    char whole[PATH_MAX];
    const char *name = absolute(dir, path, whole);
    if (!(flags & O_CREAT) || !is_below(name)) return how(dir, path, flags, mode);
    pthread_mutex_lock(&one);
    int is_new = access(name, F_OK) != 0;
    int fd = how(dir, path, flags, mode);
    if (fd >= 0 && is_new) note("create", name, NULL);
    pthread_mutex_unlock(&one);
    return fd;
}

#define MODE(flags) int mode = 0; if (flags & O_CREAT) { va_list rest; va_start(rest, flags); mode = va_arg(rest, int); va_end(rest); }

int open(const char *path, int flags, ...) { MODE(flags) return opened(AT_FDCWD, path, flags, mode, REAL(openat)); }
int open64(const char *path, int flags, ...) { MODE(flags) return opened(AT_FDCWD, path, flags, mode, REAL(openat)); }
int openat(int dir, const char *path, int flags, ...) { MODE(flags) return opened(dir, path, flags, mode, REAL(openat)); }
int openat64(int dir, const char *path, int flags, ...) { MODE(flags) return opened(dir, path, flags, mode, REAL(openat)); }

int rename(const char *from, const char *to) {
    char a[PATH_MAX], b[PATH_MAX];
    pthread_mutex_lock(&one);
    int done = REAL(rename)(from, to);
    if (done == 0 && is_below(absolute(AT_FDCWD, to, b))) note("rename", absolute(AT_FDCWD, from, a), absolute(AT_FDCWD, to, b));
    pthread_mutex_unlock(&one);
    return done;
}

static int removed(int dir, const char *path, int flags) {
    char whole[PATH_MAX];
    pthread_mutex_lock(&one);
    int done = REAL(unlinkat)(dir, path, flags);
    if (done == 0 && is_below(absolute(dir, path, whole))) note("remove", absolute(dir, path, whole), NULL);
    pthread_mutex_unlock(&one);
    return done;
}

int unlink(const char *path) { return removed(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return removed(AT_FDCWD, path, AT_REMOVEDIR); }
int unlinkat(int dir, const char *path, int flags) { return removed(dir, path, flags); }

int mkdir(const char *path, mode_t mode) {
    char whole[PATH_MAX];
    pthread_mutex_lock(&one);
    int done = REAL(mkdir)(path, mode);
    if (done == 0 && is_below(absolute(AT_FDCWD, path, whole))) note("folder", absolute(AT_FDCWD, path, whole), NULL);
    pthread_mutex_unlock(&one);
    return done;
}
