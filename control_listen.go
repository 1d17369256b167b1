package warren

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// ListenControl makes the Unix socket at path, for its owner alone. A socket that nobody listens on any more, as kill -9
// leaves it, is replaced; one that another process listens on is an error. Of several that begin at a time one gets it.
func ListenControl(ctx context.Context, path string) (net.Listener, error) {
	if len(path) > maxSocket {
		return nil, fmt.Errorf("control socket %s: the path has %d bytes; want at most %d", path, len(path), maxSocket)
	}
	folder := filepath.Dir(path)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, fmt.Errorf("make folder of control socket: %w", err)
	}
	defer lockFolder(ctx, folder)()
	dialer := net.Dialer{Timeout: time.Second}
	if conn, err := dialer.DialContext(ctx, "unix", path); err == nil {
		_ = conn.Close()
		return nil, fmt.Errorf("control socket %s is in use by another warren; give this one a socket of its own with control: {socket: PATH}", path)
	}
	if st, err := os.Lstat(path); err == nil {
		if st.Mode().Type() != os.ModeSocket {
			return nil, fmt.Errorf("control socket %s: there is a file of that name that is no socket", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove stale control socket: %w", err)
		}
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("open control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = ln.Close()
		return nil, fmt.Errorf("protect control socket: %w", err)
	}
	return ln, nil
}

// maxSocket is the longest path of a Unix socket in bytes (unix(7)).
const maxSocket = len(unix.RawSockaddrUnix{}.Path) - 1

// lockFolder keeps others from looking whether a socket in a folder is stale while we do: two that find the same stale socket would
// each remove it, and the later one the other's new socket. It leaves nothing behind, not even if the process is killed. Where the
// folder cannot be read, its file system knows no locks, or somebody keeps the lock, we go on without it.
func lockFolder(ctx context.Context, folder string) (unlock func()) {
	f, err := os.Open(folder)
	if err != nil {
		return func() {}
	}
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return func() { _ = f.Close() }
		}
		select {
		case <-time.After(lockPause):
		case <-ctx.Done():
			return func() { _ = f.Close() }
		}
	}
}

// lockWait is how long to wait for the lock, which nobody who means well needs for more than a second, and lockPause how long between
// two looks.
const (
	lockWait  = 30 * time.Second
	lockPause = 5 * time.Millisecond
)
