/**
 * Sends frames at an even pace, which trafgen does not: it sends a second's worth at once and waits. A frame that the
 * interface refuses, as a tap does whose queue is full, is lost and not sent again.
 *
 *   send INTERFACE DESTINATION SOURCE BYTES RATE SECONDS      prints frames offered, frames refused and nanoseconds
 *
 * MACs as 12 hexadecimal digits; RATE in frames a second, of type 0x88b5.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { HEADER = 14, MAX = 1514 };

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void put_mac(uint8_t *to, const char *text) {
  for (int i = 0; i < 6; i++) {
    unsigned octet;
    if (sscanf(text + 2 * i, "%2x", &octet) != 1) exit(2);
    to[i] = (uint8_t)octet;
  }
}

int main(int argc, char **argv) {
  static uint8_t frame[MAX];
  if (argc != 7) return 2;
  const size_t bytes = (size_t)atoi(argv[4]);
  const double rate = atof(argv[5]);
  if (bytes < HEADER || bytes > MAX || rate <= 0) return 2;
  put_mac(frame, argv[2]);
  put_mac(frame + 6, argv[3]);
  frame[12] = 0x88, frame[13] = 0xb5;

  const struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(argv[1])};
  const int fd = socket(AF_PACKET, SOCK_RAW, 0), on = 1;
  if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof address) < 0 ||
      setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on) < 0) {
    perror(argv[1]);
    return 1;
  }
  const uint64_t start = now(), end = start + (uint64_t)(atof(argv[6]) * 1e9);
  uint64_t offered = 0, refused = 0, time;
  while ((time = now()) < end) {
    if ((double)(time - start) * rate < (double)offered * 1e9) continue; /* too early for the next */
    if (send(fd, frame, bytes, 0) < 0) {
      if (errno != ENOBUFS) {
        perror("send");
        return 1;
      }
      refused++;
    }
    offered++;
  }
  printf("%llu %llu %llu\n", (unsigned long long)offered, (unsigned long long)refused,
         (unsigned long long)(time - start));
}
