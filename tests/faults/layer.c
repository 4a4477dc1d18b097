/* A layer between a process and its filesystem, for tests: counts the calls that change what is below one folder, and
 * fails, or kills the process, at one of them. Loaded with LD_PRELOAD; armed by faults_arm() in the process itself. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { OFF, FAIL_BEFORE, FAIL_AFTER, KILL_BEFORE, KILL_AFTER, FULL_FROM };

static char prefix[PATH_MAX];
static size_t prefix_length;
static atomic_long calls;
static long at;
static int mode, number;
static unsigned char tracked[1 << 16];
static int log_fd = -1;

void faults_arm(const char *folder, long k, int how, int error, const char *log_path) {
  prefix_length = 0;
  memset(tracked, 0, sizeof tracked);
  log_fd = open(log_path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0644);
  strncpy(prefix, folder, sizeof prefix - 1);
  at = k;
  mode = how;
  number = error;
  atomic_store(&calls, 0);
  prefix_length = strlen(prefix);
}

static int below(const char *path) {
  return prefix_length && path && !strncmp(path, prefix, prefix_length) &&
         (path[prefix_length] == '/' || !path[prefix_length]);
}

static int is_tracked(int fd) { return fd >= 0 && fd < (int)sizeof tracked && tracked[fd]; }

static void track(int fd, int yes) {
  if (fd >= 0 && fd < (int)sizeof tracked) tracked[fd] = (unsigned char)yes;
}

/* What is to become of this call: 0 nothing, else the mode. `takes_room`: it fails on a full disk. */
static int fate(const char *name, const char *what, int takes_room) {
  long k = atomic_fetch_add(&calls, 1) + 1;
  char line[PATH_MAX + 64];
  int length = snprintf(line, sizeof line, "%ld %s %s\n", k, name, what ? what : "");
  ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
  if (log_fd >= 0 && real(log_fd, line, (size_t)length) < 0) return 0;
  if (mode == FULL_FROM) return takes_room && k >= at ? FAIL_BEFORE : OFF;
  if (k != at) return OFF;
  if (mode == KILL_BEFORE) kill(getpid(), SIGKILL);
  return mode;
}

#define CALL(name, what, takes_room, failed, real_call)     \
  int how = fate(name, what, takes_room);                   \
  if (how == FAIL_BEFORE) {                                 \
    errno = number;                                         \
    return failed;                                          \
  }                                                         \
  __typeof__(real_call) result = real_call;                 \
  if (how == KILL_AFTER) kill(getpid(), SIGKILL);           \
  if (how == FAIL_AFTER) {                                  \
    errno = number;                                         \
    return failed;                                          \
  }                                                         \
  return result;

#define REAL(type, name, ...) type (*real)(__VA_ARGS__) = dlsym(RTLD_NEXT, name)

static int opened(const char *name, int fd, const char *path, int how) {
  (void)name;
  (void)path;
  if (how == FAIL_AFTER) {
    if (fd >= 0) close(fd);
    errno = number;
    return -1;
  }
  track(fd, 1);
  return fd;
}

#define OPEN(symbol)                                                                   \
  int symbol(const char *path, int flags, ...) {                                       \
    REAL(int, #symbol, const char *, int, ...);                                        \
    va_list rest;                                                                      \
    va_start(rest, flags);                                                             \
    mode_t permissions = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0;   \
    va_end(rest);                                                                      \
    if (!below(path) || !(flags & (O_WRONLY | O_RDWR | O_DIRECTORY)) ) {               \
      int fd = real(path, flags, permissions);                                         \
      struct stat about;                                                               \
      track(fd, fd >= 0 && below(path) && !fstat(fd, &about) && S_ISDIR(about.st_mode)); \
      return fd;                                                                       \
    }                                                                                  \
    int how = fate("open", path, (flags & O_CREAT) != 0);                              \
    if (how == FAIL_BEFORE) {                                                          \
      errno = number;                                                                  \
      return -1;                                                                       \
    }                                                                                  \
    int fd = real(path, flags, permissions);                                           \
    if (how == KILL_AFTER) kill(getpid(), SIGKILL);                                    \
    return opened(#symbol, fd, path, how);                                             \
  }

OPEN(open)
OPEN(open64)

ssize_t write(int fd, const void *data, size_t size) {
  REAL(ssize_t, "write", int, const void *, size_t);
  if (!is_tracked(fd)) return real(fd, data, size);
  CALL("write", NULL, 1, -1, real(fd, data, size))
}

#define PWRITE(symbol)                                                      \
  ssize_t symbol(int fd, const void *data, size_t size, off_t offset) {     \
    REAL(ssize_t, #symbol, int, const void *, size_t, off_t);               \
    if (!is_tracked(fd)) return real(fd, data, size, offset);               \
    CALL("pwrite", NULL, 1, -1, real(fd, data, size, offset))               \
  }

PWRITE(pwrite)
PWRITE(pwrite64)

int fsync(int fd) {
  REAL(int, "fsync", int);
  if (!is_tracked(fd)) return real(fd);
  CALL("fsync", NULL, 1, -1, real(fd))
}

int ftruncate64(int fd, off_t size) {
  REAL(int, "ftruncate64", int, off_t);
  if (!is_tracked(fd)) return real(fd, size);
  CALL("ftruncate", NULL, 0, -1, real(fd, size))
}

int close(int fd) {
  REAL(int, "close", int);
  if (!is_tracked(fd)) return real(fd);
  track(fd, 0);
  CALL("close", NULL, 0, -1, real(fd))
}

int rename(const char *from, const char *to) {
  REAL(int, "rename", const char *, const char *);
  if (!below(to)) return real(from, to);
  CALL("rename", to, 0, -1, real(from, to))
}

int unlink(const char *path) {
  REAL(int, "unlink", const char *);
  if (!below(path)) return real(path);
  CALL("unlink", path, 0, -1, real(path))
}

int mkdir(const char *path, mode_t permissions) {
  REAL(int, "mkdir", const char *, mode_t);
  if (!below(path)) return real(path, permissions);
  CALL("mkdir", path, 1, -1, real(path, permissions))
}
