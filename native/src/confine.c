/*
 * What the process gives up for good, in all its threads and all that it starts: rights that a program could give it, and system
 * calls that neither it nor its tools ever make, by which a root process that was taken over would go further.
 */
#include "native.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define OWN_ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OWN_ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#define OWN_ARCHITECTURE 0
#endif

/* Not mount(2) and its kind: passt makes itself a sandbox by them. */
static const int DENIED[] = {
    SYS_ptrace,       SYS_process_vm_readv, SYS_process_vm_writev, SYS_kexec_load,      SYS_init_module,
    SYS_finit_module, SYS_delete_module,    SYS_bpf,               SYS_perf_event_open, SYS_userfaultfd,
    SYS_add_key,      SYS_request_key,      SYS_keyctl,            SYS_reboot,          SYS_swapon,
    SYS_swapoff,      SYS_acct,             SYS_quotactl,          SYS_settimeofday,    SYS_clock_settime,
    SYS_adjtimex,     SYS_clock_adjtime,    SYS_sethostname,       SYS_setdomainname,   SYS_open_by_handle_at,
    SYS_syslog,       SYS_vhangup,          SYS_io_uring_setup,
#ifdef SYS_kexec_file_load
    SYS_kexec_file_load,
#endif
#ifdef SYS_iopl
    SYS_iopl,         SYS_ioperm,           SYS_modify_ldt,
#endif
};

enum { COUNT = sizeof DENIED / sizeof *DENIED, AROUND = 5, X32_BIT = 0x40000000 };

static struct sock_filter step(uint16_t code, uint32_t value, uint8_t yes, uint8_t no) {
  return (struct sock_filter){code, yes, no, value};
}

/* Another architecture's calls, and x86's of 32-bit pointers, have other numbers: they are all refused. */
static int filter_calls(void) {
  struct sock_filter code[COUNT + AROUND + 2];
  unsigned short n = 0;
  const uint32_t refuse = SECCOMP_RET_ERRNO | EPERM;
  code[n++] = step(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch), 0, 0);
  code[n++] = step(BPF_JMP | BPF_JEQ | BPF_K, OWN_ARCHITECTURE, 1, 0);
  code[n++] = step(BPF_RET | BPF_K, refuse, 0, 0);
  code[n++] = step(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr), 0, 0);
  code[n++] = step(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, COUNT + 1, 0);
  for (int i = 0; i < COUNT; i++) code[n++] = step(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)DENIED[i], (uint8_t)(COUNT - i), 0);
  code[n++] = step(BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
  code[n++] = step(BPF_RET | BPF_K, refuse, 0, 0);
  const struct sock_fprog program = {n, code};
  /* With TSYNC all threads get it, and with it no_new_privs, seccomp(2). */
  return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
}

napi_value confine(napi_env env, napi_callback_info info) {
  (void)info;
  if (OWN_ARCHITECTURE == 0) return throw_errno(env, ENOSYS, "seccomp", NULL);
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return throw_errno(env, errno, "PR_SET_NO_NEW_PRIVS", NULL);
  /* Of another user than root's, /proc would no longer show the process to itself. */
  if (geteuid() == 0 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) return throw_errno(env, errno, "PR_SET_DUMPABLE", NULL);
  /* A service manager's filter, or the one that a process before this one has left us, is in all threads already. */
  const int refused = prctl(PR_GET_SECCOMP, 0, 0, 0, 0) == SECCOMP_MODE_FILTER ? 0 : filter_calls();
  if (refused != 0) return throw_errno(env, refused > 0 ? EBUSY : errno, "seccomp", NULL);
  return undefined(env);
}
