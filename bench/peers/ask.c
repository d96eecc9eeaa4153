/**
 * Asks a DNS server for one name again and again, the next question as soon as the answer is there: the round trips in
 * nanoseconds, a line each.
 *
 *   ask SERVER NAME COUNT
 */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>

static int64_t now(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return at.tv_sec * 1000000000LL + at.tv_nsec;
}

/* A question for an A record, RFC 1035 section 4.1; its length. */
static size_t question(uint8_t *to, const char *name) {
  size_t at = 12;
  memset(to, 0, 12);
  to[2] = 1; /* recursion desired */
  to[5] = 1;
  while (*name != '\0') {
    size_t label = strcspn(name, ".");
    to[at++] = (uint8_t)label;
    memcpy(to + at, name, label);
    at += label;
    name += label + (name[label] == '.');
  }
  memcpy(to + at, "\0\0\1\0\1", 5);
  return at + 5;
}

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(53)};
  if (inet_pton(AF_INET, argv[1], &server.sin_addr) != 1 || strlen(argv[2]) > 200) return 2;
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  struct timeval patience = {.tv_sec = 1};
  if (connect(fd, (struct sockaddr *)&server, sizeof server) != 0) return 1;
  if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) != 0) return 1;
  uint8_t asked[256], answer[1500];
  size_t length = question(asked, argv[2]);
  for (int i = 0, count = atoi(argv[3]); i < count; i++) {
    asked[0] = (uint8_t)(i >> 8);
    asked[1] = (uint8_t)i;
    int64_t start = now();
    if (send(fd, asked, length, 0) != (ssize_t)length) return 1;
    do {
      if (recv(fd, answer, sizeof answer, 0) < 12) return 1;
    } while (answer[0] != asked[0] || answer[1] != asked[1]);
    printf("%lld\n", (long long)(now() - start));
  }
  return 0;
}
