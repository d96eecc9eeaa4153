// Work in another network namespace. setns changes the calling thread for good, so a thread is made for it and ends
// with it: Node's own threads stay where they are. What it opens belongs to the whole process (setns(2)).
#include "vswitchd.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>

typedef struct {
  int netns;
  void (*work)(void *);
  void *argument;
  int error;
} visit_t;

static void *visit(void *argument) {
  visit_t *trip = argument;
  if (setns(trip->netns, CLONE_NEWNET) != 0)
    trip->error = errno;
  else
    trip->work(trip->argument);
  return NULL;
}

int run_inside(int netns, void (*work)(void *), void *argument, const char **where) {
  if (netns < 0) {
    work(argument);
    return 0;
  }
  visit_t trip = {netns, work, argument, 0};
  pthread_t thread;
  *where = "pthread_create";
  int error = pthread_create(&thread, NULL, visit, &trip);
  if (error != 0) return error;
  pthread_join(thread, NULL);
  *where = "setns";
  return trip.error;
}
