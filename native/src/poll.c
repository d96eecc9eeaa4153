/* Waiting: one epoll for all ports of the data plane, and eventfds to wake it from another thread. */
#include "native.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { MAX_READY = 256 };

napi_value epollCreate(napi_env env, napi_callback_info info) {
  (void)info;
  const int fd = epoll_create1(EPOLL_CLOEXEC);
  return fd < 0 ? throw_errno(env, errno, "epoll_create1", NULL) : from_int(env, fd);
}

napi_value epollAdd(napi_env env, napi_callback_info info) {
  napi_value v[3];
  int32_t epoll, fd, tag;
  if (!arguments(env, info, 3, v) || !arg_fd(env, v[0], "epoll", &epoll) || !arg_fd(env, v[1], "fd", &fd) ||
      !arg_int(env, v[2], "tag", INT32_MIN, INT32_MAX, &tag))
    return NULL;
  struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint32_t)tag};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) return throw_errno(env, errno, "epoll_ctl", NULL);
  return undefined(env);
}

napi_value epollWriting(napi_env env, napi_callback_info info) {
  napi_value v[4];
  int32_t epoll, fd, tag;
  bool on;
  if (!arguments(env, info, 4, v) || !arg_fd(env, v[0], "epoll", &epoll) || !arg_fd(env, v[1], "fd", &fd) ||
      !arg_int(env, v[2], "tag", INT32_MIN, INT32_MAX, &tag) || !arg_bool(env, v[3], "on", &on))
    return NULL;
  struct epoll_event event = {.events = on ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.u64 = (uint32_t)tag};
  if (epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event) < 0) return throw_errno(env, errno, "epoll_ctl", NULL);
  return undefined(env);
}

napi_value epollRemove(napi_env env, napi_callback_info info) {
  napi_value v[2];
  int32_t epoll, fd;
  if (!arguments(env, info, 2, v) || !arg_fd(env, v[0], "epoll", &epoll) || !arg_fd(env, v[1], "fd", &fd)) return NULL;
  if (epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL) < 0) return throw_errno(env, errno, "epoll_ctl", NULL);
  return undefined(env);
}

static double monotonic_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

napi_value wait_(napi_env env, napi_callback_info info) {
  napi_value v[4];
  int32_t epoll, timeout_ms, *tags;
  double *clock;
  size_t room, clock_length;
  if (!arguments(env, info, 4, v) || !arg_fd(env, v[0], "epoll", &epoll) ||
      !arg_array(env, v[1], "tags", napi_int32_array, (void **)&tags, &room) ||
      !arg_int(env, v[2], "timeoutMs", -1, INT32_MAX, &timeout_ms) ||
      !arg_array(env, v[3], "clock", napi_float64_array, (void **)&clock, &clock_length))
    return NULL;
  if (room < 1 || clock_length < 2) return throw_range(env, "tags must have an element, clock two");
  struct epoll_event events[MAX_READY];
  const int max = room < MAX_READY ? (int)room : MAX_READY;
  if (timeout_ms != 0) clock[1] = monotonic_ms();
  long ready = syscall(SYS_epoll_pwait, epoll, events, max, timeout_ms, NULL, 0);
  if (ready < 0) {
    /* An interruption is an early end of the wait: the caller looks round and waits again. */
    if (errno != EINTR) return throw_errno(env, errno, "epoll_wait", NULL);
    ready = 0;
  }
  for (long i = 0; i < ready; i++) tags[i] = (int32_t)events[i].data.u64;
  clock[0] = monotonic_ms();
  return from_int(env, (int32_t)ready);
}

napi_value eventCreate(napi_env env, napi_callback_info info) {
  (void)info;
  const int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  return fd < 0 ? throw_errno(env, errno, "eventfd", NULL) : from_int(env, fd);
}

napi_value eventSignal(napi_env env, napi_callback_info info) {
  napi_value v[1];
  int32_t fd;
  if (!arguments(env, info, 1, v) || !arg_fd(env, v[0], "fd", &fd)) return NULL;
  const uint64_t one = 1;
  /* EAGAIN: the counter is at its end, so whoever waits is awake anyway. */
  if (write(fd, &one, sizeof one) < 0 && errno != EAGAIN) return throw_errno(env, errno, "write", NULL);
  return undefined(env);
}

napi_value eventClear(napi_env env, napi_callback_info info) {
  napi_value v[1];
  int32_t fd;
  if (!arguments(env, info, 1, v) || !arg_fd(env, v[0], "fd", &fd)) return NULL;
  uint64_t count;
  if (read(fd, &count, sizeof count) < 0 && errno != EAGAIN) return throw_errno(env, errno, "read", NULL);
  return undefined(env);
}
