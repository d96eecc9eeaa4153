/**
 * The least that a program between two taps must do: one read and one write a frame. Whatever a switch on taps does, it
 * does on top of this.
 *
 *   loop TAP TAP      makes both, says "ready", and passes frames with their virtio-net headers till it is killed
 */
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { HEADER = 12, ROOM = 1 << 17, BURST = 64 };

static int open_tap(const char *name) {
  struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
  int size = HEADER;
  const int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
  snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
  if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0 || ioctl(fd, TUNSETVNETHDRSZ, &size) < 0 ||
      ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6) < 0) {
    perror(name);
    exit(1);
  }
  return fd;
}

int main(int argc, char **argv) {
  static char frame[ROOM];
  if (argc != 3) return 2;
  struct pollfd taps[2] = {{open_tap(argv[1]), POLLIN, 0}, {open_tap(argv[2]), POLLIN, 0}};
  puts("ready");
  fflush(stdout);
  for (;;) {
    poll(taps, 2, -1);
    for (int from = 0; from < 2; from++)
      for (int i = 0; i < BURST; i++) {
        const ssize_t bytes = read(taps[from].fd, frame, sizeof frame);
        if (bytes <= 0 || write(taps[1 - from].fd, frame, (size_t)bytes) < 0) break;
      }
  }
}
