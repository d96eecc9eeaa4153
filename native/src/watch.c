/*
 * A file watched by the event loop of the thread that asks: what a netlink socket or an eventfd needs on the control
 * thread.
 *
 * A watch has two owners, the loop (till its close callback) and the JavaScript function `close` (till it is collected);
 * the last to go frees it. If the environment ends first, the cleanup hook closes it and the end waits for that.
 */
#include "native.h"

#include <stdlib.h>
#include <uv.h>

typedef struct {
  uv_poll_t poll;
  napi_env env;
  napi_ref ready;
  napi_async_context context;
  napi_async_cleanup_hook_handle hook;
  bool closing;
  int owners;
} watch_t;

static void release(watch_t *w) {
  if (--w->owners == 0) free(w);
}

static void on_closed(uv_handle_t *handle) {
  watch_t *w = handle->data;
  if (w->hook != NULL) napi_remove_async_cleanup_hook(w->hook);
  release(w);
}

static void stop(watch_t *w) {
  if (w->closing) return;
  w->closing = true;
  uv_poll_stop(&w->poll);
  napi_delete_reference(w->env, w->ready);
  napi_async_destroy(w->env, w->context);
  uv_close((uv_handle_t *)&w->poll, on_closed);
}

static void on_environment_end(napi_async_cleanup_hook_handle hook, void *data) {
  (void)hook;
  stop(data);
}

static void on_collected(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  release(data);
}

/* An error on the file is readiness, too: the read that follows meets it. */
static void on_ready(uv_poll_t *poll, int status, int events) {
  (void)status;
  (void)events;
  watch_t *w = poll->data;
  napi_handle_scope scope;
  if (napi_open_handle_scope(w->env, &scope) != napi_ok) return;
  napi_value ready, global;
  if (napi_get_reference_value(w->env, w->ready, &ready) == napi_ok && napi_get_global(w->env, &global) == napi_ok &&
      napi_make_callback(w->env, w->context, global, ready, 0, NULL, NULL) == napi_pending_exception) {
    napi_value thrown;
    if (napi_get_and_clear_last_exception(w->env, &thrown) == napi_ok) napi_fatal_exception(w->env, thrown);
  }
  napi_close_handle_scope(w->env, scope);
}

static napi_value close_watch(napi_env env, napi_callback_info info) {
  void *w;
  if (napi_get_cb_info(env, info, NULL, NULL, NULL, &w) == napi_ok) stop(w);
  return undefined(env);
}

napi_value watch(napi_env env, napi_callback_info info) {
  napi_value v[2], result, function;
  napi_valuetype type;
  int32_t fd;
  if (!arguments(env, info, 2, v) || !arg_fd(env, v[0], "fd", &fd)) return NULL;
  if (napi_typeof(env, v[1], &type) != napi_ok || type != napi_function) {
    napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "ready must be a function");
    return NULL;
  }
  uv_loop_t *loop;
  watch_t *w = calloc(1, sizeof *w);
  if (w == NULL || napi_get_uv_event_loop(env, &loop) != napi_ok) {
    free(w);
    return throw_errno(env, UV_ENOMEM * -1, "watch", NULL);
  }
  w->env = env;
  w->poll.data = w;
  int error = uv_poll_init(loop, &w->poll, fd);
  if (error != 0) {
    free(w);
    return throw_errno(env, -error, "uv_poll_init", NULL);
  }
  w->owners = 1;
  napi_create_reference(env, v[1], 1, &w->ready);
  napi_async_init(env, NULL, from_text(env, "vswitchd:watch"), &w->context);
  napi_add_async_cleanup_hook(env, on_environment_end, w, &w->hook);
  error = uv_poll_start(&w->poll, UV_READABLE, on_ready);
  if (error != 0) {
    stop(w);
    return throw_errno(env, -error, "uv_poll_start", NULL);
  }
  if (napi_create_object(env, &result) != napi_ok ||
      napi_create_function(env, "close", NAPI_AUTO_LENGTH, close_watch, w, &function) != napi_ok ||
      napi_add_finalizer(env, function, w, on_collected, NULL, NULL) != napi_ok) {
    stop(w);
    return NULL;
  }
  w->owners++;
  napi_set_named_property(env, result, "close", function);
  return result;
}
