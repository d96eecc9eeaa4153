/*
 * Memory that is shared with a guest, and the messages that bring its files: what a vhost-user back end needs of the system.
 *
 * The other side may cut a file short while it is mapped; touching what is gone raises SIGBUS. A handler puts a page of zeros
 * there, so that it costs that guest's frames and nothing else. It must know what is mapped: the one state of this addon.
 */
#include "native.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* 255 ports with a few windows each; a window more than that is refused. */
enum { MAX_MAPPED = 8192, MAX_FDS = 16 };
#define MAX_WINDOW (2147483648.0)

/* Written under the lock; the handler reads a slot's size last written and first cleared. */
static struct {
  _Atomic(uintptr_t) start;
  _Atomic(size_t) bytes;
} mapped[MAX_MAPPED];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction before;
static bool handles;
static _Atomic(int) patched;

static void on_bus(int signal, siginfo_t *info, void *context) {
  const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), at = (uintptr_t)info->si_addr & ~(page - 1);
  for (int i = 0; i < MAX_MAPPED; i++) {
    const size_t bytes = atomic_load(&mapped[i].bytes);
    const uintptr_t start = atomic_load(&mapped[i].start);
    if (bytes == 0 || at < start || at >= start + bytes) continue;
    if (mmap((void *)at, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == (void *)at) {
      atomic_fetch_add(&patched, 1);
      return;
    }
  }
  /* Not ours: as it was before, and the instruction is run again. */
  (void)context;
  sigaction(signal, &before, NULL);
}

static int note(void *start, size_t bytes) {
  int place = -1;
  pthread_mutex_lock(&lock);
  if (!handles) {
    struct sigaction action = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK};
    handles = sigaction(SIGBUS, &action, &before) == 0;
  }
  for (int i = 0; i < MAX_MAPPED && place < 0; i++)
    if (atomic_load(&mapped[i].bytes) == 0) place = i;
  if (place >= 0) {
    atomic_store(&mapped[place].start, (uintptr_t)start);
    atomic_store(&mapped[place].bytes, bytes);
  }
  pthread_mutex_unlock(&lock);
  return place;
}

static bool forget(void *start) {
  bool known = false;
  pthread_mutex_lock(&lock);
  for (int i = 0; i < MAX_MAPPED && !known; i++)
    if (atomic_load(&mapped[i].bytes) > 0 && atomic_load(&mapped[i].start) == (uintptr_t)start) {
      known = true;
      munmap(start, atomic_load(&mapped[i].bytes));
      atomic_store(&mapped[i].bytes, 0);
    }
  pthread_mutex_unlock(&lock);
  return known;
}

static void nothing(napi_env env, void *data, void *hint) {
  (void)env;
  (void)data;
  (void)hint;
}

napi_value mapMemory(napi_env env, napi_callback_info info) {
  napi_value v[3], result;
  int32_t fd;
  double offset, bytes;
  if (!arguments(env, info, 3, v) || !arg_fd(env, v[0], "fd", &fd) ||
      !arg_size(env, v[1], "offset", 4503599627370496.0, &offset) || !arg_size(env, v[2], "bytes", MAX_WINDOW, &bytes))
    return NULL;
  struct stat file;
  if (fstat(fd, &file) < 0) return throw_errno(env, errno, "fstat", NULL);
  if (bytes == 0 || (double)file.st_size < offset + bytes) return throw_errno(env, EINVAL, "mmap", NULL);
  void *start = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, (off_t)offset);
  if (start == MAP_FAILED) return throw_errno(env, errno, "mmap", NULL);
  madvise(start, (size_t)bytes, MADV_DONTDUMP);
  if (note(start, (size_t)bytes) < 0) {
    munmap(start, (size_t)bytes);
    return throw_errno(env, ENOMEM, "mmap", NULL);
  }
  /* Given back by unmapMemory alone, at once: a finalizer runs when the data plane's thread returns to its event loop, in up to a second. */
  if (napi_create_external_arraybuffer(env, start, (size_t)bytes, nothing, NULL, &result) == napi_ok) return result;
  forget(start);
  return throw_errno(env, ENOMEM, "mmap", NULL);
}

napi_value unmapMemory(napi_env env, napi_callback_info info) {
  napi_value v[1];
  void *start;
  size_t bytes;
  bool is_buffer = false;
  if (!arguments(env, info, 1, v)) return NULL;
  if (napi_is_arraybuffer(env, v[0], &is_buffer) != napi_ok || !is_buffer) {
    napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "memory must be an ArrayBuffer");
    return NULL;
  }
  napi_get_arraybuffer_info(env, v[0], &start, &bytes);
  /* First, lest somebody touch what is gone. */
  if (bytes > 0 && napi_detach_arraybuffer(env, v[0]) == napi_ok && forget(start)) return undefined(env);
  return throw_range(env, "memory must be what mapMemory returned");
}

napi_value patchedPages(napi_env env, napi_callback_info info) {
  (void)info;
  return from_int(env, atomic_load(&patched));
}

/* Only an eventfd is waited for and written to: a pipe would block, a file would grow. It must not block either. */
napi_value adoptEvent(napi_env env, napi_callback_info info) {
  napi_value v[1], result;
  int32_t fd;
  char path[64], target[64];
  if (!arguments(env, info, 1, v) || !arg_fd(env, v[0], "fd", &fd)) return NULL;
  /* This thread's table: it may not be the process's first. */
  snprintf(path, sizeof path, "/proc/thread-self/fd/%d", fd);
  const ssize_t length = readlink(path, target, sizeof target - 1);
  bool is_event = false;
  if (length > 0) {
    target[length] = '\0';
    is_event = strcmp(target, "anon_inode:[eventfd]") == 0 && fcntl(fd, F_SETFL, O_NONBLOCK) == 0;
  }
  napi_get_boolean(env, is_event, &result);
  return result;
}

napi_value createMemory(napi_env env, napi_callback_info info) {
  napi_value v[1];
  double bytes;
  if (!arguments(env, info, 1, v) || !arg_size(env, v[0], "bytes", 4503599627370496.0, &bytes)) return NULL;
  const int fd = (int)syscall(SYS_memfd_create, "vswitchd", MFD_CLOEXEC);
  if (fd < 0) return throw_errno(env, errno, "memfd_create", NULL);
  if (ftruncate(fd, (off_t)bytes) == 0) return from_int(env, fd);
  const int error = errno;
  close(fd);
  return throw_errno(env, error, "ftruncate", NULL);
}

typedef union {
  struct cmsghdr align;
  uint8_t bytes[CMSG_SPACE(MAX_FDS * sizeof(int))];
} passed_t;

/* fds[0]: how many, then they. More than there is room for are closed. */
static void take_fds(struct msghdr *message, int32_t *fds, size_t room) {
  fds[0] = 0;
  for (struct cmsghdr *control = CMSG_FIRSTHDR(message); control != NULL; control = CMSG_NXTHDR(message, control)) {
    if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int fd;
      memcpy(&fd, CMSG_DATA(control) + i * sizeof fd, sizeof fd);
      if ((size_t)fds[0] + 1 < room) fds[++fds[0]] = fd;
      else close(fd);
    }
  }
}

napi_value receiveMessage(napi_env env, napi_callback_info info) {
  napi_value v[5];
  int32_t fd, *fds;
  uint8_t *from;
  size_t count, room;
  if (!arguments(env, info, 5, v) || !arg_bytes(env, v, &fd, &from, &count) ||
      !arg_array(env, v[4], "fds", napi_int32_array, (void **)&fds, &room))
    return NULL;
  if (room < 1) return throw_range(env, "fds must have an element");
  passed_t passed;
  struct iovec part = {from, count};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &passed, .msg_controllen = sizeof passed};
  fds[0] = 0;
  if (count == 0) return from_int(env, 0);
  ssize_t got;
  do got = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  while (got < 0 && errno == EINTR);
  if (got < 0) return from_int(env, errno == EAGAIN ? 0 : -errno);
  take_fds(&message, fds, room);
  return from_int(env, got == 0 ? -EPIPE : (int32_t)got);
}

napi_value sendMessage(napi_env env, napi_callback_info info) {
  napi_value v[4];
  int32_t fd, bytes, *fds;
  uint8_t *buffer;
  size_t length, room;
  if (!arguments(env, info, 4, v) || !arg_fd(env, v[0], "fd", &fd) ||
      !arg_array(env, v[1], "buffer", napi_uint8_array, (void **)&buffer, &length) ||
      !arg_int(env, v[2], "bytes", 1, INT32_MAX, &bytes) ||
      !arg_array(env, v[3], "fds", napi_int32_array, (void **)&fds, &room))
    return NULL;
  if ((size_t)bytes > length || room > MAX_FDS) return throw_range(env, "%d bytes are no part of a buffer of %zu, or there are more than %d fds", bytes, length, MAX_FDS);
  passed_t passed;
  memset(&passed, 0, sizeof passed);
  struct iovec part = {buffer, (size_t)bytes};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (room > 0) {
    message.msg_control = &passed;
    message.msg_controllen = CMSG_SPACE(room * sizeof(int));
    struct cmsghdr *control = CMSG_FIRSTHDR(&message);
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(room * sizeof(int));
    memcpy(CMSG_DATA(control), fds, room * sizeof(int));
  }
  ssize_t sent;
  do sent = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  return from_int(env, sent < 0 ? -errno : (int32_t)sent);
}
