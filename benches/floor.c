// The floor under a container's start: what the kernel alone takes for it, asked by the least program that can.
//
// A launcher keeps one spare container ahead: a parked process in cgroups and namespaces of its own, user namespace
// included. A start then writes two limits, gives the spare its root file system and lets it exec.
//
// It does: the user (65,536 ids), mount, pid, net, ipc, uts, cgroup and time namespaces; an overlay of idmapped mounts,
// none of which the host ever sees; limits of memory and pids; /proc, /dev, /dev/pts, /dev/shm, /dev/mqueue, /sys;
// masked and read-only paths; the host name; the loopback interface; and, timed as well, the removal of it all.
// It does not: read an image or a configuration, drop capabilities, load a seccomp filter, make a veth pair, relay or
// log any output, write any state. An engine does that too, and is to be judged by what it adds.
//
// usage: floor ROOTFS UPPERBASE COMMAND [ARGUMENT...]
//
//   stdin: "go\n"  -->  one life cycle, whose milliseconds come to stdout: from reading the request, over the reaping of
//                       the container, until its cgroups and directories are gone
//
// The answer is given when the next spare is parked, so that the harness measures others while nothing happens here.
// The end of stdin, SIGINT and SIGTERM end it, and nothing is left behind. The command reads and writes /dev/null.
//
// Needs root; Linux 6.15, as the layers of the overlay are given as descriptors of detached mounts; pure cgroup v2, or
// the hierarchies of v1 below /sys/fs/cgroup.
//
// build: gcc -O2 -Wall -Wextra -o floor floor.c

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <linux/securebits.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CGROUP_ROOT "/sys/fs/cgroup"
#define MEMORY_LIMIT "268435456"
#define PIDS_LIMIT "128"
#define FIRST_ID 524288 // systemd's range for containers begins here
#define ID_COUNT 65536
#define RANGES 1000 // of ID_COUNT ids each, given out in turn

struct container {
	unsigned number;
	pid_t pid;
	int user_namespace;
	int channel; // to the parked process: 'p'laced in its cgroups -->, <-- 'p'arked, root file system -->
	int layers[2]; // the overlay's idmapped mounts: of the root file system and of the container's own directory
	bool has_cgroups, has_directory;
};

static const char *const v1_hierarchies[] = {"cpu",     "cpuacct", "cpuset", "memory",
					     "devices", "freezer", "blkio",  "pids"};
#define V1_HIERARCHIES (sizeof v1_hierarchies / sizeof *v1_hierarchies)

static bool pure_v2;
static const char *rootfs, *upper_base;
static char **command;
static struct container spare; // the one there is, parked or running; removed at exit
static bool in_container;      // true in the spare's process, which must not remove itself
static volatile sig_atomic_t stopping;

// Errors

static void __attribute__((noreturn, format(printf, 1, 2))) fail(const char *format, ...)
{
	const char *reason = strerror(errno);
	va_list arguments;
	va_start(arguments, format);
	fputs("floor: cannot ", stderr);
	vfprintf(stderr, format, arguments);
	fprintf(stderr, ": %s\n", reason);
	va_end(arguments);
	if (in_container)
		_exit(125);
	exit(125);
}

// Returns the result of a system call that did not fail.
static int check(long result, const char *verb, const char *object)
{
	if (result < 0)
		fail("%s `%s`", verb, object);
	return (int)result;
}

// Files

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		fail("write `%s` to `%s`", text, path);
	close(fd);
}

static void read_file(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? -1 : read(fd, text, size - 1);
	if (length < 0)
		fail("read `%s`", path);
	text[length] = '\0';
	close(fd);
}

static void make_directory(const char *path)
{
	if (mkdir(path, 0755) < 0)
		fail("make directory `%s`", path);
}

// Cgroups

static void detect_cgroups(void)
{
	struct statfs about;
	check(statfs(CGROUP_ROOT, &about), "look at", CGROUP_ROOT);
	pure_v2 = about.f_type == CGROUP2_SUPER_MAGIC;
	if (pure_v2) {
		char controllers[256];
		read_file(CGROUP_ROOT "/cgroup.subtree_control", controllers, sizeof controllers);
		errno = ENODEV;
		if (!strstr(controllers, "memory") || !strstr(controllers, "pids"))
			fail("limit containers: memory and pids are not in " CGROUP_ROOT "/cgroup.subtree_control");
	}
}

// The path of a file in the container's cgroup of that v1 hierarchy; on v2 there is but one.
static const char *cgroup_path(const struct container *container, const char *hierarchy, const char *file)
{
	static char path[PATH_MAX];
	snprintf(path, sizeof path, "%s/%s/floor-%d-%u/%s", CGROUP_ROOT, pure_v2 ? "" : hierarchy, getpid(),
		 container->number, file);
	return path;
}

// A new cpuset of v1 has no processors and no memory nodes, and takes no process before it has.
static void copy_cpuset_from_root(const struct container *container, const char *file)
{
	char path[PATH_MAX], text[256];
	snprintf(path, sizeof path, CGROUP_ROOT "/cpuset/%s", file);
	read_file(path, text, sizeof text);
	write_file(cgroup_path(container, "cpuset", file), text);
}

static void make_cgroups(struct container *container)
{
	container->has_cgroups = true;
	if (pure_v2) {
		make_directory(cgroup_path(container, "", ""));
		return;
	}
	for (size_t i = 0; i < V1_HIERARCHIES; i++)
		make_directory(cgroup_path(container, v1_hierarchies[i], ""));
	copy_cpuset_from_root(container, "cpuset.cpus");
	copy_cpuset_from_root(container, "cpuset.mems");
}

static void enter_v1_cgroups(const struct container *container)
{
	char pid[16];
	snprintf(pid, sizeof pid, "%d", container->pid);
	for (size_t i = 0; i < V1_HIERARCHIES; i++)
		write_file(cgroup_path(container, v1_hierarchies[i], "cgroup.procs"), pid);
}

static void write_limits(const struct container *container)
{
	write_file(cgroup_path(container, "memory", pure_v2 ? "memory.max" : "memory.limit_in_bytes"), MEMORY_LIMIT);
	write_file(cgroup_path(container, "pids", "pids.max"), PIDS_LIMIT);
}

static void remove_cgroups(struct container *container)
{
	if (!container->has_cgroups)
		return;
	container->has_cgroups = false;
	for (size_t i = 0; i < (pure_v2 ? 1 : V1_HIERARCHIES); i++)
		if (rmdir(cgroup_path(container, v1_hierarchies[i], "")) < 0 && errno != ENOENT)
			perror("floor: cannot remove a cgroup");
}

// The channel between the launcher and the parked process

static void send_byte(int channel, int fd)
{
	char byte = 'p', control[CMSG_SPACE(sizeof fd)] = {0};
	struct iovec data = {.iov_base = &byte, .iov_len = 1};
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
	if (fd >= 0) {
		message.msg_control = control;
		message.msg_controllen = sizeof control;
		struct cmsghdr *header = CMSG_FIRSTHDR(&message);
		*header = (struct cmsghdr){
			.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof fd)};
		memcpy(CMSG_DATA(header), &fd, sizeof fd);
	}
	check(sendmsg(channel, &message, MSG_NOSIGNAL), "write to", "the channel");
}

// Waits for the byte and returns the descriptor that came with it, or -1. The parked process ends with the launcher.
static int receive_byte(int channel)
{
	char byte, control[CMSG_SPACE(sizeof(int))];
	struct iovec data = {.iov_base = &byte, .iov_len = 1};
	struct msghdr message = {
		.msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	ssize_t length;
	while ((length = recvmsg(channel, &message, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR)
		;
	if (length == 0 && in_container)
		_exit(0);
	errno = length == 0 ? EPIPE : errno;
	check(length > 0 ? 0 : -1, "read from", "the channel");
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	int fd = -1;
	if (header)
		memcpy(&fd, CMSG_DATA(header), sizeof fd);
	return fd;
}

// In the container: its first process

static const struct {
	const char *source, *target, *type;
	unsigned long flags;
	const char *options;
} mounts[] = {
	{"proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL},
	{"tmpfs", "dev", "tmpfs", MS_NOSUID, "mode=755,size=64k"},
	{"devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"},
	{"shm", "dev/shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777,size=64m"},
	{"mqueue", "dev/mqueue", "mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL},
	{"sysfs", "sys", "sysfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL},
};
static const char *const devices[] = {"null", "zero", "full", "random", "urandom", "tty"};
static const char *const links[][2] = {{"pts/ptmx", "dev/ptmx"},
				       {"/proc/self/fd", "dev/fd"},
				       {"/proc/self/fd/0", "dev/stdin"},
				       {"/proc/self/fd/1", "dev/stdout"},
				       {"/proc/self/fd/2", "dev/stderr"}};
static const char *const masked_files[] = {"proc/kcore", "proc/keys", "proc/timer_list"};
static const char *const masked_directories[] = {"proc/acpi", "proc/scsi", "sys/firmware"};
static const char *const read_only_paths[] = {"proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"};
#define EACH(index, table) (size_t index = 0; index < sizeof table / sizeof *table; index++)

static void fill_dev(void)
{
	for EACH (i, devices) {
		char device[32];
		// A user namespace may not make devices, but may bind those of the host.
		snprintf(device, sizeof device, "/dev/%s", devices[i]);
		close(check(open(device + 1, O_CREAT | O_WRONLY | O_CLOEXEC, 0666), "make", device));
		check(mount(device, device + 1, NULL, MS_BIND, NULL), "bind", device);
	}
	for EACH (i, links)
		check(symlink(links[i][0], links[i][1]), "link", links[i][1]);
}

static void mount_all(void)
{
	for EACH (i, mounts) {
		if (mkdir(mounts[i].target, 0755) < 0 && errno != EEXIST)
			fail("make directory `%s`", mounts[i].target);
		check(mount(mounts[i].source, mounts[i].target, mounts[i].type, mounts[i].flags, mounts[i].options),
		      "mount", mounts[i].target);
		if (strcmp(mounts[i].target, "dev") == 0)
			fill_dev();
	}
}

// A path that this kernel does not have needs no hiding.
static void check_hidden(int result, const char *path)
{
	if (result < 0 && errno != ENOENT)
		fail("hide `%s`", path);
}

static void hide_paths(void)
{
	for EACH (i, masked_files)
		check_hidden(mount("/dev/null", masked_files[i], NULL, MS_BIND, NULL), masked_files[i]);
	for EACH (i, masked_directories)
		check_hidden(mount("tmpfs", masked_directories[i], "tmpfs", MS_RDONLY, "size=0"),
			     masked_directories[i]);
	for EACH (i, read_only_paths) {
		struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};
		int view = (int)syscall(SYS_open_tree, AT_FDCWD, read_only_paths[i],
					OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
		check_hidden(view, read_only_paths[i]);
		if (view < 0)
			continue;
		check(syscall(SYS_mount_setattr, view, "", AT_EMPTY_PATH, &read_only, sizeof read_only),
		      "make read-only", read_only_paths[i]);
		check(syscall(SYS_move_mount, view, "", AT_FDCWD, read_only_paths[i], MOVE_MOUNT_F_EMPTY_PATH),
		      "attach", read_only_paths[i]);
		close(view);
	}
}

static void bring_loopback_up(void)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd = check(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "open", "a socket");
	check(ioctl(fd, SIOCSIFFLAGS, &request), "bring up", "lo");
	close(fd);
}

// Parks, and when the root file system has come, becomes the command.
static void __attribute__((noreturn)) run_container(int channel)
{
	in_container = true;
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	receive_byte(channel);
	// Only now, for the root of a cgroup namespace is the cgroup of who makes it: with CLONE_INTO_CGROUP, the parent's.
	check(unshare(CLONE_NEWCGROUP), "unshare", "cgroup");
	check(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "make private", "/");
	send_byte(channel, -1);
	int root = receive_byte(channel);

	check(setgroups(0, NULL), "become", "no other group");
	check(setresgid(0, 0, 0), "become", "group 0");
	check(setresuid(0, 0, 0), "become", "user 0");
	check(prctl(PR_SET_PDEATHSIG, SIGKILL), "end with", "the launcher");
	// Any directory will do, as this mount namespace is the container's own.
	check(syscall(SYS_move_mount, root, "", AT_FDCWD, rootfs, MOVE_MOUNT_F_EMPTY_PATH), "attach a root at", rootfs);
	check(chdir(rootfs), "enter", rootfs);
	mount_all();
	hide_paths();
	check(syscall(SYS_pivot_root, ".", "."), "pivot_root to", ".");
	check(umount2(".", MNT_DETACH), "detach", "the old root");
	check(chdir("/"), "enter", "/");
	check(sethostname("floor", 5), "set", "the host name");
	bring_loopback_up();
	int null = check(open("/dev/null", O_RDWR | O_CLOEXEC), "open", "/dev/null");
	check(dup2(null, STDIN_FILENO), "replace", "stdin");
	check(dup2(null, STDOUT_FILENO), "replace", "stdout");
	execv(command[0], command);
	fail("run `%s`", command[0]);
}

// In the launcher

static unsigned first_id(const struct container *container)
{
	return FIRST_ID + ID_COUNT * (container->number % RANGES);
}

static void map_ids(const struct container *container)
{
	char path[64], map[64];
	snprintf(map, sizeof map, "0 %u %u", first_id(container), ID_COUNT);
	snprintf(path, sizeof path, "/proc/%d/uid_map", container->pid);
	write_file(path, map);
	snprintf(path, sizeof path, "/proc/%d/gid_map", container->pid);
	write_file(path, map);
}

static void make_spare(unsigned number)
{
	spare = (struct container){.number = number, .user_namespace = -1, .channel = -1};
	make_cgroups(&spare);
	int ends[2];
	check(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), "make", "the channel");
	struct clone_args clone = {
		.flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS |
			 CLONE_NEWTIME,
		.exit_signal = SIGCHLD,
	};
	if (pure_v2) {
		clone.flags |= CLONE_INTO_CGROUP;
		clone.cgroup = (unsigned)check(
			open(cgroup_path(&spare, "", ""), O_DIRECTORY | O_PATH | O_CLOEXEC), "open", "the cgroup");
	}
	spare.pid = check(syscall(SYS_clone3, &clone, sizeof clone), "clone3", "the spare");
	if (spare.pid == 0) {
		close(ends[0]);
		run_container(ends[1]);
	}
	close(ends[1]);
	spare.channel = ends[0];
	if (pure_v2)
		close((int)clone.cgroup);
	else
		enter_v1_cgroups(&spare);
	map_ids(&spare);
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/ns/user", spare.pid);
	spare.user_namespace = check(open(path, O_RDONLY | O_CLOEXEC), "open", path);
	send_byte(spare.channel, -1);
	receive_byte(spare.channel);
}

static const char *own_directory(const struct container *container, const char *file)
{
	static char path[PATH_MAX];
	snprintf(path, sizeof path, "%s/floor-%d-%u%s", upper_base, getpid(), container->number, file);
	return path;
}

static int clone_idmapped(const char *path, int user_namespace)
{
	struct mount_attr idmap = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (unsigned)user_namespace};
	int tree = check(syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC),
			 "clone the mount of", path);
	check(syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &idmap, sizeof idmap), "idmap", path);
	return tree;
}

static void set_layer(int context, const char *key, int directory, const char *name)
{
	int fd = check(openat(directory, name, O_PATH | O_DIRECTORY | O_CLOEXEC), "open", name);
	check(syscall(SYS_fsconfig, context, FSCONFIG_SET_FD, key, NULL, fd), "set by a descriptor the overlay's", key);
	close(fd);
}

// Creates files as that user of the host, with all of root's capabilities (see main).
static void create_files_as(unsigned id)
{
	setfsgid(id);
	setfsuid(id);
	if ((unsigned)setfsuid((uid_t)-1) != id) // which changes nothing and tells what is
		fail("create files as user %u", id);
}

// Returns the detached mount of an overlay. Volatile: its end would otherwise sync the whole upper file system.
//
// It is made as the container's root, whom the idmapped layers have: the host's, whom they lack, cannot make the
// overlay's work directory there (EOVERFLOW), upon which the kernel would mount it read-only and only log why.
static int make_root(struct container *container)
{
	container->has_directory = true;
	make_directory(own_directory(container, ""));
	make_directory(own_directory(container, "/upper"));
	make_directory(own_directory(container, "/work"));
	int lower = container->layers[0] = clone_idmapped(rootfs, container->user_namespace);
	int own = container->layers[1] = clone_idmapped(own_directory(container, ""), container->user_namespace);
	int context = check(syscall(SYS_fsopen, "overlay", FSOPEN_CLOEXEC), "begin", "overlay");
	set_layer(context, "lowerdir+", lower, ".");
	set_layer(context, "upperdir", own, "upper");
	set_layer(context, "workdir", own, "work");
	check(syscall(SYS_fsconfig, context, FSCONFIG_SET_FLAG, "volatile", NULL, 0), "set the overlay's", "volatile");
	create_files_as(first_id(container));
	check(syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0), "make", "overlay");
	create_files_as(0);
	int root = check(syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, 0), "mount", "overlay");
	close(context);
	return root;
}

static int remove_entry(const char *path, const struct stat *about, int type, struct FTW *position)
{
	(void)about, (void)type, (void)position;
	if (remove(path) < 0)
		perror("floor: cannot remove a directory's entry");
	return 0;
}

static void remove_container(struct container *container)
{
	if (container->channel >= 0)
		close(container->channel);
	if (container->user_namespace >= 0)
		close(container->user_namespace);
	container->channel = container->user_namespace = -1;
	remove_cgroups(container);
	if (container->has_directory)
		nftw(own_directory(container, ""), remove_entry, 8, FTW_DEPTH | FTW_PHYS);
	container->has_directory = false;
}

static int reap(struct container *container)
{
	int status;
	while (waitpid(container->pid, &status, 0) < 0) {
		if (errno != EINTR)
			fail("wait for the container");
		if (stopping)
			kill(container->pid, SIGKILL);
	}
	container->pid = 0;
	return status;
}

// At exit, whatever its reason.
static void remove_spare(void)
{
	if (spare.pid > 0) {
		kill(spare.pid, SIGKILL);
		waitpid(spare.pid, NULL, 0);
	}
	remove_container(&spare);
}

static double milliseconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static double live_once(struct container *container)
{
	double began = milliseconds();
	int root = make_root(container);
	write_limits(container);
	send_byte(container->channel, root);
	// To close a detached mount takes the kernel 0.1 ms or more; so it is done while the container runs.
	close(root);
	close(container->layers[0]);
	close(container->layers[1]);
	int status = reap(container);
	remove_container(container);
	if (status != 0 && !stopping) {
		fprintf(stderr, "floor: `%s` ended with wait status 0x%x\n", command[0], (unsigned)status);
		exit(125);
	}
	return milliseconds() - began;
}

static void stop(int number)
{
	(void)number;
	stopping = 1;
}

int main(int count, char **arguments)
{
	if (count < 4) {
		fputs("usage: floor ROOTFS UPPERBASE COMMAND [ARGUMENT...]\n", stderr);
		return 2;
	}
	rootfs = arguments[1], upper_base = arguments[2], command = arguments + 3;
	// Without SA_RESTART, so that reading and waiting end.
	struct sigaction action = {.sa_handler = stop};
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	// Else a change of the user who creates files would take root's capabilities over files.
	check(prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP), "set", "secure bits");
	detect_cgroups();
	atexit(remove_spare);

	char line[16];
	double took = -1;
	for (unsigned number = 0; !stopping; number++) {
		make_spare(number);
		if (took >= 0)
			printf("%.3f\n", took), fflush(stdout);
		if (stopping || !fgets(line, sizeof line, stdin))
			break;
		if (strcmp(line, "go\n") != 0) {
			fputs("floor: stdin: every line is to be `go`\n", stderr);
			return 2;
		}
		took = live_once(&spare);
	}
	return 0;
}
