/* Small things that Node has no call for: a datagram to a unix socket, a lock, the closing of an fd from this addon. */
#include "native.h"

#include <errno.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { MAX_TEXT = 4096 };

napi_value sendUnixDatagram(napi_env env, napi_callback_info info) {
  napi_value v[2];
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  char path[sizeof address.sun_path], text[MAX_TEXT];
  if (!arguments(env, info, 2, v) || !arg_text(env, v[0], "path", path, sizeof path) ||
      !arg_text(env, v[1], "text", text, sizeof text))
    return NULL;
  const size_t length = strlen(path);
  memcpy(address.sun_path, path, length);
  if (path[0] == '@') address.sun_path[0] = '\0';
  const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return throw_errno(env, errno, "socket", path);
  const socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
  const ssize_t sent =
      sendto(fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL, (const struct sockaddr *)&address, size);
  const int error = errno;
  close(fd);
  return sent < 0 ? throw_errno(env, error, "sendto", path) : undefined(env);
}

napi_value lockFile(napi_env env, napi_callback_info info) {
  napi_value v[1], result;
  int32_t fd;
  if (!arguments(env, info, 1, v) || !arg_fd(env, v[0], "fd", &fd)) return NULL;
  int locked;
  do locked = flock(fd, LOCK_EX | LOCK_NB);
  while (locked < 0 && errno == EINTR);
  if (locked < 0 && errno != EWOULDBLOCK) return throw_errno(env, errno, "flock", NULL);
  napi_get_boolean(env, locked == 0, &result);
  return result;
}

napi_value close_(napi_env env, napi_callback_info info) {
  napi_value v[1];
  int32_t fd;
  if (!arguments(env, info, 1, v) || !arg_fd(env, v[0], "fd", &fd)) return NULL;
  /* EINTR: Linux has closed it by then. */
  if (close(fd) < 0 && errno != EINTR) return throw_errno(env, errno, "close", NULL);
  return undefined(env);
}
