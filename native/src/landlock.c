/*
 * Where files may still be changed, landlock(7): of the calling thread, and of the program that it becomes, with all of its threads.
 * Reading stays as it is.
 */
#include "native.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Newer than some headers: of ABI 3. Files are not moved to other folders by us, so REFER of ABI 2 is not given. */
#define TRUNCATE (1ULL << 14)
enum { ABI_WITH_TRUNCATE = 3 };

static const uint64_t OF_FILES = LANDLOCK_ACCESS_FS_WRITE_FILE;
static const uint64_t OF_FOLDERS =
    LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR |
    LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |
    LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM;

/* A path that is not there needs no rule. */
static outcome_t allow(int ruleset, const char *path, uint64_t of_files) {
  const int fd = open(path, O_PATH | O_CLOEXEC);
  if (fd < 0) return errno == ENOENT ? done() : failed(errno, "open");
  struct stat what;
  outcome_t outcome = done();
  if (fstat(fd, &what) < 0) outcome = failed(errno, "fstat");
  else {
    const struct landlock_path_beneath_attr rule = {
        .allowed_access = S_ISDIR(what.st_mode) ? of_files | OF_FOLDERS : of_files,
        .parent_fd = fd,
    };
    if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
      outcome = failed(errno, "landlock_add_rule");
  }
  close(fd);
  return outcome;
}

/* `paths`: each with a zero behind it. False: the kernel has no landlock. */
napi_value restrictWrites(napi_env env, napi_callback_info info) {
  napi_value v[1], result;
  char *paths;
  size_t bytes;
  if (!arguments(env, info, 1, v) || !arg_words(env, v[0], "paths", &paths, &bytes)) return NULL;
  const long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
  napi_get_boolean(env, abi > 0, &result);
  if (abi <= 0) return result;
  const uint64_t of_files = abi >= ABI_WITH_TRUNCATE ? OF_FILES | TRUNCATE : OF_FILES;
  const struct landlock_ruleset_attr all = {.handled_access_fs = of_files | OF_FOLDERS};
  const int ruleset = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof all.handled_access_fs, 0);
  if (ruleset < 0) return throw_errno(env, errno, "landlock_create_ruleset", NULL);
  outcome_t outcome = done();
  const char *path = NULL;
  for (size_t at = 0; at < bytes && outcome.error == 0; at += strlen(path) + 1) {
    path = paths + at;
    outcome = allow(ruleset, path, of_files);
  }
  if (outcome.error == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) outcome = failed(errno, "prctl");
  if (outcome.error == 0 && syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
    outcome = failed(errno, "landlock_restrict_self");
  close(ruleset);
  return outcome.error == 0 ? result : throw_errno(env, outcome.error, outcome.syscall, path);
}
