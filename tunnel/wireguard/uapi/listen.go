package uapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// DefaultDir is where wg(8) looks for sockets.
const DefaultDir = "/var/run/wireguard"

// mode is the socket's: who may connect may read the private key.
const mode = 0o600

var (
	// ErrInUse is the error of a socket that another process listens on.
	ErrInUse = errors.New("the socket is in use")
	// ErrNotSocket is the error of a file that is none and stands in its place; it is left alone.
	ErrNotSocket = errors.New("a file that is not a socket is in the way")
	// ErrName is the error of a name that no interface can have.
	ErrName = errors.New("not a name for an interface: want 1 to 15 letters, digits and characters of \"_=+.-\"")
)

var interfaceName = regexp.MustCompile(`^[a-zA-Z0-9_=+.-]{1,15}$`)

// socket is a listening socket and its file.
type socket struct {
	path     string
	listener *net.UnixListener
	// file is the identity of the file we made, for when another stands at path.
	file os.FileInfo
	// events are inotify's.
	events *os.File

	once sync.Once
}

func listen(dir, name string) (*socket, error) {
	if !interfaceName.MatchString(name) || name == "." || name == ".." {
		return nil, ErrName
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	s := &socket{path: filepath.Join(dir, name+".sock")}
	if most := len(unix.RawSockaddrUnix{}.Path) - 1; len(s.path) > most {
		return nil, fmt.Errorf("the path %s is longer than the %d octets that a socket's can have", s.path, most)
	}
	unlock, err := lock(dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := clear(s.path); err != nil {
		return nil, err
	}
	if err := s.bind(); err != nil {
		return nil, err
	}
	if err := errors.Join(s.identify(), s.openEvents()); err != nil {
		if s.events != nil {
			_ = s.events.Close()
		}
		_ = s.listener.Close()
		_ = os.Remove(s.path)
		return nil, err
	}
	return s, nil
}

// lock keeps other engines from replacing sockets in dir meanwhile: between bind and listen, ours looks like one that nobody
// uses. It locks the directory itself, so that no file is left.
func lock(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(d.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		_ = d.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return func() { _ = d.Close() }, nil
}

// clear removes a socket that nobody listens on. Only a refused connection proves that.
func clear(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != os.ModeSocket:
		return fmt.Errorf("%s: %w", path, ErrNotSocket)
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		_ = c.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%s: %w", path, ErrInUse)
	}
	return os.Remove(path)
}

// bind makes the file. Linux gives it the mode of the unbound socket, so it never has a wider one, and no umask is changed.
func (s *socket) bind() error {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var modeErr error
		err := c.Control(func(fd uintptr) { modeErr = unix.Fchmod(int(fd), mode) })
		return errors.Join(err, modeErr)
	}}
	l, err := config.Listen(context.Background(), "unix", s.path)
	if err != nil {
		return err
	}
	s.listener = l.(*net.UnixListener)
	s.listener.SetUnlinkOnClose(false) // close does it, if the file is still ours
	return nil
}

// identify gives back the bits of the mode that a strict umask took, and remembers which file is ours.
func (s *socket) identify() (err error) {
	if err = os.Chmod(s.path, mode); err == nil {
		s.file, err = os.Lstat(s.path)
	}
	return err
}

// openEvents begins to watch the file. Its deletion is a change of attributes (of its number of links) while we hold the socket.
func (s *socket) openEvents() error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("watch the socket's file: %w", err)
	}
	s.events = os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, s.path, unix.IN_ATTRIB|unix.IN_DELETE_SELF|unix.IN_MOVE_SELF); err != nil {
		return fmt.Errorf("watch %s: %w", s.path, err)
	}
	return nil
}

// watch waits until the file is gone, stops the listener then and returns true; false after close.
func (s *socket) watch() bool {
	events := make([]byte, 4096)
	for s.ours() {
		if _, err := s.events.Read(events); err != nil {
			return false
		}
	}
	_ = s.listener.Close()
	return true
}

// ours reports whether the file is there and the one we made. Linux tells of a deletion when the file has no link any more, which is
// before nobody finds it by its name.
func (s *socket) ours() bool {
	info, err := os.Lstat(s.path)
	if err != nil || !os.SameFile(info, s.file) {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return !ok || stat.Nlink > 0
}

// close removes the file before it closes the socket: until then, no other file can have its inode.
func (s *socket) close() (err error) {
	s.once.Do(func() {
		// The events first: our own removal is nothing to report.
		_ = s.events.Close()
		unlock, lockErr := lock(filepath.Dir(s.path))
		if s.ours() {
			err = os.Remove(s.path)
		}
		if lockErr == nil {
			unlock()
		}
		if closeErr := s.listener.Close(); closeErr != nil && !errors.Is(closeErr, net.ErrClosed) {
			err = errors.Join(err, closeErr)
		}
	})
	return err
}
