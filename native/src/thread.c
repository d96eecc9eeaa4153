/*
 * What the data plane's thread asks for itself: a table of open files of its own.
 *
 * Threads share one table, and then every read and write counts a reference to its file up and down, atomically: some 10 %
 * of a short frame's cost at a tap. A thread that has the table alone is spared that (fdget in the kernel's fs/file.c).
 */
#include "native.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_pidfd_open /* Linux 5.3 */
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_getfd /* Linux 5.6 */
#define SYS_pidfd_getfd 438
#endif

/* The same file in the calling thread's table; `fd` is the main thread's. -1 and errno. */
static int fetch(int fd) {
  const int process = (int)syscall(SYS_pidfd_open, getpid(), 0);
  if (process < 0) return -1;
  const int own = (int)syscall(SYS_pidfd_getfd, process, fd, 0);
  const int error = errno;
  close(process);
  errno = error;
  return own;
}

#define OWN_TABLE "/proc/thread-self/fd"

/* What is copied with the table would live on here when its owner closes it. Node's own eventfds and epolls stay. */
static bool drop_copies(void) {
  DIR *folder = opendir(OWN_TABLE);
  if (folder == NULL) return false;
  for (const struct dirent *entry; (entry = readdir(folder)) != NULL;) {
    char target[64];
    const int fd = atoi(entry->d_name);
    const ssize_t length = readlinkat(dirfd(folder), entry->d_name, target, sizeof target - 1);
    if (fd <= STDERR_FILENO || fd == dirfd(folder) || length < 0) continue;
    target[length] = '\0';
    if (target[0] == '/' || strncmp(target, "socket:", 7) == 0) close(fd);
  }
  closedir(folder);
  return true;
}

napi_value ownFiles(napi_env env, napi_callback_info info) {
  (void)info;
  napi_value result;
  /* Where no file can be fetched afterwards, or the table's copies not be seen, the thread goes on sharing. */
  const int probe = fetch(STDERR_FILENO);
  bool own = false;
  if (probe >= 0) {
    close(probe);
    own = access(OWN_TABLE, R_OK) == 0 && unshare(CLONE_FILES) == 0;
    if (own && !drop_copies()) return throw_errno(env, errno, "opendir", OWN_TABLE);
  }
  napi_get_boolean(env, own, &result);
  return result;
}

napi_value fetchFile(napi_env env, napi_callback_info info) {
  napi_value v[1];
  int32_t fd;
  if (!arguments(env, info, 1, v) || !arg_fd(env, v[0], "fd", &fd)) return NULL;
  const int own = fetch(fd);
  return own < 0 ? throw_errno(env, errno, "pidfd_getfd", NULL) : from_int(env, own);
}
