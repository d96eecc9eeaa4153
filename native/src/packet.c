/*
 * Taps' interface ends, or any other Ethernet interface: AF_PACKET sockets.
 *
 * Kernel behaviour that this file relies on (net/packet/af_packet.c):
 * - when the interface goes down the socket reports ENETDOWN once, then nothing; when it comes up the socket goes on;
 * - when the interface goes away that is the same to a reader, but the socket's own address then has index -1; sending
 *   gives ENXIO;
 * - a VLAN tag is taken out of the frame and told in PACKET_AUXDATA; all offsets in the virtio-net header are for the
 *   frame without it;
 * - recvmmsg keeps an error behind the first message for the next call, sendmmsg forgets it: the next call meets it again;
 * - no PACKET_QDISC_BYPASS: that way the kernel refuses (ENOBUFS) a frame that it would have to segment itself, for a
 *   device without TSO, such as the tap of a guest that has not negotiated it.
 */
#include "native.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef PACKET_IGNORE_OUTGOING /* Linux 4.20 */
#define PACKET_IGNORE_OUTGOING 23
#endif

/* A 64 KiB frame is charged with some 70 KiB: the default of 208 KiB would hold three, and TCP would crawl. */
enum { BUFFER_BYTES = 16 * 1024 * 1024, MAX_SEND = 192 };

static int network(uint16_t value) { return (value >> 8 | value << 8) & 0xffff; }

static const char *configure(int fd, int32_t ifindex) {
  const int on = 1, bytes = BUFFER_BYTES;
  if (setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on) < 0) return "PACKET_VNET_HDR";
  if (setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on) < 0) return "PACKET_IGNORE_OUTGOING";
  if (setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &on, sizeof on) < 0) return "PACKET_AUXDATA";
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) < 0 &&
      setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes) < 0)
    return "SO_RCVBUF";
  if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) < 0 &&
      setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes) < 0)
    return "SO_SNDBUF";
  const struct packet_mreq promiscuous = {.mr_ifindex = ifindex, .mr_type = PACKET_MR_PROMISC};
  if (setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promiscuous, sizeof promiscuous) < 0)
    return "PACKET_ADD_MEMBERSHIP";
  /* Last: from here on frames come in, and all of this interface. */
  const struct sockaddr_ll address = {
      .sll_family = AF_PACKET, .sll_protocol = (uint16_t)network(ETH_P_ALL), .sll_ifindex = ifindex};
  return bind(fd, (const struct sockaddr *)&address, sizeof address) < 0 ? "bind" : NULL;
}

napi_value openPacket(napi_env env, napi_callback_info info) {
  napi_value v[1];
  int32_t ifindex;
  if (!arguments(env, info, 1, v) || !arg_int(env, v[0], "ifindex", 1, INT32_MAX, &ifindex)) return NULL;
  char device[IFNAMSIZ];
  if (if_indextoname((unsigned)ifindex, device) == NULL) snprintf(device, sizeof device, "#%d", ifindex);
  const int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return throw_errno(env, errno, "socket", device);
  const char *failure = configure(fd, ifindex);
  if (failure == NULL) return from_int(env, fd);
  const int error = errno;
  close(fd);
  return throw_errno(env, error, failure, device);
}

/* The tag's place behind the MACs is made by moving header and MACs into the headroom: the frame starts 4 bytes earlier. */
static void put_tag_back(uint8_t *frame, uint16_t protocol, uint16_t tag) {
  memmove(frame - VNET_SIZE - 4, frame - VNET_SIZE, VNET_SIZE + 2 * ETH_ALEN);
  uint8_t *at = frame + 2 * ETH_ALEN - 4;
  at[0] = (uint8_t)(protocol >> 8);
  at[1] = (uint8_t)protocol;
  at[2] = (uint8_t)(tag >> 8);
  at[3] = (uint8_t)tag;
  struct virtio_net_hdr header;
  memcpy(&header, frame - VNET_SIZE - 4, VNET_SIZE);
  if (header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) header.csum_start += 4;
  if (header.gso_type != VIRTIO_NET_HDR_GSO_NONE) header.hdr_len += 4;
  memcpy(frame - VNET_SIZE - 4, &header, VNET_SIZE);
}

typedef union {
  struct cmsghdr align;
  uint8_t bytes[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
} control_t;

/* The VLAN tag that the kernel took out of the frame, if any. */
static const struct tpacket_auxdata *tag_of(struct msghdr *message) {
  struct cmsghdr *control = CMSG_FIRSTHDR(message);
  if (control == NULL || control->cmsg_level != SOL_PACKET || control->cmsg_type != PACKET_AUXDATA) return NULL;
  const struct tpacket_auxdata *data = (const struct tpacket_auxdata *)(const void *)CMSG_DATA(control);
  return data->tp_status & TP_STATUS_VLAN_VALID ? data : NULL;
}

static bool is_gone(int fd) {
  struct sockaddr_ll address;
  socklen_t size = sizeof address;
  return getsockname(fd, (struct sockaddr *)&address, &size) == 0 && address.sll_ifindex <= 0;
}

/* recvmmsg, past interruptions and past frames with an offload that the virtio-net header can't say (EINVAL). */
static long receive(int fd, struct mmsghdr *messages, int32_t max) {
  for (int tries = 0; tries < 2 * MAX_BURST; tries++) {
    const long received = syscall(SYS_recvmmsg, fd, messages, max, MSG_DONTWAIT, NULL);
    if (received >= 0) return received;
    if (errno == EAGAIN) return 0;
    if (errno == ENETDOWN) return is_gone(fd) ? -ENODEV : -ENETDOWN;
    if (errno != EINTR && errno != EINVAL) return -errno;
  }
  return 0;
}

napi_value receivePackets(napi_env env, napi_callback_info info) {
  napi_value v[7];
  frames_t frames;
  int32_t fd, start, first, max;
  if (!arguments(env, info, 7, v) || !arg_fd(env, v[0], "fd", &fd) || !arg_frames(env, v[1], v[3], v[4], &frames) ||
      !arg_slots(env, &frames, v[2], v[5], v[6], &start, &first, &max))
    return NULL;
  if (max == 0) return from_int(env, 0);
  struct mmsghdr messages[MAX_BURST];
  struct iovec parts[MAX_BURST];
  control_t controls[MAX_BURST];
  for (int32_t i = 0; i < max; i++) {
    uint8_t *frame = frames.slab + start + (size_t)i * SLOT + HEADROOM;
    parts[i] = (struct iovec){frame - VNET_SIZE, SLOT - HEADROOM + VNET_SIZE};
    messages[i].msg_hdr = (struct msghdr){
        .msg_iov = &parts[i], .msg_iovlen = 1, .msg_control = &controls[i], .msg_controllen = sizeof controls[i]};
  }
  const long received = receive(fd, messages, max);
  if (received < 0) return from_int(env, (int32_t)received);
  int32_t count = 0;
  for (int32_t i = 0; i < received; i++) {
    const uint32_t bytes = messages[i].msg_len;
    if (messages[i].msg_hdr.msg_flags & MSG_TRUNC || bytes < VNET_SIZE + ETH_HLEN) continue;
    int32_t offset = start + i * SLOT + HEADROOM;
    int32_t length = (int32_t)bytes - VNET_SIZE;
    const struct tpacket_auxdata *data = tag_of(&messages[i].msg_hdr);
    if (data != NULL) {
      const bool told = (data->tp_status & TP_STATUS_VLAN_TPID_VALID) != 0;
      put_tag_back(frames.slab + offset, told ? data->tp_vlan_tpid : ETH_P_8021Q, data->tp_vlan_tci);
      offset -= 4;
      length += 4;
    }
    frames.offsets[first + count] = offset;
    frames.lengths[first + count] = length;
    count++;
  }
  return from_int(env, count);
}

napi_value sendPackets(napi_env env, napi_callback_info info) {
  napi_value v[7];
  frames_t frames;
  const int32_t *rows;
  int32_t fd, count, *refused;
  if (!arguments(env, info, 7, v) || !arg_fd(env, v[0], "fd", &fd) || !arg_frames(env, v[1], v[2], v[3], &frames) ||
      !arg_rows(env, &frames, v[4], v[5], 0, &rows, &count) ||
      !arg_refused(env, v[6], &refused))
    return NULL;
  /* More than a batch has rows is taken in part, as if the socket were full. */
  if (count > MAX_SEND) count = MAX_SEND;
  struct mmsghdr messages[MAX_SEND];
  struct iovec parts[MAX_SEND];
  for (int32_t i = 0; i < count; i++) {
    const int32_t row = rows[i];
    parts[i] = (struct iovec){frames.slab + frames.offsets[row] - VNET_SIZE, (size_t)(frames.lengths[row] + VNET_SIZE)};
    messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
  }
  int32_t taken = 0;
  while (taken < count) {
    const long sent = syscall(SYS_sendmmsg, fd, messages + taken, count - taken, MSG_DONTWAIT);
    if (sent > 0) {
      taken += (int32_t)sent;
      continue;
    }
    if (errno == EINTR) continue;
    if (errno == EAGAIN) break;
    if (errno == ENXIO || errno == ENODEV || errno == EBADF || errno == ENOTSOCK) {
      if (taken == 0) return from_int(env, -errno);
      break;
    }
    if (errno == ENETDOWN) { /* down: it takes none of the rest either */
      refused[0] += count - taken;
      taken = count;
      break;
    }
    refused[0]++;
    taken++;
  }
  return from_int(env, taken);
}
