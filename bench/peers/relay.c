/**
 * The least that a program between two stream sockets must do: it sends on what it reads, and looks at none of it. Whatever a
 * switch on stream sockets does, it does on top of this.
 *
 *   relay PATH PATH      listens on both, says "ready", and passes bytes both ways till one end goes
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/** Buffers as the switch has them. */
enum { READ = 1 << 17, BUFFER = 4 << 20, ENDS = 2 };

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static int listen_on(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  unlink(path);
  if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 1) < 0) fail(path);
  return fd;
}

static void send_all(int fd, const uint8_t *from, size_t bytes) {
  while (bytes > 0) {
    const ssize_t sent = send(fd, from, bytes, MSG_NOSIGNAL);
    if (sent < 0) exit(0);
    from += sent, bytes -= (size_t)sent;
  }
}

int main(int argc, char **argv) {
  static uint8_t bytes[READ];
  int ends[ENDS];
  if (argc != 3) return 2;
  for (int i = 0; i < ENDS; i++) ends[i] = listen_on(argv[1 + i]);
  puts("ready");
  fflush(stdout);
  for (int i = 0; i < ENDS; i++) {
    const int size = BUFFER, listening = ends[i];
    ends[i] = accept(listening, NULL, NULL);
    if (ends[i] < 0) fail("accept");
    setsockopt(ends[i], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
    close(listening);
  }
  /* Without a wait: a reader that sleeps makes each send of the other side a wake-up. */
  for (;;)
    for (int i = 0; i < ENDS; i++) {
      const ssize_t got = recv(ends[i], bytes, READ, MSG_DONTWAIT);
      if (got == 0 || (got < 0 && errno != EAGAIN)) return 0;
      if (got > 0) send_all(ends[1 - i], bytes, (size_t)got);
    }
}
