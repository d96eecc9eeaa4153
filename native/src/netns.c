/*
 * Work in another network namespace, and the four things that the switch asks of an interface by name.
 *
 * setns changes the calling thread for good, and Node's threads must stay where they are. So the work is done on a thread
 * that lives no longer than the work; the files that it opened are the process's and outlive it.
 */
#include "native.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { STACK_BYTES = 256 * 1024 };

typedef struct {
  int netns;
  outcome_t (*work)(void *);
  void *argument;
  outcome_t outcome;
} job_t;

static void *run(void *argument) {
  job_t *job = argument;
  job->outcome = setns(job->netns, CLONE_NEWNET) == 0 ? job->work(job->argument) : failed(errno, "setns");
  return NULL;
}

outcome_t in_netns(int netns, outcome_t (*work)(void *), void *argument) {
  if (netns < 0) return work(argument);
  job_t job = {netns, work, argument, {0, NULL}};
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, STACK_BYTES);
  /* Signals belong to Node's threads: this one starts with all of them blocked. */
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  const int error = pthread_create(&thread, &attributes, run, &job);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attributes);
  if (error != 0) return failed(error, "pthread_create");
  pthread_join(thread, NULL);
  return job.outcome;
}

/* One or two ioctls on an interface; `change` prepares the second from what the first found. */
typedef struct {
  unsigned long get, set; /* 0: none */
  const char *get_name, *set_name;
  void (*change)(struct ifreq *, int32_t);
  int32_t value;
  struct ifreq request;
} request_t;

static outcome_t ask(void *argument) {
  request_t *r = argument;
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return failed(errno, "socket");
  outcome_t outcome = done();
  if (r->get != 0 && ioctl(fd, r->get, &r->request) < 0) {
    outcome = failed(errno, r->get_name);
  } else if (r->set != 0) {
    r->change(&r->request, r->value);
    if (ioctl(fd, r->set, &r->request) < 0) outcome = failed(errno, r->set_name);
  }
  close(fd);
  return outcome;
}

static void raise_up(struct ifreq *request, int32_t value) {
  (void)value;
  request->ifr_flags |= IFF_UP;
}

static void change_mtu(struct ifreq *request, int32_t value) { request->ifr_mtu = value; }
static void change_queue(struct ifreq *request, int32_t value) { request->ifr_qlen = value; }

napi_value interfaceIndex(napi_env env, napi_callback_info info) {
  napi_value v[2];
  request_t r = {.get = SIOCGIFINDEX, .get_name = "SIOCGIFINDEX"};
  int32_t netns;
  if (!arguments(env, info, 2, v) || !arg_text(env, v[0], "name", r.request.ifr_name, IFNAMSIZ) ||
      !arg_netns(env, v[1], &netns))
    return NULL;
  const outcome_t outcome = in_netns(netns, ask, &r);
  if (outcome.error != 0) return throw_errno(env, outcome.error, outcome.syscall, r.request.ifr_name);
  return from_int(env, r.request.ifr_ifindex);
}

napi_value interfaceName(napi_env env, napi_callback_info info) {
  napi_value v[2];
  request_t r = {.get = SIOCGIFNAME, .get_name = "SIOCGIFNAME"};
  int32_t netns, ifindex;
  if (!arguments(env, info, 2, v) || !arg_int(env, v[0], "ifindex", 1, INT32_MAX, &ifindex) ||
      !arg_netns(env, v[1], &netns))
    return NULL;
  r.request.ifr_ifindex = ifindex;
  const outcome_t outcome = in_netns(netns, ask, &r);
  if (outcome.error != 0) {
    char device[24];
    snprintf(device, sizeof device, "ifindex %d", ifindex);
    return throw_errno(env, outcome.error, outcome.syscall, device);
  }
  return from_text(env, r.request.ifr_name);
}

napi_value setUp(napi_env env, napi_callback_info info) {
  napi_value v[2];
  request_t r = {.get = SIOCGIFFLAGS, .get_name = "SIOCGIFFLAGS", .set = SIOCSIFFLAGS, .set_name = "SIOCSIFFLAGS",
                 .change = raise_up};
  int32_t netns;
  if (!arguments(env, info, 2, v) || !arg_text(env, v[0], "name", r.request.ifr_name, IFNAMSIZ) ||
      !arg_netns(env, v[1], &netns))
    return NULL;
  const outcome_t outcome = in_netns(netns, ask, &r);
  if (outcome.error != 0) return throw_errno(env, outcome.error, outcome.syscall, r.request.ifr_name);
  return undefined(env);
}

/* Sets one number of an interface: arguments name, value, netns. */
static napi_value set_number(napi_env env, napi_callback_info info, request_t r, const char *what, int32_t min, int32_t max) {
  napi_value v[3];
  int32_t netns;
  if (!arguments(env, info, 3, v) || !arg_text(env, v[0], "name", r.request.ifr_name, IFNAMSIZ) ||
      !arg_int(env, v[1], what, min, max, &r.value) || !arg_netns(env, v[2], &netns))
    return NULL;
  const outcome_t outcome = in_netns(netns, ask, &r);
  if (outcome.error != 0) return throw_errno(env, outcome.error, outcome.syscall, r.request.ifr_name);
  return undefined(env);
}

napi_value setMtu(napi_env env, napi_callback_info info) {
  const request_t r = {.set = SIOCSIFMTU, .set_name = "SIOCSIFMTU", .change = change_mtu};
  return set_number(env, info, r, "mtu", 68, 65535);
}

napi_value setQueue(napi_env env, napi_callback_info info) {
  const request_t r = {.set = SIOCSIFTXQLEN, .set_name = "SIOCSIFTXQLEN", .change = change_queue};
  return set_number(env, info, r, "frames", 1, 1 << 20);
}
