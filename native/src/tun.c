/*
 * Taps' device ends and tuns: /dev/net/tun.
 *
 * Kernel behaviour that this file relies on (drivers/net/tun.c):
 * - the namespace is that of the thread that opens /dev/net/tun, not of the one that calls TUNSETIFF;
 * - TUNSETIFF creates the device if the name is free: the only way to find out is to look before and after;
 * - a device made with multi_queue wants IFF_MULTI_QUEUE from everyone (EINVAL otherwise); IFF_VNET_HDR may differ from
 *   the last user's, but the header's size sticks to the device, so it is set each time;
 * - when the device goes, read and write give EBADFD for ever after; while it is down, write gives EIO.
 */
#include "native.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef TUN_F_USO4 /* Linux 6.2 */
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

typedef struct {
  char name[IFNAMSIZ];
  int flags;
  bool must_exist;
  int32_t ifindex;
  int persist; /* -1: leave */
  int fd;
} tun_t;

/* -1 when there is none of that name in this namespace. */
static int index_of(const char *name) {
  const unsigned index = if_nametoindex(name);
  return index == 0 ? -1 : (int)index;
}

static outcome_t configure(tun_t *tun) {
  const int before = index_of(tun->name);
  if (tun->must_exist && (before < 0 || (tun->ifindex != 0 && before != tun->ifindex)))
    return failed(ENODEV, "TUNSETIFF");

  struct ifreq request;
  memset(&request, 0, sizeof request);
  memcpy(request.ifr_name, tun->name, IFNAMSIZ);
  request.ifr_flags = (short)tun->flags;
  if (ioctl(tun->fd, TUNSETIFF, &request) < 0) {
    if (errno != EINVAL || before < 0) return failed(errno, "TUNSETIFF");
    request.ifr_flags = (short)(tun->flags | IFF_MULTI_QUEUE);
    if (ioctl(tun->fd, TUNSETIFF, &request) < 0) return failed(errno, "TUNSETIFF");
  }
  /* Its name may have been a pattern (tap%d), or have changed since: ask. */
  if (ioctl(tun->fd, TUNGETIFF, &request) < 0) return failed(errno, "TUNGETIFF");
  memcpy(tun->name, request.ifr_name, IFNAMSIZ);
  tun->ifindex = index_of(tun->name);
  if (tun->ifindex < 0 || (tun->must_exist && tun->ifindex != before)) return failed(ENODEV, "TUNSETIFF");

  int size = VNET_SIZE;
  if (ioctl(tun->fd, TUNSETVNETHDRSZ, &size) < 0) return failed(errno, "TUNSETVNETHDRSZ");
  /* A kernel that knows USO on taps takes such frames on packet sockets, too: both came with Linux 6.2. */
  const unsigned long offloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
  if (ioctl(tun->fd, TUNSETOFFLOAD, offloads | TUN_F_USO4 | TUN_F_USO6) < 0 &&
      ioctl(tun->fd, TUNSETOFFLOAD, offloads) < 0)
    return failed(errno, "TUNSETOFFLOAD");
  if (tun->persist >= 0 && ioctl(tun->fd, TUNSETPERSIST, (unsigned long)tun->persist) < 0)
    return failed(errno, "TUNSETPERSIST");
  return done();
}

static outcome_t open_tun(void *argument) {
  tun_t *tun = argument;
  tun->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (tun->fd < 0) return failed(errno, "open");
  const outcome_t outcome = configure(tun);
  /* A device that TUNSETIFF has just made goes with its fd. */
  if (outcome.error != 0) close(tun->fd);
  return outcome;
}

static bool option(napi_env env, napi_value options, const char *key, napi_value *out) {
  if (napi_get_named_property(env, options, key, out) == napi_ok) return true;
  bool pending = false;
  napi_is_exception_pending(env, &pending);
  if (!pending) napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "options must be an object");
  return false;
}

napi_value openTun(napi_env env, napi_callback_info info) {
  napi_value options, value, result;
  tun_t tun = {.persist = -1, .fd = -1};
  char mode[4];
  int32_t netns;
  if (!arguments(env, info, 1, &options) || !option(env, options, "name", &value) ||
      !arg_text(env, value, "name", tun.name, IFNAMSIZ) || !option(env, options, "mode", &value) ||
      !arg_text(env, value, "mode", mode, sizeof mode) || !option(env, options, "netns", &value) ||
      !arg_netns(env, value, &netns) || !option(env, options, "mustExist", &value) ||
      !arg_bool(env, value, "mustExist", &tun.must_exist) || !option(env, options, "ifindex", &value) ||
      !arg_int(env, value, "ifindex", 0, INT32_MAX, &tun.ifindex) || !option(env, options, "persist", &value))
    return NULL;
  napi_valuetype type;
  napi_typeof(env, value, &type);
  if (type != napi_undefined) {
    bool persist;
    if (!arg_bool(env, value, "persist", &persist)) return NULL;
    tun.persist = persist;
  }
  const bool tap = strcmp(mode, "tap") == 0;
  if (!tap && strcmp(mode, "tun") != 0) return throw_range(env, "mode must be 'tap' or 'tun', not '%s'", mode);
  tun.flags = (tap ? IFF_TAP : IFF_TUN) | IFF_NO_PI | IFF_VNET_HDR;

  char wanted[IFNAMSIZ];
  memcpy(wanted, tun.name, IFNAMSIZ);
  const outcome_t outcome = in_netns(netns, open_tun, &tun);
  if (outcome.error != 0)
    return throw_errno(env, outcome.error, outcome.syscall, strcmp(outcome.syscall, "open") == 0 ? "/dev/net/tun" : wanted);
  if (napi_create_object(env, &result) != napi_ok) return NULL;
  napi_set_named_property(env, result, "fd", from_int(env, tun.fd));
  napi_set_named_property(env, result, "name", from_text(env, tun.name));
  napi_set_named_property(env, result, "ifindex", from_int(env, tun.ifindex));
  return result;
}

/* An fd opened in a namespace keeps that namespace alive, so only asking tells where its interface is now. */
napi_value deviceNetns(napi_env env, napi_callback_info info) {
  napi_value v[1];
  int32_t fd;
  if (!arguments(env, info, 1, v) || !arg_fd(env, v[0], "fd", &fd)) return NULL;
  const int netns = ioctl(fd, TUNGETDEVNETNS);
  return netns < 0 ? throw_errno(env, errno, "TUNGETDEVNETNS", NULL) : from_int(env, netns);
}

napi_value setPersist(napi_env env, napi_callback_info info) {
  napi_value v[2];
  int32_t fd;
  bool on;
  if (!arguments(env, info, 2, v) || !arg_fd(env, v[0], "fd", &fd) || !arg_bool(env, v[1], "on", &on)) return NULL;
  if (ioctl(fd, TUNSETPERSIST, (unsigned long)on) == 0) return undefined(env);
  struct ifreq request;
  const int error = errno;
  return throw_errno(env, error, "TUNSETPERSIST", ioctl(fd, TUNGETIFF, &request) == 0 ? request.ifr_name : NULL);
}

/* read and write through syscall(2): libc's are cancellation points, which cost a tenth in a process with threads. */
napi_value readFrames(napi_env env, napi_callback_info info) {
  napi_value v[8];
  frames_t frames;
  int32_t fd, start, first, max, shift;
  if (!arguments(env, info, 8, v) || !arg_fd(env, v[0], "fd", &fd) || !arg_frames(env, v[1], v[3], v[4], &frames) ||
      !arg_slots(env, &frames, v[2], v[5], v[6], &start, &first, &max) || !arg_int(env, v[7], "shift", 0, 64, &shift))
    return NULL;
  size_t slot = (size_t)start;
  int32_t count = 0;
  /* Refused ones (an offload that the header can't say) are skipped; `tries` bounds a call on a broken device. */
  for (int tries = 0; count < max && tries < 2 * MAX_BURST && slot + SLOT <= frames.slab_length; tries++) {
    const size_t offset = slot + HEADROOM;
    uint8_t *to = frames.slab + offset + shift - VNET_SIZE;
    const long bytes = syscall(SYS_read, fd, to, (size_t)(SLOT - HEADROOM - shift + VNET_SIZE));
    if (bytes < 0) {
      if (errno == EINTR || errno == EINVAL) continue;
      if (errno == EAGAIN || count > 0) break;
      return from_int(env, -errno);
    }
    if (bytes <= VNET_SIZE) continue;
    const size_t length = (size_t)bytes - VNET_SIZE + (size_t)shift;
    frames.offsets[first + count] = (int32_t)offset;
    frames.lengths[first + count] = (int32_t)length;
    count++;
    slot = (offset + length + 63) & ~(size_t)63;
  }
  return from_int(env, count);
}

static long write_frame(int fd, uint8_t *frame, int32_t length, int32_t shift) {
  if (shift == 0) return syscall(SYS_write, fd, frame - VNET_SIZE, (size_t)(VNET_SIZE + length));
  struct iovec parts[2] = {{frame - VNET_SIZE, VNET_SIZE}, {frame + shift, (size_t)(length - shift)}};
  return syscall(SYS_writev, fd, parts, 2);
}

napi_value writeFrames(napi_env env, napi_callback_info info) {
  napi_value v[8];
  frames_t frames;
  const int32_t *rows;
  int32_t fd, count, shift, *refused;
  if (!arguments(env, info, 8, v) || !arg_fd(env, v[0], "fd", &fd) || !arg_frames(env, v[1], v[2], v[3], &frames) ||
      !arg_int(env, v[6], "shift", 0, 64, &shift) || !arg_rows(env, &frames, v[4], v[5], shift, &rows, &count) ||
      !arg_refused(env, v[7], &refused))
    return NULL;
  int32_t taken = 0;
  while (taken < count) {
    const int32_t row = rows[taken];
    if (write_frame(fd, frames.slab + frames.offsets[row], frames.lengths[row], shift) >= 0) {
      taken++;
      continue;
    }
    if (errno == EINTR) continue;
    if (errno == EAGAIN) break;
    if (errno == EBADFD || errno == EBADF) {
      if (taken == 0) return from_int(env, -errno);
      break;
    }
    if (errno == EIO) { /* down: it takes none of the rest either */
      refused[0] += count - taken;
      taken = count;
      break;
    }
    refused[0]++;
    taken++;
  }
  return from_int(env, taken);
}
