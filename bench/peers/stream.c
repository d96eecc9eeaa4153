/**
 * Two guests on stream sockets, as QEMU's -netdev stream has them: one sends frames as fast as it can, many or one a write, the
 * other counts what comes. That one sleeps in between, so that no frame takes the sender's core for a wake-up.
 *
 *   stream FROM TO BYTES WRITE SECONDS      prints frames sent, frames received and nanoseconds
 *
 * BYTES of a frame; WRITE: bytes of a write, of which as many whole frames as fit are sent, one at the least.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PREFIX = 4, HEADER = 14, MAX_FRAME = 65535, MAX_WRITE = 1 << 20, READ = 1 << 18, SETTLE_MS = 200 };
/** Frames between two looks at the clock. */
enum { A_TURN = 32, PAUSE_US = 50 };

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static int plug(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof address) < 0) fail(path);
  return fd;
}

static void send_all(int fd, const uint8_t *from, size_t bytes) {
  while (bytes > 0) {
    const ssize_t sent = send(fd, from, bytes, MSG_NOSIGNAL);
    if (sent < 0) fail("send");
    from += sent, bytes -= (size_t)sent;
  }
}

static void put_frame(uint8_t *to, size_t bytes, uint8_t target, uint8_t source) {
  const uint32_t length = htonl((uint32_t)bytes);
  memset(to, 0, PREFIX + bytes);
  memcpy(to, &length, PREFIX);
  to[4] = to[10] = 2, to[9] = target, to[15] = source;
  to[16] = 0x88, to[17] = 0xb5;
}

/** Bytes that are there. */
static uint64_t drain(int fd) {
  static uint8_t buffer[READ];
  uint64_t all = 0;
  for (;;) {
    const ssize_t got = recv(fd, buffer, READ, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return all;
    if (got <= 0) fail("recv");
    all += (uint64_t)got;
  }
}

int main(int argc, char **argv) {
  static uint8_t frames[MAX_WRITE + PREFIX + MAX_FRAME];
  if (argc != 6) return 2;
  const size_t bytes = (size_t)atoi(argv[3]), block = (size_t)atoi(argv[4]), each = PREFIX + bytes;
  if (bytes < HEADER || bytes > MAX_FRAME || block > MAX_WRITE) return 2;
  const int from = plug(argv[1]), to = plug(argv[2]);
  put_frame(frames, bytes, 1, 2); /* the switch learns where frames go to */
  send_all(to, frames, each);
  usleep(1000 * SETTLE_MS);
  struct {
    volatile uint64_t received;
    volatile int over;
  } *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) fail("mmap");
  const pid_t child = fork();
  if (child < 0) fail("fork");
  if (child == 0) {
    while (!shared->over) {
      shared->received += drain(to);
      usleep(PAUSE_US);
    }
    return 0;
  }
  const size_t many = block < each ? 1 : block / each;
  for (size_t i = 0; i < many; i++) put_frame(frames + i * each, bytes, 2, 1);
  const uint64_t start = now(), end = start + (uint64_t)(atof(argv[5]) * 1e9);
  uint64_t sent = 0, time;
  do {
    for (size_t turn = 0; turn < A_TURN; turn += many, sent += many) send_all(from, frames, many * each);
  } while ((time = now()) < end);
  usleep(1000 * SETTLE_MS);
  shared->over = 1;
  if (wait(NULL) != child) fail("wait");
  printf("%llu %llu %llu\n", (unsigned long long)sent, (unsigned long long)(shared->received / each),
         (unsigned long long)(time - start));
}
