// What the addon's files share: argument checks, errors with code, syscall and device, and the layout of frames.
#ifndef VSWITCHD_H
#define VSWITCHD_H

#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The same figures as src/dataplane/batch.ts and src/wire/vnet.ts.
#define HEADROOM 66
#define SLOT 65728
#define MAX_FRAME 65557
#define VNET_SIZE 10
#define MAX_BURST 64

// arguments.c: each returns false with an exception pending when the argument is not what it should be.
bool take_arguments(napi_env env, napi_callback_info info, size_t wanted, napi_value *values);
bool take_int(napi_env env, napi_value value, const char *name, int32_t *out);
bool take_bool(napi_env env, napi_value value, const char *name, bool *out);
bool take_text(napi_env env, napi_value value, const char *name, char *out, size_t room);
bool take_bytes(napi_env env, napi_value value, const char *name, uint8_t **data, size_t *length);
bool take_ints(napi_env env, napi_value value, const char *name, int32_t **data, size_t *length);
bool take_doubles(napi_env env, napi_value value, const char *name, double **data, size_t *length);
// Throws an Error with code ('EBUSY'), errno, syscall and device.
napi_value throw_errno(napi_env env, int error, const char *syscall_name, const char *device);
napi_value throw_range(napi_env env, const char *message);
napi_value make_int(napi_env env, int32_t value);
napi_value undefined_value(napi_env env);

// inside.c: runs `work` in the network namespace of an open fd, in a short-lived thread; -1: here and now.
// Returns 0 or an errno of setns or of the thread's creation; *where names the call that failed.
int run_inside(int netns, void (*work)(void *), void *argument, const char **where);

napi_value open_tun(napi_env env, napi_callback_info info);
napi_value set_persist(napi_env env, napi_callback_info info);
napi_value interface_index(napi_env env, napi_callback_info info);
napi_value interface_name(napi_env env, napi_callback_info info);
napi_value set_up(napi_env env, napi_callback_info info);
napi_value set_mtu(napi_env env, napi_callback_info info);
napi_value read_frames(napi_env env, napi_callback_info info);
napi_value write_frames(napi_env env, napi_callback_info info);

napi_value open_packet(napi_env env, napi_callback_info info);
napi_value receive_packets(napi_env env, napi_callback_info info);
napi_value send_packets(napi_env env, napi_callback_info info);

napi_value epoll_new(napi_env env, napi_callback_info info);
napi_value epoll_add(napi_env env, napi_callback_info info);
napi_value epoll_remove(napi_env env, napi_callback_info info);
napi_value wait_ready(napi_env env, napi_callback_info info);
napi_value event_create(napi_env env, napi_callback_info info);
napi_value event_signal(napi_env env, napi_callback_info info);
napi_value event_clear(napi_env env, napi_callback_info info);
napi_value watch(napi_env env, napi_callback_info info);

napi_value netlink_open(napi_env env, napi_callback_info info);
napi_value netlink_send(napi_env env, napi_callback_info info);
napi_value netlink_receive(napi_env env, napi_callback_info info);
napi_value send_unix_datagram(napi_env env, napi_callback_info info);
napi_value lock_file(napi_env env, napi_callback_info info);
napi_value close_file(napi_env env, napi_callback_info info);


#endif
