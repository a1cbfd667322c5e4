/* Preloaded into a gateway: remembers what was synced, and cuts the power at a chosen sync.
 *
 * The page cache hides what a disk would have lost, so this keeps beside the data what a disk would have kept:
 *
 *   $FORGETFUL_MIRROR/c/KEY   a file as it was at its last sync
 *   $FORGETFUL_MIRROR/d/KEY   a folder's names at its last sync: one line each, "KEY f|d NAME"
 *
 * KEY is inode and time of birth, so a name that comes again is another file. Files are made whole by rename. The power goes,
 * by SIGKILL, at sync number $FORGETFUL_CUT below $FORGETFUL_ROOT/$FORGETFUL_WHERE: before it if $FORGETFUL_BEFORE is set.
 * power.rs makes a disk out of it afterwards. What was there when the process started, power.rs has put into the mirror. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long count;

static int key_of(int dir, const char *name, char *key, int *is_dir) {
    struct statx s;
    int flags = AT_SYMLINK_NOFOLLOW | (*name ? 0 : AT_EMPTY_PATH);
    if (statx(dir, name, flags, STATX_BASIC_STATS | STATX_BTIME, &s) != 0) return -1;
    *is_dir = S_ISDIR(s.stx_mode);
    sprintf(key, "%llu-%lld-%u", (unsigned long long)s.stx_ino, (long long)s.stx_btime.tv_sec, s.stx_btime.tv_nsec);
    return S_ISREG(s.stx_mode) || S_ISDIR(s.stx_mode) ? 0 : -1;
}

static void give_up(const char *what) {
    perror(what);
    abort();
}

/* Copies what is not a hole; log segments are mostly that. */
static void copy(const char *from, int to) {
    static char buffer[1 << 16];
    int in = open(from, O_RDONLY);
    struct stat s;
    if (in < 0 || fstat(in, &s) != 0 || ftruncate(to, s.st_size) != 0) give_up("forgetful: copy");
    off_t at = 0;
    while (at < s.st_size && (at = lseek(in, at, SEEK_DATA)) >= 0) {
        off_t end = lseek(in, at, SEEK_HOLE);
        while (at < end) {
            ssize_t n = pread(in, buffer, end - at < (off_t)sizeof buffer ? (size_t)(end - at) : sizeof buffer, at);
            if (n <= 0) break;
            if (pwrite(to, buffer, n, at) != n) give_up("forgetful: write");
            at += n;
        }
    }
    close(in);
}

static void list(const char *path, int to) {
    DIR *dir = opendir(path);
    if (!dir) return;
    for (struct dirent *entry; (entry = readdir(dir));) {
        char key[96];
        int is_dir;
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        if (key_of(dirfd(dir), entry->d_name, key, &is_dir) == 0) dprintf(to, "%s %c %s\n", key, is_dir ? 'd' : 'f', entry->d_name);
    }
    closedir(dir);
}

static void remember(int fd, const char *path) {
    char key[96], done[PATH_MAX], making[PATH_MAX];
    int is_dir;
    if (key_of(fd, "", key, &is_dir) != 0) return;
    snprintf(done, sizeof done, "%s/%c/%s", getenv("FORGETFUL_MIRROR"), is_dir ? 'd' : 'c', key);
    snprintf(making, sizeof making, "%s.making", done);
    int to = open(making, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (to < 0) give_up("forgetful: mirror");
    if (is_dir) list(path, to); else copy(path, to);
    close(to);
    if (rename(making, done) != 0) give_up("forgetful: rename");
}

static int sync_with(const char *name, int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    const char *root = getenv("FORGETFUL_ROOT"), *where = getenv("FORGETFUL_WHERE"), *cut = getenv("FORGETFUL_CUT");
    char link[64], path[PATH_MAX], watched[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = root ? readlink(link, path, sizeof path - 1) : -1;
    if (n < 0) return real(fd);
    path[n] = 0;
    if (strncmp(path, root, strlen(root)) != 0) return real(fd);
    pthread_mutex_lock(&lock);
    snprintf(watched, sizeof watched, "%s/%s", root, where);
    int last = !strncmp(path, watched, strlen(watched)) && ++count == atol(cut);
    if (last && getenv("FORGETFUL_BEFORE")) kill(getpid(), SIGKILL);
    /* The mirror is what survives; the real disk need not hear of it. */
    remember(fd, path);
    if (last) kill(getpid(), SIGKILL);
    pthread_mutex_unlock(&lock);
    return 0;
}

int fsync(int fd) { return sync_with("fsync", fd); }
int fdatasync(int fd) { return sync_with("fdatasync", fd); }
