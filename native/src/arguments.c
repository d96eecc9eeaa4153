/* The edge between JavaScript and C: arguments in, values and errors out. Past it, everything is in range. */
#include "native.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

static bool refuse_type(napi_env env, const char *what, const char *wanted) {
  char message[128];
  snprintf(message, sizeof message, "%s must be %s", what, wanted);
  napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", message);
  return false;
}

napi_value throw_range(napi_env env, const char *format, ...) {
  char message[160];
  va_list list;
  va_start(list, format);
  vsnprintf(message, sizeof message, format, list);
  va_end(list);
  napi_throw_range_error(env, "ERR_OUT_OF_RANGE", message);
  return NULL;
}

bool arguments(napi_env env, napi_callback_info info, size_t count, napi_value *values) {
  size_t given = count;
  return napi_get_cb_info(env, info, &given, values, NULL, NULL) == napi_ok;
}

bool arg_int(napi_env env, napi_value value, const char *what, int32_t min, int32_t max, int32_t *out) {
  double number;
  if (napi_get_value_double(env, value, &number) != napi_ok) return refuse_type(env, what, "a number");
  if (!(number >= min && number <= max) || number != (double)(int32_t)number) {
    throw_range(env, "%s must be a whole number from %d to %d, not %g", what, min, max, number);
    return false;
  }
  *out = (int32_t)number;
  return true;
}

bool arg_size(napi_env env, napi_value value, const char *what, double max, double *out) {
  if (napi_get_value_double(env, value, out) != napi_ok) return refuse_type(env, what, "a number");
  if (*out >= 0 && *out <= max && *out == (double)(uint64_t)*out) return true;
  throw_range(env, "%s must be a whole number from 0 to %.0f, not %g", what, max, *out);
  return false;
}

bool arg_words(napi_env env, napi_value value, const char *what, char **words, size_t *bytes) {
  if (!arg_array(env, value, what, napi_uint8_array, (void **)words, bytes)) return false;
  if (*bytes > 0 && (*words)[*bytes - 1] == 0) return true;
  throw_range(env, "%s must end with a zero", what);
  return false;
}

bool arg_fd(napi_env env, napi_value value, const char *what, int32_t *out) {
  return arg_int(env, value, what, 0, INT32_MAX, out);
}

bool arg_netns(napi_env env, napi_value value, int32_t *out) {
  return arg_int(env, value, "netns", -1, INT32_MAX, out);
}

bool arg_bool(napi_env env, napi_value value, const char *what, bool *out) {
  return napi_get_value_bool(env, value, out) == napi_ok || refuse_type(env, what, "a boolean");
}

bool arg_text(napi_env env, napi_value value, const char *what, char *out, size_t size) {
  size_t length;
  if (napi_get_value_string_utf8(env, value, NULL, 0, &length) != napi_ok) return refuse_type(env, what, "a string");
  if (length == 0 || length >= size) {
    throw_range(env, "%s must have 1 to %zu bytes, not %zu", what, size - 1, length);
    return false;
  }
  napi_get_value_string_utf8(env, value, out, size, &length);
  if (strlen(out) != length) {
    throw_range(env, "%s must not contain a NUL", what);
    return false;
  }
  return true;
}

bool arg_array(napi_env env, napi_value value, const char *what, napi_typedarray_type type, void **data,
               size_t *length) {
  napi_typedarray_type found;
  if (napi_get_typedarray_info(env, value, &found, length, data, NULL, NULL) == napi_ok && found == type) return true;
  return refuse_type(env, what,
                     type == napi_uint8_array   ? "a Uint8Array"
                     : type == napi_int32_array ? "an Int32Array"
                                                : "a Float64Array");
}

bool arg_frames(napi_env env, napi_value slab, napi_value offsets, napi_value lengths, frames_t *out) {
  size_t other;
  if (!arg_array(env, slab, "slab", napi_uint8_array, (void **)&out->slab, &out->slab_length) ||
      !arg_array(env, offsets, "offsets", napi_int32_array, (void **)&out->offsets, &out->columns) ||
      !arg_array(env, lengths, "lengths", napi_int32_array, (void **)&out->lengths, &other))
    return false;
  if (other < out->columns) out->columns = other;
  return true;
}

bool arg_slots(napi_env env, const frames_t *frames, napi_value start, napi_value first, napi_value max,
               int32_t *start_out, int32_t *first_out, int32_t *max_out) {
  if (!arg_int(env, start, "start", 0, INT32_MAX, start_out) || !arg_int(env, first, "first", 0, INT32_MAX, first_out) ||
      !arg_int(env, max, "max", 0, INT32_MAX, max_out))
    return false;
  if ((size_t)*start_out > frames->slab_length || *start_out % 4 != 0) {
    throw_range(env, "start must be a multiple of 4 inside the slab, not %d", *start_out);
    return false;
  }
  if ((size_t)*first_out + (size_t)*max_out > frames->columns) {
    throw_range(env, "first + max must not exceed the %zu rows, but is %d + %d", frames->columns, *first_out, *max_out);
    return false;
  }
  const size_t fit = (frames->slab_length - (size_t)*start_out) / SLOT;
  if (*max_out > MAX_BURST) *max_out = MAX_BURST;
  if ((size_t)*max_out > fit) *max_out = (int32_t)fit;
  return true;
}

bool arg_bytes(napi_env env, const napi_value *v, int32_t *fd, uint8_t **from, size_t *count) {
  uint8_t *buffer;
  size_t length;
  int32_t first, end;
  if (!arg_fd(env, v[0], "fd", fd) || !arg_array(env, v[1], "buffer", napi_uint8_array, (void **)&buffer, &length) ||
      !arg_int(env, v[2], "from", 0, INT32_MAX, &first) || !arg_int(env, v[3], "to", 0, INT32_MAX, &end))
    return false;
  if (first > end || (size_t)end > length) {
    throw_range(env, "%d to %d is no part of a buffer of %zu bytes", first, end, length);
    return false;
  }
  *from = buffer + first;
  *count = (size_t)(end - first);
  return true;
}

bool arg_refused(napi_env env, napi_value value, int32_t **refused) {
  size_t length;
  if (!arg_array(env, value, "refused", napi_int32_array, (void **)refused, &length)) return false;
  if (length >= 1) return true;
  throw_range(env, "refused must have an element");
  return false;
}

bool arg_rows(napi_env env, const frames_t *frames, napi_value rows, napi_value count, int32_t shift,
              const int32_t **rows_out, int32_t *count_out) {
  size_t length;
  if (!arg_array(env, rows, "rows", napi_int32_array, (void **)rows_out, &length) ||
      !arg_int(env, count, "count", 0, INT32_MAX, count_out))
    return false;
  if ((size_t)*count_out > length) {
    throw_range(env, "count must not exceed the %zu rows given, but is %d", length, *count_out);
    return false;
  }
  for (int32_t i = 0; i < *count_out; i++) {
    const int32_t row = (*rows_out)[i];
    if (row < 0 || (size_t)row >= frames->columns) {
      throw_range(env, "rows[%d] is %d, but there are %zu rows", i, row, frames->columns);
      return false;
    }
    const int32_t offset = frames->offsets[row], bytes = frames->lengths[row];
    if (offset < VNET_SIZE || bytes < shift || (size_t)offset + (size_t)bytes > frames->slab_length) {
      throw_range(env, "row %d: %d bytes at %d are not in the slab", row, bytes, offset);
      return false;
    }
  }
  return true;
}

/* libuv knows the names of most; a tap that is gone gives one that it does not. */
static const char *error_name(int error) {
  switch (error) {
    case EBADFD: return "EBADFD";
    case ENOTUNIQ: return "ENOTUNIQ";
    default: return uv_err_name(-error);
  }
}

static void set(napi_env env, napi_value object, const char *key, napi_value value) {
  napi_set_named_property(env, object, key, value);
}

napi_value throw_errno(napi_env env, int error, const char *syscall, const char *device) {
  char message[256];
  const char *name = error_name(error);
  if (device == NULL) snprintf(message, sizeof message, "%s: %s, %s", name, strerror(error), syscall);
  else snprintf(message, sizeof message, "%s: %s, %s '%s'", name, strerror(error), syscall, device);
  napi_value thrown;
  if (napi_create_error(env, from_text(env, name), from_text(env, message), &thrown) != napi_ok) return NULL;
  set(env, thrown, "errno", from_int(env, -error));
  set(env, thrown, "syscall", from_text(env, syscall));
  if (device != NULL) set(env, thrown, "device", from_text(env, device));
  napi_throw(env, thrown);
  return NULL;
}

napi_value from_int(napi_env env, int32_t value) {
  napi_value result = NULL;
  napi_create_int32(env, value, &result);
  return result;
}

napi_value from_text(napi_env env, const char *text) {
  napi_value result = NULL;
  napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &result);
  return result;
}

napi_value undefined(napi_env env) {
  napi_value result = NULL;
  napi_get_undefined(env, &result);
  return result;
}
