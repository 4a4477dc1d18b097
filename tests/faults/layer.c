/* A layer between a process and its filesystem, for tests: logs the calls that change what is below one folder, and
 * fails, or kills the process, at one of them. That one is named by its call, its path, and how many calls of this name
 * on this path came before, since the order of calls on different paths depends on the threads. Loaded with LD_PRELOAD;
 * armed by faults_arm() in the process itself. */
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
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

enum { OFF, FAIL_BEFORE, FAIL_AFTER, KILL_BEFORE, KILL_AFTER, FULL_FROM };

static char prefix[PATH_MAX], point_call[16], point_path[PATH_MAX];
static size_t prefix_length;
static long point_occurrence;
static atomic_long occurrences;
static atomic_int full;
static int mode, number;
static char *paths[1 << 16]; /* by descriptor, of what is open below the folder */
static int log_fd = -1;

/* `occurrence`: from 1 on; the call happens below `folder`, and its `path` is relative to it, `.` for itself. */
void faults_arm(const char *folder, const char *call, const char *path, long occurrence, int how, int error,
                const char *log_path) {
  prefix_length = 0;
  memset(paths, 0, sizeof paths);
  log_fd = open(log_path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0644);
  strncpy(prefix, folder, sizeof prefix - 1);
  strncpy(point_call, call, sizeof point_call - 1);
  strncpy(point_path, path, sizeof point_path - 1);
  point_occurrence = occurrence;
  mode = how;
  number = error;
  atomic_store(&occurrences, 0);
  atomic_store(&full, 0);
  prefix_length = strlen(prefix);
}

static int below(const char *path) {
  return prefix_length && path && !strncmp(path, prefix, prefix_length) &&
         (path[prefix_length] == '/' || !path[prefix_length]);
}

/* The path below the folder. The last part of a temporary's name is random, and left out. */
static const char *relative(const char *path) {
  static _Thread_local char names[2][PATH_MAX];
  static _Thread_local int turn;
  if (!below(path)) return "";
  const char *name = path[prefix_length] ? path + prefix_length + 1 : ".";
  const char *temporary = strstr(name, ".scoreline-");
  const size_t kept = 11 + 16, random = 1 + 16;
  if (!temporary || strlen(temporary) < kept + random || temporary[kept] != '-') return name;
  char *made = names[turn = !turn];
  size_t front = temporary + kept - name;
  snprintf(made, PATH_MAX, "%.*s%s", (int)front, name, name + front + random);
  return made;
}

static const char *path_of(int fd) { return fd >= 0 && fd < (1 << 16) ? paths[fd] : NULL; }

/* Remember the path of a descriptor; NULL forgets it. */
static void track(int fd, const char *path) {
  if (fd < 0 || fd >= (1 << 16)) return;
  free(paths[fd]);
  paths[fd] = path ? strdup(path) : NULL;
}

/* A line of the log: `begins`, `hit` at the point, or `ends`; the thread; the call, its path, and the source of a
 * rename. */
static void note(const char *what, const char *call, const char *path, const char *source) {
  char line[2 * PATH_MAX + 64];
  int length = snprintf(line, sizeof line, "%s\t%ld\t%s\t%s\t%s\n", what, (long)syscall(SYS_gettid), call,
                        relative(path), source ? relative(source) : "");
  ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
  if (log_fd >= 0 && real(log_fd, line, (size_t)length) < 0) abort();
}

/* What is to become of this call: 0 nothing, else the mode. `takes_room`: it fails on a full disk. */
static int fate(const char *call, const char *path, const char *source, int takes_room) {
  int hit = !strcmp(call, point_call) && !strcmp(relative(path), point_path) &&
            atomic_fetch_add(&occurrences, 1) + 1 == point_occurrence;
  note(hit ? "hit" : "begins", call, path, source);
  if (mode == FULL_FROM) {
    if (hit) atomic_store(&full, 1);
    return takes_room && atomic_load(&full) ? FAIL_BEFORE : OFF;
  }
  if (!hit) return OFF;
  if (mode == KILL_BEFORE) kill(getpid(), SIGKILL);
  return mode;
}

#define CALL(call, path, source, takes_room, failed, real_call) \
  int how = fate(call, path, source, takes_room);               \
  if (how == FAIL_BEFORE) {                                     \
    errno = number;                                             \
    return failed;                                              \
  }                                                             \
  __typeof__(real_call) result = real_call;                     \
  int after = errno;                                            \
  if (how == KILL_AFTER) kill(getpid(), SIGKILL);               \
  note("ends", call, path, source);                             \
  errno = how == FAIL_AFTER ? number : after;                   \
  return how == FAIL_AFTER ? failed : result;

#define REAL(type, name, ...) type (*real)(__VA_ARGS__) = dlsym(RTLD_NEXT, name)

#define OPEN(symbol)                                                                    \
  int symbol(const char *path, int flags, ...) {                                        \
    REAL(int, #symbol, const char *, int, ...);                                         \
    va_list rest;                                                                       \
    va_start(rest, flags);                                                              \
    mode_t permissions = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0;    \
    va_end(rest);                                                                       \
    if (!below(path) || !(flags & (O_WRONLY | O_RDWR | O_DIRECTORY))) {                 \
      int fd = real(path, flags, permissions);                                          \
      struct stat about;                                                                \
      int is_folder = fd >= 0 && below(path) && !fstat(fd, &about) && S_ISDIR(about.st_mode); \
      track(fd, is_folder ? path : NULL);                                               \
      return fd;                                                                        \
    }                                                                                   \
    int how = fate("open", path, NULL, (flags & O_CREAT) != 0);                         \
    if (how == FAIL_BEFORE) {                                                           \
      errno = number;                                                                   \
      return -1;                                                                        \
    }                                                                                   \
    int fd = real(path, flags, permissions), after = errno;                             \
    if (how == KILL_AFTER) kill(getpid(), SIGKILL);                                     \
    note("ends", "open", path, NULL);                                                   \
    if (how == FAIL_AFTER && fd >= 0) close(fd);                                        \
    if (how == FAIL_AFTER) fd = -1;                                                     \
    track(fd, path);                                                                    \
    errno = how == FAIL_AFTER ? number : after;                                         \
    return fd;                                                                          \
  }

OPEN(open)
OPEN(open64)

ssize_t write(int fd, const void *data, size_t size) {
  REAL(ssize_t, "write", int, const void *, size_t);
  const char *path = path_of(fd);
  if (!path) return real(fd, data, size);
  CALL("write", path, NULL, 1, -1, real(fd, data, size))
}

#define PWRITE(symbol)                                                      \
  ssize_t symbol(int fd, const void *data, size_t size, off_t offset) {     \
    REAL(ssize_t, #symbol, int, const void *, size_t, off_t);               \
    const char *path = path_of(fd);                                         \
    if (!path) return real(fd, data, size, offset);                         \
    CALL("pwrite", path, NULL, 1, -1, real(fd, data, size, offset))         \
  }

PWRITE(pwrite)
PWRITE(pwrite64)

int fsync(int fd) {
  REAL(int, "fsync", int);
  const char *path = path_of(fd);
  if (!path) return real(fd);
  CALL("fsync", path, NULL, 1, -1, real(fd))
}

int ftruncate64(int fd, off_t size) {
  REAL(int, "ftruncate64", int, off_t);
  const char *path = path_of(fd);
  if (!path) return real(fd, size);
  CALL("ftruncate", path, NULL, 0, -1, real(fd, size))
}

static int close_tracked(int fd, const char *path, int (*real)(int)) { CALL("close", path, NULL, 0, -1, real(fd)) }

int close(int fd) {
  REAL(int, "close", int);
  if (!path_of(fd)) return real(fd);
  char *path = paths[fd];
  paths[fd] = NULL; /* another thread may get the same descriptor as soon as it is closed */
  int result = close_tracked(fd, path, real), after = errno;
  free(path);
  errno = after;
  return result;
}

int rename(const char *from, const char *to) {
  REAL(int, "rename", const char *, const char *);
  if (!below(to)) return real(from, to);
  CALL("rename", to, from, 0, -1, real(from, to))
}

int unlink(const char *path) {
  REAL(int, "unlink", const char *);
  if (!below(path)) return real(path);
  CALL("unlink", path, NULL, 0, -1, real(path))
}

int mkdir(const char *path, mode_t permissions) {
  REAL(int, "mkdir", const char *, mode_t);
  if (!below(path)) return real(path, permissions);
  CALL("mkdir", path, NULL, 1, -1, real(path, permissions))
}
