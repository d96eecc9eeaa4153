/*
 * What the files of the addon share. One C file a subject, C function names equal the export names, and every decision
 * that is not about a system call stays in TypeScript. index.d.ts one folder up is the contract.
 *
 * Arguments are checked by the arg_… functions: they throw and return false, and then the caller returns NULL.
 */
#ifndef VSWITCHD_NATIVE_H
#define VSWITCHD_NATIVE_H

#include <net/if.h>
#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A frame's place in the slab: src/dataplane/batch.ts and src/wire/vnet.ts say why. Bytes. */
enum { VNET_SIZE = 10, HEADROOM = 66, SLOT = 65728, MAX_BURST = 64 };

/* arguments.c */

/* Fetches exactly `count` arguments; missing ones are undefined, which no arg_… accepts. */
bool arguments(napi_env env, napi_callback_info info, size_t count, napi_value *values);
/* A whole number of min … max: TypeError for anything but a number, RangeError outside. */
bool arg_int(napi_env env, napi_value value, const char *what, int32_t min, int32_t max, int32_t *out);
/* The same for what may be more than that: a place in a file. */
bool arg_size(napi_env env, napi_value value, const char *what, double max, double *out);
bool arg_fd(napi_env env, napi_value value, const char *what, int32_t *out);
/* A namespace's fd, or -1 for the thread's own. */
bool arg_netns(napi_env env, napi_value value, int32_t *out);
bool arg_bool(napi_env env, napi_value value, const char *what, bool *out);
/* Text of 1 … size - 1 bytes of UTF-8 without a NUL. */
bool arg_text(napi_env env, napi_value value, const char *what, char *out, size_t size);
/* The elements of a typed array of just this type, and how many there are. */
bool arg_array(napi_env env, napi_value value, const char *what, napi_typedarray_type type, void **data, size_t *length);
/* Texts one after the other in a Uint8Array, each with a zero behind it; at least one. */
bool arg_words(napi_env env, napi_value value, const char *what, char **words, size_t *bytes);

typedef struct {
  uint8_t *slab;
  size_t slab_length;
  int32_t *offsets;
  int32_t *lengths;
  size_t columns; /* elements that both columns have */
} frames_t;
/* slab, offsets and lengths as the hot calls take them. */
bool arg_frames(napi_env env, napi_value slab, napi_value offsets, napi_value lengths, frames_t *out);
/* start, first, max of a receiving call: `max` is cut down to the slots that fit in the slab, and to MAX_BURST. */
bool arg_slots(napi_env env, const frames_t *frames, napi_value start, napi_value first, napi_value max,
               int32_t *start_out, int32_t *first_out, int32_t *max_out);
/* rows, count of a sending call; every row names a frame whose header and bytes lie in the slab, `shift` at least long. */
bool arg_rows(napi_env env, const frames_t *frames, napi_value rows, napi_value count, int32_t shift,
              const int32_t **rows_out, int32_t *count_out);

/* Where a sending call counts what was refused: an array with one element at least. */
bool arg_refused(napi_env env, napi_value value, int32_t **refused);
/* fd, buffer, from, to, the first four of a call: the bytes from … to - 1 of the buffer. */
bool arg_bytes(napi_env env, const napi_value *v, int32_t *fd, uint8_t **from, size_t *count);

/* Throws the Error for an errno (positive), with code, errno, syscall and device (NULL: none). Returns NULL. */
napi_value throw_errno(napi_env env, int error, const char *syscall, const char *device);
napi_value throw_range(napi_env env, const char *format, ...) __attribute__((format(printf, 2, 3)));
napi_value from_int(napi_env env, int32_t value);
napi_value from_text(napi_env env, const char *text);
napi_value undefined(napi_env env);

/* stream.c */

/* Gives a unix socket room for 4 MiB under way; what it receives is charged to its sender. */
void enlarge(int fd);

/* netns.c */

/* What a system call sequence came to: error 0, or an errno and the call that gave it. */
typedef struct {
  int error;
  const char *syscall;
} outcome_t;

static inline outcome_t done(void) { return (outcome_t){0, NULL}; }
static inline outcome_t failed(int error, const char *syscall) { return (outcome_t){error, syscall}; }

/* Runs `work` in the namespace: on this thread for -1, else on a short-lived thread, as setns must not touch ours. */
outcome_t in_netns(int netns, outcome_t (*work)(void *), void *argument);

/* The exports. */
napi_value interfaceIndex(napi_env env, napi_callback_info info);
napi_value interfaceName(napi_env env, napi_callback_info info);
napi_value setUp(napi_env env, napi_callback_info info);
napi_value setMtu(napi_env env, napi_callback_info info);
napi_value setQueue(napi_env env, napi_callback_info info);

napi_value openTun(napi_env env, napi_callback_info info);
napi_value deviceNetns(napi_env env, napi_callback_info info);
napi_value setPersist(napi_env env, napi_callback_info info);
napi_value readFrames(napi_env env, napi_callback_info info);
napi_value writeFrames(napi_env env, napi_callback_info info);

napi_value openPacket(napi_env env, napi_callback_info info);
napi_value receivePackets(napi_env env, napi_callback_info info);
napi_value sendPackets(napi_env env, napi_callback_info info);

napi_value epollCreate(napi_env env, napi_callback_info info);
napi_value epollAdd(napi_env env, napi_callback_info info);
napi_value epollWriting(napi_env env, napi_callback_info info);
napi_value epollRemove(napi_env env, napi_callback_info info);
napi_value wait_(napi_env env, napi_callback_info info); /* `wait` is taken by libc */
napi_value eventCreate(napi_env env, napi_callback_info info);
napi_value eventSignal(napi_env env, napi_callback_info info);
napi_value eventClear(napi_env env, napi_callback_info info);
napi_value watch(napi_env env, napi_callback_info info);

napi_value socketPair(napi_env env, napi_callback_info info);
napi_value receiveBytes(napi_env env, napi_callback_info info);
napi_value copyBytes(napi_env env, napi_callback_info info);
napi_value sendBytes(napi_env env, napi_callback_info info);

napi_value listenUnix(napi_env env, napi_callback_info info);
napi_value connectUnix(napi_env env, napi_callback_info info);
napi_value bindDatagrams(napi_env env, napi_callback_info info);
napi_value acceptUnix(napi_env env, napi_callback_info info);
napi_value confine(napi_env env, napi_callback_info info);
napi_value execute(napi_env env, napi_callback_info info);
napi_value restrictWrites(napi_env env, napi_callback_info info);
napi_value peerOf(napi_env env, napi_callback_info info);
napi_value receiveDatagrams(napi_env env, napi_callback_info info);
napi_value sendDatagrams(napi_env env, napi_callback_info info);

napi_value mapMemory(napi_env env, napi_callback_info info);
napi_value unmapMemory(napi_env env, napi_callback_info info);
napi_value patchedPages(napi_env env, napi_callback_info info);
napi_value adoptEvent(napi_env env, napi_callback_info info);
napi_value createMemory(napi_env env, napi_callback_info info);
napi_value receiveMessage(napi_env env, napi_callback_info info);
napi_value sendMessage(napi_env env, napi_callback_info info);

napi_value netlinkOpen(napi_env env, napi_callback_info info);
napi_value netlinkSend(napi_env env, napi_callback_info info);
napi_value netlinkReceive(napi_env env, napi_callback_info info);

napi_value ownFiles(napi_env env, napi_callback_info info);
napi_value fetchFile(napi_env env, napi_callback_info info);

napi_value sendUnixDatagram(napi_env env, napi_callback_info info);
napi_value lockFile(napi_env env, napi_callback_info info);
napi_value close_(napi_env env, napi_callback_info info);

#endif
