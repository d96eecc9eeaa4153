/* NETLINK_ROUTE sockets: messages are bytes here; what they say is TypeScript's business. */
#include "native.h"

#include <errno.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <unistd.h>

/* Room for the bursts of events that a host with many containers makes. */
enum { BUFFER_BYTES = 1024 * 1024 };

napi_value netlinkOpen(napi_env env, napi_callback_info info) {
  napi_value v[1];
  int32_t groups;
  if (!arguments(env, info, 1, v) || !arg_int(env, v[0], "groups", 0, INT32_MAX, &groups)) return NULL;
  const int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (fd < 0) return throw_errno(env, errno, "socket", "netlink");
  const int bytes = BUFFER_BYTES;
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) < 0)
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
  const struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = (uint32_t)groups};
  if (bind(fd, (const struct sockaddr *)&address, sizeof address) == 0) return from_int(env, fd);
  const int error = errno;
  close(fd);
  return throw_errno(env, error, "bind", "netlink");
}

napi_value netlinkSend(napi_env env, napi_callback_info info) {
  napi_value v[2];
  int32_t fd;
  void *message;
  size_t length;
  if (!arguments(env, info, 2, v) || !arg_fd(env, v[0], "fd", &fd) ||
      !arg_array(env, v[1], "message", napi_uint8_array, &message, &length))
    return NULL;
  const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
  if (sendto(fd, message, length, 0, (const struct sockaddr *)&kernel, sizeof kernel) < 0)
    return throw_errno(env, errno, "sendto", "netlink");
  return undefined(env);
}

napi_value netlinkReceive(napi_env env, napi_callback_info info) {
  napi_value v[2];
  int32_t fd;
  void *buffer;
  size_t length;
  if (!arguments(env, info, 2, v) || !arg_fd(env, v[0], "fd", &fd) ||
      !arg_array(env, v[1], "buffer", napi_uint8_array, &buffer, &length))
    return NULL;
  for (;;) {
    struct sockaddr_nl from = {0};
    struct iovec part = {buffer, length};
    struct msghdr message = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &part, .msg_iovlen = 1};
    const ssize_t bytes = recvmsg(fd, &message, MSG_DONTWAIT);
    if (bytes < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) return from_int(env, 0);
      if (errno == ENOBUFS) return from_int(env, -ENOBUFS);
      return throw_errno(env, errno, "recvmsg", "netlink");
    }
    /* Only the kernel is believed. */
    if (from.nl_pid != 0) continue;
    if (message.msg_flags & MSG_TRUNC) return throw_errno(env, EMSGSIZE, "recvmsg", "netlink");
    return from_int(env, (int32_t)bytes);
  }
}
