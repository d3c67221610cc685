/* Loaded before the C library (LD_PRELOAD), it makes the kernel behave as it may but seldom does.
 * PUSHLOOP_SHIM says how, as words:
 *
 *   bytes=N     recv and send move N bytes at the most, and every 16th call none: EAGAIN. The
 *               contract of epoll(7) is kept: after fewer bytes than were asked for, or EAGAIN, an
 *               edge follows if the kernel holds more, or has room. EPOLL_CTL_MOD brings it: it
 *               looks at the socket anew, and queues an event if there is one.
 *   sigpipe     SIGPIPE keeps its default action, which ends a process; Rust's runtime ignores it.
 *   mayraise    send loses its MSG_NOSIGNAL: what `sigpipe` is to be tried with.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DESCRIPTORS_MAX 65536

/* What each descriptor is registered with; 0 for an epoll that it is not. */
static struct {
	int epoll;
	unsigned calls;
	struct epoll_event event;
} watched[DESCRIPTORS_MAX];

static size_t bytes_max;
static int keeps_sigpipe, may_raise;

__attribute__((constructor)) static void read_words(void)
{
	const char *words = getenv("PUSHLOOP_SHIM");
	const char *bytes;
	if (!words)
		return;
	bytes = strstr(words, "bytes=");
	bytes_max = bytes ? strtoul(bytes + 6, NULL, 10) : 0;
	keeps_sigpipe = strstr(words, "sigpipe") != NULL;
	may_raise = strstr(words, "mayraise") != NULL;
}

int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
	long done = syscall(SYS_epoll_ctl, epoll, operation, fd, event);
	if (done == 0 && fd >= 0 && fd < DESCRIPTORS_MAX) {
		watched[fd].epoll = operation == EPOLL_CTL_DEL ? 0 : epoll;
		if (event)
			watched[fd].event = *event;
	}
	return (int)done;
}

static int is_limited(int fd)
{
	return bytes_max && fd >= 0 && fd < DESCRIPTORS_MAX && watched[fd].epoll;
}

/* The edge that the kernel would bring when what was held back arrives. */
static void raise_edge(int fd)
{
	int kept = errno;
	syscall(SYS_epoll_ctl, watched[fd].epoll, EPOLL_CTL_MOD, fd, &watched[fd].event);
	errno = kept;
}

static int is_blocked_now(int fd)
{
	if (++watched[fd].calls % 16)
		return 0;
	raise_edge(fd);
	errno = EAGAIN;
	return 1;
}

ssize_t recv(int fd, void *into, size_t len, int flags)
{
	ssize_t n;
	if (!is_limited(fd))
		return syscall(SYS_recvfrom, fd, into, len, flags, NULL, NULL);
	if (is_blocked_now(fd))
		return -1;
	n = syscall(SYS_recvfrom, fd, into, len < bytes_max ? len : bytes_max, flags, NULL, NULL);
	if (n > 0 && (size_t)n < len)
		raise_edge(fd);
	return n;
}

ssize_t send(int fd, const void *from, size_t len, int flags)
{
	ssize_t n;
	if (may_raise)
		flags &= ~MSG_NOSIGNAL;
	if (!is_limited(fd))
		return syscall(SYS_sendto, fd, from, len, flags, NULL, 0);
	if (is_blocked_now(fd))
		return -1;
	n = syscall(SYS_sendto, fd, from, len < bytes_max ? len : bytes_max, flags, NULL, 0);
	if (n > 0 && (size_t)n < len)
		raise_edge(fd);
	return n;
}

sighandler_t signal(int number, sighandler_t handler)
{
	static sighandler_t (*next)(int, sighandler_t);
	if (keeps_sigpipe && number == SIGPIPE)
		return SIG_DFL;
	if (!next)
		next = (sighandler_t(*)(int, sighandler_t))dlsym(RTLD_NEXT, "signal");
	return next(number, handler);
}
