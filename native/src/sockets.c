/*
 * Unix sockets that guests' monitors plug into: listening, connecting, bound for datagrams. And the datagrams, each of which
 * is one frame, without a virtio-net header.
 */
#include "native.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 64, MAX_SEND = 256, MAX_GROUPS = 65536 };

typedef int (*joining_t)(int, const struct sockaddr *, socklen_t);

/* A new socket of a type at the path that is the only argument, joined to it in one of the ways; -1: it has thrown. */
static int open_at(napi_env env, napi_callback_info info, int type, joining_t join, const char *how) {
  napi_value v[1];
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (!arguments(env, info, 1, v) || !arg_text(env, v[0], "path", address.sun_path, sizeof address.sun_path)) return -1;
  if (address.sun_path[0] != '/') {
    throw_range(env, "path must begin at the root, not '%s'", address.sun_path);
    return -1;
  }
  const int fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    throw_errno(env, errno, "socket", address.sun_path);
    return -1;
  }
  if (join(fd, (const struct sockaddr *)&address, sizeof address) == 0) return fd;
  throw_errno(env, errno, how, address.sun_path);
  close(fd);
  return -1;
}

static int bind_and_listen(int fd, const struct sockaddr *address, socklen_t size) {
  return bind(fd, address, size) < 0 ? -1 : listen(fd, BACKLOG);
}

napi_value listenUnix(napi_env env, napi_callback_info info) {
  const int fd = open_at(env, info, SOCK_STREAM, bind_and_listen, "bind");
  return fd < 0 ? NULL : from_int(env, fd);
}

napi_value connectUnix(napi_env env, napi_callback_info info) {
  const int fd = open_at(env, info, SOCK_STREAM, connect, "connect");
  if (fd < 0) return NULL;
  enlarge(fd);
  return from_int(env, fd);
}

napi_value bindDatagrams(napi_env env, napi_callback_info info) {
  const int fd = open_at(env, info, SOCK_DGRAM, bind, "bind");
  if (fd < 0) return NULL;
  enlarge(fd);
  return from_int(env, fd);
}

/* Groups beside the first, unix(7) SO_PEERGROUPS; -1 with errno. The list is the caller's to free. */
static long peer_groups(int fd, gid_t **groups) {
  socklen_t size = 0;
  *groups = NULL;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &size) == 0) return 0;
  if (errno != ERANGE) return -1;
  if (size > MAX_GROUPS * sizeof **groups) {
    errno = E2BIG;
    return -1;
  }
  *groups = malloc(size);
  if (*groups == NULL || getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, *groups, &size) < 0) {
    free(*groups);
    return -1;
  }
  return (long)(size / sizeof **groups);
}

napi_value peerOf(napi_env env, napi_callback_info info) {
  napi_value v[1], result;
  int32_t fd;
  if (!arguments(env, info, 1, v) || !arg_fd(env, v[0], "fd", &fd)) return NULL;
  struct ucred peer;
  socklen_t size = sizeof peer;
  gid_t *groups;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) return throw_errno(env, errno, "SO_PEERCRED", NULL);
  const long count = peer_groups(fd, &groups);
  if (count < 0) return throw_errno(env, errno, "SO_PEERGROUPS", NULL);
  napi_create_array_with_length(env, 2 + (size_t)count, &result);
  napi_value number;
  napi_create_uint32(env, peer.uid, &number);
  napi_set_element(env, result, 0, number);
  napi_create_uint32(env, peer.gid, &number);
  napi_set_element(env, result, 1, number);
  for (long i = 0; i < count; i++) {
    napi_create_uint32(env, groups[i], &number);
    napi_set_element(env, result, 2 + (uint32_t)i, number);
  }
  free(groups);
  return result;
}

napi_value acceptUnix(napi_env env, napi_callback_info info) {
  napi_value v[1];
  int32_t listening;
  if (!arguments(env, info, 1, v) || !arg_fd(env, v[0], "fd", &listening)) return NULL;
  int fd;
  do fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
  while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
  if (fd < 0) return errno == EAGAIN ? from_int(env, -1) : throw_errno(env, errno, "accept4", NULL);
  enlarge(fd);
  return from_int(env, fd);
}

/* A peer's address as the kernel has it, and in `length` how many bytes of it count. */
static bool arg_peer(napi_env env, napi_value address, napi_value length, struct sockaddr_un **peer, int32_t **bytes) {
  size_t room, lengths;
  if (!arg_array(env, address, "address", napi_uint8_array, (void **)peer, &room) ||
      !arg_array(env, length, "addressLength", napi_int32_array, (void **)bytes, &lengths))
    return false;
  if (room < sizeof **peer || lengths < 1 || **bytes < 0 || (size_t)**bytes > sizeof **peer) {
    throw_range(env, "address must have %zu bytes and a length within", sizeof **peer);
    return false;
  }
  return true;
}

napi_value receiveDatagrams(napi_env env, napi_callback_info info) {
  napi_value v[9];
  frames_t frames;
  int32_t fd, start, first, max, *bytes;
  struct sockaddr_un *peer, sender;
  if (!arguments(env, info, 9, v) || !arg_fd(env, v[0], "fd", &fd) || !arg_frames(env, v[1], v[3], v[4], &frames) ||
      !arg_slots(env, &frames, v[2], v[5], v[6], &start, &first, &max) || !arg_peer(env, v[7], v[8], &peer, &bytes))
    return NULL;
  if (max == 0) return from_int(env, 0);
  struct mmsghdr messages[MAX_BURST];
  struct iovec parts[MAX_BURST];
  for (int32_t i = 0; i < max; i++) {
    uint8_t *frame = frames.slab + start + (size_t)i * SLOT + HEADROOM;
    parts[i] = (struct iovec){frame, SLOT - HEADROOM};
    messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
    if (i == 0) {
      messages[i].msg_hdr.msg_name = &sender;
      messages[i].msg_hdr.msg_namelen = sizeof sender;
    }
  }
  long received;
  do received = syscall(SYS_recvmmsg, fd, messages, max, MSG_DONTWAIT, NULL);
  while (received < 0 && errno == EINTR);
  if (received < 0) return from_int(env, errno == EAGAIN ? 0 : -errno);
  /* One burst, one sender: frames of several senders on one path are all taken, and the answers go to one of them. */
  const socklen_t length = messages[0].msg_hdr.msg_namelen;
  if (received > 0 && length > offsetof(struct sockaddr_un, sun_path) && length <= sizeof sender) {
    memcpy(peer, &sender, length);
    *bytes = (int32_t)length;
  }
  int32_t count = 0;
  for (int32_t i = 0; i < received; i++) {
    const uint32_t length = messages[i].msg_len;
    if (messages[i].msg_hdr.msg_flags & MSG_TRUNC || length < ETH_HLEN) continue;
    const int32_t offset = start + i * SLOT + HEADROOM;
    memset(frames.slab + offset - VNET_SIZE, 0, VNET_SIZE);
    frames.offsets[first + count] = offset;
    frames.lengths[first + count] = (int32_t)length;
    count++;
  }
  return from_int(env, count == 0 && received > 0 ? -EMSGSIZE : count);
}

napi_value sendDatagrams(napi_env env, napi_callback_info info) {
  napi_value v[9];
  frames_t frames;
  const int32_t *rows;
  int32_t fd, count, *refused, *bytes;
  struct sockaddr_un *peer;
  if (!arguments(env, info, 9, v) || !arg_fd(env, v[0], "fd", &fd) || !arg_frames(env, v[1], v[2], v[3], &frames) ||
      !arg_rows(env, &frames, v[4], v[5], 0, &rows, &count) ||
      !arg_refused(env, v[6], &refused) ||
      !arg_peer(env, v[7], v[8], &peer, &bytes))
    return NULL;
  if (count > MAX_SEND) count = MAX_SEND;
  struct mmsghdr messages[MAX_SEND];
  struct iovec parts[MAX_SEND];
  for (int32_t i = 0; i < count; i++) {
    const int32_t row = rows[i];
    parts[i] = (struct iovec){frames.slab + frames.offsets[row], (size_t)frames.lengths[row]};
    messages[i].msg_hdr =
        (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1, .msg_name = peer, .msg_namelen = (socklen_t)*bytes};
  }
  int32_t taken = 0;
  while (taken < count) {
    const long sent = syscall(SYS_sendmmsg, fd, messages + taken, count - taken, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) taken += (int32_t)sent;
    else if (errno == EAGAIN) break;
    else if (errno == ECONNREFUSED || errno == ENOENT || errno == ECONNRESET || errno == EPIPE || errno == ENOTSOCK || errno == EBADF) {
      if (taken == 0) return from_int(env, -errno);
      break;
    } else if (errno != EINTR) {
      refused[0]++;
      taken++;
    }
  }
  return from_int(env, taken);
}
