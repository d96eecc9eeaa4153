/* Another program in this one's place, with all of its threads: what Node has no call for. */
#include "native.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* `words`: the program's arguments, each with a zero behind it. */
napi_value execute(napi_env env, napi_callback_info info) {
  napi_value v[2];
  char path[PATH_MAX];
  char *words;
  size_t bytes, count = 0;
  if (!arguments(env, info, 2, v) || !arg_text(env, v[0], "path", path, sizeof path)) return NULL;
  if (!arg_words(env, v[1], "words", &words, &bytes)) return NULL;
  for (size_t i = 0; i < bytes; i++) count += words[i] == 0;
  char **list = calloc(count + 1, sizeof *list);
  if (list == NULL) return throw_errno(env, ENOMEM, "execve", path);
  for (size_t i = 0, at = 0; i < count; i++, at += strlen(words + at) + 1) list[i] = words + at;
  /* Node has marked all files that it was started with, these too. */
  for (int fd = 0; fd <= STDERR_FILENO; fd++) fcntl(fd, F_SETFD, 0);
  execv(path, list);
  const int error = errno;
  free(list);
  return throw_errno(env, error, "execve", path);
}
